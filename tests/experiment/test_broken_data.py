"""Broken data files: each row that cannot be used is named by file and line, with what to do."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.data.task_rows import task_rows
from harness.data.training_rows import training_rows
from harness.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from tests.experiment.conftest import Project

E = "experiments/small.toml"


def read(project: Project) -> list[Problem]:
    """The problems of all rows of the experiment, as a run reads them before anything is made."""
    project.replace("suites/general.toml", '\n[task.registered]\nkind = "lm_eval"\ntask = "arc_easy"\n', "")
    loaded = project.load()
    found: list[Problem] = []
    data = loaded.experiment.data
    readings = [partial(training_rows, data.train if data else None, loaded.root)]
    for entry in loaded.suites:
        readings += [partial(task_rows, task, loaded.root) for task in entry.suite.task.values()]
    for reading in readings:
        try:
            reading()
        except ConfigurationError as error:
            found += error.problems
    return found


GOOD = '{"prompt": "a", "completion": "b"}\n'
# name of the file, its text, the line that is meant, part of the message, part of the help
TRAINING = {
    "cut short": ("t.jsonl", GOOD + '{"prompt": "a", "comp', 2, "not valid JSON", "one JSON object a line"),
    "no table": ("t.jsonl", GOOD + "[1, 2]\n", 2, "is not a JSON object", 'write {"column"'),
    "no completion": ("t.jsonl", GOOD + '{"prompt": "a"}\n', 2, "`completion` is missing", "the row has `prompt`"),
    "null": ("t.jsonl", GOOD + '{"prompt": "a", "completion": null}\n', 2, "`completion` is null", "fill it"),
    "typo in a column of CSV": ("t.csv", "prompt,completoin\na,b\n", 2, "`completion` is missing", "did you mean `completoin`?"),
    "empty": ("t.jsonl", "", None, "holds no rows", "an empty data set"),
}  # fmt: skip
CHOICE = '{"question": "q", "choices": ["x", "y"], "answer": '
# the task's file, its text, the line that is meant, part of the message, part of the help
MEASURED = {
    "unknown label": ("data/rows.jsonl", '{"title": "t", "label": "aa"}\n', 1, "is not in `labels`", 'did you mean "a"?'),
    "missing column": ("data/rows.jsonl", '{"titel": "t", "label": "a"}\n', 1, "no column `title`", "did you mean `titel`?"),
    "missing label": ("data/rows.jsonl", '{"title": "t"}\n', 1, "no column `label`", "the row has `title`"),
    "answer out of range": ("data/choice1.jsonl", CHOICE + "2}\n", 1, "the answer 2 is not among", "from 0 to 1"),
    "answer of no choice": ("data/choice1.jsonl", CHOICE + "0}\n" + CHOICE + '"z"}\n', 2, "'z' is not among", "one of the choices"),
}  # fmt: skip


def assert_told(problems: list[Problem], file: Path, line: int | None, message: str, help: str) -> None:
    problem = next(each for each in problems if each.file == file)
    assert message in problem.message
    assert help in (problem.help or "")
    assert problem.line == line


@pytest.mark.parametrize("case", TRAINING.values(), ids=TRAINING.keys())
def test_a_broken_training_file(project: Project, case: tuple[str, str, int | None, str, str]) -> None:
    name, text, *told = case
    file = project.write(name, text)
    project.replace(E, "python:rows:training_rows", name)
    assert_told(read(project), file, *told)


@pytest.mark.parametrize("case", MEASURED.values(), ids=MEASURED.keys())
def test_a_broken_file_of_a_task(project: Project, case: tuple[str, str, int | None, str, str]) -> None:
    name, text, *told = case
    file = project.write(name, text)
    assert_told(read(project), file, *told)
