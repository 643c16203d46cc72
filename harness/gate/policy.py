"""What a policy says of single tasks, applied to a comparison: once, for the verdict and the report alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.comparison.compare import with_tasks
from harness.comparison.facts import Comparison, TaskFacts
from harness.experiment.gate_schema import BOUNDS, Gate, bound_of
from harness.gate.questions import judged_metric


def under(policy: Gate, comparison: Comparison) -> Comparison:
    """The comparison with the policy's advisory tasks ungated, and the averages over those that are left."""
    tasks = tuple(
        task.model_copy(update={"gated": False}) if _is_set_aside(task, policy) else task
        for task in comparison.tasks
    )
    if tasks == comparison.tasks:
        return comparison
    return with_tasks(comparison, tasks, {each.suite: each.role for each in comparison.suites})


def _is_set_aside(task: TaskFacts, policy: Gate) -> bool:
    return task.gated and policy.rule(task.suite, task.task).tier == "advisory"


def unfit(policy: Gate, comparison: Comparison) -> tuple[str, ...]:
    """Rules that say nothing about what was compared: such a gate is not the one that was meant."""
    return tuple(_unfit(policy, {f"{task.suite}/{task.task}": task for task in comparison.tasks}))


def _unfit(policy: Gate, tasks: Mapping[str, TaskFacts]) -> Iterator[str]:
    for name, rule in policy.task.items():
        if name not in tasks:
            yield f'the gate has rules for "{name}", which is not among the tasks: {", ".join(tasks)}'
        elif not tasks[name].problems:
            role, unit = tasks[name].role, judged_metric(tasks[name])[0].metric.unit
            asked = "tier" in rule.model_fields_set and rule.tier != "advisory"
            if asked and tasks[name].gated and not judged_metric(tasks[name])[1]:
                yield f"the gate's tier for {name} has no use: no limit is known for what judges it, a {unit}"
            for key in BOUNDS:
                if getattr(rule, key) is not None and key != bound_of(role, unit):
                    yield f"the gate's {key} for {name} has no use: it is a {role} task judged by a {unit}"
