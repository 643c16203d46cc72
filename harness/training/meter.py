"""What a training has seen so far. Every checkpoint stores it, so that a resumed run counts on."""

from __future__ import annotations

import json
import time
from pathlib import Path

METER = "meter.json"


class Meter:
    """Counts since the start, whatever was killed in between.

    micro_batch_size: rows in one forward pass
    tokens:           seen, without padding; trained_tokens are those that have a loss
    step_seconds:     in optimiser steps, without validations and checkpoints
    """

    def __init__(self, micro_batch_size: int) -> None:
        self.micro_batch_size = micro_batch_size
        self.rows = 0
        self.tokens = 0
        self.trained_tokens = 0
        self.step_seconds = 0.0
        self._earlier_seconds = 0.0
        self._began = time.monotonic()
        self._since_log = [0.0, 0.0, 0.0]  # loss, divergence, trained tokens

    @property
    def seconds(self) -> float:
        """All of them, those before a kill up to its last checkpoint included."""
        return self._earlier_seconds + time.monotonic() - self._began

    def count(self, rows: int, tokens: int, trained: int) -> None:
        """One more optimiser step."""
        self.rows += rows
        self.tokens += tokens
        self.trained_tokens += trained

    def add(self, loss: float, divergence: float, trained: int) -> None:
        """Sums over the trained tokens of that step."""
        for at, value in enumerate((loss, divergence, trained)):
            self._since_log[at] += value

    def means(self) -> tuple[float, float]:
        """Loss and divergence per trained token since the last call."""
        loss, divergence, trained = self._since_log
        self._since_log = [0.0, 0.0, 0.0]
        return loss / max(1, trained), divergence / max(1, trained)

    def write(self, folder: Path) -> None:
        state = {name: value for name, value in vars(self).items() if name != "_began"}
        text = json.dumps({**state, "_earlier_seconds": self.seconds})
        (folder / METER).write_text(text, encoding="utf-8")

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint's counts."""
        state = json.loads((folder / METER).read_text(encoding="utf-8"))
        # Who sets it lower after running out of memory goes on with what was set.
        state["micro_batch_size"] = min(self.micro_batch_size, state["micro_batch_size"])
        vars(self).update(state)
