"""A training's curves in plain words: still falling, flat, or validation rising."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pvariance

Curve = Sequence[tuple[int, float]]

# A change of the loss that is worth a word. The validation rows are the same every time, so the
# difference of two validations is no sampling noise; of two stretches of training rows it is.
NOTICEABLE = 0.01
VALIDATIONS_NEEDED = 3
TRAINING_POINTS_NEEDED = 9
SURE = 2.0  # standard errors


def reading(train_loss: Curve, validation_loss: Curve) -> str:
    """One sentence about (step, loss) curves in order of step.

    The validation loss decides where it was measured often enough; else the training loss, which
    cannot show over-fitting; else nothing does, and that is said.
    """
    if len(validation_loss) >= VALIDATIONS_NEEDED:
        return _of_validation(validation_loss)
    if len(train_loss) >= TRAINING_POINTS_NEEDED:
        seen = "without enough validations over-fitting would not be seen"
        return f"{_of_training([loss for _, loss in train_loss])}; {seen}"
    return "too few points to tell"


def _of_validation(curve: Curve) -> str:
    (lowest_step, lowest), (last_step, last) = min(curve, key=lambda point: point[1]), curve[-1]
    if last > lowest * (1 + NOTICEABLE):
        return (
            f"validation loss rising from step {lowest_step} on ({lowest:.3f}, {last:.3f} at step "
            f"{last_step}): over-fitted from there"
        )
    before_step, before = curve[-2]
    if last < before * (1 - NOTICEABLE):
        return (
            f"validation loss still falling at the end ({before:.3f} at step {before_step}, {last:.3f} at "
            f"step {last_step}): under-fitted, more steps may help"
        )
    return f"validation loss flat at the end ({last:.3f} at step {last_step}): more steps would change little"


def _of_training(losses: Sequence[float]) -> str:
    """The last third of the points against the third before, beyond what rows of a batch differ by."""
    third = len(losses) // 3
    before, after = losses[-2 * third : -third], losses[-third:]
    fall = fmean(before) - fmean(after)
    # Within each third the curve itself moves too, which only makes this more careful.
    error = math.sqrt((pvariance(before) + pvariance(after)) / (third - 1))
    numbers = f"({fmean(before):.3f}, then {fmean(after):.3f})"
    if fall > SURE * error and fall > NOTICEABLE * fmean(before):
        return f"training loss still falling at the end {numbers}: under-fitted, more steps may help"
    if -fall > SURE * error and -fall > NOTICEABLE * fmean(before):
        return f"training loss rising at the end {numbers}: the learning rate may be too high"
    return f"training loss flat at the end {numbers}: more steps would change little"
