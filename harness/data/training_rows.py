"""Training rows: read, checked, and in the one shape that the trainer takes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.formats import TrainOn, shaped
from harness.data.identity import item_id
from harness.data.sources import read_rows
from harness.experiment.schema import TrainData


@dataclass(frozen=True)
class TrainingRow:
    """One row in a canonical shape, and the part of it that has a loss."""

    values: dict[str, Any]
    train_on: TrainOn


@dataclass(frozen=True)
class TrainingRows:
    """Rows of one source in a canonical shape (see harness.data.shapes).

    train_on:   the part of every row that has a loss
    note:       what was guessed about the rows, None where nothing was
    duplicates: rows that repeat an earlier one exactly; they are kept
    """

    rows: tuple[dict[str, Any], ...]
    train_on: TrainOn = "all"
    note: str | None = None
    duplicates: int = 0

    def __iter__(self) -> Iterator[TrainingRow]:
        return (TrainingRow(values, self.train_on) for values in self.rows)


@dataclass(frozen=True)
class Mixture:
    """Training rows with replayed ones among them.

    note:       what was guessed about both, and how many are replayed
    duplicates: rows that repeat an earlier one exactly, replayed rows that come again among them
    """

    rows: tuple[TrainingRow, ...]
    note: str
    duplicates: int = 0

    def __iter__(self) -> Iterator[TrainingRow]:
        return iter(self.rows)


def training_rows(data: TrainData | None, root: Path) -> TrainingRows:
    """The rows that a recipe trains on. Raises ConfigurationError naming the bad rows."""
    if data is None:
        return TrainingRows(())
    found = shaped(read_rows(data.source, root, data.limit), data)
    return TrainingRows(found.rows, found.train_on, found.note, _duplicates(found.rows))


def _duplicates(rows: Sequence[Mapping[str, Any]]) -> int:
    return len(rows) - len({item_id(row) for row in rows})


def mixed(rows: TrainingRows, replay: TrainingRows, fraction: float, seed: int) -> Mixture:
    """`rows` with as many of `replay` among them as make `fraction` of the mixture.

    The replayed rows are drawn without replacement; a source that is too small is gone through as a
    whole as often as needed. They are spread evenly, each at a random place of its stretch; the
    order of `rows` stays. Equal seeds draw equal rows.
    """
    wanted = round(len(rows.rows) * fraction / (1 - fraction))
    generator = random.Random(seed)
    drawn = _drawn(list(replay), wanted, generator)
    placed = [((index + 0.5) / len(rows.rows), row) for index, row in enumerate(rows)]
    placed += [((index + generator.random()) / wanted, row) for index, row in enumerate(drawn)]
    placed.sort(key=lambda pair: pair[0])
    notes = [note for note in (rows.note, replay.note) if note]
    notes.append(f"replay: {wanted:,} of {len(placed):,} rows, drawn from {len(replay.rows):,}")
    if wanted > len(replay.rows):
        notes.append(f"they are too few, so each is repeated {wanted / len(replay.rows):.1f} times")
    mixture = tuple(row for _, row in placed)
    return Mixture(mixture, "; ".join(notes), _duplicates([row.values for row in mixture]))


def _drawn(source: Sequence[TrainingRow], count: int, generator: random.Random) -> list[TrainingRow]:
    passes, rest = divmod(count, len(source))
    drawn = [*source] * passes + generator.sample(source, rest)
    generator.shuffle(drawn)
    return drawn
