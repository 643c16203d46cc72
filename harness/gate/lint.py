"""What a gate can certify before anything is measured (statistics.md 4.10 and 9): items against margins.

A harmless tuned configuration changes nothing on average, but flips some answers both ways. Whether it
passes depends on how many items there are; if it cannot pass even without a flip, the gate is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.comparison.facts import Role
from harness.experiment.gate_schema import Gate, Tier
from harness.gate.wording import number, size
from harness.statistics.distributions import quantile, upper_tail
from harness.statistics.linear import FEWEST_CHANGED, FEWEST_DRAWS
from harness.statistics.power import binary_margin, certifiable_margin, zero_flip_items, zero_flip_margin

# Share of answers that a tuned model flips where nobody has measured it.
ASSUMED_FLIPS = 0.10


@dataclass(frozen=True)
class Counted:
    """A gated task whose primary metric is a rate. draws: independent ones, fewer than items in clusters."""

    suite: str
    task: str
    role: Role
    items: int
    draws: int
    written: bool = False


@dataclass(frozen=True)
class Prospect:
    """What one rule of the gate can say.

    certifies:  smallest drop that the items exclude with 80 % power; None for a gain
    passes:     probability that a harmless configuration keeps the rule; None for a gain, which it has not
    impossible: why it cannot hold whatever is measured where nothing is lost, and what would do
    caution:    why it stays open where hardly anything changes, though it can hold where some answers flip
    tier:       of a supporting rule nothing has to be shown, so `passes` and `impossible` are None
    """

    rule: str
    place: str
    items: int
    limit: float
    certifies: float | None
    passes: float | None
    impossible: str | None = None
    caution: str | None = None
    tier: Tier = "critical"


def prospects(tasks: Sequence[Counted], policy: Gate) -> tuple[Prospect, ...]:
    """One for each rule on each task that the policy does not set aside, and for the general average."""
    counted = [task for task in tasks if _tier(task, policy) != "advisory"]
    found = [
        _under(_tier(task, policy), _gain(task, policy) if task.role == "domain" else _kept(task, policy))
        for task in counted
    ]
    general = [task for task in counted if task.role == "general" and not task.written]
    if general:
        supporting = all(_tier(task, policy) == "supporting" for task in general)
        found.append(_under("supporting" if supporting else "critical", _average(general, policy)))
    return tuple(found)


def _tier(task: Counted, policy: Gate) -> Tier:
    return policy.rule(task.suite, task.task).tier


def _under(tier: Tier, found: Prospect) -> Prospect:
    """A supporting rule keeps no gate from passing."""
    if tier == "critical":
        return found
    return replace(found, tier=tier, passes=None, impossible=None, caution=None)


def chance_to_pass(found: Sequence[Prospect]) -> float:
    """That a harmless configuration keeps every critical general rule, were the tasks independent."""
    return math.prod(each.passes for each in found if each.passes is not None)


def _gain(task: Counted, policy: Gate) -> Prospect:
    place = f"{task.suite}/{task.task}"
    why = _too_few_clusters(task)
    gain = policy.bound(task.suite, task.task, "min_gain")
    needed = _fewest_wins(gain, policy.alpha)
    if needed is None:
        why = f"no gain exceeds {number('rate', gain)}"
    elif why is None and task.draws < needed:
        why = f"not even {task.draws} answers won and none lost would show a gain: it takes {needed} items"
    return Prospect("min_gain", place, task.items, gain, None, None, why)


def _fewest_wins(gain: float, alpha: float) -> int | None:
    """Items that show more than `gain` if all are won: the exact p is then ((1 + gain) / 2)ⁿ (tango.py)."""
    if gain >= 1:
        return None
    return math.floor(math.log(alpha) / math.log((1 + max(gain, 0.0)) / 2)) + 1


def _kept(task: Counted, policy: Gate) -> Prospect:
    limit, alpha = policy.bound(task.suite, task.task, "max_drop"), policy.alpha
    needed = zero_flip_items(limit, alpha) if limit < 1 else 1
    clustered = task.draws < task.items
    short = task.draws < needed
    why = _too_few_clusters(task)
    if why is None and short and (not clustered or not _few_flips_may_do(task, limit, alpha)):
        why = _unexcluded(task, limit, needed, policy)
    return Prospect(
        "max_drop_task",
        f"{task.suite}/{task.task}",
        task.items,
        limit,
        binary_margin(task.items, ASSUMED_FLIPS, alpha),
        0.0 if why else _passes(limit, math.sqrt(ASSUMED_FLIPS / task.items), alpha),
        why,
        _unexcluded(task, limit, needed, policy) if short and why is None else None,
    )


def _unexcluded(task: Counted, limit: float, needed: int, policy: Gate) -> str:
    own = policy.rule(task.suite, task.task).max_drop is not None
    unit = "items" if task.draws == task.items else "independent clusters"
    would = math.ceil(1000 * zero_flip_margin(task.draws, policy.alpha)) / 1000
    return (
        f"{task.draws:,} {unit} cannot exclude a drop of {size('rate', limit)} "
        f"where not one answer changes: it takes {needed:,}, "
        f"or {'max_drop' if own else 'max_drop_task'} = {would:g}"
    )


def _few_flips_may_do(task: Counted, limit: float, alpha: float) -> bool:
    """Whether the fewest flips that have a variance, in as many clusters, could show the limit kept."""
    draws = task.draws
    error = math.sqrt(FEWEST_CHANGED * draws / (draws - 1))
    return task.items * limit > 1 + quantile(1 - alpha, draws - 1) * error


def _average(tasks: Sequence[Counted], policy: Gate) -> Prospect:
    error = math.sqrt(sum(ASSUMED_FLIPS / task.items for task in tasks)) / len(tasks)
    items = sum(task.items for task in tasks)
    return Prospect(
        "max_drop_average",
        "the general average",
        items,
        policy.max_drop_average,
        certifiable_margin(error, items, policy.alpha),
        _passes(policy.max_drop_average, error, policy.alpha),
    )


def _passes(margin: float, error: float, alpha: float) -> float:
    return upper_tail(quantile(1 - alpha) - margin / error)


def _too_few_clusters(task: Counted) -> str | None:
    if task.draws >= FEWEST_DRAWS or task.draws == task.items:
        return None
    return f"only {task.draws} clusters; an interval needs at least {FEWEST_DRAWS}"
