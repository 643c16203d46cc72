"""A row of data, and how its problems are told: by file and line, up to twenty, with the count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import Problem

MOST_SHOWN = 20


@dataclass(frozen=True)
class Row:
    """One row. `number` counts the source's rows from 1; `line` is None where rows have no lines."""

    values: Mapping[str, Any]
    file: Path | None = None
    line: int | None = None
    number: int = 1


def row_problem(row: Row, where: str, message: str, help: str | None = None) -> Problem:
    """A problem with one row of the source `where`."""
    if row.line is not None:
        return Problem(message, row.file, row.line, 1, help=help)
    source = where if row.file is None else row.file.name
    return Problem(f"row {row.number} of {source}: {message}", row.file, help=help)


def first_twenty(problems: Sequence[Problem], rows: int, where: str) -> list[Problem]:
    """The problems that are shown, and how many there are in all."""
    if len(problems) <= MOST_SHOWN:
        return list(problems)
    rest = len(problems) - MOST_SHOWN
    said = f"{rest:,} more problems like these in {where} ({len(problems):,} in {rows:,} rows)"
    return [*problems[:MOST_SHOWN], Problem(said)]
