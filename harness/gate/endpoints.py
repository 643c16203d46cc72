"""The questions that a policy asks of a comparison, and the answer to each (statistics.md, section 9)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.comparison.facts import Comparison, MetricFacts, Role, TaskFacts
from harness.experiment.metrics import Metric
from harness.experiment.schema import Gate
from harness.gate.verdict import Endpoint, EndpointStatus
from harness.statistics.estimates import Estimate, negated, scaled
from harness.statistics.evidence import interval_at, p_above, p_below
from harness.statistics.multiplicity import holm
from harness.statistics.power import items_to_settle, seeds_to_settle

GUARD = "max_bits_per_byte_increase"
FORM = "max_format_drop"
# A margin must exceed so many deviations of what scoring the base twice changes (statistics.md 3.5).
NOISE_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Question:
    """One rule on one estimate.

    `estimate` is oriented so that more is better; the rule holds above `threshold` and is broken below
    `broken`. `items` is what the estimate rests on, `gated` whether the answer counts. `noise` is the
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
    gated: bool = True
    noise: float | None = None


@dataclass(frozen=True)
class Answers:
    """Endpoints that count, by role; endpoints for information; and gated tasks nobody can answer for.

    form: tripwires on the form of answers, in both roles: only one that is surely crossed counts
    """

    domain: tuple[Endpoint, ...]
    general: tuple[Endpoint, ...]
    form: tuple[Endpoint, ...]
    advisory: tuple[Endpoint, ...]
    unanswered: tuple[str, ...]


def answer(comparison: Comparison, policy: Gate) -> Answers:
    """Every rule of the policy on every task it applies to.

    General endpoints and tripwires carry Holm-adjusted p-values: "did any of these regress?" is asked of all
    at once.
    """
    questions = [*_average(comparison, policy)]
    unanswered = []
    for task in comparison.tasks:
        if task.problems:
            continue
        questions += _form_question(task, policy)
        facts, gated = judged_metric(task)
        if facts.difference is not None:
            questions.append(_question(task, facts, gated, policy))
        elif gated:
            unanswered.append(f"{task.suite}/{task.task}: {facts.reason}")
    gated_ones = [q for q in questions if q.gated]
    kept = [q for q in gated_ones if q.role == "general" and q.rule != FORM]
    family = _with_holm(_endpoints([*kept, *(q for q in gated_ones if q.rule == FORM)], policy.alpha))
    return Answers(
        domain=_endpoints((q for q in gated_ones if q.role == "domain" and q.rule != FORM), policy.alpha),
        general=family[: len(kept)],
        form=family[len(kept) :],
        advisory=_endpoints((q for q in questions if not q.gated), policy.alpha),
        unanswered=tuple(unanswered),
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


def _question(task: TaskFacts, facts: MetricFacts, gated: bool, policy: Gate) -> Question:
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
        gated=gated,
        noise=task.noise.deviation if task.noise and metric.name == task.primary else None,
    )
    if task.role == "domain":
        gain = policy.min_gain if metric.unit == "rate" else 0.0
        # A negative min_gain allows a small loss, which then must not count as a broken rule.
        return replace(common, limit=gain, threshold=gain, broken=min(gain, 0.0))
    if metric.unit == "rate":
        drop = policy.max_drop_task
        return replace(common, limit=drop, threshold=-drop, broken=-drop)
    if _is_guard(metric) and facts.base > 0:
        rise = policy.max_bits_per_byte_increase
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


def _form_question(task: TaskFacts, policy: Gate) -> tuple[Question, ...]:
    """Whether the answers kept the form that was asked for, where that is known (statistics.md 9)."""
    if task.form is None or task.form.parsed is None:
        return ()
    drop = policy.max_format_drop
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
            gated=task.gated,
        ),
    )


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
        noise=comparison.general_noise,
    )


def _endpoints(questions: Iterable[Question], alpha: float) -> tuple[Endpoint, ...]:
    return tuple(_endpoint(question, alpha) for question in questions)


def _endpoint(question: Question, alpha: float) -> Endpoint:
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
        seeds_needed=_seeds_needed(question, alpha) if status is EndpointStatus.INCONCLUSIVE else None,
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
    """Items that would decide it; None where none would, where it is a sure no, and for a tripwire."""
    estimate = question.estimate
    if question.rule == FORM or p_below(estimate, question.threshold) < alpha:
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


def _seeds_needed(question: Question, alpha: float) -> int | None:
    """Seeds that would decide what noise or a sure no does not."""
    if _noise_above_margin(question) or p_below(question.estimate, question.threshold) < alpha:
        return None
    return seeds_to_settle(question.estimate, question.threshold, alpha)


def _with_holm(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    adjusted = holm([endpoint.p_broken for endpoint in endpoints])
    return tuple(
        endpoint.model_copy(update={"p_broken_holm": p})
        for endpoint, p in zip(endpoints, adjusted, strict=True)
    )
