"""Suite files: reading one, and what each kind of task needs and cannot use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import ConfigurationError, Problem
from harness.experiment.annotations import shown
from harness.experiment.document import KeyPath, key_name, read_document
from harness.experiment.environment import interpolated
from harness.experiment.generated_choices import generated_choice_problems
from harness.experiment.keys import keys
from harness.experiment.located import Located, located
from harness.experiment.metrics import METRICS, METRICS_OF_KIND
from harness.experiment.project import Project
from harness.experiment.row_checks import template_problem
from harness.experiment.schema import LoadedSuite, Suite, Task
from harness.experiment.sources import overlap, rows_of
from harness.experiment.templates import is_template
from harness.experiment.validate import (
    suggestion,
    texts_at,
    valid,
    validation_problems,
    value_at,
    without,
)
from harness.experiment.written import written

_ANY_KIND = {"kind", "data", "metrics", "primary", "gate", "cluster", "slices", "limit"}
_TEMPLATES = ("prompt", "choices", "answer", "text")

KEYS_OF_KIND = {
    "multiple_choice": keys("data prompt choices answer", "num_fewshot"),
    "classification": keys("data prompt labels", "answer num_fewshot"),
    "generated_choice": keys(
        "data prompt", "labels choices answer num_fewshot max_new_tokens stop likelihood"
    ),
    "qa": keys("data prompt answer", "num_fewshot max_new_tokens stop"),
    "perplexity": keys("data text"),
    "lm_eval": keys("task", "num_fewshot"),
}


@dataclass(frozen=True)
class ReadSuite:
    """A suite's file: the suite, or None, and what is wrong with it."""

    suite: Suite | None
    problems: list[Problem]


def read_suite(name: str, project: Project) -> ReadSuite:
    """Reads and checks the suite's file. A problem with a file that cannot be read has no place."""
    try:
        tree, problems = interpolated(written(read_document(project.root / name)))
    except ConfigurationError as error:
        return ReadSuite(None, list(error.problems))
    found = located(tree)
    more, faulty = validation_problems(found, Suite)
    problems += more
    tasks = without(found.table, faulty).get("task")
    for task, table in tasks.items() if isinstance(tasks, dict) else ():
        problems += _TaskCheck(found, task, table).problems(project)
    problems += generated_choice_problems(found, tasks)
    return ReadSuite(valid(Suite, found.table), problems)


def load_suites(
    experiment: Located, read: Callable[[str], ReadSuite]
) -> tuple[list[LoadedSuite], list[Problem]]:
    """The suites that the experiment names. Problems in a suite point into its own file."""
    suites: list[LoadedSuite] = []
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    roles: tuple[Literal["domain", "general"], ...] = ("domain", "general")
    for role in roles:
        for index, name in texts_at(experiment.table, ("suites", role)):
            at: KeyPath = ("suites", role, index)
            found = read(name)
            problems += [experiment.placed(at, problem) for problem in found.problems]
            if found.suite and found.suite.name in seen:
                first = seen[found.suite.name]
                message = f'"{name}" is a second suite named "{found.suite.name}", after "{first}"'
                help = "a suite stands in an experiment once, with one role"
                problems.append(experiment.problem(at, message, help))
            elif found.suite:
                seen[found.suite.name] = name
                suites.append(LoadedSuite(path=name, role=role, suite=found.suite))
    return suites, problems


