"""Checks of `[gate.task."suite/task"]`: tasks that must exist, and numbers that have a use for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.errors import Problem
from harness.experiment.document import KeyPath
from harness.experiment.gate_schema import BOUNDS, Bound, bound_of
from harness.experiment.located import Located
from harness.experiment.metrics import METRICS
from harness.experiment.schema import LoadedSuite, Task
from harness.experiment.validate import suggestion, value_at

_AT: KeyPath = ("gate", "task")


def check_task_rules(located: Located, suites: Sequence[LoadedSuite], complete: bool) -> list[Problem]:
    """What is wrong with the tables of single tasks. Unless all suites are `complete`, a name may be in one
    that could not be read.
    """
    tables = value_at(located.table, _AT)
    known = {
        f"{loaded.suite.name}/{name}": (loaded, task)
        for loaded in suites
        for name, task in loaded.suite.task.items()
    }
    problems = []
    for name, table in tables.items() if isinstance(tables, dict) else ():
        if name not in known:
            if complete:
                problems.append(_unknown(located, name, list(known)))
        elif isinstance(table, dict):
            problems += _misplaced(located, name, table, *known[name])
    return problems


def _unknown(located: Located, name: str, known: list[str]) -> Problem:
    ending = [each for each in known if each.partition("/")[2] == name or each.partition("/")[0] == name]
    help = suggestion(name, known, '"')
    if ending:
        help = f'a task is named with its suite: [gate.task."{ending[0]}"]'
    message = f'`gate.task` names "{name}", which is no task of these suites'
    return located.problem_of_key((*_AT, name), message, help)


def _misplaced(
    located: Located, name: str, table: dict[str, Any], loaded: LoadedSuite, task: Task
) -> Iterator[Problem]:
    """Keys that would change nothing, which nobody means."""
    unit = judged_unit(loaded.role, task)
    if unit is None:
        return  # the metrics of a registered task are lm-eval's to say
    use = bound_of(loaded.role, unit)
    for key in BOUNDS:
        if key in table and key != use:
            message = (
                f'`{located.name((*_AT, name, key))}` has no use: "{name}" is {_what(loaded.role, unit)}'
            )
            yield located.problem((*_AT, name, key), message, _instead(use))
    decides = task.gate and use is not None
    if not decides and table.get("tier") in ("critical", "supporting"):
        why = f"it is {_what(loaded.role, unit)}"
        help = 'take it out, or write tier = "advisory"'
        if not task.gate:
            why, help = "its suite says `gate = false`", f"take `gate = false` out of {loaded.path}"
        message = f'"{name}" is shown only, because {why}; its tier cannot be {table["tier"]}'
        yield located.problem((*_AT, name, "tier"), message, help)


def judged_unit(role: str, task: Task) -> str | None:
    """The unit of the metric that speaks for a task; None where it is not known before it is loaded.

    The same rule as for what was measured (gate/questions.py): a rate that is primary, else the bits of
    general text.
    """
    if task.primary not in METRICS or task.kind == "lm_eval":
        return None
    units = {METRICS[name].unit for name in task.metrics or () if name in METRICS}
    primary = METRICS[task.primary].unit
    return "bits" if primary != "rate" and role == "general" and "bits" in units else primary


def _what(role: str, unit: str) -> str:
    if unit == "rate":
        return f"a {role} task with a rate"
    return f"{role} text" if unit in ("bits", "perplexity") else f"a {role} task without a rate"


def _instead(use: Bound | None) -> str:
    return "take it out: no number has a use there" if use is None else f"write `{use}` in place of it"
