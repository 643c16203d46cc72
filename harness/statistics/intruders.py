"""Directions of a tuned weight matrix that its base does not have (statistics.md 3.8)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError

Matrix = npt.NDArray[np.floating]


def intruder_dimensions(base: Matrix, tuned: Matrix, k: int = 10, threshold: float = 0.6) -> int:
    """How many of the `k` strongest left singular vectors of `tuned` resemble none of `base`'s.

    Algorithm 1 of Shuttleworth et al. (2024, arXiv:2410.21228), with |cos| because signs of singular vectors
    are arbitrary. Its sum over a model's matrices went with forgetting in their sweeps; a diagnosis, no test.
    Raises UsageError for matrices of unequal shape.
    """
    return int(np.sum(likeness(base, tuned, k) < threshold))


def likeness(base: Matrix, tuned: Matrix, k: int) -> npt.NDArray[np.float64]:
    """Of each of the k strongest left singular vectors of `tuned` the largest |cos| with one of `base`'s."""
    if base.shape != tuned.shape or base.ndim != 2:
        raise UsageError(f"matrices of one shape are compared, not {base.shape} and {tuned.shape}")
    before, after = (np.linalg.svd(np.asarray(w, float), full_matrices=False)[0] for w in (base, tuned))
    return np.asarray(np.abs(before.T @ after[:, :k]).max(axis=0), float)