class _TaskCheck:
    """One task's table; `at` is where it stands, `table` what is left of it without wrong keys."""

    def __init__(self, located: Located, name: str, table: Any) -> None:
        self.located = located
        self.at: KeyPath = ("task", name)
        self.table: dict[str, Any] = table if isinstance(table, dict) else {}
        written = value_at(located.table, self.at)
        self.written: dict[str, Any] = written if isinstance(written, dict) else {}
        self.task = valid(Task, self.table)

    def problems(self, project: Project) -> list[Problem]:
        kind = self.table.get("kind")
        found = self._data(project)
        if isinstance(kind, str) and kind in KEYS_OF_KIND:
            found += self._keys(kind)
            found += self._templates()
        if self.task:
            found += self._labels(self.task)
            found += self._metrics(self.task)
            found += self._slices(self.task)
        return found

    def _problem(self, key: str, message: str, help: str) -> Problem:
        return self.located.problem((*self.at, key), message, help)

    def _name(self, key: str) -> str:
        return key_name((*self.at, key))

    def _keys(self, kind: str) -> list[Problem]:
        known = KEYS_OF_KIND[kind]
        found = []
        for key in sorted(known.needs - self.written.keys()):
            message = f"a task of kind {kind} needs `{key}`; `{key_name(self.at)}` has none"
            found.append(self.located.problem_of_table(self.at, message, f"add `{key} = …`"))
        for key in self.table.keys() - _ANY_KIND - known.needs - known.may:
            message = f"a task of kind {kind} cannot use `{key}`"
            found.append(self._problem(key, message, "take it out"))
        return found

    def _templates(self) -> list[Problem]:
        given = {key: self.table[key] for key in _TEMPLATES if key in self.table}
        wrong = (template_problem(self.located, (*self.at, key), text) for key, text in given.items())
        return [problem for problem in wrong if problem]

    def _data(self, project: Project) -> list[Problem]:
        data = self.table.get("data")
        if not isinstance(data, dict):
            return []
        found = []
        for part in ("test", "validation"):
            source = data.get(part)
            trouble = project.source_problem(source) if isinstance(source, str) else None
            if trouble:
                found.append(self.located.placed((*self.at, "data", part), trouble))
        at = (*self.at, "data", "validation")
        test, validation = data.get("test"), data.get("validation")
        if (
            isinstance(test, str)
            and isinstance(validation, str)
            and overlap(rows_of(test), rows_of(validation))
        ):
            message = f"`{key_name(at)}` has rows of its test data"
            help = "take it out: a part of test is then split off by hash"
            found.append(self.located.problem(at, message, help))
        if "validation" in data and "validation_fraction" in data:
            at = (*self.at, "data", "validation_fraction")
            message = f"`{key_name(at)}` has no use beside `validation`"
            found.append(self.located.problem(at, message, "keep one of the two"))
        return found

    def _labels(self, task: Task) -> list[Problem]:
        if task.labels is None or task.kind not in ("classification", "generated_choice"):
            return []
        if len(task.labels) < 2:
            message = f"`{self._name('labels')}` needs at least two labels"
            return [self._problem("labels", message, 'write labels = ["…", "…"]')]
        repeated = [index for index, label in enumerate(task.labels) if label in task.labels[:index]]
        return [
            self.located.problem(
                (*self.at, "labels", index),
                f'the label "{task.labels[index]}" stands twice in the list',
                "take one out",
            )
            for index in repeated
        ]

    def _slices(self, task: Task) -> list[Problem]:
        found = []
        for index, column in enumerate(task.slices):
            at = (*self.at, "slices", index)
            if is_template(column) or not column.strip():
                message = f"a slice is by a column, and {shown(column)} is no name of one"
                found.append(self.located.problem(at, message, "name a column of the task's rows"))
            elif column in task.slices[:index]:
                found.append(self.located.problem(at, f'the slice "{column}" stands twice', "take one out"))
        return found

    def _metrics(self, task: Task) -> list[Problem]:
        allowed = METRICS_OF_KIND.get(task.kind)
        found = []
        for index, metric in enumerate(task.metrics or ()):
            at = (*self.at, "metrics", index)
            if allowed is not None and metric not in allowed:
                known = (
                    f"a task of kind {task.kind} has no metric" if metric in METRICS else "there is no metric"
                )
                found.append(
                    self.located.problem(at, f'{known} "{metric}"', suggestion(metric, allowed, '"'))
                )
            elif metric in (task.metrics or ())[:index]:
                found.append(self.located.problem(at, f'the metric "{metric}" stands twice', "take one out"))
        if task.primary is not None and task.metrics is not None and task.primary not in task.metrics:
            message = (
                f"`{self._name('primary')}` is {shown(task.primary)}, which is not among the task's metrics"
            )
            found.append(self._problem("primary", message, suggestion(task.primary, task.metrics, '"')))
        return found
