"""Whether the gate of an experiment can be passed at all, from the items that its suites hold."""

from __future__ import annotations

from harness.errors import UsageError
from harness.estimate.amounts import Amounts, NotCounted
from harness.experiment.metrics import METRICS
from harness.experiment.schema import LoadedExperiment, Task
from harness.fingerprints import SourceFingerprints, task_inputs
from harness.gate.lint import Counted, Prospect, prospects


def gate_prospects(
    loaded: LoadedExperiment, amounts: Amounts, sources: SourceFingerprints
) -> tuple[Prospect, ...]:
    """Of every task that the gate judges by a rate and that has rows of its own: others are unknown."""
    tasks = []
    for entry in loaded.suites:
        for name, task in entry.suite.task.items():
            if not task.gate or not _is_rate(task):
                continue
            try:
                found = amounts.of_task(task, task_inputs(task, sources)).test
            except NotCounted:
                continue
            written = task.likelihood is not None
            tasks.append(Counted(entry.suite.name, name, entry.role, found.rows, found.draws, written))
    return prospects(tasks, loaded.experiment.gate)


def refuse_impossible(loaded: LoadedExperiment, amounts: Amounts, sources: SourceFingerprints) -> None:
    """Raises UsageError for a gate that no measurement of these items could pass where nothing is lost."""
    found = gate_prospects(loaded, amounts, sources)
    reasons = [f"{each.place}: {each.impossible}" for each in found if each.impossible]
    if reasons:
        raise UsageError(
            "this gate cannot be passed, so nothing was run:\n"
            + "\n".join(f"  {reason}" for reason in reasons)
            + '\n--force runs it all the same; tier = "supporting" or "advisory" in [gate.task."suite/task"] '
            "asks less of a task"
        )


def _is_rate(task: Task) -> bool:
    return task.primary in METRICS and METRICS[task.primary].unit == "rate"
