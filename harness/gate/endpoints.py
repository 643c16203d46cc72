"""The questions that a policy asks of a comparison, and the answer to each (statistics.md, section 9)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.comparison.compare import averaged
from harness.comparison.facts import Comparison, MetricFacts, Role, TaskFacts
from harness.experiment.gate_schema import Bound, Gate, Tier
from harness.experiment.metrics import Metric
from harness.gate.verdict import Endpoint, EndpointStatus
from harness.statistics.estimates import Estimate, negated, scaled
from harness.statistics.evidence import interval_at, p_above, p_below
from harness.statistics.multiplicity import holm
from harness.statistics.power import items_to_settle

GUARD: Bound = "max_bits_per_byte_increase"
# A margin must exceed so many deviations of what scoring the base twice changes (statistics.md 3.5).
NOISE_DEVIATIONS = 2.0


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


@dataclass(frozen=True)
class Answers:
    """Endpoints that count, by role; endpoints for information; and tasks nobody can answer for, with why.

    Without an answer a critical task (`unanswered`) keeps the gate from passing, a supporting one
    (`unheard`) does not.
    """

    domain: tuple[Endpoint, ...]
    general: tuple[Endpoint, ...]
    advisory: tuple[Endpoint, ...]
    unanswered: tuple[str, ...]
    unheard: tuple[str, ...] = ()


def answer(comparison: Comparison, policy: Gate) -> Answers:
    """Every rule of the policy on every task it applies to.

    General endpoints carry Holm-adjusted p-values: "did any of these regress?" is asked of all at once.
    """
    questions = [*_average(comparison, policy)]
    unanswered: dict[Tier, list[str]] = {"critical": [], "supporting": [], "advisory": []}
    for task in comparison.tasks:
        if task.problems:
            continue
        facts, tier = judged_metric(task)[0], tier_of(task, policy)
        if facts.difference is not None:
            questions.append(_question(task, facts, tier, policy))
        else:
            unanswered[tier].append(f"{task.suite}/{task.task}: {facts.reason}")
    unanswered["critical"] += _without_average(comparison, policy)
    counted = [question for question in questions if question.tier != "advisory"]
    return Answers(
        domain=_endpoints((q for q in counted if q.role == "domain"), policy.alpha),
        general=_with_holm(_endpoints((q for q in counted if q.role == "general"), policy.alpha)),
        advisory=_endpoints((q for q in questions if q.tier == "advisory"), policy.alpha),
        unanswered=tuple(unanswered["critical"]),
        unheard=tuple(unanswered["supporting"]),
    )


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


def _averages_tier(comparison: Comparison, policy: Gate) -> Tier:
    """Nobody has to show that the general average is kept where only supporting tasks are in it."""
    general = averaged(task for task in comparison.tasks if task.role == "general")
    supporting = [policy.rule(task.suite, task.task).tier == "supporting" for task in general]
    return "supporting" if supporting and all(supporting) else "critical"


def _without_average(comparison: Comparison, policy: Gate) -> list[str]:
    """An average that has to be kept must not go missing for a supporting task that has no interval."""
    if comparison.general_average is not None or _averages_tier(comparison, policy) != "critical":
        return []
    silent = [
        f"the general average: {task.suite}/{task.task} has none ({task.metrics[task.primary].reason})"
        for task in averaged(task for task in comparison.tasks if task.role == "general")
        if not task.problems
        and tier_of(task, policy) == "supporting"
        and task.metrics[task.primary].difference is None
    ]
    return silent[:1]


def _question(task: TaskFacts, facts: MetricFacts, tier: Tier, policy: Gate) -> Question:
    """The rule for one task; margins are for rates and bits, other units are only compared with 0."""
    if facts.difference is None:
        raise ValueError("a question needs an estimate")
    metric = facts.metric
    better = facts.difference if metric.higher_is_better else negated(facts.difference)
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


def _is_guard(metric: Metric) -> bool:
    return metric.unit == "bits" and not metric.higher_is_better


def _average(comparison: Comparison, policy: Gate) -> Iterable[Question]:
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
        tier=_averages_tier(comparison, policy),
        noise=comparison.general_noise,
    )


def _endpoints(questions: Iterable[Question], alpha: float) -> tuple[Endpoint, ...]:
    return tuple(endpoint(question, alpha) for question in questions)


def endpoint(question: Question, alpha: float) -> Endpoint:
    """The answer: bounds, both one-sided p-values and what they say at alpha."""
    estimate = question.estimate
    bounds = interval_at(estimate, 1.0 - 2.0 * alpha)
    holds, broken = p_above(estimate, question.threshold), p_below(estimate, question.broken)
    swallowed = _noise_above_margin(question)
    shown = holds < alpha and swallowed is None
    status = _status(shown, broken < alpha, p_above(estimate, 0.0) < alpha)
    value, low, high = estimate.value, bounds.low, bounds.high
    if question.rule == GUARD:
        value, low, high = -value, -high, -low
    return Endpoint(
        rule=question.rule,
        suite=question.suite,
        task=question.task,
        metric=question.metric,
        unit=question.unit,
        tier=question.tier,
        limit=question.limit,
        value=value,
        low=low,
        high=high,
        p_holds=holds,
        p_broken=broken,
        status=status,
        measurable_drop=p_below(estimate, 0.0) < alpha,
        within_noise=swallowed,
        items_needed=_items_needed(question, alpha) if status is EndpointStatus.INCONCLUSIVE else None,
    )


def _noise_above_margin(question: Question) -> float | None:
    """What the noise may change, where the margin does not exceed it.

    Only a threshold below 0 leaves a margin: a gain has to be shown on items whose spread holds the noise.
    """
    if question.noise is None or question.threshold >= 0.0:
        return None
    reach = NOISE_DEVIATIONS * question.noise
    return reach if -question.threshold <= reach else None


def _status(holds: bool, broken: bool, above_zero: bool) -> EndpointStatus:
    if broken:
        return EndpointStatus.REGRESSED
    if not holds:
        return EndpointStatus.INCONCLUSIVE
    return EndpointStatus.IMPROVED if above_zero else EndpointStatus.RETAINED


def _items_needed(question: Question, alpha: float) -> int | None:
    """Items that would decide it; None where none would, or where the answer is already a sure no."""
    estimate = question.estimate
    if p_below(estimate, question.threshold) < alpha:
        return None
    units = items_to_settle(estimate, question.threshold, alpha)
    if units is None:
        return None
    items = round(units * question.items / estimate.n)
    noise = _noise_above_margin(question)
    if noise is None:
        return items
    # The noise of a mean falls with the root of its items.
    return max(items, math.floor(question.items * (noise / question.threshold) ** 2) + 1)


def _with_holm(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    adjusted = holm([each.p_broken for each in endpoints])
    return tuple(
        each.model_copy(update={"p_broken_holm": p}) for each, p in zip(endpoints, adjusted, strict=True)
    )
