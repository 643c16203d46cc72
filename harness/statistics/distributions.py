"""Quantiles and tails of the normal and Student's t distribution, without scipy.stats.

scipy.stats takes most of a second to import and a gate has one second in all; scipy.special
holds the same functions (`stdtr`, `stdtrit`) and the standard library has the normal ones.
"""

from __future__ import annotations

from statistics import NormalDist

_NORMAL = NormalDist()


def quantile(probability: float, degrees_of_freedom: float | None = None) -> float:
    """The value that a standard t (or, without degrees of freedom, normal) variable stays below."""
    if degrees_of_freedom is None:
        return _NORMAL.inv_cdf(probability)
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, probability))


def upper_tail(score: float, degrees_of_freedom: float | None = None) -> float:
    """Probability that a standard t (or normal) variable exceeds `score`."""
    if degrees_of_freedom is None:
        return _NORMAL.cdf(-score)
    from scipy.special import stdtr

    return float(stdtr(degrees_of_freedom, -score))


def two_sided(level: float, degrees_of_freedom: float | None = None) -> float:
    """Half-width, in standard errors, of the two-sided interval at `level` (0.90 → 1.645)."""
    return quantile((1.0 + level) / 2.0, degrees_of_freedom)
