"""One paired task → its facts: values, intervals, differences, flips and what it can certify."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from harness.comparison.aggregates import AGGREGATIONS, any_difference, clusters_of, column_of, difference_of
from harness.comparison.divergence import divergence_facts
from harness.comparison.facts import Flip, MetricFacts, NoiseFacts, Pair, TaskFacts
from harness.comparison.forgetting import forgetting_facts
from harness.comparison.pairing import PairedTask
from harness.comparison.slices import slice_facts
from harness.statistics.estimates import Estimate, NoEstimate
from harness.statistics.linear import cluster_count
from harness.statistics.means import is_binary
from harness.statistics.power import certifiable_margin
from harness.store.measurements import Item, Measurement, field_of


def task_facts(runs: Sequence[PairedTask], pair: Pair) -> TaskFacts:
    """Everything known about one task of the pair; no numbers where it is not comparable.

    Several runs are those of one recipe: values are means over them, single answers are each run's own, and
    what forbids comparing one of them forbids the whole.
    """
    base, items = runs[0].base, runs[0].base.items
    facts = TaskFacts(
        suite=base.suite,
        task=base.task,
        role=pair.roles[base.suite],
        kind=base.kind,
        primary=base.primary,
        metrics={},
        n=len(items),
        problems=tuple(dict.fromkeys(problem for run in runs for problem in run.problems)),
        alarms=tuple(dict.fromkeys(alarm for run in runs for alarm in run.alarms)),
        gated=(base.suite, base.task) not in pair.ungated,
    )
    if facts.problems:
        return facts
    metrics = {name: _metric_facts(runs, name) for name in base.metrics}
    primary = metrics[base.primary]
    draws = cluster_count(clusters_of(base))
    known = facts.model_copy(
        update={
            "metrics": metrics,
            "likelihood": pair.likelihood.get((facts.suite, facts.task)),
            "clusters": draws if draws < len(items) else None,
            "chance": sum(field_of(base, "chance")) / len(items),
            "noise": _noise_facts(base, binary=False),
            "forgetting": forgetting_facts(runs, primary),
            "slices": slice_facts(runs),
            "certifiable_margin": _certifiable(primary.difference),
        }
    )
    return known if pair.runs else known.model_copy(update=_of_single_answers(runs[0], primary))


def _of_single_answers(task: PairedTask, primary: MetricFacts) -> dict[str, Any]:
    """What only one tuned configuration has: answers that flipped, and a divergence from the base."""
    n = len(task.base.items)
    flips = _flips(task)
    wins, losses = (_count(flips, direction) for direction in ("win", "loss"))
    noise = _noise_facts(task.base, binary=flips is not None)
    divergence, no_divergence = divergence_facts(task.tuned)
    return {
        "wins": wins,
        "losses": losses,
        "wins_excess": _excess(wins, noise.to_right if noise else None, n),
        "losses_excess": _excess(losses, noise.to_wrong if noise else None, n),
        "noise": noise,
        "divergence": divergence,
        "no_divergence": no_divergence,
        "flips": flips or (),
        "certifiable_margin": _certifiable(primary.difference, changed=bool(flips)),
    }


def _metric_facts(runs: Sequence[PairedTask], name: str) -> MetricFacts:
    metric = runs[0].base.metrics[name]
    aggregation = AGGREGATIONS[metric.aggregate]
    base, tuned = column_of(runs[0].base, name), [column_of(run.tuned, name) for run in runs]
    difference = difference_of(metric.aggregate, base, tuned)
    return MetricFacts(
        metric=metric,
        base=aggregation.value(base),
        tuned=fmean(map(aggregation.value, tuned)),
        base_interval95=aggregation.interval(base),
        difference=difference if isinstance(difference, Estimate) else None,
        reason=difference.reason if isinstance(difference, NoEstimate) else None,
        p_any=any_difference(metric.aggregate, base, tuned, difference),
    )


def _certifiable(difference: Estimate | None, changed: bool | None = None) -> float | None:
    """The drop that the items can exclude (power.py).

    Clusters in which nothing flipped are worth one draw each; flips that were seen give the SE its say. Of a
    recipe the method tells: counts stand in where hardly anything changed (seeds.py).
    """
    if difference is None or difference.standard_error is None:
        return None
    if changed is None:
        changed = difference.wins is None
    independent = difference.n if changed else difference.clusters or difference.n
    return certifiable_margin(difference.standard_error, independent)


def _noise_facts(base: Measurement, binary: bool) -> NoiseFacts | None:
    """The base's noise, from the items scored twice to all that are compared."""
    noise, primary = base.noise, base.primary
    if noise is None or noise.items == 0:
        return None
    deviation = AGGREGATIONS[base.metrics[primary].aggregate].noise(column_of(base, primary), noise.deviation)
    return NoiseFacts(
        items=noise.items,
        to_wrong=noise.to_wrong / noise.items if binary else None,
        to_right=noise.to_right / noise.items if binary else None,
        deviation=deviation if deviation is not None and math.isfinite(deviation) else None,
    )


def _excess(changed: int | None, floor: float | None, n: int) -> float | None:
    return None if changed is None or floor is None else changed / n - floor


def _count(flips: Sequence[Flip] | None, direction: str) -> int | None:
    return None if flips is None else sum(flip.direction == direction for flip in flips)


def _flips(task: PairedTask) -> tuple[Flip, ...] | None:
    """Items whose primary score went from 0 to 1 or back; None when that score is not binary."""
    primary = task.base.primary
    if task.base.metrics[primary].aggregate == "macro_f1":
        return None
    before, after = (column_of(side, primary).scores for side in (task.base, task.tuned))
    if not (is_binary(before) and is_binary(after)):
        return None
    return tuple(
        _flip(task.base.items[place], task.tuned.items[place], won=bool(after[place] > before[place]))
        for place in np.flatnonzero(before != after)
    )


def _flip(before: Item, after: Item, won: bool) -> Flip:
    return Flip(
        item=before.item,
        direction="win" if won else "loss",
        prompt=before.prompt,
        gold=before.gold or "",
        base_answer=before.predicted or "",
        tuned_answer=after.predicted or "",
    )
