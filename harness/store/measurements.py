"""A measurement: every item's score for one configuration on one task, as JSON lines."""

from __future__ import annotations

import contextlib
import gc
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import wraps
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from harness.errors import RunFailed
from harness.experiment.metrics import Metric
from harness.store.artifacts import Step, Store, without_nan, write_text

ITEMS_FILE = "items.jsonl"
TaskKey = tuple[str, str]  # suite, task


@dataclass(frozen=True)
class Divergence:
    """KL(base ‖ tuned) in nats, summed over a document's scored positions (statistics.md 3.6).

    Over the full vocabulary, both models reading the document itself (teacher-forced).
    """

    nats: float
    tokens: int


@dataclass(frozen=True)
class Noise:
    """A configuration against itself with its batches packed in another way (statistics.md 3.5).

    items:              how many of its items were scored twice
    to_wrong, to_right: how many of them changed a binary primary score, 1 → 0 and 0 → 1
    deviation:          standard deviation of an item's difference in the primary metric, in the unit of
                        its item scores
    """

    items: int
    to_wrong: int
    to_right: int
    deviation: float


@dataclass(frozen=True)
class Item:
    """One item, scored.

    item:        hash of the document's content; identical documents get "#1", "#2" …
    prompt_hash: hash of what the model saw and of the answers it was scored on
    scores:      metric → value (accuracy 0/1, bits per byte of this document …)
    weights:     metric → weight in a ratio (bytes, tokens, words); absent means 1
    chance:      probability of a right answer by guessing, 0 where guessing is hopeless
    missing:     why the item could not be scored; then `scores` is empty (missing is not zero)
    slices:      field → its value, of each field by which the task is sliced
    divergence:  of a tuned configuration on a document of a perplexity task; None where it was not measured
    """

    item: str
    prompt_hash: str
    prompt: str
    scores: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    cluster: str | None = None
    gold: str | None = None
    predicted: str | None = None
    chance: float = 0.0
    responses: tuple[Mapping[str, Any], ...] = ()
    missing: str | None = None
    divergence: Divergence | None = None
    slices: Mapping[str, str] = field(default_factory=dict)

    def to_line(self) -> str:
        return json.dumps(without_nan(asdict(self)), allow_nan=False)

    @staticmethod
    def from_line(line: str) -> Item:
        written = json.loads(line)
        written["scores"] = {name: float(score) for name, score in written["scores"].items()}  # "nan" is one
        written["responses"] = tuple(written["responses"])
        written["divergence"] = _divergence(written.get("divergence"))  # older lines have none
        return Item(**written)


def _divergence(written: Mapping[str, Any] | None) -> Divergence | None:
    if written is None:
        return None
    tokens = written["tokens"]
    if not isinstance(tokens, int) or tokens < 1:
        raise ValueError(f"a divergence over {tokens!r} tokens")
    return Divergence(nats=float(written["nats"]), tokens=tokens)


