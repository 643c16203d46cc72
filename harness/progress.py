"""Where a long step reports to. `cli/progress.py` shows it to a person or to a log."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """One step at a time: `begin`, `advance` by what was done since, `end`; `say` is a line between steps.

    done, total: what a person counts (items, steps); `begin` counts what an earlier run has done.
    work:        what takes the time, in any unit, where that is something else; an estimate goes by it
    tokens:      read and written
    """

    def begin(self, name: str, done: int, total: int, work: float | None = None) -> None: ...

    def advance(self, done: int, work: float = 0.0, tokens: int = 0) -> None: ...

    def end(self, note: str) -> None: ...

    def say(self, text: str) -> None: ...


class Silent:
    """Says nothing: for the Python API and tests."""

    def begin(self, name: str, done: int, total: int, work: float | None = None) -> None:
        """Ignored."""

    def advance(self, done: int, work: float = 0.0, tokens: int = 0) -> None:
        """Ignored."""

    def end(self, note: str) -> None:
        """Ignored."""

    def say(self, text: str) -> None:
        """Ignored."""
