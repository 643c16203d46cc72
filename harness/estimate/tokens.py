"""Tokens to train and to score: as the store counted them, else from bytes of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.estimate.amounts import BYTES_PER_TOKEN, Amount, Amounts, NotCounted
from harness.estimate.quantities import Note, Quantity, estimated, stored, unknown
from harness.estimate.records import MeasuringInputs, Records, TrainingInputs
from harness.experiment.schema import Prompting, Task, TrainData, Tuned

FROM_BYTES = Note(f"≈ tokens are estimated from bytes of text, at {BYTES_PER_TOKEN} bytes a token")


@dataclass(frozen=True)
class _Epoch:
    """Rows and tokens that a training goes through once."""

    rows: int
    tokens: float
    counted: bool


@dataclass(frozen=True)
class Tokens:
    """Of the steps of one experiment. `train`: its training rows, None where it has none."""

    records: Records
    amounts: Amounts
    train: TrainData | None

    def of_training(self, recipe: Tuned, made: TrainingInputs) -> Quantity:
        """All that a training sees, padding left out: rows again in every epoch."""
        try:
            epoch = self._epoch(recipe, made)
        except NotCounted as error:
            return unknown(error.note)
        times = recipe.max_steps * recipe.batch_size / epoch.rows if recipe.max_steps else recipe.epochs
        tokens = round(epoch.tokens * times)
        return stored(tokens) if epoch.counted else estimated(tokens, FROM_BYTES)

    def of_measuring(self, task: Task, prompting: Prompting | None, made: MeasuringInputs) -> Quantity:
        """All that the model reads and writes, as a pass over each request alone would."""
        if made.rows in self.records.read_tokens:
            return stored(self.records.read_tokens[made.rows])
        try:
            amounts = self.amounts.of_task(task, {"task": made.task, "data": made.data})
        except NotCounted as error:
            return unknown(error.note)
        amount = amounts.test if made.split == "test" else amounts.validation
        return estimated(_asked(amount, task, prompting), FROM_BYTES)

    def longest_row(self, recipe: Tuned, made: TrainingInputs) -> int | None:
        """Tokens of the longest training row, at most `max_length`; None where the rows are not known."""
        try:
            longest = self._amount(made.data[0]).longest
        except NotCounted:
            return None
        return max(1, min(recipe.max_length, longest // BYTES_PER_TOKEN))

    def _epoch(self, recipe: Tuned, made: TrainingInputs) -> _Epoch:
        epochs = self.records.epochs
        if made.rows in epochs:
            return _Epoch(epochs[made.rows].rows, epochs[made.rows].tokens, True)
        if made.rows_without_replay in epochs:
            counts = epochs[made.rows_without_replay]
            own = _Epoch(counts.rows, counts.tokens, True)
        else:
            own = _shortened(self._amount(made.data[0]), recipe)
        if recipe.replay is None or made.replay is None:
            return own
        general = _shortened(self.amounts.of_training(recipe.replay, made.replay), recipe)
        replayed = own.rows * recipe.replay.fraction / (1 - recipe.replay.fraction)
        tokens = own.tokens + general.tokens / general.rows * replayed
        return _Epoch(own.rows + round(replayed), tokens, False)

    def _amount(self, made_from: Mapping[str, Any]) -> Amount:
        assert self.train is not None  # loading has refused a training without data
        return self.amounts.of_training(self.train, made_from)


def _shortened(amount: Amount, recipe: Tuned) -> _Epoch:
    """Rows are cut at `max_length`."""
    return _Epoch(amount.rows, min(amount.estimated_tokens(), amount.rows * recipe.max_length), False)


def _asked(amount: Amount, task: Task, prompting: Prompting | None) -> float:
    """With what stands before every question: a system prompt, and examples as long as the questions."""
    if task.kind == "perplexity":
        return amount.estimated_tokens()
    shots = (prompting.shots if prompting else 0) or task.num_fewshot or 0
    system = len((prompting.system or "").encode()) if prompting else 0
    before = shots * amount.bytes + system * amount.requests
    return amount.estimated_tokens() + before / BYTES_PER_TOKEN
