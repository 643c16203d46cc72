"""How much text a training or a measurement reads: counted once, then remembered in the store's `counts/`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.data.checks import list_of_choices
from harness.data.task_rows import task_rows
from harness.data.training_rows import training_rows
from harness.errors import HarnessError
from harness.estimate.quantities import Note
from harness.experiment.metrics import WRITTEN
from harness.experiment.schema import Task, TrainData
from harness.experiment.sources import HubSource, parse_source
from harness.experiment.templates import render
from harness.store.artifacts import Store, fingerprint, write_json

BYTES_PER_TOKEN = 4
NOT_DOWNLOADED = "rows are unknown until they are downloaded"
WORDED_BY_LM_EVAL = "the tokens of lm-eval's own tasks are unknown until they are measured"
NOT_READ = "rows are unknown, because they cannot be read now"
# Part of the names of remembered counts: raise it when equal rows are counted otherwise.
COUNTING = 2


class Amount(BaseModel):
    """Text in bytes of UTF-8, before any tokenizer.

    rows:     training rows, or items of a task
    requests: how often a model is asked about them: once for every choice
    tokens:   those that are known: of rows tokenised before, and the longest answers
    longest:  bytes of the longest row; 4 for a token where it was tokenised before
    draws:    independent items of a task: its clusters, or all
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    requests: int
    bytes: int
    tokens: int = 0
    longest: int = 0
    draws: int = 0

    def estimated_tokens(self) -> int:
        return math.ceil(self.bytes / BYTES_PER_TOKEN) + self.tokens


class TaskAmounts(BaseModel):
    """Of both splits of a task."""

    model_config = ConfigDict(frozen=True)

    test: Amount
    validation: Amount


class NotCounted(Exception):
    """The rows of a source are not known: it is on the hub, or cannot be read."""

    def __init__(self, said: str, about: str) -> None:
        self.note = Note(said, about)
        super().__init__(f"{said}: {about}")


A = TypeVar("A", Amount, TaskAmounts)


@dataclass(frozen=True)
class Amounts:
    """Counts rows below `root`. The first plan of a source pays for reading it, later ones do not."""

    store: Store
    root: Path
    seen: dict[str, Amount | TaskAmounts | NotCounted] = field(default_factory=dict)

    def of_training(self, data: TrainData, made_from: Mapping[str, Any]) -> Amount:
        """Rows to train on, once. `made_from`: what a fingerprint says of them. Raises NotCounted."""
        asked = {key: value for key, value in made_from.items() if key != "fraction"}  # that of a replay
        return self._remembered(
            Amount, asked, [data.source], lambda: _of_rows(training_rows(data, self.root).rows)
        )

    def of_task(self, task: Task, made_from: Mapping[str, Any]) -> TaskAmounts:
        """Both splits of a task. Raises NotCounted, also where lm-eval words the prompts."""
        if task.data is None or task.kind == "lm_eval":
            raise NotCounted(WORDED_BY_LM_EVAL, str(task.task))
        sources = [source for source in (task.data.test, task.data.validation) if source]
        return self._remembered(TaskAmounts, dict(made_from), sources, lambda: _of_task(task, self.root))

    def _remembered(
        self, kind: type[A], asked: Mapping[str, Any], sources: Iterable[str], count: Callable[[], A]
    ) -> A:
        name = fingerprint({"counting": COUNTING, **asked})
        if name not in self.seen:
            self.seen[name] = self._read(kind, name) or self._counted(name, sources, count)
        found = self.seen[name]
        if isinstance(found, NotCounted):
            raise found
        assert isinstance(found, kind)
        return found

    def _file(self, name: str) -> Path:
        return self.store.root / "counts" / f"{name}.json"

    def _read(self, kind: type[A], name: str) -> A | None:
        try:
            return kind.model_validate_json(self._file(name).read_bytes())
        except (OSError, ValidationError):
            return None

    def _counted(self, name: str, sources: Iterable[str], count: Callable[[], A]) -> A | NotCounted:
        for source in sources:
            if isinstance(parse_source(source), HubSource):
                return NotCounted(NOT_DOWNLOADED, source)
        try:
            found = count()
        except HarnessError as error:
            first = str(error).partition("\n")[0]
            return NotCounted(NOT_READ, f"{' and '.join(sources)} ({first})")
        with contextlib.suppress(OSError):  # a store that cannot be written to is planned from all the same
            write_json(self._file(name), found.model_dump())
        return found


def _of_rows(rows: Iterable[Mapping[str, Any]]) -> Amount:
    texts, tokens, longest, count = 0, 0, 0, 0
    for row in rows:
        count += 1
        ids = len(row.get("input_ids", ()))
        said = 0 if ids else _size(row)
        texts, tokens = texts + said, tokens + ids
        longest = max(longest, said, ids * BYTES_PER_TOKEN)
    return Amount(rows=count, requests=count, bytes=texts, tokens=tokens, longest=longest)


def _size(value: Any) -> int:
    """Bytes of all texts in it: those of a conversation with the names of its roles."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0


def _of_task(task: Task, root: Path) -> TaskAmounts:
    rows = task_rows(task, root)
    return TaskAmounts(test=_of_items(task, rows.test), validation=_of_items(task, rows.validation))


def _of_items(task: Task, rows: Sequence[Mapping[str, Any]]) -> Amount:
    asked = [_requests(task, row) for row in rows]
    sizes = [sum(requests) for requests in asked]
    answers = task.max_new_tokens * len(asked) if task.kind in WRITTEN else 0
    return Amount(
        rows=len(asked),
        requests=sum(map(len, asked)),
        bytes=sum(sizes),
        tokens=answers,
        longest=max(sizes, default=0),
        draws=len({str(render(task.cluster, row)) for row in rows}) if task.cluster else len(rows),
    )


def _requests(task: Task, row: Mapping[str, Any]) -> list[int]:
    """Bytes of every request about one item, as the engine counts them: the prompt again for each choice."""
    if task.text is not None:
        return [_size(render(task.text, row))]
    prompt = _size(render(task.prompt, row)) if task.prompt else 0
    if task.kind in WRITTEN:
        return [prompt]
    choices = task.labels or list_of_choices(render(task.choices or "choices", row)) or ()
    return [prompt + _size(choice) for choice in choices]
