"""Training rows: read, checked, and in the one shape that the trainer takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.formats import COLUMNS, training_format
from harness.data.sources import read_rows
from harness.experiment.schema import TrainData


@dataclass(frozen=True)
class TrainingRows:
    """Rows with only the columns of their format. `note` says what was guessed about them."""

    rows: tuple[dict[str, Any], ...]
    note: str | None = None


def training_rows(data: TrainData | None, root: Path) -> TrainingRows:
    """The rows that a recipe trains on. Raises ConfigurationError naming the bad rows."""
    if data is None:
        return TrainingRows(())
    rows = read_rows(data.source, root, data.limit)
    found = training_format(rows, data.format, data.source)
    columns = COLUMNS[found.format]
    return TrainingRows(tuple({column: row.values[column] for column in columns} for row in rows), found.note)
