"""Rows of a task in which the model writes its answer."""

from __future__ import annotations

from typing import Any

import pytest

from harness.data.checks import check_task_rows
from harness.data.rows import Row
from harness.experiment.schema import Task

SHARED = {"kind": "generated_choice", "data": {"test": "x.jsonl"}, "prompt": "question"}
CHOICES = Task.model_validate({**SHARED, "choices": "choices", "answer": "answer"})
LABELS = Task.model_validate({**SHARED, "labels": ["eye", "ear"]})


def messages(task: Task, row: dict[str, Any]) -> list[str]:
    return [problem.message for problem in check_task_rows(task, [Row({"question": "q", **row})], "x")]


@pytest.mark.parametrize(
    ("task", "row"),
    [
        (CHOICES, {"choices": ["12", "7"], "answer": "7"}),
        (CHOICES, {"choices": ["a", "b"], "answer": 1}),
        (LABELS, {"label": "ear"}),
    ],
)
def test_sound_rows_have_no_problem(task: Task, row: dict[str, Any]) -> None:
    assert messages(task, row) == []


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        (CHOICES, {"choices": ["Yes", "yes."], "answer": 0}, "the choice 'yes.', once it is written, is read as 'Yes'"),
        (CHOICES, {"choices": ["!", "yes"], "answer": 0}, "the choice '!', once it is written, is read as no answer"),
        (CHOICES, {"choices": ["a", "b"], "answer": "c"}, "the answer 'c' is not among the choices"),
        (CHOICES, {"choices": ["a"], "answer": 0}, "at least two different texts"),
        (LABELS, {"label": "nose"}, "the label 'nose' is not in `labels`"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_judged_by_what_is_written_is_refused(
    task: Task, row: dict[str, Any], message: str
) -> None:
    (said,) = messages(task, row)
    assert message in said
