"""Tasks of lm-eval's own catalogue, on their hub data or on local rows in its place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow
from lm_eval.api.group import Group
from lm_eval.tasks import TaskManager

from harness.errors import Problem, RunFailed, UsageError
from harness.experiment.located import read_located
from harness.experiment.metrics import Metric, lm_eval_metric
from harness.experiment.schema import Suite, Task
from harness.models.quiet import quiet_lm_eval

FEWSHOT_SEED = 1234  # lm-eval's own default
Rows = Sequence[Mapping[str, Any]]


@lru_cache(maxsize=1)
def _catalogue() -> TaskManager:
    """Reading lm-eval's thousands of task files takes seconds."""
    with quiet_lm_eval():
        return TaskManager()


_LISTED = "`lm-eval ls tasks` names them all"


def unknown_tasks(suite: Suite, file: Path) -> list[Problem]:
    """Names that the installed lm-eval does not know, each at its place in the suite file."""
    wanted = {name: task.task for name, task in suite.task.items() if task.kind == "lm_eval" and task.task}
    if not wanted:
        return []
    located, known = read_located(file), _catalogue().all_tasks
    problems = []
    for name, registered in wanted.items():
        if registered not in known:
            near = difflib.get_close_matches(registered, known, n=3)
            help = f"did you mean {' or '.join(f'`{each}`' for each in near)}?" if near else _LISTED
            problems.append(
                located.problem(("task", name, "task"), f"lm-eval has no task `{registered}`", help)
            )
    return problems


def load_registered(name: str, task: Task, test: Rows, fewshot: Rows) -> tuple[Any, ...]:
    """The lm-eval tasks behind a registered name: one, or the leaves of a group such as mmlu.

    Raises RunFailed where the data set cannot be had, saying how to go on without a network.
    """
    catalogue = _catalogue()
    overrides = _overrides(name, task, test, fewshot)
    try:
        with quiet_lm_eval():
            # `load` drops overrides of registered names; the factory behind it takes them.
            built = catalogue._factory.build(
                catalogue.task_index[task.task or ""], overrides=overrides, registry=catalogue.task_index
            )
    except Exception as error:  # whatever a data set script, a missing package or the network raises
        raise RunFailed(
            f"lm-eval task {task.task!r} could not be loaded: {type(error).__name__}: {error}\n"
            "Its data set comes from the Hugging Face hub. Without a network, give it local rows: "
            f'[task.{name}] data = {{ test = "rows.jsonl" }}'
        ) from error
    leaves = (
        built if isinstance(built, list) else built.get_all_tasks() if isinstance(built, Group) else [built]
    )
    for leaf in leaves:
        leaf.set_fewshot_seed(FEWSHOT_SEED)
    return tuple(leaves)


def _overrides(name: str, task: Task, test: Rows, fewshot: Rows) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    if task.num_fewshot is not None:
        overrides["num_fewshot"] = task.num_fewshot
    if test:
        tables = {"test": table(name, test)}
        if fewshot:
            tables["validation"] = table(name, fewshot)
        overrides |= {
            "custom_dataset": lambda **_: tables,
            "test_split": "test",
            "training_split": None,
            "validation_split": None,
            # From the test rows lm-eval leaves out the document itself; without a split it does not.
            "fewshot_split": "validation" if fewshot else "test",
        }
    return overrides


def table(name: str, rows: Rows) -> datasets.Dataset:
    """Rows as lm-eval wants them: every column that any row has (from_list takes those of the first row).

    Raises UsageError for a column of several types.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    try:
        return datasets.Dataset.from_list([{column: row.get(column) for column in columns} for row in rows])
    except (pyarrow.ArrowException, TypeError) as error:
        raise UsageError(f"the rows of [task.{name}] mix types in a column: {error}") from error


def registered_metrics(leaves: Sequence[Any]) -> dict[str, Metric]:
    """What the metrics that all leaves have mean, by the names that their items use."""
    per_leaf = [
        {
            metric_key(metric, filter_name, leaf): lm_eval_metric(
                metric, metric_key(metric, filter_name, leaf), better
            )
            for metric, better in leaf.higher_is_better().items()
            for filter_name in filter_names(leaf)
        }
        for leaf in leaves
    ]
    common = set.intersection(*(set(metrics) for metrics in per_leaf))
    return {name: metric for name, metric in per_leaf[0].items() if name in common}


def filter_names(lm_task: Any) -> list[str]:
    """The answer filters of a task (gsm8k: strict-match and flexible-extract)."""
    return [ensemble.name for ensemble in lm_task._filters]


def unread_by(lm_task: Any, filtered: Mapping[str, Any]) -> dict[str, bool]:
    """For each filter that looks for an answer in a text: whether it found none, and fell back."""
    steps = ((ensemble.name, make()) for ensemble in lm_task._filters for make in ensemble.filters)
    fallbacks = {name: step.fallback for name, step in steps if hasattr(step, "fallback")}
    return {name: filtered[name] in (fallback, [fallback]) for name, fallback in fallbacks.items()}


def metric_key(metric: str, filter_name: str, lm_task: Any) -> str:
    """lm-eval's "exact_match,strict-match" where a task has several filters, else the metric's own name."""
    return f"{metric},{filter_name}" if len(lm_task._filters) > 1 else metric
