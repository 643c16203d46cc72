"""Do a task's rows have what its prompt, choices, answer and labels ask for?"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from harness.data.columns import Wrong, column_trouble
from harness.data.rows import Row, first_twenty, row_problem
from harness.errors import Problem
from harness.experiment.schema import Task
from harness.experiment.templates import render
from harness.experiment.written_answers import unreadable

_TEMPLATES = ("prompt", "choices", "answer", "text", "cluster")


def check_task_rows(task: Task, rows: Sequence[Row], where: str) -> list[Problem]:
    """The rows that the task cannot use; up to twenty, then their count. `where` names the source."""
    problems: list[Problem] = []
    for row in rows:
        wrong = _missing_columns(task, row.values) or _wrong_answer(task, row.values)
        if wrong:
            message, help = wrong
            problems.append(row_problem(row, where, message, help))
    return first_twenty(problems, len(rows), where)


def _missing_columns(task: Task, values: Mapping[str, Any]) -> Wrong | None:
    named = [(key, getattr(task, key)) for key in _TEMPLATES]
    for key, text in (*named, *(("slices", column) for column in task.slices)):
        wrong = None if text is None else column_trouble(key, text, values)
        if wrong is not None:
            return wrong
    return None


def _wrong_answer(task: Task, values: Mapping[str, Any]) -> Wrong | None:
    if task.labels is not None:
        return _wrong_label(task, values)
    if task.kind in ("multiple_choice", "generated_choice"):
        return _wrong_choice(task, values)
    if task.kind == "qa" and task.answer is not None:
        answer = render(task.answer, values)
        golds = [answer] if isinstance(answer, str) else answer
        if not isinstance(golds, list | tuple) or not golds or not all(_is_said(gold) for gold in golds):
            return f"the answer must be text or a list of texts, none of them empty; it is {answer!r}", None
    if task.kind == "perplexity" and task.text is not None and not _is_said(render(task.text, values)):
        return "the text is empty", None
    return None


def _is_said(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _wrong_label(task: Task, values: Mapping[str, Any]) -> Wrong | None:
    labels = task.labels or ()
    answer = render(task.answer or "label", values)
    if answer in labels:
        return None
    near = difflib.get_close_matches(str(answer), labels, n=1)
    named = ", ".join(f'"{label}"' for label in labels[:8]) + (", …" if len(labels) > 8 else "")
    return (
        f"the label {answer!r} is not in `labels`",
        f'did you mean "{near[0]}"?' if near else f"labels are {named}",
    )


def _wrong_choice(task: Task, values: Mapping[str, Any]) -> Wrong | None:
    choices = list_of_choices(render(task.choices or "choices", values))
    if choices is None:
        return "`choices` must give a list of at least two different texts", None
    wrong = unreadable(choices) if task.kind == "generated_choice" else None
    if wrong is not None:
        read = "as no answer" if wrong[1] is None else f"as {wrong[1]!r}"
        help = "choices are told apart by their words: case and trailing punctuation do not count"
        return f"the choice {wrong[0]!r}, once it is written, is read {read}", help
    answer = render(task.answer or "answer", values)
    if isinstance(answer, str) and answer in choices:
        return None
    index = int(answer) if isinstance(answer, str) and answer.strip().isdigit() else answer
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(choices):
        return None
    help = f"an answer is one of the choices, or its index from 0 to {len(choices) - 1}"
    return f"the answer {answer!r} is not among the choices", help


def list_of_choices(value: Any) -> list[str] | None:
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            return None
    if not isinstance(value, list | tuple) or len(value) < 2:
        return None
    texts = [str(choice) for choice in value]
    return texts if len(set(texts)) == len(texts) and all(text for text in texts) else None
