"""Paired differences of ratios of sums: bits per byte, and perplexity through its exponent.

statistics.md 2.4. lm-eval gives no standard error for either.
"""

from __future__ import annotations

import numpy as np

from harness.statistics.estimates import Estimate, NoEstimate
from harness.statistics.linear import (
    FEWEST_CHANGED,
    Change,
    Codes,
    Floats,
    changed_clusters,
    cluster_count,
    moved,
    t_estimate,
)


def weighted_ratio(values: Floats, weights: Floats) -> float:
    """Σwv / Σw: bits per byte when v is a document's bits per byte and w its bytes."""
    return float(np.sum(weights * values) / np.sum(weights))


def weighted_deviation(deviation: float, weights: Floats) -> float:
    """Standard deviation of Σwv/Σw where every v has this one; deviation/√n at equal weights."""
    return deviation * float(np.sqrt(np.sum(weights**2)) / np.sum(weights))


def ratio_influences(values: Floats, weights: Floats) -> Floats:
    """What each item adds to Σwv/Σw beyond its share, to first order (the sums of 2.4, e_j / Σw)."""
    return np.asarray(weights * (values - weighted_ratio(values, weights)) / np.sum(weights), float)


def ratio_difference(base: Floats, tuned: Floats, weights: Floats, clusters: Codes) -> Estimate | NoEstimate:
    """Difference of Σwv/Σw between tuned and base, in the unit of v."""
    return _estimate(ratio_change(base, tuned, weights), tuned - base, clusters)


def ratio_change(base: Floats, tuned: Floats, weights: Floats) -> Change:
    """The same difference, item by item."""
    differences = tuned - base
    value = weighted_ratio(differences, weights)
    return Change(value, ratio_influences(differences, weights), moved(differences))


def exp_ratio_difference(
    base: Floats, tuned: Floats, weights: Floats, clusters: Codes
) -> Estimate | NoEstimate:
    """Difference of exp(Σwv/Σw): perplexity, v being nats a token and w tokens. Delta method."""
    return _estimate(exp_ratio_change(base, tuned, weights), tuned - base, clusters)


def exp_ratio_change(base: Floats, tuned: Floats, weights: Floats) -> Change:
    """The same difference, item by item to first order."""
    before, after = (float(np.exp(weighted_ratio(values, weights))) for values in (base, tuned))
    influences = after * ratio_influences(tuned, weights) - before * ratio_influences(base, weights)
    return Change(after - before, influences, moved(tuned - base))


def perplexity_ratio(base: Floats, tuned: Floats, weights: Floats) -> float:
    """Perplexity of tuned over that of base, exp(Σw(v_tuned - v_base)/Σw); 1 is no change."""
    return float(np.exp(weighted_ratio(tuned - base, weights)))


def _estimate(change: Change, differences: Floats, clusters: Codes) -> Estimate | NoEstimate:
    changed = changed_clusters(differences, clusters)
    if changed >= min(FEWEST_CHANGED, cluster_count(clusters)):
        return t_estimate(change.value, change.influences, clusters, "ratio")
    return NoEstimate(
        reason=f"only {changed} of {cluster_count(clusters)} documents changed at all; "
        f"an interval needs at least {FEWEST_CHANGED} that do"
    )
