"""Forgetting in one number each: what guessing explains of it, what is retained, what a gain costs.

statistics.md 3.3, 3.4 and 3.9. Rates and chances are fractions.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.statistics.estimates import Estimate, NoEstimate
from harness.statistics.linear import FEWEST_CHANGED, Change, Codes, Floats, cluster_count, moved, t_estimate


@dataclass(frozen=True)
class BeyondChance:
    """Shares of items right before and wrong after (forgetting), and the other way (backward transfer).

    by_chance:                      the share of either that guessing explains
    forgetting, transfer:           what is left of each, never below 0
    most_forgetting, most_transfer: what they can be at most: the share known before, and after
    """

    by_chance: float
    forgetting: float
    transfer: float
    most_forgetting: float
    most_transfer: float


def beyond_chance(
    base: float, tuned: float, forgetting: float, transfer: float, chance: float
) -> BeyondChance | None:
    """Flips that guessing does not explain (Harmon et al. 2025, arXiv:2510.17776), k = 1/`chance` options.

    A wrong answer was a guess, and for each there are 1/(k - 1) right ones; the guesses before and after
    are taken for independent. Where a scoring repeats its guess, too much is subtracted. Clipping at 0
    biases the results of few items upward. None where nothing can be guessed, or nothing else be done.
    """
    if not 0.0 < chance < 1.0:
        return None
    right_guesses = chance / (1.0 - chance)
    by_chance = (1.0 - base) * right_guesses * (1.0 - tuned)
    return BeyondChance(
        by_chance=by_chance,
        forgetting=max(forgetting - by_chance, 0.0),
        transfer=max(transfer - by_chance, 0.0),
        most_forgetting=max((base - chance) / (1.0 - chance), 0.0),
        most_transfer=max((tuned - chance) / (1.0 - chance), 0.0),
    )


def retained(base: float, tuned: float, chance: float = 0.0) -> float:
    """(tuned - chance) / (base - chance): 1 keeps all, 0 leaves guessing.

    At a chance of 0 it is 1 less the relative drop of Luo et al. (arXiv:2308.08747).
    """
    return (tuned - chance) / (base - chance)


def retention_change(base: Floats, tuned: Floats, chance: Floats) -> Change:
    """The same of item scores, each with its own chance; its influences are those of the delta method.

    A ratio of noise is noise: ask only where the base is surely above chance.
    """
    before, after = base - chance, tuned - chance
    value = float(after.sum() / before.sum())
    return Change(value, (after - value * before) / before.sum(), moved(tuned - base))


def retention(base: Floats, tuned: Floats, chance: Floats, clusters: Codes) -> Estimate | NoEstimate:
    """The same with cluster-robust t intervals, of which the 90 % one covered 90 to 93 % in simulation.

    That was with 100 to 1,200 items and a base surely above chance. Below five draws that changed there is no
    variance to speak of.
    """
    change = retention_change(base, tuned, chance)
    changed = cluster_count(clusters[change.moved])
    if changed < FEWEST_CHANGED:
        return NoEstimate(
            reason=f"only {changed} changed; an interval needs at least {FEWEST_CHANGED} that do"
        )
    return t_estimate(change.value, change.influences, clusters, "ratio")


def exchange_rate(gain: Estimate, average: Estimate) -> float | None:
    """What is gained for one unit lost in the average, both higher-is-better and in one unit.

    None unless the 90 % intervals show both a gain and a loss: a ratio of noise is noise.
    """
    if gain.interval90.low <= 0.0 or average.interval90.high >= 0.0:
        return None
    return gain.value / -average.value
