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
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
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
    """One bar with items done, time and an estimate of what is left."""

    def __init__(self, console: Console) -> None:
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.console = console
        self.task: TaskID | None = None
        self.started = 0.0
        self.name = ""

    def begin(self, name: str, total: int) -> None:
        self.bars.start()
        self.task = self.bars.add_task(name, total=total)
        self.started, self.name = time.monotonic(), name

    def advance(self, done: int) -> None:
        if self.task is not None:
            self.bars.advance(self.task, done)

    def end(self, note: str) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None
        self.bars.stop()
        self.console.print(_finished(self.name, self.started, note), markup=False)

    def say(self, text: str) -> None:
        self.console.print(visible(text), markup=False, highlight=False)


class PlainProgress:
    """A line when a step begins and ends, and every fifteen seconds between with an estimate."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.name, self.total, self.done = "", 0, 0
        self.started = self.printed = 0.0

    def begin(self, name: str, total: int) -> None:
        self.name, self.total, self.done = name, total, 0
        self.started = self.printed = time.monotonic()
        self.console.print(f"{name} …", markup=False)

    def advance(self, done: int) -> None:
        self.done += done
        now = time.monotonic()
        if self.done and self.done < self.total and now - self.printed > SECONDS_BETWEEN_LINES:
            left = (now - self.started) / self.done * (self.total - self.done)
            self.console.print(
                f"{self.name}: {self.done}/{self.total}, about {left:.0f} s left", markup=False
            )
            self.printed = now

    def end(self, note: str) -> None:
        self.console.print(_finished(self.name, self.started, note), markup=False)

    def say(self, text: str) -> None:
        self.console.print(visible(text), markup=False, highlight=False)


def _finished(name: str, started: float, note: str) -> str:
    return f"{name}: done in {time.monotonic() - started:.1f} s" + (f", {note}" if note else "")
