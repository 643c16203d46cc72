"""One configuration's rate with its interval, and the exact test for any difference."""

from __future__ import annotations

import math

import numpy as np

from harness.statistics.distributions import two_sided
from harness.statistics.estimates import Interval
from harness.statistics.linear import Codes, Floats, cluster_count, standard_error, t_interval, too_few_draws
from harness.statistics.means import is_binary
from harness.statistics.ratio import ratio_influences, weighted_ratio


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a rate (what scipy's binomtest gives with method="wilson")."""
    z2 = two_sided(level) ** 2
    rate = successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At 0 and n the bound is exact; rounding would leave 1e-18 beside it.
    low = 0.0 if successes == 0 else centre - half
    return Interval(low=low, high=1.0 if successes == n else centre + half, level=level)


def mean_interval(scores: Floats, clusters: Codes, level: float = 0.95) -> Interval | None:
    """Interval of one configuration's mean score; None where too few independent draws support one.

    Wilson for independent binary items, t over clusters otherwise. Clustered items that are all
    right (or all wrong) have no variance: Wilson over the clusters stands in.
    """
    groups = cluster_count(clusters)
    if is_binary(scores) and groups == scores.size:
        return wilson(int(scores.sum()), scores.size, level)
    if too_few_draws(clusters):
        return None
    if is_binary(scores) and scores.min() == scores.max():
        return wilson(groups if scores[0] else 0, groups, level)
    interval = ratio_interval(scores, np.ones_like(scores), clusters, level)
    if interval and scores.min() >= 0.0 and scores.max() <= 1.0:
        return Interval(low=max(interval.low, 0.0), high=min(interval.high, 1.0), level=level)
    return interval


def ratio_interval(values: Floats, weights: Floats, clusters: Codes, level: float = 0.95) -> Interval | None:
    """t interval of Σwv/Σw over clusters; None below eight of them or without any variance."""
    if too_few_draws(clusters):
        return None
    error = standard_error(ratio_influences(values, weights), clusters)
    if error == 0.0:
        return None
    return t_interval(weighted_ratio(values, weights), error, cluster_count(clusters) - 1, level)


def mcnemar_p_above(wins: int, losses: int) -> float:
    """One-sided exact McNemar: probability of at least `wins` heads in wins + losses fair throws."""
    if wins == 0:
        return 1.0
    from scipy.special import bdtrc

    return float(bdtrc(wins - 1, wins + losses, 0.5))


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided exact McNemar p: did anything change in either direction?"""
    return min(1.0, 2.0 * mcnemar_p_above(max(wins, losses), min(wins, losses)))
