"""Where a long step reports to. `cli/progress.py` shows it to a person or to a log."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """One step at a time: `begin`, `advance` by what was done since, `end`; `say` is a line between steps."""

    def begin(self, name: str, total: int) -> None: ...

    def advance(self, done: int) -> None: ...

    def end(self, note: str) -> None: ...

    def say(self, text: str) -> None: ...


class Silent:
    """Says nothing: for the Python API and tests."""

    def begin(self, name: str, total: int) -> None:
        """Ignored."""

    def advance(self, done: int) -> None:
        """Ignored."""

    def end(self, note: str) -> None:
        """Ignored."""

    def say(self, text: str) -> None:
        """Ignored."""
