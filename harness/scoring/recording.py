"""One task of one configuration, into the store as its items are made; and the generations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from harness.experiment.metrics import Metric
from harness.experiment.schema import Generate
from harness.machine import machine_name
from harness.models.loading import peak_memory
from harness.progress import Progress
from harness.scoring.engine import Off
from harness.scoring.items import Asking, prompt_hash
from harness.scoring.language_model import TreeLM
from harness.scoring.prepared import Prepared
from harness.store.artifacts import Step, Store, write_text
from harness.store.measurements import (
    ITEMS_FILE,
    Item,
    Measurement,
    Noise,
    append_items,
    measurement_record,
    recover_items,
    restart_items,
)


@dataclass(frozen=True)
class Place:
    """Where results go, and who is told."""

    store: Store
    progress: Progress


@dataclass(frozen=True)
class Subject:
    """What is measured.

    conditions:     what holds for all of its tasks and must be equal on both sides of a pair
    weights_sha256: digest of what was put on the base (None: nothing)
    off:            within it the model is the base; None where it is no change of a base in this load
    is_base:        others are compared with it, so its own noise is measured
    """

    name: str
    lm: TreeLM
    conditions: Mapping[str, str]
    weights_sha256: str | None
    off: Off | None
    is_base: bool


@dataclass
class Recording:
    """One task under way: its items that are on the disk, and what those of this run have cost."""

    task: Prepared
    step: Step
    folder: Path
    items: dict[str, Item]
    resumed: int
    seconds: float = 0.0
    tokens: int = 0

    def add(self, items: Sequence[Item]) -> None:
        append_items(self.folder / ITEMS_FILE, items)
        self.items.update((item.item, item) for item in items)


def begin(subject: Subject, task: Prepared, step: Step, store: Store) -> Recording:
    """The recording of a task, with the items that a killed run left."""
    folder = store.begin(step)
    _forget_others(folder, f"{subject.weights_sha256 or 'as loaded'}, {subject.lm.engine}")
    asked = {document.item: prompt_hash(document.instances) for document in task.documents}
    found = recover_items(folder / ITEMS_FILE)
    items = {item.item: item for item in found if asked.get(item.item) == item.prompt_hash}
    restart_items(folder / ITEMS_FILE, items.values())
    return Recording(task, step, folder, items, len(items))


def finish(subject: Subject, recording: Recording, noise: Noise | None, store: Store) -> None:
    """The items in the data's order, and the record that makes them a measurement."""
    task = recording.task
    items = tuple(recording.items[document.item] for document in task.documents)
    restart_items(recording.folder / ITEMS_FILE, items)
    measurement = Measurement(
        configuration=subject.name,
        suite=task.declared.suite,
        task=task.declared.name,
        kind=task.compiled.kind,
        primary=task.compiled.primary,
        metrics=_per_item(task.compiled.metrics, items),
        conditions={**subject.conditions, "decoding": task.compiled.decoding},
        labels=task.compiled.labels,
        items=items,
        noise=noise,
        cost={
            "seconds": recording.seconds,
            "items_scored": len(items) - recording.resumed,
            "tokens": recording.tokens,
            "peak_memory_bytes": peak_memory(),
        },
    )
    made_by = {"machine": machine_name(), "weights_sha256": subject.weights_sha256}
    store.finish(recording.step, {**measurement_record(measurement), **made_by})


def _forget_others(folder: Path, made_with: str) -> None:
    """A killed run does not go on from items of weights that were trained again since, or of another path."""
    mark = folder / "made_with"
    if mark.is_file() and mark.read_text(encoding="utf-8") != made_with:
        restart_items(folder / ITEMS_FILE, [])
    write_text(mark, made_with)


def _per_item(metrics: Mapping[str, Metric], items: Sequence[Item]) -> dict[str, Metric]:
    """Metrics that items have a value for; a few of lm-eval's are defined on whole tasks only."""
    return {
        name: metric
        for name, metric in metrics.items()
        if metric.aggregate == "macro_f1" or any(name in item.scores for item in items)
    }


def record_generations(
    subject: Subject, prompts: Sequence[Generate], asking: Asking, step: Step, store: Store
) -> None:
    """Greedy continuations of the experiment's prompts."""
    requests = [
        Instance(
            "generate_until",
            {},
            (
                _asked(entry.prompt, asking),
                {"until": [], "do_sample": False, "max_gen_toks": entry.max_new_tokens},
            ),
            0,
        )
        for entry in prompts
    ]
    texts: list[dict[str, Any]] = [
        {"prompt": entry.prompt, "text": text}
        for entry, text in zip(prompts, subject.lm.generate_until(requests), strict=True)
    ]
    store.begin(step)
    store.finish(step, {"texts": texts})


def _asked(prompt: str, asking: Asking) -> str:
    """The prompt in the way in which the suites' questions are asked."""
    if asking.chat_template is None:
        return f"{asking.system}\n\n{prompt}" if asking.system else prompt
    turns = [{"role": "system", "content": asking.system}] if asking.system else []
    return str(asking.chat_template([*turns, {"role": "user", "content": prompt}]))
