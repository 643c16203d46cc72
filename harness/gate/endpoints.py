"""The answer to each question that a policy asks of a comparison (statistics.md, section 9)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.comparison.facts import Comparison
from harness.experiment.gate_schema import Gate, Tier
from harness.gate.questions import (
    FORM,
    GUARD,
    Question,
    average_question,
    form_question,
    judged_metric,
    task_question,
    tier_of,
    without_average,
)
from harness.gate.verdict import Endpoint, EndpointStatus
from harness.statistics.evidence import interval_at, p_above, p_below
from harness.statistics.multiplicity import holm
from harness.statistics.power import items_to_settle, seeds_to_settle

# A margin must exceed so many deviations of what scoring the base twice changes (statistics.md 3.5).
NOISE_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Answers:
    """Endpoints that count, by role; endpoints for information; and tasks nobody can answer for, with why.

    form: tripwires on the form of answers, in both roles: only one that is surely crossed counts
    Without an answer a critical task (`unanswered`) keeps the gate from passing, a supporting one
    (`unheard`) does not.
    """

    domain: tuple[Endpoint, ...]
    general: tuple[Endpoint, ...]
    form: tuple[Endpoint, ...]
    advisory: tuple[Endpoint, ...]
    unanswered: tuple[str, ...]
    unheard: tuple[str, ...] = ()


def answer(comparison: Comparison, policy: Gate) -> Answers:
    """Every rule of the policy on every task it applies to.

    They carry Holm-adjusted p-values, domain endpoints in a family of their own: "did any of these regress?"
    is asked of all at once.
    """
    questions = [*average_question(comparison, policy)]
    unanswered: dict[Tier, list[str]] = {"critical": [], "supporting": [], "advisory": []}
    for task in comparison.tasks:
        if task.problems:
            continue
        questions += form_question(task, policy)
        facts, tier = judged_metric(task)[0], tier_of(task, policy)
        if facts.difference is not None:
            questions.append(task_question(task, facts, tier, policy))
        else:
            unanswered[tier].append(f"{task.suite}/{task.task}: {facts.reason}")
    unanswered["critical"] += without_average(comparison, policy)
    counted = [question for question in questions if question.tier != "advisory"]
    kept = [q for q in counted if q.role == "general" and q.rule != FORM]
    family = _with_holm(_endpoints([*kept, *(q for q in counted if q.rule == FORM)], policy.alpha))
    return Answers(
        domain=_with_holm(
            _endpoints((q for q in counted if q.role == "domain" and q.rule != FORM), policy.alpha)
        ),
        general=family[: len(kept)],
        form=family[len(kept) :],
        advisory=_endpoints((q for q in questions if q.tier == "advisory"), policy.alpha),
        unanswered=tuple(unanswered["critical"]),
        unheard=tuple(unanswered["supporting"]),
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
    adjusted = holm([each.p_broken for each in endpoints])
    return tuple(
        each.model_copy(update={"p_broken_holm": p}) for each, p in zip(endpoints, adjusted, strict=True)
    )
