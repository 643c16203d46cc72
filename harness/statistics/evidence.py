"""What an estimate says about a threshold: bounds at any level, and one-sided p-values."""

from __future__ import annotations

import math

from harness.statistics.distributions import upper_tail
from harness.statistics.estimates import Estimate, Interval, negated
from harness.statistics.linear import t_interval
from harness.statistics.rates import mcnemar, mcnemar_p_above
from harness.statistics.tango import ENOUGH_DISCORDANT, exact_p_above, tango_interval, tango_p_above

# A sample's skewness beyond so many of its standard errors √(6/draws) is taken for the truth's.
SKEWED = 1.0


def interval_at(estimate: Estimate, level: float) -> Interval:
    """The estimate's two-sided interval at `level`, stored or computed from what the method needs."""
    for stored in (estimate.interval90, estimate.interval95):
        if math.isclose(stored.level, level):
            return stored
    counts = _counts(estimate)
    if counts:
        return tango_interval(*counts, level)
    if not estimate.standard_error:
        raise ValueError(f"an estimate by {estimate.method} has no standard error to make an interval of")
    return t_interval(estimate.value, estimate.standard_error, estimate.degrees_of_freedom, level)


def p_above(estimate: Estimate, threshold: float) -> float:
    """One-sided p of H0: difference <= `threshold`. Small means evidence of being above it.

    Binary items use Tango's score test; exact McNemar at a threshold of 0, and the exact unconditional test
    where fewer than twenty discordant items (or others) are expected there (statistics.md 4.4, 4.5).
    The t family: where the draws are skewed, the larger p of t and of Hall's corrected t. A few large losses
    among many small changes make t too sure: 7 to 11 % false passes at 5 % in simulation, then 4 to 6 %.
    An estimate without variance is evidence of nothing: 1.
    """
    counts = _counts(estimate)
    if counts:
        wins, losses, n = counts
        if threshold == 0.0:
            return mcnemar_p_above(wins, losses)
        if n * min(abs(threshold), 1.0 - abs(threshold)) < ENOUGH_DISCORDANT:
            return exact_p_above(wins, losses, n, threshold)
        return tango_p_above(wins, losses, n, threshold)
    if not estimate.standard_error:
        return 1.0
    score = (estimate.value - threshold) / estimate.standard_error
    p = max(upper_tail(score, estimate.degrees_of_freedom), _p_without_a_change(estimate, threshold))
    if estimate.skewness is None or estimate.degrees_of_freedom is None:
        return p
    draws = estimate.seeds.draws if estimate.seeds else estimate.degrees_of_freedom + 1
    if abs(estimate.skewness) < SKEWED * math.sqrt(6 / draws):
        return p
    return max(p, upper_tail(_unskewed(score, estimate.skewness, draws), estimate.degrees_of_freedom))


def _p_without_a_change(estimate: Estimate, threshold: float) -> float:
    """What not one changed answer would prove of a recipe's loss: no changes prove more (power.py)."""
    if estimate.seeds is None or not estimate.seeds.binary or not -1.0 < threshold < 0.0:
        return 0.0
    return float((1.0 + threshold) ** estimate.seeds.draws)


def _unskewed(score: float, skewness: float, draws: float) -> float:
    """Hall's monotone transformation of a studentised mean, which takes its skewness out.

    g(T) = T + a·T²/3 + a²·T³/27 + a/6 with a = skewness/√draws (Hall 1992, J. R. Stat. Soc. B 54:221-228).
    """
    a = skewness / math.sqrt(draws)
    return score + a * score**2 / 3 + a**2 * score**3 / 27 + a / 6


def p_below(estimate: Estimate, threshold: float) -> float:
    """One-sided p of H0: difference >= `threshold`. Small means evidence of being below it."""
    return p_above(negated(estimate), -threshold)


def p_any(estimate: Estimate) -> float:
    """Two-sided p of H0: nothing changed. Small means evidence of a change in either direction.

    Exact McNemar for binary items (statistics.md 4.4); twice the smaller one-sided p of the others.
    """
    counts = _counts(estimate)
    if counts:
        return mcnemar(*counts[:2])
    return min(1.0, 2.0 * min(p_above(estimate, 0.0), p_below(estimate, 0.0)))


def _counts(estimate: Estimate) -> tuple[int, int, int] | None:
    if estimate.wins is None or estimate.losses is None:
        return None
    return estimate.wins, estimate.losses, estimate.n
