"""Slices of gated tasks that surely lost more than they may: they fail a gate, and never have to pass one."""

from __future__ import annotations

from collections.abc import Iterator

from harness.comparison.facts import Comparison
from harness.experiment.gate_schema import Gate
from harness.gate.endpoints import endpoint
from harness.gate.questions import Question, judged_metric, tier_of
from harness.gate.verdict import Endpoint
from harness.statistics.estimates import oriented
from harness.statistics.evidence import p_below
from harness.statistics.multiplicity import holm

RULE = "max_drop_slice"


def broken_slices(comparison: Comparison, policy: Gate) -> tuple[Endpoint, ...]:
    """Slices beyond `max_drop_slice` after Holm over all slices of the comparison that have an interval."""
    if policy.max_drop_slice is None:
        return ()
    asked = list(_asked(comparison, policy, policy.max_drop_slice))
    adjusted = holm([_p_beyond(question) for _, question in asked])
    return tuple(
        endpoint(question, policy.alpha).model_copy(update={"slice": of, "p_broken_holm": p})
        for (of, question), p in zip(asked, adjusted, strict=True)
        if p < policy.alpha
    )


def unseen_slices(comparison: Comparison, policy: Gate) -> tuple[str, ...]:
    """Which slices the limit was not asked of."""
    if policy.max_drop_slice is None:
        return ()
    return tuple(
        f"{task.suite}/{task.task}: {sliced.left_out_values:,} rarer {sliced.field} were not looked at"
        for task in comparison.tasks
        for sliced in task.slices
        if sliced.left_out_values and not task.problems and tier_of(task, policy) != "advisory"
    )


def _asked(comparison: Comparison, policy: Gate, limit: float) -> Iterator[tuple[tuple[str, str], Question]]:
    """The question to every slice of a task that counts and is judged by a rate, with field and value."""
    for task in comparison.tasks:
        if task.problems or tier_of(task, policy) == "advisory":
            continue
        metric = judged_metric(task)[0].metric
        if metric.unit != "rate":
            continue
        for sliced in task.slices:
            for each in sliced.values:
                if each.difference is not None:
                    yield (
                        (sliced.field, each.value),
                        Question(
                            rule=RULE,
                            suite=task.suite,
                            task=task.task,
                            metric=metric.name,
                            unit="rate",
                            role=task.role,
                            limit=limit,
                            threshold=-limit,
                            broken=-limit,
                            estimate=oriented(each.difference, metric.higher_is_better),
                            items=each.n,
                            tier=tier_of(task, policy),
                        ),
                    )


def _p_beyond(question: Question) -> float:
    """Of a slice within its limit it is above one half, and an exact p takes its time: 1 does as well."""
    if question.estimate.value >= question.broken:
        return 1.0
    return p_below(question.estimate, question.broken)
