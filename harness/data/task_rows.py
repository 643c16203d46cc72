"""The rows of one task: read, split and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.checks import check_task_rows
from harness.data.rows import Row
from harness.data.sources import read_rows
from harness.data.split import split_by_hash
from harness.errors import ConfigurationError
from harness.experiment.schema import Task


@dataclass(frozen=True)
class TaskRows:
    """What is measured, and what choices are made on. Both empty for a task on hub data."""

    test: tuple[Mapping[str, Any], ...]
    validation: tuple[Mapping[str, Any], ...]


def task_rows(task: Task, root: Path) -> TaskRows:
    """Test and validation rows of a task. Raises ConfigurationError naming the bad rows."""
    if task.data is None:
        return TaskRows((), ())
    test = _checked(task, task.data.test, root)
    if task.data.validation is not None:
        validation = _checked(task, task.data.validation, root)
    elif task.kind == "lm_eval":
        validation = ()  # a registered task's number is over all its rows
    else:
        test, validation = split_by_hash(test, task.data.validation_fraction, task.cluster)
    return TaskRows(tuple(row.values for row in test[: task.limit]), tuple(row.values for row in validation))


def _checked(task: Task, source: str, root: Path) -> tuple[Row, ...]:
    rows = read_rows(source, root)
    problems = check_task_rows(task, rows, source)
    if problems:
        raise ConfigurationError(problems)
    return rows
