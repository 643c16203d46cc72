"""Which items of an experiment's suites are in the rows that it trains on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.contamination import Finding, contaminated, longest_match, words_of
from harness.data.task_rows import task_rows
from harness.experiment.schema import LoadedSuite, Task
from harness.experiment.templates import columns_of

# More domain items than this among the training rows, and a gain may be memory (statistics.md, section 5).
MOST_FLAGGED = 0.05
EXAMPLES = 2


@dataclass(frozen=True)
class Example:
    """An item beside the training row that has most of it; texts are not to be trusted where they are shown.

    row:     the training row's number from 1
    longest: words of the longest run that both have
    """

    reason: str
    item: str
    row: int
    row_text: str
    longest: int


@dataclass(frozen=True)
class TaskOverlap:
    """How many test items of a task are in the training rows. `unchecked` says why nobody looked."""

    suite: str
    task: str
    role: str
    items: int
    flagged: int
    examples: tuple[Example, ...] = ()
    unchecked: str | None = None

    @property
    def too_many(self) -> bool:
        return self.role == "domain" and self.flagged > MOST_FLAGGED * self.items


def task_overlaps(
    suites: Sequence[LoadedSuite], root: Path, rows: Sequence[Mapping[str, Any]]
) -> tuple[TaskOverlap, ...]:
    """Every task of the suites against training rows in a canonical shape (harness.data.shapes).

    Of an item the columns count that its prompt or text is made of, not the words of the template, which
    training rows may well share. Raises ConfigurationError for rows that cannot be read.
    """
    texts = [" ".join(_texts(row)) for row in rows]
    return tuple(
        _task_overlap(entry, name, task, root, texts)
        for entry in suites
        for name, task in entry.suite.task.items()
    )


def _task_overlap(entry: LoadedSuite, name: str, task: Task, root: Path, rows: Sequence[str]) -> TaskOverlap:
    place = entry.suite.name, name, entry.role
    asked = task.text or task.prompt
    if task.data is None or asked is None:
        return TaskOverlap(*place, 0, 0, unchecked="its texts are lm-eval's and not read here")
    if not any(rows):
        return TaskOverlap(*place, 0, 0, unchecked="the training rows hold no text")
    columns = sorted(columns_of(asked), key=asked.find)
    items = [" ".join(_texts([row.get(column) for column in columns])) for row in task_rows(task, root).test]
    if not any(items):
        return TaskOverlap(*place, 0, 0, unchecked="its prompts are made of no text")
    found = contaminated(items, rows)
    examples = tuple(_example(finding, items, rows) for finding in found[:EXAMPLES])
    return TaskOverlap(*place, len(items), len(found), examples)


def _example(finding: Finding, items: Sequence[str], rows: Sequence[str]) -> Example:
    item, row = items[finding.item], rows[finding.row]
    longest = longest_match(words_of(item), words_of(row))
    return Example(finding.reason, item, finding.row + 1, row, longest)


def _texts(value: Any) -> Iterator[str]:
    """All text in a row: of messages their content, of lists what is in them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        kept = ("prompt", "completion", "messages", "text", "content")
        yield from _texts([value[key] for key in kept if key in value])
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)
