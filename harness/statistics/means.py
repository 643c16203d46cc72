"""Paired difference of two means: the method that the items allow (statistics.md, rule 3)."""

from __future__ import annotations

import numpy as np

from harness.statistics.estimates import Estimate, NoEstimate
from harness.statistics.linear import (
    FEWEST_CHANGED,
    FEWEST_DRAWS,
    Change,
    Codes,
    Floats,
    changed_clusters,
    cluster_count,
    moved,
    t_estimate,
)
from harness.statistics.tango import tango_difference


def mean_difference(base: Floats, tuned: Floats, clusters: Codes) -> Estimate | NoEstimate:
    """Mean of tuned - base over the same items.

    Binary scores of independent items → Tango; everything else → t over cluster sums. Where
    fewer than five clusters changed the t family has no variance to speak of: binary scores then
    fall back to Tango over whole clusters, other scores get a reason instead of an estimate.
    """
    differences = tuned - base
    binary = is_binary(base) and is_binary(tuned)
    clustered = cluster_count(clusters) < clusters.size
    if binary and not clustered:
        return tango_difference(int(np.sum(differences > 0)), int(np.sum(differences < 0)), differences.size)
    changed = changed_clusters(differences, clusters)
    if changed >= FEWEST_CHANGED:
        change = mean_change(base, tuned)
        return t_estimate(change.value, change.influences, clusters, "cluster_t" if clustered else "t")
    if binary:
        return _by_whole_clusters(differences, clusters)
    what = "clusters" if clustered else "items"
    return NoEstimate(
        reason=f"only {changed} of {cluster_count(clusters)} {what} changed at all; "
        f"an interval needs at least {FEWEST_CHANGED} that do"
    )


def mean_change(base: Floats, tuned: Floats) -> Change:
    """The same difference, item by item."""
    differences = tuned - base
    value = float(differences.mean())
    return Change(value, (differences - value) / differences.size, moved(differences))


def _by_whole_clusters(differences: Floats, clusters: Codes) -> Estimate | NoEstimate:
    """Tango with a cluster as the unit: one that moved at all counts as having moved entirely."""
    codes = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(codes, weights=differences)
    if sums.size < FEWEST_DRAWS:
        return NoEstimate(reason=f"only {sums.size} clusters; an interval needs at least {FEWEST_DRAWS}")
    wins, losses = int(np.sum(sums > 0)), int(np.sum(sums < 0))
    estimate = tango_difference(wins, losses, sums.size)
    return estimate.model_copy(
        update={
            "value": float(differences.mean()),
            "clusters": sums.size,
            "warning": f"only {wins + losses} of {sums.size} clusters changed; "
            f"the interval takes the {sums.size} clusters, not the {differences.size} items, as the sample",
        }
    )


def is_binary(scores: Floats) -> bool:
    return bool(np.all((scores == 0.0) | (scores == 1.0)))
