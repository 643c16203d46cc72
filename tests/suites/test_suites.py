"""The rows of the shipped suites: splits that share nothing, one right answer each, the same every time."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment

from harness.experiment.schema import Suite
from harness.statistics.linear import FEWEST_DRAWS
from suites import medical

ROOT = Path(__file__).parents[2]
RATE_TASKS = ("world", "grammar", "arithmetic", "commonsense")
CLUSTER_OF = {"world": "country", "grammar": "template", "arithmetic": "template"}
DIGEST = """
import hashlib, importlib, json
names = ["medical:chapter_test", "medical:inclusion_test", "medical:text_test", "medical:training_rows",
         "medical:validation_rows", "world:test", "grammar:test", "arithmetic:validation"]
for name in names:
    module, function = name.split(":")
    rows = list(getattr(importlib.import_module("suites." + module), function)())
    print(name, hashlib.sha256(json.dumps(rows).encode()).hexdigest())
"""


def suite(name: str) -> Suite:
    return Suite.model_validate(tomllib.loads((ROOT / "suites" / f"{name}.toml").read_text(encoding="utf-8")))


def rows(source: str) -> list[dict[str, Any]]:
    """The rows of a data source, as the harness reads them."""
    if source.startswith("python:"):
        _, module, function = source.split(":")
        return list(getattr(importlib.import_module(module), function)())
    return [json.loads(line) for line in (ROOT / source).read_text(encoding="utf-8").splitlines()]


def task_rows(suite_name: str, task: str, split: str) -> list[dict[str, Any]]:
    data = suite(suite_name).task[task].data
    assert data is not None
    source = getattr(data, split)
    assert source is not None
    return rows(source)


def values(found: Iterable[dict[str, Any]], column: str) -> set[Any]:
    return {row[column] for row in found}


@pytest.mark.parametrize("name", ["medical", "general", "general_hub"])
def test_suite_files_are_valid_and_name_licence_and_source(name: str) -> None:
    loaded = suite(name)
    assert loaded.name == name
    assert loaded.licence
    assert loaded.source


@pytest.mark.parametrize(
    ("name", "task"),
    [(name, task) for name in ("medical", "general") for task in suite(name).task],
)
def test_test_and_validation_share_no_cluster_and_no_item(name: str, task: str) -> None:
    test, validation = (task_rows(name, task, split) for split in ("test", "validation"))
    assert test
    assert validation
    assert not {json.dumps(row) for row in test} & {json.dumps(row) for row in validation}
    cluster = suite(name).task[task].cluster
    if cluster is not None:
        assert all(row[cluster] for row in test + validation)
        assert values(test, cluster).isdisjoint(values(validation, cluster))


@pytest.mark.parametrize(
    ("name", "task"), [("medical", "chapter"), ("general", "world"), ("general", "arithmetic")]
)
def test_every_slice_is_large_enough_to_be_looked_at(name: str, task: str) -> None:
    test = task_rows(name, task, "test")
    declared = suite(name).task[task]
    assert declared.slices
    for column in declared.slices:
        for value in values(test, column):
            within = [row for row in test if row[column] == value]
            assert len(values(within, declared.cluster or "")) >= FEWEST_DRAWS, value


@pytest.mark.parametrize("task", RATE_TASKS)
@pytest.mark.parametrize("split", ["test", "validation"])
def test_every_choice_item_has_one_right_answer(task: str, split: str) -> None:
    found = task_rows("general", task, split)
    for row in found:
        assert row["prompt"].strip() == row["prompt"] != ""
        assert 2 <= len(row["choices"]) <= 4
        assert len(set(row["choices"])) == len(row["choices"])
        assert 0 <= row["answer"] < len(row["choices"])
    assert len({(row["prompt"], *sorted(row["choices"])) for row in found}) == len(found)
    # The place of the answer must not give it away.
    assert len({row["answer"] for row in found}) == max(len(row["choices"]) for row in found)


@pytest.mark.parametrize("task", RATE_TASKS)
def test_no_prompt_is_in_both_splits(task: str) -> None:
    test, validation = (task_rows("general", task, split) for split in ("test", "validation"))
    asked = {(row["prompt"], *sorted(row["choices"])) for row in test}
    assert asked.isdisjoint((row["prompt"], *sorted(row["choices"])) for row in validation)


def test_general_has_a_thousand_items_over_four_rate_tasks() -> None:
    counts = {task: len(task_rows("general", task, "test")) for task in RATE_TASKS}
    assert sum(counts.values()) >= 1000
    assert counts["commonsense"] >= 150
    assert len(task_rows("general", "prose", "test")) == 50


def test_arithmetic_answers_are_right_where_the_prompt_is_an_equation() -> None:
    checked = 0
    for row in task_rows("general", "arithmetic", "test"):
        equation = row["prompt"].splitlines()[-1].split()
        if equation[-1] == "=" and equation[-3] in "+-×" and equation[-4].isdigit():
            left, sign, right = int(equation[-4]), equation[-3], int(equation[-2])
            result = {"+": left + right, "-": left - right, "×": left * right}[sign]
            assert row["choices"][row["answer"]] == str(result)
            checked += 1
    assert checked > 166


@pytest.mark.parametrize("task", sorted(CLUSTER_OF))
def test_enough_clusters_for_an_interval(task: str) -> None:
    assert len(values(task_rows("general", task, "test"), CLUSTER_OF[task])) >= 36


def test_no_category_is_in_two_splits() -> None:
    by_split = {
        split: {c.code for c in medical.categories() if c.split == split}
        for split in ("train", "validation", "test")
    }
    assert sum(map(len, by_split.values())) == len(medical.categories()) == len(set.union(*by_split.values()))
    for task in suite("medical").task:
        assert values(task_rows("medical", task, "test"), "category") <= by_split["test"]
        assert values(task_rows("medical", task, "validation"), "category") <= by_split["validation"]


def test_chapter_has_one_item_a_category_and_every_label() -> None:
    task = suite("medical").task["chapter"]
    test = task_rows("medical", "chapter", "test")
    assert 380 <= len(test) == len(values(test, "category")) == len(values(test, "title"))
    assert task.labels == medical.LABELS
    assert values(test, "label") == set(medical.LABELS)
    assert values(task_rows("medical", "chapter", "validation"), "label") == set(medical.LABELS)


def test_training_rows_hold_nothing_of_the_test_categories() -> None:
    pairs = [*medical.training_rows(), *medical.validation_rows()]
    prompts = values(pairs, "prompt")
    assert len(prompts) == len(pairs)
    assert all(set(pair) == {"prompt", "completion"} and pair["completion"].strip() for pair in pairs)
    titles = {row["title"] for row in medical.chapter_test()}
    terms = {row["term"] for row in medical.inclusion_test()}
    assert not {medical.CHAPTER_PROMPT.format(title=title) for title in titles} & prompts
    assert not {medical.INCLUSION_PROMPT.format(term=term) for term in terms} & prompts
    codes = {category.code for category in medical.categories() if category.split != "train"}
    headings = {
        prompt.split()[2].rstrip(":")
        for prompt in values(medical.training_rows(), "prompt")
        if "category" in prompt
    }
    assert headings.isdisjoint(codes)


def test_training_prompts_are_worded_as_in_the_evaluation() -> None:
    task = suite("medical").task
    templates = Environment(autoescape=False)
    row = {"title": "Cholera", "term": "Cholera NOS"}
    chapter, inclusion = (templates.from_string(task[name].prompt or "") for name in ("chapter", "inclusion"))
    assert chapter.render(row) == medical.CHAPTER_PROMPT.format(**row)
    assert inclusion.render(row) == medical.INCLUSION_PROMPT.format(**row)


def test_rows_do_not_depend_on_the_hash_seed() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
