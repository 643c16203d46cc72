"""The runs of one recipe on one task → the facts about the recipe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.comparison.aggregates import AGGREGATIONS, clusters_of, column_of
from harness.comparison.answer_form import form_over_seeds
from harness.comparison.differences import certifiable, noise_facts
from harness.comparison.facts import MetricFacts, Pair, TaskFacts
from harness.comparison.forgetting import forgetting_facts
from harness.comparison.pairing import PairedTask
from harness.statistics.estimates import Estimate, NoEstimate
from harness.statistics.evidence import p_any
from harness.statistics.linear import cluster_count
from harness.statistics.means import is_binary
from harness.statistics.seeds import over_seeds


def recipe_facts(runs: Sequence[PairedTask], pair: Pair) -> TaskFacts:
    """Means over the runs, one for each seed. What forbids comparing one of them forbids the whole."""
    base = runs[0].base
    problems = dict.fromkeys(problem for run in runs for problem in run.problems)
    facts = TaskFacts(
        suite=base.suite,
        task=base.task,
        role=pair.roles[base.suite],
        kind=base.kind,
        primary=base.primary,
        metrics={},
        n=len(base.items),
        problems=tuple(problems),
        alarms=tuple(dict.fromkeys(alarm for run in runs for alarm in run.alarms)),
        gated=(base.suite, base.task) not in pair.ungated,
    )
    if problems:
        return facts
    metrics = {name: _metric_facts(runs, name) for name in base.metrics}
    draws = cluster_count(clusters_of(base))
    difference = metrics[base.primary].difference
    return facts.model_copy(
        update={
            "metrics": metrics,
            "clusters": draws if draws < len(base.items) else None,
            "chance": sum(item.chance for item in base.items) / len(base.items),
            "form": form_over_seeds(runs),
            "likelihood": pair.likelihood.get((base.suite, base.task)),
            "noise": noise_facts(base, binary=False),
            "forgetting": forgetting_facts(runs, metrics[base.primary]),
            "certifiable_margin": certifiable(
                difference, changed=difference is None or difference.wins is None
            ),
        }
    )


def _metric_facts(runs: Sequence[PairedTask], name: str) -> MetricFacts:
    metric = runs[0].base.metrics[name]
    aggregation = AGGREGATIONS[metric.aggregate]
    base = column_of(runs[0].base, name)
    tuned = [column_of(run.tuned, name) for run in runs]
    difference = over_seeds(
        [aggregation.change(base, column) for column in tuned],
        base.clusters,
        binary=metric.aggregate == "mean" and all(is_binary(column.scores) for column in (base, *tuned)),
    )
    return MetricFacts(
        metric=metric,
        base=aggregation.value(base),
        tuned=float(np.mean([aggregation.value(column) for column in tuned])),
        base_interval95=aggregation.interval(base),
        difference=difference if isinstance(difference, Estimate) else None,
        reason=difference.reason if isinstance(difference, NoEstimate) else None,
        p_any=p_any(difference) if isinstance(difference, Estimate) else None,
    )
