"""Checks of tasks in which a model writes which option is right, and of the likelihood task beside one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import Problem
from harness.experiment.document import KeyPath, key_name
from harness.experiment.located import Located
from harness.experiment.suite_schema import Task
from harness.experiment.validate import suggestion, valid
from harness.experiment.written_answers import unreadable

_KIND = "generated_choice"
_BY_LIKELIHOOD = ("classification", "multiple_choice")
# What two tasks need alike to have the same items with the same options and the same right answers.
_ALIKE = ("data", "labels", "choices", "answer", "cluster")


def generated_choice_problems(located: Located, tasks: Any) -> list[Problem]:
    """What is wrong with the suite's tasks of this kind beyond types. `tasks`: the table `task`."""
    tables = tasks if isinstance(tasks, dict) else {}
    known = {name: task for name, table in tables.items() if (task := valid(Task, table)) is not None}
    problems: list[Problem] = []
    for name, task in known.items():
        if task.kind == _KIND:
            at: KeyPath = ("task", name)
            problems += _options(located, at, task)
            if task.likelihood is not None and (task.likelihood in known or task.likelihood not in tables):
                problems += _likelihood(located, at, task, known)
    return problems


def _options(located: Located, at: KeyPath, task: Task) -> Iterator[Problem]:
    if (task.labels is None) == (task.choices is None):
        message = f"a task of kind {_KIND} needs either `labels` or `choices`"
        has = "both" if task.labels is not None else "neither"
        help = "`labels` are the same for every row, `choices` are each row's own"
        yield located.problem_of_table(at, f"{message}; `{key_name(at)}` has {has}", help)
        return
    if task.labels is None and task.answer is None:
        message = f"a task of kind {_KIND} with `choices` needs `answer`; `{key_name(at)}` has none"
        yield located.problem_of_table(at, message, "add `answer = …`")
    if task.labels is None and "macro_f1" in (task.metrics or ()):
        message = (
            f"`{key_name((*at, 'metrics'))}` has macro-F1, which is over labels; this task has `choices`"
        )
        yield located.problem((*at, "metrics"), message, 'take "macro_f1" out')
    labels = tuple(dict.fromkeys(task.labels or ()))
    wrong = unreadable(labels)
    if wrong is not None:
        label, other = wrong
        read = "as no answer" if other is None else f'as "{other}"'
        message = f'the label "{label}", once it is written, is read {read}'
        help = "labels are told apart by their words: case and trailing punctuation do not count"
        yield located.problem((*at, "labels", (task.labels or ()).index(label)), message, help)


def _likelihood(located: Located, at: KeyPath, task: Task, known: Mapping[str, Task]) -> Iterator[Problem]:
    key = (*at, "likelihood")
    name, other = key_name(key), known.get(task.likelihood or "")
    choices = [each for each, one in known.items() if one.kind in _BY_LIKELIHOOD]
    if other is None:
        message = f'`{name}` names "{task.likelihood}", which is not a task of this suite'
        yield located.problem(
            key, message, suggestion(task.likelihood or "", choices, '"') if choices else _NONE
        )
        return
    if other.kind not in _BY_LIKELIHOOD:
        message = f'`{name}` names "{task.likelihood}", a task of kind {other.kind}'
        yield located.problem(key, message, "name a task of kind classification or multiple_choice")
        return
    for what in _ALIKE:
        if getattr(task, what) != getattr(other, what):
            message = f'`{name}` names "{task.likelihood}", which has another `{what}`'
            yield located.problem(key, message, f"the same items need the same `{what}` in both tasks")
            return
    if other.limit is not None and (task.limit is None or task.limit > other.limit):
        message = f'`{name}` names "{task.likelihood}", of which only {other.limit} rows are measured'
        yield located.problem(key, message, f"write `limit = {other.limit}`, or fewer")
    for owner, one, metric in ((at, task, "accuracy"), (at, task, "parsed"), (None, other, "accuracy")):
        if metric not in (one.metrics or ()):
            place = key_name(owner or ("task", task.likelihood or ""))
            message = f'`{name}` tells lost answers apart by "{metric}", which `{place}` does not measure'
            yield located.problem(key, message, f'add "{metric}" to the metrics of `{place}`')


_NONE = "there is no classification or multiple_choice task here; add one with the same rows"
