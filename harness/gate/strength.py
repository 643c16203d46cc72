"""Which strength of a trained change to use: chosen on validation items, so that test items may judge it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from harness.comparison.compare import averaged
from harness.comparison.facts import Comparison, Role, TaskFacts
from harness.experiment.schema import Gate
from harness.gate.questions import GUARD, judged_metric
from harness.gate.wording import number


class StrengthPoint(BaseModel):
    """One strength of one trained change: what it changed on validation items and on test items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strength: float
    tuned: str
    validation: Comparison
    test: Comparison


class StrengthCurve(BaseModel):
    """All strengths of one family and seed, weakest first.

    chosen: the strength that the validation items chose; the gate judges it on the test items.
    reason: why that one, in a sentence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    seed: int | None
    points: tuple[StrengthPoint, ...]
    chosen: float
    reason: str


def strength_curve(
    family: str, seed: int | None, points: Sequence[StrengthPoint], policy: Gate
) -> StrengthCurve:
    """The rule: of the strengths whose general losses on validation items stay within the gate's limits, the
    one that gains most on the domain; the weaker of two that gain the same. Where none stays within them,
    the one that exceeds them least. Point values only: the test items, not these, carry the proof.
    """
    ordered = sorted(points, key=lambda point: point.strength)
    candidates = [
        (point, gain, excess(point.validation, policy))
        for point in ordered
        if point.strength > 0 and (gain := mean_change(point.validation, "domain")) is not None
    ]
    if not candidates:
        strongest = ordered[-1]
        reason = "no validation items could choose, so it is the strongest that was measured"
        return _curve(family, seed, ordered, strongest, reason)
    within = [(point, gain) for point, gain, over in candidates if over <= 0]
    if within:
        point, gain = max(within, key=lambda each: (each[1], -each[0].strength))
        kept = f"the {len(within)} of {len(candidates)} that keep general ability within the limits there"
        if not any(_decides(task, "general") for task in point.validation.tasks):
            kept = f"all {len(candidates)}, for no general task has validation items"
        reason = f"it gains most on the domain's validation items ({number('rate', gain)}) of {kept}"
        return _curve(family, seed, ordered, point, reason)
    point, gain, _ = min(candidates, key=lambda each: (each[2], each[0].strength))
    reason = (
        "no strength keeps general ability within the limits on validation items; it exceeds them least "
        f"(domain {number('rate', gain)})"
    )
    return _curve(family, seed, ordered, point, reason)


def _curve(
    family: str, seed: int | None, points: Sequence[StrengthPoint], chosen: StrengthPoint, reason: str
) -> StrengthCurve:
    return StrengthCurve(
        family=family, seed=seed, points=tuple(points), chosen=chosen.strength, reason=reason
    )


def mean_change(comparison: Comparison, role: Role) -> float | None:
    """Mean of tuned - base over the tasks that the role's average is made of; None where there is none.

    A point value, so it is known also where clusters are too few for an interval.
    """
    within = averaged(task for task in comparison.tasks if task.role == role)
    changes = [_change(task) for task in within if _decides(task, role) and _unit(task) == "rate"]
    return sum(changes) / len(changes) if changes else None


def excess(comparison: Comparison, policy: Gate) -> float:
    """How far the worst general loss is beyond its limit, in limits; 0 or less is within."""
    tasks = [task for task in comparison.tasks if _decides(task, "general")]
    shares = [
        -_change(task) / policy.bound(task.suite, task.task, "max_drop")
        for task in tasks
        if _unit(task) == "rate"
    ]
    average = mean_change(comparison, "general")
    if average is not None:
        shares.append(-average / policy.max_drop_average)
    shares += [
        -_change(task) / judged_metric(task)[0].base / policy.bound(task.suite, task.task, GUARD)
        for task in tasks
        if _unit(task) == "bits"
    ]
    return max([0.0, *shares]) - 1.0


def _decides(task: TaskFacts, role: Role) -> bool:
    return task.role == role and task.gated and not task.problems and judged_metric(task)[1]


def _unit(task: TaskFacts) -> str:
    return judged_metric(task)[0].metric.unit


def _change(task: TaskFacts) -> float:
    """tuned - base in the direction in which more is better."""
    facts = judged_metric(task)[0]
    change = facts.tuned - facts.base
    return change if facts.metric.higher_is_better else -change
