"""Documents of a compiled task with their requests, and the items that responses make of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from harness.data.identity import item_ids
from harness.errors import UsageError
from harness.experiment.metrics import Metric, item_score
from harness.models.quiet import quiet_lm_eval
from harness.store.measurements import Item
from harness.tasks.compile import CompiledTask, field
from harness.tasks.registered import filter_names, metric_key, unread_by


@dataclass(frozen=True)
class Document:
    """One document with the requests that lm-eval built for it."""

    item: str
    lm_task: Any
    document: dict[str, Any]
    instances: tuple[Any, ...]

    @property
    def is_text(self) -> bool:
        """Whether the model only reads it."""
        return all(instance.request_type == "loglikelihood_rolling" for instance in self.instances)

    def requests(self) -> list[Any]:
        """Its instances, each as often as lm-eval asks it."""
        return [instance for instance in self.instances for _ in range(instance.repeats or 1)]

    def answer(self, responses: Sequence[Any]) -> None:
        """Put the responses to `requests` into the instances, in the place of those of another model."""
        for instance in self.instances:
            instance.resps = []
        for instance, response in zip(self.requests(), responses, strict=True):
            instance.resps.append(response)


@dataclass(frozen=True)
class Asking:
    """How documents become prompts: after a system prompt, in the turns of a chat template, or neither."""

    system: str | None = None
    chat_template: Callable[..., str] | None = None


PLAIN = Asking()


def documents(task: CompiledTask, limit: int | None, asking: Asking = PLAIN) -> list[Document]:
    """Every document of a task with its requests, in the data's order, named by content."""
    found: list[Document] = []
    for lm_task in task.lm_tasks:
        with quiet_lm_eval():
            lm_task.build_all_requests(
                limit=limit,
                system_instruction=asking.system,
                apply_chat_template=asking.chat_template is not None,
                chat_template=asking.chat_template,
                tokenizer_name="",
            )
        for _, group in groupby(lm_task.instances, key=lambda instance: instance.doc_id):
            instances = tuple(group)
            found.append(Document("", lm_task, instances[0].doc, instances))
    _refuse_unknown_slices(task, found)
    # Leaves of a group may hold equal documents; the name of a single task is the person's to change.
    several = len(task.lm_tasks) > 1
    names = item_ids(
        {"leaf": entry.lm_task.task_name, **entry.document} if several else entry.document for entry in found
    )
    return [
        Document(name, entry.lm_task, entry.document, entry.instances)
        for name, entry in zip(names, found, strict=True)
    ]


def _refuse_unknown_slices(task: CompiledTask, found: Sequence[Document]) -> None:
    """Rows of local data are checked where they are read; those of the hub are seen here first."""
    for name in task.slices:
        without = next((entry.document for entry in found if name not in entry.document), None)
        if without is not None:
            raise UsageError(
                f"[task.{task.name}] slices by `{name}`, which its documents have not; "
                f"they have {', '.join(map(str, without))}"
            )


def scored_item(document: Document, task: CompiledTask) -> Item:
    """The item of a document whose instances hold their responses."""
    lm_task, instances = document.lm_task, document.instances
    cluster = field(task.cluster) if task.cluster else None
    for ensemble in lm_task._filters:
        ensemble.apply(instances)
    values: dict[str, Any] = {}
    for name in filter_names(lm_task):
        results = [instance.filtered_resps[name] for instance in instances]
        for metric, value in lm_task.process_results(document.document, results).items():
            values[metric_key(metric, name, lm_task)] = value
    scores, weights = _scores(values, task.metrics)
    gold, predicted, chance = _answers(document, task)
    return Item(
        item=document.item,
        prompt_hash=prompt_hash(instances),
        prompt=str(instances[0].args[0]),
        scores=scores,
        weights=weights,
        cluster=None if cluster is None else str(cluster(document.document)),
        gold=gold,
        predicted=predicted,
        chance=chance,
        responses=tuple(_response(instance, lm_task) for instance in instances),
        slices={name: str(field(name)(document.document)) for name in task.slices},
        missing=None if scores else "no metric of this task has a value for this item",
    )


def with_truncation(item: Item, document: Document, truncated: Sequence[bool | None]) -> Item:
    """The item with what is known of each response to `Document.requests`: whether its text was cut."""
    known: dict[int, bool | None] = {}
    for instance, cut in zip(document.requests(), truncated, strict=True):
        known.setdefault(id(instance), cut)  # of one that was asked several times the first is kept
    pairs = zip(item.responses, (known[id(instance)] for instance in document.instances), strict=True)
    responses = tuple(
        {**response, "truncated": cut} if cut is not None else response for response, cut in pairs
    )
    return replace(item, responses=responses)


def _scores(
    values: Mapping[str, Any], metrics: Mapping[str, Metric]
) -> tuple[dict[str, float], dict[str, float]]:
    """Item values and weights: v of a ratio is nats (bits) per unit, its weight the number of units."""
    scores: dict[str, float] = {}
    weights: dict[str, float] = {}
    for name, value in values.items():
        metric = metrics.get(name)
        if metric is None or metric.aggregate == "macro_f1":
            continue  # macro-F1 is computed from gold and predicted labels
        found = item_score(metric, value)
        if found is not None:
            scores[name], weight = found
            if weight is not None:
                weights[name] = weight
    return scores, weights


def _answers(document: Document, task: CompiledTask) -> tuple[str | None, str | None, float]:
    """Gold answer, the model's answer, and the probability of guessing right."""
    lm_task, doc = document.lm_task, document.document
    kind = lm_task.OUTPUT_TYPE
    target = lm_task.doc_to_target(doc)
    if kind == "multiple_choice":
        choices = lm_task.doc_to_choice(doc)
        best = int(np.argmax([instance.resps[0][0] for instance in document.instances[: len(choices)]]))
        gold = lm_task.doc_to_text(doc) if lm_task.multiple_input else target
        golds = gold if isinstance(gold, list) else [gold]
        shown = [choices[entry] if isinstance(entry, int) else str(entry) for entry in golds]
        return " | ".join(shown), choices[best], 1.0 / len(choices)
    if kind == "loglikelihood_rolling":
        return None, None, 0.0
    gold_text = " | ".join(map(str, target)) if isinstance(target, list) else str(target)
    answer = document.instances[0].resps[0]
    if kind == "loglikelihood":
        return gold_text, gold_text if answer[1] else "(another word)", 0.0
    option = task.read(doc, str(answer)) if task.read else None
    return gold_text, str(answer).strip() if option is None else option, 0.0


def _response(instance: Any, lm_task: Any) -> dict[str, Any]:
    """One request as asked and answered, in JSON's types."""
    answer = instance.resps[0]
    if instance.request_type == "loglikelihood":
        return {
            "continuation": instance.args[1],
            "loglikelihood": float(answer[0]),
            "greedy": bool(answer[1]),
        }
    if instance.request_type == "loglikelihood_rolling":
        return {"loglikelihood": float(answer)}
    response = {"text": str(answer), "until": instance.args[1].get("until")}
    unread = unread_by(lm_task, instance.filtered_resps)
    return {**response, "unread": unread} if unread else response


def prompt_hash(instances: Sequence[Any]) -> str:
    """A hash of everything that the model is asked about one document."""
    asked = json.dumps([[str(part) for part in instance.args] for instance in instances], ensure_ascii=False)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]
