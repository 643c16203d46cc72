"""Progress for a person at a terminal (one live line) and for a log (plain lines)."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars

from harness.progress import Progress
from harness.report.inert import visible

SECONDS_BETWEEN_LINES = 15.0
QUIET = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1"}


def quiet_environment() -> None:
    """No telemetry, no bars or advice of libraries between our lines, unless the person asks for it."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def progress_to(console: Console) -> Iterator[Progress]:
    """Bars where standard error is a terminal, lines where it is a file, a pipe or CI."""
    if not (console.is_terminal and sys.stderr.isatty()):
        yield PlainProgress(console)
        return
    live = LiveProgress(console)
    try:
        yield live
    finally:
        live.bars.stop()  # rich hides the cursor while a bar is live


class LiveProgress:
    """One bar with what is done, time and an estimate of what is left."""

    def __init__(self, console: Console) -> None:
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
        )
        self.console = console
        self.task: TaskID | None = None
        self.state = _State("", 0, 0, None)

    def begin(self, name: str, done: int, total: int, work: float | None = None) -> None:
        self.state = _State(name, done, total, work)
        self.bars.start()
        self.task = self.bars.add_task(name, total=1.0, count=self.state.count(), left="")

    def advance(self, done: int, work: float = 0.0, tokens: int = 0) -> None:
        self.state.advance(done, work, tokens)
        if self.task is not None:
            left = self.state.left()
            self.bars.update(
                self.task,
                completed=self.state.share(),
                count=self.state.count(),
                left="" if left is None else f"about {left:.0f} s left",
            )

    def end(self, note: str) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None
        self.bars.stop()
        self.console.print(self.state.finished(note), markup=False)

    def say(self, text: str) -> None:
        self.console.print(visible(text), markup=False, highlight=False)


class PlainProgress:
    """A line when a step begins and ends, and every fifteen seconds between with an estimate."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.state = _State("", 0, 0, None)
        self.printed = 0.0

    def begin(self, name: str, done: int, total: int, work: float | None = None) -> None:
        self.state = _State(name, done, total, work)
        self.printed = self.state.started
        found = f" ({done:,} of {total:,} were there)" if done else ""
        self.console.print(f"{name} …{found}", markup=False)

    def advance(self, done: int, work: float = 0.0, tokens: int = 0) -> None:
        self.state.advance(done, work, tokens)
        left, now = self.state.left(), time.monotonic()
        if left is not None and now - self.printed > SECONDS_BETWEEN_LINES:
            self.console.print(
                f"{self.state.name}: {self.state.count()}, about {left:.0f} s left", markup=False
            )
            self.printed = now

    def end(self, note: str) -> None:
        self.console.print(self.state.finished(note), markup=False)

    def say(self, text: str) -> None:
        self.console.print(visible(text), markup=False, highlight=False)


class _State:
    """How far a step is. Time goes by `work` where there is any, else by what is counted."""

    def __init__(self, name: str, done: int, total: int, work: float | None) -> None:
        self.name, self.done, self.total, self.tokens = name, done, total, 0
        self.found, self.worked, self.work = done, 0.0, work
        self.started = time.monotonic()

    def advance(self, done: int, work: float, tokens: int) -> None:
        self.done += done
        self.worked += work
        self.tokens += tokens

    def share(self) -> float:
        """Of this run's own work."""
        if self.work is not None:
            return self.worked / self.work if self.work else 1.0
        own = self.total - self.found
        return (self.done - self.found) / own if own else 1.0

    def left(self) -> float | None:
        """Seconds; None before anything is done and after everything is."""
        share = self.share()
        return (time.monotonic() - self.started) * (1 / share - 1) if 0 < share < 1 else None

    def count(self) -> str:
        tokens = f", {self.tokens:,} tokens" if self.tokens else ""
        return f"{self.done:,}/{self.total:,}{tokens}"

    def finished(self, note: str) -> str:
        seconds = time.monotonic() - self.started
        return f"{self.name}: done in {seconds:.1f} s" + (f", {note}" if note else "")