@dataclass(frozen=True)
class Measurement:
    """All items of one (configuration, task), and under which conditions they were scored.

    conditions: everything that must be equal on both sides of a comparison unless the pair
    differs in it on purpose: dtype, quantization, engine, chat_template, decoding, tokenizer …
    labels: the fixed label list of a classification task, for macro-F1; empty means the labels
    that occur as gold.
    noise: of a base; None where it was not measured.
    """

    configuration: str
    suite: str
    task: str
    kind: str
    primary: str
    metrics: Mapping[str, Metric]
    conditions: Mapping[str, str]
    items: tuple[Item, ...]
    cost: Mapping[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    noise: Noise | None = None


Words = TypeVarTuple("Words")
Made = TypeVar("Made")


def kept(make: Callable[[Measurement, *Words], Made]) -> Callable[[Measurement, *Words], Made]:
    """`make` of a measurement and words, made once: twenty pairs ask the same of one base.

    What was made lives as long as the measurement does.
    """

    @wraps(make)
    def remembered(measurement: Measurement, *words: *Words) -> Made:
        memory = measurement.__dict__.setdefault("kept", {})  # no field: neither compared nor replaced
        key = (make, words)
        if key not in memory:
            memory[key] = make(measurement, *words)
        made: Made = memory[key]
        return made

    return remembered


@kept
def field_of(measurement: Measurement, name: str) -> list[Any]:
    """One field of every item, in their order."""
    return list(map(attrgetter(name), measurement.items))


def told_apart(names: Iterable[str]) -> Iterator[str]:
    """Names of items: the second of equal ones ends in #1, the third in #2."""
    seen: Counter[str] = Counter()
    for name in names:
        yield f"{name}#{seen[name]}" if seen[name] else name
        seen[name] += 1


def append_items(path: Path, items: Iterable[Item]) -> None:
    """Append items and flush them to the disk: what is written survives a kill."""
    with open(path, "a", encoding="utf-8") as stream:
        stream.writelines(item.to_line() + "\n" for item in items)
        stream.flush()
        os.fsync(stream.fileno())


def recover_items(path: Path) -> list[Item]:
    """Items of an unfinished measurement: the lines up to the first that a kill cut short or damaged."""
    items: list[Item] = []
    if path.is_file():
        for line in path.read_bytes().split(b"\n")[:-1]:
            try:
                items.append(Item.from_line(line.decode("utf-8")))
            except (ValueError, KeyError, TypeError, AttributeError):
                break
    return items


def restart_items(path: Path, items: Iterable[Item]) -> None:
    """The file anew with these items alone: what was cut short or no longer asked for is gone."""
    write_text(path, "".join(item.to_line() + "\n" for item in items))


def read_items(path: Path) -> tuple[Item, ...]:
    """Items of a finished measurement. Raises RunFailed where a line is damaged."""
    items = []
    with open(path, encoding="utf-8") as stream, nothing_collected():
        for number, line in enumerate(stream, 1):
            try:
                items.append(Item.from_line(line))
            except (ValueError, KeyError, TypeError) as error:
                raise RunFailed(
                    f"{path}:{number} is damaged ({error}). Delete {path.parent} and run again: "
                    "only that measurement is made anew"
                ) from error
    return tuple(items)


@contextlib.contextmanager
def nothing_collected() -> Iterator[None]:
    """While items are made or compared none is garbage, and looking for some takes half of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def measurement_record(measurement: Measurement) -> dict[str, Any]:
    """All of a measurement but its items: the step's record."""
    return {
        "configuration": measurement.configuration,
        "suite": measurement.suite,
        "task": measurement.task,
        "kind": measurement.kind,
        "primary": measurement.primary,
        "metrics": {name: metric.model_dump() for name, metric in measurement.metrics.items()},
        "conditions": dict(measurement.conditions),
        "labels": list(measurement.labels),
        "cost": dict(measurement.cost),
        "noise": None if measurement.noise is None else asdict(measurement.noise),
        "items": len(measurement.items),
    }


def read_measurement(store: Store, step: Step) -> Measurement:
    """A finished measurement. Raises RunFailed where a file is damaged or items are missing from it."""
    record = store.read(step)
    path = store.folder(step) / ITEMS_FILE
    items = read_items(path)
    if len(items) != record["items"]:
        raise RunFailed(
            f"{path} holds {len(items)} items, its record says {record['items']}. "
            f"Delete {path.parent} and run again: only that measurement is made anew"
        )
    noise = record.get("noise")  # older records have none
    return Measurement(
        configuration=record["configuration"],
        suite=record["suite"],
        task=record["task"],
        kind=record["kind"],
        primary=record["primary"],
        metrics={name: Metric(**metric) for name, metric in record["metrics"].items()},
        conditions=record["conditions"],
        labels=tuple(record["labels"]),
        cost=record["cost"],
        noise=None if noise is None else Noise(**{**noise, "deviation": float(noise["deviation"])}),
        items=items,
    )
