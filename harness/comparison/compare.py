"""Two lists of measurements → the facts about the pair."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from harness.comparison.answer_form import with_form
from harness.comparison.differences import task_facts
from harness.comparison.facts import Comparison, Pair, Role, SuiteFacts, TaskFacts
from harness.comparison.pairing import PairedTask, pair_problems, pair_tasks
from harness.statistics.distributions import two_sided
from harness.statistics.estimates import Estimate, oriented
from harness.statistics.linear import FEWEST_CHANGED, t_interval
from harness.statistics.seeds import error_over_seeds, mean_parts
from harness.store.measurements import Measurement, TaskKey, nothing_collected


@nothing_collected()
def compare(base: Sequence[Measurement], tuned: Sequence[Measurement], pair: Pair) -> Comparison:
    """Facts about tuned - base, task by task and on average.

    Where the pair names runs, `tuned` holds the measurements of all of them, told apart by their
    configuration, and the facts are about the recipe: means over its seeds, whose intervals know that
    another seed would have made another model.

    Never raises for bad measurements: what cannot be compared is a problem of the task or, where it
    concerns the pair as a whole, of the comparison (which then holds no numbers at all).
    """
    facts = Comparison(
        base=pair.base,
        tuned=pair.tuned,
        differs_in=pair.differs_in,
        declared=pair.declared,
        runs=pair.runs,
    )
    runs = [(pair.model_copy(update={"tuned": name}), measured) for name, measured in _runs(tuned, pair)]
    problems = dict.fromkeys(found for run, measured in runs for found in pair_problems(base, measured, run))
    if problems:
        return facts.model_copy(update={"problems": tuple(problems)})
    paired = [task for run, measured in runs for task in pair_tasks(base, measured, run)]
    tasks = tuple(with_form(task_facts(each, pair), each, paired, pair) for each in _by_task(paired))
    return with_tasks(facts, tasks, pair.roles)


def with_tasks(facts: Comparison, tasks: tuple[TaskFacts, ...], roles: Mapping[str, Role]) -> Comparison:
    """The comparison with these tasks, and the averages over those of them that are gated."""
    general = [task for task in tasks if task.role == "general"]
    return facts.model_copy(
        update={
            "tasks": tasks,
            "general_average": average_difference(general),
            "general_noise": average_noise(general),
            "suites": tuple(_suite_facts(suite, role, tasks) for suite, role in roles.items()),
        }
    )


def _runs(tuned: Sequence[Measurement], pair: Pair) -> list[tuple[str, Sequence[Measurement]]]:
    if not pair.runs:
        return [(pair.tuned, tuned)]
    return [(name, [each for each in tuned if each.configuration == name]) for name in pair.runs]


def _by_task(paired: Sequence[PairedTask]) -> list[list[PairedTask]]:
    """The runs of each task together, in the order in which tasks are first met."""
    tasks: dict[TaskKey, list[PairedTask]] = {}
    for task in paired:
        tasks.setdefault((task.base.suite, task.base.task), []).append(task)
    return list(tasks.values())


def _suite_facts(suite: str, role: Role, tasks: Sequence[TaskFacts]) -> SuiteFacts:
    """The suite's average over those of all tasks that are its own."""
    within = [task for task in tasks if task.suite == suite]
    return SuiteFacts(
        suite=suite,
        role=role,
        tasks=tuple(task.task for task in averaged(within)),
        average=average_difference(within),
    )


def average_difference(tasks: Sequence[TaskFacts]) -> Estimate | None:
    """Unweighted mean difference of the gated tasks whose primary metric is a rate (a fraction), more being
    better.

    SE = sqrt(Σ SE_k²)/K, normal (statistics.md 4.12); tasks share no items. The seeds of a recipe they do
    share, so theirs is that of the average under each seed. None when there is no such task, or one of them
    has no estimate: an average over the rest would be another question.
    """
    estimates = [_gain(task) for task in averaged(tasks)]
    known = [estimate for estimate in estimates if estimate is not None]
    if not known or len(known) < len(estimates):
        return None
    value = sum(estimate.value for estimate in known) / len(known)
    crossed = [estimate.seeds for estimate in known if estimate.seeds is not None]
    if crossed:
        parts = mean_parts(crossed)
        error, degrees = error_over_seeds(crossed)
    else:
        parts, degrees = None, None
        error = math.sqrt(sum(_standard_error(estimate) ** 2 for estimate in known)) / len(known)
    return Estimate(
        value=value,
        interval90=t_interval(value, error, degrees, 0.90),
        interval95=t_interval(value, error, degrees, 0.95),
        method="crossed" if crossed else "normal",
        n=sum(task.n for task in averaged(tasks)),
        standard_error=error,
        degrees_of_freedom=degrees,
        seeds=parts,
    )


def _gain(task: TaskFacts) -> Estimate | None:
    """The primary difference in the direction in which more is better."""
    facts = task.metrics.get(task.primary)
    if facts is None or facts.difference is None:
        return None
    return oriented(facts.difference, facts.metric.higher_is_better)


def average_noise(tasks: Sequence[TaskFacts]) -> float | None:
    """Deviation of the same average that numerics alone explain; None where that of a task is not known."""
    noises = [task.noise.deviation if task.noise else None for task in averaged(tasks)]
    known = [noise for noise in noises if noise is not None]
    if not known or len(known) < len(noises):
        return None
    return math.sqrt(sum(noise**2 for noise in known)) / len(known)


def averaged(tasks: Iterable[TaskFacts]) -> list[TaskFacts]:
    """Gated tasks with a rate as primary. One with problems stays in, and so makes the average None.

    Written answers to the items of another task stay out: the average takes its tasks for independent.
    """
    rates = [task for task in tasks if task.gated and (task.problems or _is_rate(task))]
    names = {(task.suite, task.task) for task in rates}
    return [task for task in rates if (task.suite, task.likelihood) not in names]


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
