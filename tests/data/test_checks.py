"""Rows against what a task asks of them; identity and splitting."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.checks import check_task_rows
from harness.data.identity import item_id, item_ids
from harness.data.rows import Row
from harness.data.split import split_by_hash
from harness.errors import ConfigurationError
from harness.experiment.schema import Task

DATA = {"test": "x.jsonl"}
LABELS = {"kind": "classification", "data": DATA, "prompt": "{{ title }}:", "labels": ["eye", "ear"]}
TASKS = {
    "sliced": Task.model_validate({**LABELS, "slices": ["kind"]}),
    "label": Task.model_validate(
        {
            "kind": "classification",
            "data": DATA,
            "prompt": "{{ title }}:",
            "labels": ["eye", "ear"],
            "cluster": "group",
        }
    ),
    "choice": Task.model_validate(
        {
            "kind": "multiple_choice",
            "data": DATA,
            "prompt": "question",
            "choices": "choices",
            "answer": "answer",
        }
    ),
    "qa": Task.model_validate(
        {"kind": "qa", "data": DATA, "prompt": "{{ q }}{{ hint | default('') }}", "answer": "a"}
    ),
    "text": Task.model_validate({"kind": "perplexity", "data": DATA, "text": "text"}),
}
SOUND = {
    "sliced": {"title": "t", "label": "eye", "kind": "a"},
    "label": {"title": "t", "label": "eye", "group": "g"},
    "choice": {"question": "q", "choices": ["12", "7"], "answer": "7"},
    "qa": {"q": "q", "a": ["one", "two"]},
    "text": {"text": "words"},
}


@pytest.mark.parametrize("name", TASKS)
def test_sound_rows_have_no_problem(name: str) -> None:
    assert check_task_rows(TASKS[name], [Row(SOUND[name])], "x") == []


@pytest.mark.parametrize(
    ("name", "change", "message", "help"),
    [
        ("label", {"title": ...}, "no column `title`, which `prompt` names", "the row has `label`, `group`"),
        ("label", {"title": ..., "titel": "x"}, "no column `title`", "did you mean `titel`?"),
        ("label", {"title": None}, "`title` is null", ""),
        ("label", {"group": ...}, "no column `group`, which `cluster` names", ""),
        ("sliced", {"kind": ...}, "no column `kind`, which `slices` names", "the row has `title`, `label`"),
        ("label", {"label": "eyes"}, "the label 'eyes' is not in `labels`", 'did you mean "eye"?'),
        ("label", {"label": 1}, "the label 1 is not in `labels`", 'labels are "eye", "ear"'),
        ("choice", {"answer": "9"}, "the answer '9' is not among the choices", "from 0 to 1"),
        ("choice", {"answer": 2}, "the answer 2 is not among", ""),
        ("choice", {"answer": True}, "the answer True is not among", ""),
        ("choice", {"choices": ["a"]}, "at least two different", ""),
        ("choice", {"choices": ["a", "a"]}, "at least two different", ""),
        ("choice", {"choices": "a b"}, "at least two different", ""),
        ("qa", {"a": []}, "the answer must be text", ""),
        ("qa", {"a": " "}, "the answer must be text", ""),
        ("text", {"text": "  "}, "the text is empty", ""),
        ("text", {"text": None}, "`text` is null", ""),
    ],
)
def test_a_row_that_the_task_cannot_use(name: str, change: dict[str, Any], message: str, help: str) -> None:
    values = {key: value for key, value in {**SOUND[name], **change}.items() if value is not ...}
    (problem,) = check_task_rows(TASKS[name], [Row(values, Path("x.jsonl"), 7, 5)], "x.jsonl")
    assert (problem.file, problem.line, problem.column) == (Path("x.jsonl"), 7, 1)
    assert message in problem.message
    assert help in (problem.help or "")


def test_a_row_of_a_function_is_named_by_its_number() -> None:
    (problem,) = check_task_rows(
        TASKS["text"], [Row({"text": ""}, None, None, 17)], "python:suites.medical:prose"
    )
    assert problem.message == "row 17 of python:suites.medical:prose: the text is empty"


def test_at_most_twenty_rows_are_named() -> None:
    found = check_task_rows(TASKS["text"], [Row({"text": ""}, None, None, n) for n in range(1, 51)], "x")
    assert len(found) == 21
    assert "30 more problems like these in x (50 in 50 rows)" in found[20].message


def test_an_item_is_named_by_its_content() -> None:
    assert item_id({"a": 1, "b": "ü"}) == item_id({"b": "ü", "a": 1})
    assert item_id({"a": 1}) != item_id({"a": "1"})
    assert len(item_id({"a": date(2026, 1, 2), "b": b"x", "c": "\ud800"})) == 16


def test_identical_items_get_ordinals() -> None:
    one, two = {"a": 1}, {"a": 2}
    first, second = item_id(one), item_id(two)
    assert item_ids([one, two, one, one]) == (first, second, f"{first}#1", f"{first}#2")


ROWS = [Row({"x": n, "group": n // 5}) for n in range(500)]


def test_a_split_depends_on_content_alone() -> None:
    test, validation = split_by_hash(ROWS, 0.2)
    assert 60 < len(validation) < 140
    assert {row.values["x"] for row in test} | {row.values["x"] for row in validation} == set(range(500))
    _, again = split_by_hash([*reversed(ROWS[100:]), *ROWS[:100]], 0.2)
    assert {row.values["x"] for row in again} == {row.values["x"] for row in validation}


@given(fraction=st.floats(0.1, 0.9))
def test_rows_of_a_cluster_stay_together(fraction: float) -> None:
    test, validation = split_by_hash(ROWS, fraction, "group")
    assert not {row.values["group"] for row in test} & {row.values["group"] for row in validation}


def test_a_larger_fraction_only_adds_validation_rows() -> None:
    small, large = (split_by_hash(ROWS, fraction)[1] for fraction in (0.2, 0.5))
    assert {row.values["x"] for row in small} < {row.values["x"] for row in large}


def test_a_split_that_leaves_nothing_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="leaves no validation rows"):
        split_by_hash(ROWS[:5], 0.2, "group")
