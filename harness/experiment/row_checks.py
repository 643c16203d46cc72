"""Checks of what names rows and makes text of them: `[data.…]`, a recipe's `replay`, templates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.errors import Problem
from harness.experiment.document import KeyPath
from harness.experiment.located import Located
from harness.experiment.project import Project
from harness.experiment.sources import Rows, overlap, rows_of
from harness.experiment.templates import template_error
from harness.experiment.validate import value_at

_TRAIN: KeyPath = ("data", "train")


def check_rows(located: Located, tuned: Iterable[str], project: Project) -> list[Problem]:
    """What is wrong with where rows come from and how they become text."""
    problems = []
    train = rows_at(located, _TRAIN)
    for at in row_tables(tuned):
        table = value_at(located.table, at)
        if not isinstance(table, dict):
            continue
        source = table.get("source")
        if isinstance(source, str):
            trouble = project.source_problem(source)
            problems += [located.placed((*at, "source"), trouble)] if trouble else []
        rows = rows_at(located, at)
        if at != _TRAIN and rows and train and overlap(rows, train):
            problems.append(_same_rows(located, at))
        problems += _check_template(located, (*at, "template"), table)
    return problems


def row_tables(tuned: Iterable[str]) -> list[KeyPath]:
    """Where rows are named that a training reads, in an experiment with these tuned configurations."""
    return [_TRAIN, ("data", "validation"), *(("tuned", name, "replay") for name in tuned)]


def rows_at(located: Located, at: KeyPath) -> Rows | None:
    """The rows that the table at `at` names, or None where it names none."""
    table = value_at(located.table, at)
    source = table.get("source") if isinstance(table, dict) else None
    return rows_of(source, table.get("limit")) if isinstance(source, str) else None


def _same_rows(located: Located, at: KeyPath) -> Problem:
    name = located.name(at)
    remedy = "validation rows must not be trained on; name another source, or another part of this one"
    if at[-1] == "replay":
        remedy = "replay general rows, of another source"
    return located.problem((*at, "source"), f"`{name}` has rows of `data.train`", remedy)


def _check_template(located: Located, at: KeyPath, rows: dict[str, Any]) -> list[Problem]:
    template = rows.get("template")
    if not isinstance(template, dict):
        return []
    problems = []
    name = located.name(at)
    if rows.get("format", "auto") != "auto":
        message = f"`{name}` makes the text, so `format` has no use beside it"
        problems.append(located.problem((*at[:-1], "format"), message, "take one of the two out"))
    parts = template.keys() & {"text", "prompt", "completion"}
    if parts not in ({"text"}, {"prompt", "completion"}):
        message = f"`{name}` needs either `text`, or `prompt` and `completion`"
        remedy = 'write `text = "…"`, or `prompt = "…"` and `completion = "…"`'
        problems.append(located.problem(at, message, remedy))
    wrong = (template_problem(located, (*at, key), template[key]) for key in sorted(parts))
    return problems + [problem for problem in wrong if problem]


def template_problem(located: Located, at: KeyPath, text: Any) -> Problem | None:
    """What is wrong with the template at `at`, or None. What is no text is reported elsewhere."""
    wrong = template_error(text) if isinstance(text, str) else None
    if wrong is None:
        return None
    said, line = wrong
    where = f" in its line {line}" if line > 1 else ""
    message = f"`{located.name(at)}` is not a valid Jinja template{where}: {said}"
    return located.problem(at, message, "columns stand in braces: {{ title }}")
