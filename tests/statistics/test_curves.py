"""What the curves are said to show, on curves whose truth is known."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import pytest

from harness.statistics.curves import reading

STEPS = range(1, 61)


def noisy(shape: str, noise: float, seed: int) -> list[tuple[int, float]]:
    generator = random.Random(seed)
    of = {
        "falling": lambda step: 3.0 - 0.02 * step,
        "flat": lambda step: 1.0 + 2.0 * math.exp(-step / 4),
        "rising": lambda step: 1.0 + 2.0 * math.exp(-step / 4) + max(0.0, 0.02 * (step - 30)),
    }[shape]
    return [(step, of(step) + generator.gauss(0, noise)) for step in STEPS]


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (
            [2.0, 1.5, 1.2, 1.1],
            "validation loss still falling at the end (1.200 at step 30, 1.100 at step 40)",
        ),
        ([2.0, 1.5, 1.495, 1.494], "validation loss flat at the end (1.494 at step 40)"),
        ([2.0, 1.5, 1.4, 1.8], "validation loss rising from step 30 on (1.400, 1.800 at step 40)"),
        ([1.0, 1.2, 1.4, 1.6], "rising from step 10 on"),
        # A rise within what is noticeable is none.
        ([2.0, 1.5, 1.500, 1.505], "flat at the end"),
        # Up and down again to the lowest: not over-fitted.
        ([2.0, 1.5, 1.7, 1.4], "still falling at the end"),
    ],
)
def test_the_validation_loss_decides(losses: list[float], said: str) -> None:
    curve = [(10 * number, loss) for number, loss in enumerate(losses, start=1)]

    assert said in reading([], curve)


def test_over_and_under_fitting_are_named() -> None:
    falling = reading([], [(1, 3.0), (2, 2.0), (3, 1.0)])
    rising = reading([], [(1, 3.0), (2, 1.0), (3, 2.0)])

    assert falling.endswith("under-fitted, more steps may help")
    assert rising.endswith("over-fitted from there")


@pytest.mark.parametrize(
    ("shape", "said"),
    [("falling", "still falling"), ("flat", "flat at the end"), ("rising", "rising at the end")],
)
def test_noise_on_the_training_loss_is_not_taken_for_a_trend(shape: str, said: str) -> None:
    found = [reading(noisy(shape, 0.05, seed), []) for seed in range(100)]

    assert sum(said in each for each in found) >= 95
    assert all("over-fitting would not be seen" in each for each in found)


def test_where_noise_hides_the_trend_none_is_claimed() -> None:
    found = [reading(noisy("flat", 1.0, seed), []) for seed in range(100)]

    assert sum("flat" in each for each in found) >= 90


@pytest.mark.parametrize(("train", "validation"), [(0, 0), (1, 0), (8, 2), (8, 1), (0, 2)])
def test_too_few_points_are_said_to_be_too_few(train: int, validation: int) -> None:
    curves = [[(step, 3.0 - step) for step in range(count)] for count in (train, validation)]

    assert reading(*curves) == "too few points to tell"


def test_two_validations_leave_the_word_to_the_training_loss() -> None:
    said = reading(noisy("falling", 0.01, 0), [(1, 2.0), (2, 3.0)])

    assert said.startswith("training loss still falling")


def test_reading_a_curve_needs_no_torch() -> None:
    code = "import sys, harness.statistics.curves; print('torch' in sys.modules, 'trl' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert seen.stdout.split() == ["False", "False"]
