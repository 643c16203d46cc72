"""What a task shows of forgetting, and how much of the base's ability is left (statistics.md 3.3, 3.4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.comparison.aggregates import Column, column_of
from harness.comparison.facts import ForgettingFacts, MetricFacts
from harness.comparison.pairing import PairedTask
from harness.statistics.estimates import Estimate, Interval
from harness.statistics.forgetting import beyond_chance, retained, retention
from harness.statistics.linear import Floats
from harness.statistics.means import is_binary


def forgetting_facts(task: PairedTask, facts: MetricFacts) -> ForgettingFacts | None:
    """Of the primary metric `facts`; None where that is no mean of rates of which more is better."""
    metric = facts.metric
    if metric.unit != "rate" or metric.aggregate != "mean" or not metric.higher_is_better:
        return None
    base, tuned = column_of(task.base, metric.name), column_of(task.tuned, metric.name)
    chances = np.array([item.chance for item in task.base.items], dtype=np.float64)
    flips = _flips(facts, base, tuned, float(chances.mean()))
    return ForgettingFacts(**flips, **_retention(facts, base, tuned, chances))


def _flips(facts: MetricFacts, base: Column, tuned: Column, chance: float) -> dict[str, Any]:
    if not (is_binary(base.scores) and is_binary(tuned.scores)):
        return {}
    lost = float(np.mean(base.scores > tuned.scores))
    won = float(np.mean(base.scores < tuned.scores))
    beyond = beyond_chance(facts.base, facts.tuned, lost, won, chance)
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


def _retention(facts: MetricFacts, base: Column, tuned: Column, chances: Floats) -> dict[str, Any]:
    chance = float(chances.mean())
    reason = _not_above(facts.base_interval95, chance)
    if reason:
        return {"note": reason}
    value = retained(facts.base, facts.tuned, chance)
    estimate = retention(base.scores, tuned.scores, chances, base.clusters)
    if not isinstance(estimate, Estimate):
        return {"retention": value, "note": estimate.reason}
    return {"retention": value, "retention_interval90": estimate.interval90, "note": estimate.warning}


def _not_above(base: Interval | None, chance: float) -> str | None:
    if base is None:
        return "there is no interval for the base, which may be guessing"
    if base.low <= chance:
        return "the base is not surely above chance, so there is nothing that could be retained"
    return None
