from __future__ import annotations

import numpy as np
import pytest

import harness
from harness.errors import UsageError
from harness.statistics.intruders import likeness


@pytest.mark.parametrize(("strength", "name"), [(30.0, "lora"), (0.2, "small")])
def test_a_strong_new_direction_intrudes_and_a_weak_one_does_not(oracles, strength, name):
    count, cosines = oracles["O21_intruder"][name]
    base, direction = np.diag([5.0, 4.0, 3.0, 2.0, 1.0]), np.full(5, 5**-0.5)
    tuned = base + strength * np.outer(direction, direction)
    assert harness.intruder_dimensions(base, tuned, k=3, threshold=0.6) == count
    assert likeness(base, tuned, 3) == pytest.approx(cosines, abs=5e-5)


def test_a_matrix_has_no_intruders_against_itself_or_its_negative():
    matrix = np.random.default_rng(0).normal(size=(12, 8))
    assert harness.intruder_dimensions(matrix, matrix) == 0
    assert harness.intruder_dimensions(matrix, -matrix) == 0


def test_matrices_of_unequal_shape_are_refused():
    with pytest.raises(UsageError, match="one shape"):
        harness.intruder_dimensions(np.eye(3), np.eye(4))
