"""How items become one number, its interval, and a paired difference: one entry for each aggregate.

This is the only place that knows what an aggregate means; a report that shows one configuration
and a comparison of two both come here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter, methodcaller

import numpy as np

from harness.experiment.metrics import Aggregate
from harness.statistics.bootstrap import macro_f1, macro_f1_change, macro_f1_difference, macro_f1_interval
from harness.statistics.estimates import Estimate, Interval, NoEstimate
from harness.statistics.evidence import p_any
from harness.statistics.linear import Change, Codes, Floats, singletons
from harness.statistics.means import is_binary, mean_change, mean_difference
from harness.statistics.permutation import sign_flip_p
from harness.statistics.rates import mean_interval, ratio_interval
from harness.statistics.ratio import (
    exp_ratio_change,
    exp_ratio_difference,
    ratio_change,
    ratio_difference,
    weighted_deviation,
    weighted_ratio,
)
from harness.statistics.seeds import over_seeds
from harness.store.measurements import Measurement, field_of, kept


@dataclass(frozen=True)
class Column:
    """One metric of one measurement as arrays, item by item in the measurement's order.

    `clusters` gives items of one cluster the same code; `gold` and `predicted` are codes into the
    label list (-1: not in it) and empty for metrics that have item scores.
    """

    scores: Floats
    weights: Floats
    clusters: Codes
    gold: Codes
    predicted: Codes
    classes: int = 0


@dataclass(frozen=True)
class Aggregation:
    """What one aggregate means. `interval` is two-sided at 95 % and knows about clusters.

    `change` is the difference of base and tuned item by item, for differences over several seeds.
    `noise` takes the deviation of one item's score between two scorings of the same weights to that of
    the whole difference, in the difference's unit; None where items have no score.
    """

    value: Callable[[Column], float]
    interval: Callable[[Column], Interval | None]
    difference: Callable[[Column, Column], Estimate | NoEstimate]
    change: Callable[[Column, Column], Change]
    noise: Callable[[Column, float], float | None]


def _exponent(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    return Interval(low=float(np.exp(interval.low)), high=float(np.exp(interval.high)), level=interval.level)


AGGREGATIONS: dict[Aggregate, Aggregation] = {
    "mean": Aggregation(
        value=lambda column: float(column.scores.mean()),
        interval=lambda column: mean_interval(column.scores, column.clusters),
        difference=lambda base, tuned: mean_difference(base.scores, tuned.scores, base.clusters),
        change=lambda base, tuned: mean_change(base.scores, tuned.scores),
        noise=lambda column, deviation: weighted_deviation(deviation, np.ones_like(column.scores)),
    ),
    "ratio": Aggregation(
        value=lambda column: weighted_ratio(column.scores, column.weights),
        interval=lambda column: ratio_interval(column.scores, column.weights, column.clusters),
        difference=lambda base, tuned: ratio_difference(
            base.scores, tuned.scores, base.weights, base.clusters
        ),
        change=lambda base, tuned: ratio_change(base.scores, tuned.scores, base.weights),
        noise=lambda column, deviation: weighted_deviation(deviation, column.weights),
    ),
    "exp_ratio": Aggregation(
        value=lambda column: float(np.exp(weighted_ratio(column.scores, column.weights))),
        interval=lambda column: _exponent(ratio_interval(column.scores, column.weights, column.clusters)),
        difference=lambda base, tuned: exp_ratio_difference(
            base.scores, tuned.scores, base.weights, base.clusters
        ),
        change=lambda base, tuned: exp_ratio_change(base.scores, tuned.scores, base.weights),
        noise=lambda column, deviation: (
            float(np.exp(weighted_ratio(column.scores, column.weights)))
            * weighted_deviation(deviation, column.weights)
        ),
    ),
    "macro_f1": Aggregation(
        value=lambda column: macro_f1(column.gold, column.predicted, column.classes),
        interval=lambda column: macro_f1_interval(
            column.gold, column.predicted, column.classes, column.clusters
        ),
        difference=lambda base, tuned: macro_f1_difference(
            base.gold, base.predicted, tuned.predicted, base.classes, base.clusters
        ),
        change=lambda base, tuned: macro_f1_change(base.gold, base.predicted, tuned.predicted, base.classes),
        noise=lambda column, deviation: None,
    ),
}


def difference_of(aggregate: Aggregate, base: Column, runs: Sequence[Column]) -> Estimate | NoEstimate:
    """Of one tuned configuration; or of a recipe, from the columns of its several runs."""
    aggregation = AGGREGATIONS[aggregate]
    if len(runs) == 1:
        return aggregation.difference(base, runs[0])
    binary = aggregate == "mean" and all(is_binary(column.scores) for column in (base, *runs))
    return over_seeds([aggregation.change(base, run) for run in runs], base.clusters, binary)


def any_difference(
    aggregate: Aggregate, base: Column, runs: Sequence[Column], difference: Estimate | NoEstimate
) -> float | None:
    """Two-sided p of "nothing changed": of one configuration exact for means of which few draws changed, else
    the estimate's."""
    alone = aggregate == "mean" and len(runs) == 1
    exact = sign_flip_p(base.scores, runs[0].scores, base.clusters) if alone else None
    if exact is not None:
        return exact
    return p_any(difference) if isinstance(difference, Estimate) else None


