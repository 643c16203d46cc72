"""One standard error for means, clustered means and ratios: the linearised, cluster-robust one.

Write an estimate as a sum of influences, one an item, that add up to zero: (d_i - mean)/n for a
mean, (w_i d_i - R w_i)/Σw for a ratio R. With e_c the influences summed within cluster c,

    SE = sqrt( G/(G-1) · Σ e_c² )          (statistics.md 2.4 and 4.2; Miller 2024, appendix A)

It equals scipy's `sem` where every item is a cluster of its own, statsmodels' OLS with
cov_type="cluster", and its WLS with cov_type="HC1" for ratios; the tests hold it to all three.
It is written here because importing statsmodels takes longer than a gate may.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.statistics.distributions import two_sided
from harness.statistics.estimates import Estimate, Interval, Method, NoEstimate

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]  # numbers from 0 on; not all of them need occur

FEWEST_DRAWS = 8
FEW_DRAWS = 30
# A variance made of fewer changes than this is luck: one change in 300 "certifies" anything.
FEWEST_CHANGED = 5
# Skewness over the root of the draws beyond which even the corrected test (evidence.py) is approximate: at
# 5 % it passed 5.6 to 6.3 % in simulation. Less than two standard errors √(6/draws) of it may be chance.
MUCH_SKEW = 0.1
SURE_SKEW = 2.0
_NOTHING = 1e-12


@dataclass(frozen=True)
class Change:
    """One paired difference to first order.

    influences: what each item adds to `value` beyond its share; they sum to 0
    moved:      which items are not the same on both sides
    """

    value: float
    influences: Floats
    moved: npt.NDArray[np.bool_]


def moved(differences: Floats) -> npt.NDArray[np.bool_]:
    """Which items differ, rounding apart."""
    return np.abs(differences) > _NOTHING


def singletons(n: int) -> Codes:
    """Cluster codes for items that are independent draws."""
    return np.arange(n, dtype=np.int64)


def cluster_count(clusters: Codes) -> int:
    return int(np.count_nonzero(np.bincount(clusters)))


def changed_clusters(differences: Floats, clusters: Codes) -> int:
    """How many clusters hold an item whose score is not the same on both sides."""
    return cluster_count(clusters[moved(differences)])


def standard_error(influences: Floats, clusters: Codes) -> float:
    """Cluster-robust standard error of the estimate with these influences; needs two clusters."""
    return _error(cluster_sums(influences, clusters))


def _error(sums: Floats) -> float:
    return math.sqrt(sums.size / (sums.size - 1) * float(np.sum(sums**2)))


def cluster_sums(influences: Floats, clusters: Codes) -> Floats:
    """The influences summed within each cluster, in the order of the clusters' codes."""
    sums = np.bincount(clusters, weights=influences)
    return sums[np.bincount(clusters) > 0].astype(np.float64)


def moment_skewness(sums: Floats) -> float:
    """Third standardised moment of cluster sums that add up to zero and are not all zero."""
    squares = sums**2
    return float(np.mean(squares * sums) / np.mean(squares) ** 1.5)  # sums**3 would take fifty times as long


def t_interval(value: float, error: float, degrees_of_freedom: float | None, level: float) -> Interval:
    half = error * two_sided(level, degrees_of_freedom)
    return Interval(low=value - half, high=value + half, level=level)


def too_few_draws(clusters: Codes) -> NoEstimate | None:
    """Below eight independent draws the robust variance itself is not estimated."""
    draws = cluster_count(clusters)
    if draws >= FEWEST_DRAWS:
        return None
    what = "items" if draws == clusters.size else "clusters"
    return NoEstimate(reason=f"only {draws} {what}; an interval needs at least {FEWEST_DRAWS}")


def no_error(value: float, error: float) -> NoEstimate | None:
    """Why a value has no interval of this standard error."""
    if not math.isfinite(value + error):
        return NoEstimate(reason="the differences are not finite, so nothing can be said of them")
    if error < _NOTHING:
        # Trap: a t test of all-equal differences gives p = 0, so five items would prove anything.
        return NoEstimate(reason="the differences do not vary, so their uncertainty cannot be estimated")
    return None


def t_estimate(value: float, influences: Floats, clusters: Codes, method: Method) -> Estimate | NoEstimate:
    """Estimate with t intervals on G-1 degrees of freedom, or the reason why there is none."""
    refusal = too_few_draws(clusters)
    if refusal:
        return refusal
    sums = cluster_sums(influences, clusters)
    error = _error(sums)
    refusal = no_error(value, error)
    if refusal:
        return refusal
    draws, skew = sums.size, moment_skewness(sums)
    return Estimate(
        value=value,
        interval90=t_interval(value, error, draws - 1, 0.90),
        interval95=t_interval(value, error, draws - 1, 0.95),
        method=method,
        n=clusters.size,
        clusters=draws if draws < clusters.size else None,
        standard_error=error,
        degrees_of_freedom=draws - 1,
        skewness=skew,
        warning=few_draws_warning(draws, skew),
    )


def few_draws_warning(draws: int, skew: float) -> str | None:
    """What to say of a t interval that so many independent draws of this skewness support only roughly."""
    if draws < FEW_DRAWS:
        return f"only {draws} independent draws; the interval is approximate"
    if abs(skew) > max(MUCH_SKEW * math.sqrt(draws), SURE_SKEW * math.sqrt(6 / draws)):
        return f"the differences are skewed and only {draws:,} draws; the interval is approximate"
    return None
