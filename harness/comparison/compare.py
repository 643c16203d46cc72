"""Two lists of measurements → the facts about the pair."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from harness.comparison.differences import task_facts
from harness.comparison.facts import Comparison, Pair, Role, SuiteFacts, TaskFacts
from harness.comparison.pairing import pair_problems, pair_tasks
from harness.statistics.distributions import two_sided
from harness.statistics.estimates import Estimate
from harness.statistics.linear import FEWEST_CHANGED, t_interval
from harness.store.measurements import Measurement


def compare(base: Sequence[Measurement], tuned: Sequence[Measurement], pair: Pair) -> Comparison:
    """Facts about tuned - base, task by task and on average.

    Never raises for bad measurements: what cannot be compared is a problem of the task or, where it
    concerns the pair as a whole, of the comparison (which then holds no numbers at all).
    """
    facts = Comparison(base=pair.base, tuned=pair.tuned, differs_in=pair.differs_in, declared=pair.declared)
    problems = pair_problems(base, tuned, pair)
    if problems:
        return facts.model_copy(update={"problems": problems})
    tasks = tuple(task_facts(task, pair) for task in pair_tasks(base, tuned, pair))
    general = [task for task in tasks if task.role == "general"]
    return facts.model_copy(
        update={
            "tasks": tasks,
            "general_average": average_difference(general),
            "general_noise": average_noise(general),
            "suites": tuple(suite_facts(suite, role, tasks) for suite, role in pair.roles.items()),
        }
    )


def suite_facts(suite: str, role: Role, tasks: Sequence[TaskFacts]) -> SuiteFacts:
    """The suite's average over those of all tasks that are its own."""
    within = [task for task in tasks if task.suite == suite]
    return SuiteFacts(
        suite=suite,
        role=role,
        tasks=tuple(task.task for task in averaged(within)),
        average=average_difference(within),
    )


def average_difference(tasks: Sequence[TaskFacts]) -> Estimate | None:
    """Unweighted mean difference of the gated tasks whose primary metric is a rate (a fraction).

    SE = sqrt(Σ SE_k²)/K, normal (statistics.md 4.12); tasks share no items. None when there is no
    such task, or one of them has no estimate: an average over the rest would be another question.
    """
    estimates = [
        task.metrics[task.primary].difference if task.primary in task.metrics else None
        for task in averaged(tasks)
    ]
    known = [estimate for estimate in estimates if estimate is not None]
    if not known or len(known) < len(estimates):
        return None
    value = sum(estimate.value for estimate in known) / len(known)
    error = math.sqrt(sum(_standard_error(estimate) ** 2 for estimate in known)) / len(known)
    return Estimate(
        value=value,
        interval90=t_interval(value, error, None, 0.90),
        interval95=t_interval(value, error, None, 0.95),
        method="normal",
        n=sum(task.n for task in averaged(tasks)),
        standard_error=error,
    )


def average_noise(tasks: Sequence[TaskFacts]) -> float | None:
    """Deviation of the same average that numerics alone explain; None where that of a task is not known."""
    noises = [task.noise.deviation if task.noise else None for task in averaged(tasks)]
    known = [noise for noise in noises if noise is not None]
    if not known or len(known) < len(noises):
        return None
    return math.sqrt(sum(noise**2 for noise in known)) / len(known)


def averaged(tasks: Iterable[TaskFacts]) -> list[TaskFacts]:
    """Gated tasks with a rate as primary. One with problems stays in, and so makes the average None."""
    return [task for task in tasks if task.gated and (task.problems or _is_rate(task))]


def _is_rate(task: TaskFacts) -> bool:
    return task.metrics[task.primary].metric.unit == "rate"


def _standard_error(estimate: Estimate) -> float:
    """A task's share in the average's uncertainty.

    Trap: with few flips the observed variance of d is (nearly) zero, and five unchanged tasks would
    prove an unchanged average. Then Tango's interval, which knows what zero flips are worth, gives it.
    """
    error = estimate.standard_error or 0.0
    if estimate.wins is None or estimate.losses is None or estimate.wins + estimate.losses >= FEWEST_CHANGED:
        return error
    interval = estimate.interval90
    return max(error, (interval.high - interval.low) / (2 * two_sided(interval.level)))