def measured_value(measurement: Measurement, metric: str) -> float:
    """One metric of one configuration. Every item must have been scored; KeyError otherwise."""
    aggregation = AGGREGATIONS[measurement.metrics[metric].aggregate]
    return aggregation.value(column_of(measurement, metric))


def measured_interval95(measurement: Measurement, metric: str) -> Interval | None:
    """Its 95 % interval; None where the items are too few or do not vary."""
    aggregation = AGGREGATIONS[measurement.metrics[metric].aggregate]
    return aggregation.interval(column_of(measurement, metric))


@kept
def column_of(measurement: Measurement, metric: str) -> Column:
    """The arrays of one metric; the labels of macro-F1 are the measurement's own list, or the gold ones."""
    weights, scores = field_of(measurement, "weights"), field_of(measurement, "scores")
    weighed = np.ones(len(weights))
    if any(weights):
        weighed = np.fromiter(map(methodcaller("get", metric, 1.0), weights), np.float64, len(weights))
    nothing: Codes = np.empty(0, dtype=np.int64)
    if measurement.metrics[metric].aggregate != "macro_f1":
        found = np.fromiter(map(itemgetter(metric), scores), np.float64, len(scores))
        return Column(found, weighed, clusters_of(measurement), nothing, nothing)
    golds = field_of(measurement, "gold")
    labels = measurement.labels or tuple(sorted({gold for gold in golds if gold is not None}))
    code = {label: index for index, label in enumerate(labels)}

    def codes(answers: Sequence[str | None]) -> Codes:
        return np.array([-1 if a is None else code.get(a, -1) for a in answers], dtype=np.int64)

    return Column(
        scores=np.array([], dtype=np.float64),
        weights=weighed,
        clusters=clusters_of(measurement, by_name=True),
        gold=codes(golds),
        predicted=codes(field_of(measurement, "predicted")),
        classes=len(labels),
    )


def clusters_of(measurement: Measurement, by_name: bool = False) -> Codes:
    """The same number for items of one cluster; an item without a cluster is one by itself.

    by_name: the numbers follow the names and not the order of the items, so that resamples do too
    """
    return _clusters(measurement, by_name)


@kept
def _clusters(measurement: Measurement, by_name: bool) -> Codes:
    items, clusters = field_of(measurement, "item"), field_of(measurement, "cluster")
    keys = items
    if clusters.count(None) < len(clusters):
        named = zip(items, clusters, strict=True)
        keys = [f"item {item}" if cluster is None else f"cluster {cluster}" for item, cluster in named]
    distinct = dict.fromkeys(keys)
    if len(distinct) == len(keys) and not by_name:
        return singletons(len(keys))
    code = {key: number for number, key in enumerate(sorted(distinct) if by_name else distinct)}
    return np.array([code[key] for key in keys], dtype=np.int64)
