"""When a training reports, logs and validates, and when it stops early."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from harness.experiment.schema import Tuned
from harness.training.meter import Meter
from harness.training.stopping import best_file, discard_older, standing
from harness.training.weights import write_weights

LOG_POINTS = 60
Progress = Callable[[int, int], None]


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, logs some sixty times, validates at even distances, and stops early if told to.

    folder: where checkpoints are, and beside them the best weights so far
    """

    def __init__(
        self, progress: Progress, meter: Meter, recipe: Tuned, validates: bool, folder: Path
    ) -> None:
        self.progress = progress
        self.meter = meter
        self.stopping = recipe.early_stopping
        self.validations = recipe.validations if validates else 0
        self.folder = folder
        self._started = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.meter.step_seconds += time.monotonic() - self._started
        step, last = state.global_step, state.max_steps
        self.progress(step, last)
        control.should_log = step == last or step % max(1, last // LOG_POINTS) == 0
        control.should_evaluate = step in validation_steps(last, self.validations)

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if self.stopping is None:
            return
        now = standing(validation_losses(state.log_history), self.stopping)
        if now.best_step == state.global_step:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_weights(model, best_file(self.folder, now.best_step))
        if now.stop:
            control.should_training_stop = True
            control.should_save = False  # from an earlier checkpoint a resumed run stops here again

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        losses = validation_losses(state.log_history)
        if self.stopping is not None and losses:
            discard_older(self.folder, standing(losses, self.stopping).best_step)


def validation_losses(history: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """(step, loss) of a trainer's log."""
    return [(entry["step"], entry["eval_loss"]) for entry in history if "eval_loss" in entry]


def validation_steps(steps: int, count: int) -> frozenset[int]:
    """`count` steps at even distances; fewer where there are fewer steps."""
    return frozenset(math.ceil(steps * number / count) for number in range(1, count + 1))
