"""When a training reports, logs and validates, and when it stops early."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from harness.training.meter import Meter

LOG_POINTS = 60
Progress = Callable[[int, int], None]


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, logs some sixty times, and validates at even distances up to the end."""

    def __init__(self, progress: Progress, meter: Meter, validations: int) -> None:
        self.progress = progress
        self.meter = meter
        self.validations = validations
        self._started = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.meter.step_seconds += time.monotonic() - self._started
        step, last = state.global_step, state.max_steps
        self.progress(step, last)
        control.should_log = step == last or step % max(1, last // LOG_POINTS) == 0
        control.should_evaluate = step in validation_steps(last, self.validations)


def validation_steps(steps: int, count: int) -> frozenset[int]:
    """`count` steps at even distances; fewer where there are fewer steps."""
    return frozenset(math.ceil(steps * number / count) for number in range(1, count + 1))
