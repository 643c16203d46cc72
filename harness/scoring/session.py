"""One load of a base: the base and all its adapters measured on all tasks, step by step into the store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance

from harness.data.task_rows import TaskRows
from harness.errors import RunFailed
from harness.experiment.metrics import Metric
from harness.experiment.schema import Base, Generate, Quantization, Task
from harness.models.adapters import WEIGHTS, Probe, attached, is_bare, probe, prove
from harness.models.loading import Loaded, load
from harness.progress import Progress
from harness.scoring.language_model import TreeLM
from harness.scoring.measure import Document, documents, measure, prompt_hash
from harness.store.artifacts import Step, Store, file_digest
from harness.store.measurements import (
    ITEMS_FILE,
    Item,
    Measurement,
    append_items,
    measurement_record,
    recover_items,
    restart_items,
)
from harness.tasks.compile import CompiledTask, compile_task

PROBE_PROMPTS = 6
PROBE_CHARACTERS = 400


@dataclass(frozen=True)
class SuiteTask:
    """One task of one suite with its rows."""

    suite: str
    name: str
    task: Task
    rows: TaskRows


@dataclass(frozen=True)
class Target:
    """One configuration of the group. `measurements` maps (suite, task) to its step."""

    name: str
    adapter: Path | None
    proof: Step | None
    measurements: Mapping[tuple[str, str], Step]
    generation: Step | None


@dataclass(frozen=True)
class Group:
    """Configurations that share one load: the same base at the same quantisation."""

    location: str
    base: Base
    quantization: Quantization | None
    targets: tuple[Target, ...]
    tasks: tuple[SuiteTask, ...]
    prompts: tuple[Generate, ...]


@dataclass(frozen=True)
class _Prepared:
    """A task compiled once for all configurations of the group."""

    declared: SuiteTask
    compiled: CompiledTask
    documents: tuple[Document, ...]


def measure_group(group: Group, store: Store, progress: Progress) -> None:
    """Make every missing step of the group. Raises RunFailed; what is scored by then is kept."""
    loaded = load(group.location, group.base, group.quantization)
    try:
        prepared = _prepare(group, loaded)
        reference = probe(loaded, _probe_prompts(prepared))
        engine = TreeLM(loaded.model, loaded.tokenizer).engine
        for target in group.targets:
            if not is_bare(loaded, reference):
                # Some adapters (modules_to_save, PiSSA) leave their weights behind when they go.
                loaded = load(group.location, group.base, group.quantization)
            with _configured(loaded, target) as configured:
                _prove(target, configured, reference, store)
                if _missing(target, store):
                    lm = TreeLM(configured.model, configured.tokenizer, engine)
                    _measure_target(group, target, lm, prepared, _Place(store, progress))
    except torch.OutOfMemoryError as error:
        raise RunFailed(f"measuring ran out of GPU memory: {error}") from error


@contextlib.contextmanager
def _configured(loaded: Loaded, target: Target) -> Iterator[Loaded]:
    if target.adapter is None:
        yield loaded
    else:
        with attached(loaded, target.adapter) as tuned:
            yield tuned


def _prepare(group: Group, loaded: Loaded) -> tuple[_Prepared, ...]:
    def count_tokens(text: str) -> int:
        return len(loaded.tokenizer.encode(text))

    prepared = []
    for entry in group.tasks:
        compiled = compile_task(entry.name, entry.task, entry.rows.test, entry.rows.validation, count_tokens)
        found = documents(compiled, None if entry.rows.test else entry.task.limit)
        prepared.append(_Prepared(entry, compiled, tuple(found)))
    return tuple(prepared)


def _probe_prompts(prepared: Sequence[_Prepared]) -> list[str]:
    """A prompt of every task, in turn: an adapter shows itself first on what it was trained for."""
    prompts = [str(document.instances[0].args[0]) for task in prepared for document in task.documents[:2]]
    return [prompt[:PROBE_CHARACTERS] or "The" for prompt in prompts[:PROBE_PROMPTS]]


def _prove(target: Target, configured: Loaded, reference: Probe, store: Store) -> None:
    if target.adapter is None or target.proof is None or store.has(target.proof):
        return
    proof = prove(configured, reference, target.adapter)
    store.begin(target.proof)
    store.finish(target.proof, {"tuned": target.name, **proof.record()})


def _missing(target: Target, store: Store) -> bool:
    steps = list(target.measurements.values()) + ([target.generation] if target.generation else [])
    return not all(store.has(step) for step in steps)


def _measure_target(
    group: Group, target: Target, lm: TreeLM, prepared: Sequence[_Prepared], place: _Place
) -> None:
    for task in prepared:
        step = target.measurements[task.declared.suite, task.declared.name]
        if not place.store.has(step):  # it may have been made just now: two suites can hold the same task
            _measure_task(group, target, task, lm, step, place)
    if target.generation is not None and not place.store.has(target.generation):
        _generate(group.prompts, lm, target.generation, place.store)


@dataclass(frozen=True)
class _Place:
    """Where measurements go, and who is told."""

    store: Store
    progress: Progress


def _measure_task(
    group: Group, target: Target, task: _Prepared, lm: TreeLM, step: Step, place: _Place
) -> None:
    """Score the items that are missing, appending each batch; the record comes last."""
    folder = place.store.begin(step)
    asked = {document.item: prompt_hash(document.instances) for document in task.documents}
    items = [item for item in recover_items(folder / ITEMS_FILE) if asked.get(item.item) == item.prompt_hash]
    restart_items(folder / ITEMS_FILE, items)
    resumed = len(items)
    place.progress.begin(step.name, len(task.documents))
    place.progress.advance(resumed)
    started = time.monotonic()
    for batch in measure(task.compiled, task.documents, lm, {item.item for item in items}):
        append_items(folder / ITEMS_FILE, batch)
        items += batch
        place.progress.advance(len(batch))
    seconds = time.monotonic() - started
    measurement = Measurement(
        configuration=target.name,
        suite=task.declared.suite,
        task=task.declared.name,
        kind=task.compiled.kind,
        primary=task.compiled.primary,
        metrics=_per_item(task.compiled.metrics, items),
        conditions=_conditions(group, target, task.compiled, lm),
        labels=task.compiled.labels,
        items=tuple(items),
        cost={"seconds": seconds, "items_scored": len(items) - resumed},
    )
    place.store.finish(step, measurement_record(measurement))
    place.progress.end(f"{len(items)} items")


def _per_item(metrics: Mapping[str, Metric], items: Sequence[Item]) -> dict[str, Metric]:
    """Metrics that items have a value for; a few of lm-eval's are defined on whole tasks only."""
    return {
        name: metric
        for name, metric in metrics.items()
        if metric.aggregate == "macro_f1" or any(name in item.scores for item in items)
    }


def _conditions(group: Group, target: Target, task: CompiledTask, lm: TreeLM) -> dict[str, str]:
    """What must be equal on both sides of a pair, but for the one thing that the pair differs in."""
    quantization = group.quantization
    return {
        "adapter": "none" if target.adapter is None else file_digest(target.adapter / WEIGHTS),
        "quantization": "none" if quantization is None else quantization.model_dump_json(),
        "dtype": group.base.dtype,
        "engine": lm.engine,
        "device": lm.device.type,
        "decoding": task.decoding,
        "chat template": "not applied",
    }


def _generate(prompts: Sequence[Generate], lm: TreeLM, step: Step, store: Store) -> None:
    """Greedy continuations of the experiment's prompts."""
    texts: list[dict[str, Any]] = []
    for entry in prompts:
        options = {"until": [], "do_sample": False, "max_gen_toks": entry.max_new_tokens}
        request = Instance("generate_until", {}, (entry.prompt, options), 0)
        texts.append({"prompt": entry.prompt, "text": lm.generate_until([request], disable_tqdm=True)[0]})
    store.begin(step)
    store.finish(step, {"texts": texts})
