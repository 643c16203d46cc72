"""Exact paired permutation: did anything change, where the draws that did are few (statistics.md 4.8)."""

from __future__ import annotations

import numpy as np

from harness.statistics.linear import Codes, Floats, cluster_sums

# 2^16 outcomes are enumerated in a few milliseconds; with more draws that changed the t test is as good.
MOST_ENUMERATED = 16
_TIE = 1e-9


def sign_flip_p(base: Floats, tuned: Floats, clusters: Codes) -> float | None:
    """Two-sided p of H0: the two sides of every independent draw could as well be exchanged.

    The share of all ways to exchange them that move the sum at least as far from 0 as it lies. For binary
    scores of independent items this is exact McNemar. It tests no margin. 1 where nothing changed; None
    where more than MOST_ENUMERATED draws did.
    """
    sums = cluster_sums(tuned - base, clusters)
    scale = float(np.abs(sums).max(initial=0.0))
    changed = sums[np.abs(sums) > _TIE * scale]
    if changed.size > MOST_ENUMERATED:
        return None
    outcomes = np.zeros(1)
    for draw in changed:
        outcomes = np.concatenate([outcomes + draw, outcomes - draw])
    # Sums of the same numbers in another order differ by rounding, and would be counted as nearer to 0.
    return float(np.mean(np.abs(outcomes) >= abs(changed.sum()) - _TIE * scale))
