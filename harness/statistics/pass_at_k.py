"""pass@k of one item from several sampled answers (statistics.md 2.6)."""

from __future__ import annotations

import math

from harness.errors import UsageError


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Probability that at least one of `k` answers is right, `correct` of `samples` sampled ones being so.

    The unbiased estimate 1 - C(samples - correct, k) / C(samples, k) of Chen et al. 2021 (arXiv:2107.03374).
    One item's score: the mean over items is pass@k. Raises UsageError for counts that cannot be.
    """
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise UsageError(
            f"pass@{k} of {samples} samples, {correct} of them correct, does not exist: "
            "it takes 0 <= correct <= samples and 1 <= k <= samples"
        )
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)
