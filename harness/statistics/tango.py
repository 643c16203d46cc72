"""Tango's score method for the paired difference of two binary rates, and its exact companion.

Tango 1998, Statistics in Medicine 17:891-908. No maintained Python library has it. The oracles are
R's PropCIs::scoreci.mp, whose sign is the other way round: scoreci.mp(x, y, n) estimates (y - x)/n.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.statistics.distributions import two_sided, upper_tail
from harness.statistics.estimates import Estimate, Interval

Floats = npt.NDArray[np.float64]

# Below this many expected discordant items the score test is too generous: 6.9 % instead of 5 %.
ENOUGH_DISCORDANT = 20
_EDGE = 1e-9


def tango_z(wins: Any, losses: Any, n: int, difference: float) -> Floats:
    """Score statistic of H0: rate(tuned) - rate(base) = `difference`; positive is evidence above it.

    `wins` (0→1) and `losses` (1→0) may be arrays. At a difference of 0 this is McNemar's signed root.
    """
    wins, losses = np.asarray(wins, float), np.asarray(losses, float)
    b = -(wins + losses) + (2 * n - wins + losses) * difference
    c = -losses * difference * (1 - difference)
    # Rounding may push the discriminant or the variance a hair below zero, never really.
    loss_rate = (np.sqrt(np.maximum(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * loss_rate + difference * (1 - difference))
    numerator = wins - losses - n * difference
    safe = np.where(variance > 0, variance, 1.0)
    at_zero = np.where(np.abs(numerator) < _EDGE, 0.0, np.copysign(math.inf, numerator))
    return np.asarray(np.where(variance > 0, numerator / np.sqrt(safe), at_zero), float)


def tango_interval(wins: int, losses: int, n: int, level: float) -> Interval:
    """All differences that the two-sided score test at `level` does not reject."""
    from scipy.optimize import brentq

    limit = two_sided(level)
    value = (wins - losses) / n

    def bound(edge: float, target: float) -> float:
        def excess(difference: float) -> float:
            return float(tango_z(wins, losses, n, difference)) - target

        # Nothing beyond the edge is a difference of rates: when it is not rejected, it is the bound.
        if excess(edge) * target <= 0 or excess(value) * excess(edge) >= 0:
            return math.copysign(1.0, edge)
        return float(brentq(excess, min(edge, value), max(edge, value), xtol=1e-12))

    return Interval(low=bound(-1 + _EDGE, limit), high=bound(1 - _EDGE, -limit), level=level)


def tango_p_above(wins: int, losses: int, n: int, threshold: float) -> float:
    """One-sided p of H0: difference <= `threshold`, by the normal law of the score statistic."""
    return upper_tail(float(tango_z(wins, losses, n, threshold)))


def exact_p_above(wins: int, losses: int, n: int, threshold: float) -> float:
    """The same p, exactly: all tables at least as extreme by Tango's z, at the worst nuisance rate.

    Every 2x2 table of n pairs with difference `threshold` is one (wins, losses) trinomial with one
    unknown left, the rate of losses; the p-value is the largest probability over that rate
    (statistics.md 4.5). Given the number t of discordant pairs z grows with the wins, so the
    extreme tables of one t are "at least k(t) wins" and their probability is a binomial tail.
    """
    enough = _fewest_extreme_wins(float(tango_z(wins, losses, n, threshold)), n, threshold)
    lowest, highest = max(0.0, -threshold), (1.0 - threshold) / 2.0
    # The maximum often sits close to the smallest possible rate, so the grid is dense there.
    rates = lowest + (highest - lowest) * np.linspace(0.0, 1.0, 161) ** 2
    coarse = _extreme_probability(enough, n, threshold, rates)
    peak = int(np.argmax(coarse))
    around = np.linspace(rates[max(peak - 1, 0)], rates[min(peak + 1, 160)], 33)
    fine = _extreme_probability(enough, n, threshold, around)
    return float(min(1.0, max(coarse.max(), fine.max())))


def _fewest_extreme_wins(observed: float, n: int, threshold: float) -> npt.NDArray[np.int64]:
    """For every number t of discordant pairs the fewest wins with z >= observed (t + 1 if none)."""
    discordant = np.arange(n + 1)
    low, high = np.zeros(n + 1, np.int64), discordant + 1
    while np.any(low < high):
        middle = (low + high) // 2
        tried = np.minimum(middle, discordant)
        extreme = tango_z(tried, discordant - tried, n, threshold) >= observed - _EDGE
        high = np.where(extreme & (low < high), middle, high)
        low = np.where(~extreme & (low < high), middle + 1, low)
    return low


def _extreme_probability(enough: npt.NDArray[np.int64], n: int, threshold: float, losing: Floats) -> Floats:
    """Probability of all extreme tables, for every rate of losses in `losing`."""
    from scipy.special import betainc, gammaln, xlog1py, xlogy

    t = np.arange(n + 1)
    changing = np.clip(2 * losing + threshold, 0.0, 1.0)[:, None]
    winning = np.clip(losing + threshold, 0.0, 1.0)[:, None]
    share = np.divide(winning, changing, out=np.full_like(changing, 0.5), where=changing > 0)
    choose = gammaln(n + 1) - gammaln(t + 1) - gammaln(n - t + 1)
    mass = np.exp(choose + xlogy(t, changing) + xlog1py(n - t, -changing))
    # P(Binomial(t, share) >= k) is a regularised beta function for 1 <= k <= t.
    inside = (enough >= 1) & (enough <= t)
    k = np.where(inside, enough, 1)
    tail = np.where(inside, betainc(k, np.where(inside, t, 1) - k + 1, share), np.where(enough < 1, 1.0, 0.0))
    return np.asarray((mass * tail).sum(axis=1), float)


def tango_difference(wins: int, losses: int, n: int) -> Estimate:
    """Paired difference of two binary rates over `n` independent items (a fraction; 0.01 is 1 pp)."""
    value = (wins - losses) / n
    return Estimate(
        value=value,
        interval90=tango_interval(wins, losses, n, 0.90),
        interval95=tango_interval(wins, losses, n, 0.95),
        method="tango",
        n=n,
        standard_error=math.sqrt(max((wins + losses) / n - value**2, 0.0) / max(n - 1, 1)),
        wins=wins,
        losses=losses,
    )
