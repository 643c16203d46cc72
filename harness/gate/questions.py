"""The questions that a policy asks of a comparison (statistics.md, section 9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from harness.comparison.compare import averaged
from harness.comparison.facts import Comparison, MetricFacts, Role, TaskFacts
from harness.experiment.gate_schema import Bound, Gate, Tier
from harness.experiment.metrics import Metric
from harness.statistics.estimates import Estimate, oriented, scaled

GUARD: Bound = "max_bits_per_byte_increase"
FORM = "max_drop_format"


@dataclass(frozen=True)
class Question:
    """One rule on one estimate.

    `estimate` is oriented so that more is better; the rule holds above `threshold` and is broken below
    `broken`. `items` is what the estimate rests on, `tier` how far the answer counts. `noise` is the
    deviation of the estimate that numerics alone explain, None where it was not measured.
    """

    rule: str
    suite: str
    task: str
    metric: str
    unit: Literal["rate", "relative", "bits", "perplexity", "score"]
    role: Role
    limit: float
    threshold: float
    broken: float
    estimate: Estimate
    items: int
    tier: Tier = "critical"
    noise: float | None = None


def judged_metric(task: TaskFacts) -> tuple[MetricFacts, bool]:
    """The metric that speaks for a task, and whether it may decide.

    A rate decides in both roles. General text is guarded in bits per byte, whatever its primary metric;
    domain text is shown only: its training objective says little about the task that was bought.
    """
    primary = task.metrics[task.primary]
    if primary.metric.unit == "rate":
        return primary, task.gated
    bits = next((facts for facts in task.metrics.values() if facts.metric.unit == "bits"), None)
    if task.role == "general" and bits is not None:
        return bits, task.gated
    return primary, False


def tier_of(task: TaskFacts, policy: Gate) -> Tier:
    """How far a comparable task's answer counts: what cannot decide is advisory, whatever the policy says."""
    return policy.rule(task.suite, task.task).tier if judged_metric(task)[1] else "advisory"


def averages_tier(comparison: Comparison, policy: Gate) -> Tier:
    """Nobody has to show that the general average is kept where only supporting tasks are in it."""
    general = averaged(task for task in comparison.tasks if task.role == "general")
    supporting = [policy.rule(task.suite, task.task).tier == "supporting" for task in general]
    return "supporting" if supporting and all(supporting) else "critical"


def without_average(comparison: Comparison, policy: Gate) -> list[str]:
    """An average that has to be kept must not go missing for a supporting task that has no interval."""
    if comparison.general_average is not None or averages_tier(comparison, policy) != "critical":
        return []
    silent = [
        f"the general average: {task.suite}/{task.task} has none ({task.metrics[task.primary].reason})"
        for task in averaged(task for task in comparison.tasks if task.role == "general")
        if not task.problems
        and tier_of(task, policy) == "supporting"
        and task.metrics[task.primary].difference is None
    ]
    return silent[:1]


def task_question(task: TaskFacts, facts: MetricFacts, tier: Tier, policy: Gate) -> Question:
    """The rule for one task; margins are for rates and bits, other units are only compared with 0."""
    if facts.difference is None:
        raise ValueError("a question needs an estimate")
    metric = facts.metric
    better = oriented(facts.difference, metric.higher_is_better)
    common = Question(
        rule="min_gain" if task.role == "domain" else "max_drop_task",
        suite=task.suite,
        task=task.task,
        metric=metric.name,
        unit=metric.unit,
        role=task.role,
        limit=0.0,
        threshold=0.0,
        broken=0.0,
        estimate=better,
        items=task.n,
        tier=tier,
        noise=task.noise.deviation if task.noise and metric.name == task.primary else None,
    )
    if task.role == "domain":
        gain = policy.bound(task.suite, task.task, "min_gain") if metric.unit == "rate" else 0.0
        # A negative min_gain allows a small loss, which then must not count as a broken rule.
        return replace(common, limit=gain, threshold=gain, broken=min(gain, 0.0))
    if metric.unit == "rate":
        drop = policy.bound(task.suite, task.task, "max_drop")
        return replace(common, limit=drop, threshold=-drop, broken=-drop)
    if _is_guard(metric) and facts.base > 0:
        rise = policy.bound(task.suite, task.task, GUARD)
        relative = scaled(better, 1.0 / facts.base)
        noise = None if common.noise is None else common.noise / facts.base
        return replace(
            common,
            rule=GUARD,
            unit="relative",
            limit=rise,
            threshold=-rise,
            broken=-rise,
            estimate=relative,
            noise=noise,
        )
    return common


def form_question(task: TaskFacts, policy: Gate) -> tuple[Question, ...]:
    """Whether the answers kept the form that was asked for, where that is known (statistics.md 9)."""
    if task.form is None or task.form.parsed is None:
        return ()
    drop = policy.max_drop_format
    return (
        Question(
            rule=FORM,
            suite=task.suite,
            task=task.task,
            metric="parsed",
            unit="rate",
            role=task.role,
            limit=drop,
            threshold=-drop,
            broken=-drop,
            estimate=task.form.parsed,
            items=task.n,
            tier="supporting" if task.gated else "advisory",
        ),
    )


def _is_guard(metric: Metric) -> bool:
    return metric.unit == "bits" and not metric.higher_is_better


def average_question(comparison: Comparison, policy: Gate) -> Iterable[Question]:
    if comparison.general_average is None:
        return
    drop = policy.max_drop_average
    yield Question(
        rule="max_drop_average",
        suite="general",
        task="average",
        metric="mean difference",
        unit="rate",
        role="general",
        limit=drop,
        threshold=-drop,
        broken=-drop,
        estimate=comparison.general_average,
        items=comparison.general_average.n,
        tier=averages_tier(comparison, policy),
        noise=comparison.general_noise,
    )
