"""Early stopping, read off the validation losses alone: a resumed run comes to the same conclusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.experiment.schema import EarlyStopping


@dataclass(frozen=True)
class Standing:
    """best_step: where the loss was lowest; stop: whether patience has run out."""

    best_step: int
    stop: bool


def standing(losses: Sequence[tuple[int, float]], rule: EarlyStopping) -> Standing:
    """What (step, loss) in order of step come to; there is at least one.

    A validation counts against the patience unless it is lower by `min_delta` than the last one that
    did not.
    """
    best_step, lowest = losses[0]
    reference, since = lowest, 0
    for step, loss in losses[1:]:
        if loss < lowest:
            best_step, lowest = step, loss
        if loss < reference - rule.min_delta:
            reference, since = loss, 0
        else:
            since += 1
    return Standing(best_step, since >= rule.patience)


def best_file(folder: Path, step: int) -> Path:
    """Where the weights of a step are kept while they are the best."""
    return folder / f"best-{step}.safetensors"


def discard_older(folder: Path, best_step: int) -> None:
    """Only once a checkpoint knows of the best step: until then a resumed run may need the one before."""
    for path in folder.glob("best-*.safetensors"):
        if path != best_file(folder, best_step):
            path.unlink()
