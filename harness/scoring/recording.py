"""One configuration's measurements and generations, into the store as they are made."""

from __future__ import annotations

import time
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
from harness.scoring.language_model import TreeLM
from harness.scoring.measure import Asking, measure, prompt_hash
from harness.scoring.prepared import Prepared
from harness.store.artifacts import Step, Store, write_text
from harness.store.measurements import (
    ITEMS_FILE,
    Item,
    Measurement,
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
    """What is measured: its name, its language model, the conditions that hold for all of its tasks, and
    the digest of what was put on the base (None: nothing)."""

    name: str
    lm: TreeLM
    conditions: Mapping[str, str]
    weights_sha256: str | None


def record_measurement(subject: Subject, task: Prepared, step: Step, place: Place) -> None:
    """Score the items that are missing, appending each batch; the record comes last."""
    folder = place.store.begin(step)
    _forget_other_weights(folder, subject.weights_sha256)
    asked = {document.item: prompt_hash(document.instances) for document in task.documents}
    items = [item for item in recover_items(folder / ITEMS_FILE) if asked.get(item.item) == item.prompt_hash]
    restart_items(folder / ITEMS_FILE, items)
    resumed, tokens = len(items), subject.lm.tokens
    place.progress.begin(step.name, len(task.documents))
    place.progress.advance(resumed)
    started = time.monotonic()
    for batch in measure(task.compiled, task.documents, subject.lm, {item.item for item in items}):
        append_items(folder / ITEMS_FILE, batch)
        items += batch
        place.progress.advance(len(batch))
    measurement = Measurement(
        configuration=subject.name,
        suite=task.declared.suite,
        task=task.declared.name,
        kind=task.compiled.kind,
        primary=task.compiled.primary,
        metrics=_per_item(task.compiled.metrics, items),
        conditions={**subject.conditions, "decoding": task.compiled.decoding},
        labels=task.compiled.labels,
        items=tuple(items),
        cost={
            "seconds": time.monotonic() - started,
            "items_scored": len(items) - resumed,
            "tokens": subject.lm.tokens - tokens,
            "peak_memory_bytes": peak_memory(),
        },
    )
    made_by = {"machine": machine_name(), "weights_sha256": subject.weights_sha256}
    place.store.finish(step, {**measurement_record(measurement), **made_by})
    place.progress.end(f"{len(items)} items")


def _forget_other_weights(folder: Path, weights_sha256: str | None) -> None:
    """A killed run does not go on from items of weights that were deleted and trained again since."""
    mark, digest = folder / "weights_sha256", weights_sha256 or "as loaded"
    if mark.is_file() and mark.read_text(encoding="utf-8") != digest:
        restart_items(folder / ITEMS_FILE, [])
    write_text(mark, digest)


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
    texts: list[dict[str, Any]] = []
    for entry in prompts:
        options = {"until": [], "do_sample": False, "max_gen_toks": entry.max_new_tokens}
        request = Instance("generate_until", {}, (_asked(entry.prompt, asking), options), 0)
        texts.append(
            {"prompt": entry.prompt, "text": subject.lm.generate_until([request], disable_tqdm=True)[0]}
        )
    store.begin(step)
    store.finish(step, {"texts": texts})


def _asked(prompt: str, asking: Asking) -> str:
    """The prompt in the way in which the suites' questions are asked."""
    if asking.chat_template is None:
        return f"{asking.system}\n\n{prompt}" if asking.system else prompt
    turns = [{"role": "system", "content": asking.system}] if asking.system else []
    return str(asking.chat_template([*turns, {"role": "user", "content": prompt}]))
