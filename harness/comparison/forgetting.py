"""What a task shows of forgetting, and how much of the base's ability is left (statistics.md 3.3, 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.comparison.aggregates import Column, column_of
from harness.comparison.facts import ForgettingFacts, MetricFacts
from harness.comparison.pairing import PairedTask
from harness.statistics.estimates import Estimate, Interval, NoEstimate
from harness.statistics.forgetting import beyond_chance, retained, retention, retention_change
from harness.statistics.linear import Floats
from harness.statistics.means import is_binary
from harness.statistics.seeds import over_seeds
from harness.store.measurements import field_of


def forgetting_facts(runs: Sequence[PairedTask], facts: MetricFacts) -> ForgettingFacts | None:
    """Of the primary metric `facts`; None where that is no mean of rates of which more is better.

    Several runs are those of one recipe: means over its seeds, whose interval knows of them.
    """
    metric = facts.metric
    if metric.unit != "rate" or metric.aggregate != "mean" or not metric.higher_is_better:
        return None
    base = column_of(runs[0].base, metric.name)
    tuned = [column_of(run.tuned, metric.name) for run in runs]
    chances = np.array(field_of(runs[0].base, "chance"), dtype=np.float64)
    return ForgettingFacts(**_flips(base, tuned, chances), **_retention(facts, base, tuned, chances))


def _flips(base: Column, tuned: Sequence[Column], chances: Floats) -> dict[str, float]:
    """Shares, each the mean over the runs."""
    if not all(is_binary(column.scores) for column in (base, *tuned)):
        return {}
    shares = [_flips_of_run(base.scores, column.scores, float(chances.mean())) for column in tuned]
    return {name: float(np.mean([run[name] for run in shares])) for name in shares[0]}


def _flips_of_run(base: Floats, tuned: Floats, chance: float) -> dict[str, float]:
    lost, won = float(np.mean(base > tuned)), float(np.mean(base < tuned))
    beyond = beyond_chance(float(base.mean()), float(tuned.mean()), lost, won, chance)
    if beyond is None:
        return {"forgetting": lost, "transfer": won}
    return {
        "forgetting": lost,
        "transfer": won,
        "by_chance": beyond.by_chance,
        "forgetting_beyond_chance": beyond.forgetting,
        "transfer_beyond_chance": beyond.transfer,
        "most_forgetting": beyond.most_forgetting,
        "most_transfer": beyond.most_transfer,
    }


def _retention(facts: MetricFacts, base: Column, tuned: Sequence[Column], chances: Floats) -> dict[str, Any]:
    chance = float(chances.mean())
    reason = _not_above(facts.base_interval95, chance)
    if reason:
        return {"note": reason}
    value = retained(facts.base, facts.tuned, chance)
    estimate = _estimate(base, tuned, chances)
    if not isinstance(estimate, Estimate):
        return {"retention": value, "note": estimate.reason}
    return {"retention": value, "retention_interval90": estimate.interval90, "note": estimate.warning}


def _estimate(base: Column, tuned: Sequence[Column], chances: Floats) -> Estimate | NoEstimate:
    if len(tuned) == 1:
        return retention(base.scores, tuned[0].scores, chances, base.clusters)
    changes = [retention_change(base.scores, column.scores, chances) for column in tuned]
    return over_seeds(changes, base.clusters, binary=False)


def _not_above(base: Interval | None, chance: float) -> str | None:
    if base is None:
        return "there is no interval for the base, which may be guessing"
    if base.low <= chance:
        return "the base is not surely above chance, so there is nothing that could be retained"
    return None
