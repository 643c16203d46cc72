"""Tasks made ready for one load: their requests are built once for all configurations that share them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from harness.data.task_rows import TaskRows
from harness.experiment.schema import Prompting, Task
from harness.models.kinship import template_digest, vocabulary_digest
from harness.models.loading import Loaded
from harness.scoring.items import Asking, Document, documents
from harness.scoring.language_model import TreeLM
from harness.scoring.workload import Workload
from harness.tasks.compile import CompiledTask, compile_task

Split = Literal["test", "validation"]
PROBE_PROMPTS = 6
PROBE_CHARACTERS = 400
NO_PROMPT = Prompting()


@dataclass(frozen=True)
class SuiteTask:
    """One task of one suite with its rows."""

    suite: str
    name: str
    task: Task
    rows: TaskRows

    @property
    def key(self) -> tuple[str, str]:
        return self.suite, self.name


@dataclass(frozen=True)
class Prepared:
    """A task whose requests are built."""

    declared: SuiteTask
    compiled: CompiledTask
    documents: tuple[Document, ...]


@dataclass(frozen=True)
class Questions:
    """All documents of one suite as one workload, of which a configuration may have some already.

    tasks:     the suite's tasks, in the order of their documents
    documents: with the place of their task in `tasks`
    requests:  for each document the places of its requests in the workload
    owners:    for each request the place of its document
    """

    tasks: Sequence[Prepared]
    documents: Sequence[tuple[int, Document]]
    requests: Sequence[Sequence[int]]
    owners: Sequence[int]
    work: Workload


class Preparation:
    """Prepared tasks of one load, made when they are first asked for.

    asking(prompting) says how documents are asked; the base and all its adapters share the plain way.
    """

    def __init__(self, tasks: Sequence[SuiteTask], loaded: Loaded, apply_chat_template: bool) -> None:
        self.tasks = {task.key: task for task in tasks}
        self.tokenizer = loaded.tokenizer
        self.vocabulary = vocabulary_digest(loaded.tokenizer)
        self.template = template_digest(loaded.tokenizer) if apply_chat_template else None
        self.apply_chat_template = apply_chat_template
        self._made: dict[tuple[Any, ...], Prepared] = {}
        self._asked: dict[tuple[int, ...], Questions] = {}

    def task(self, key: tuple[str, str], split: Split, prompting: Prompting) -> Prepared:
        """The task `key`, on test or validation items, asked in one way."""
        place = (key, split, prompting)
        if place not in self._made:
            self._made[place] = self._prepare(self.tasks[key], split, prompting)
        return self._made[place]

    def _prepare(self, declared: SuiteTask, split: Split, prompting: Prompting) -> Prepared:
        task, rows = declared.task, declared.rows
        if prompting.shots:
            task = task.model_copy(update={"num_fewshot": prompting.shots})
        # Examples for validation items are other validation items: lm-eval leaves out the item itself.
        asked, examples = (rows.test, rows.validation) if split == "test" else (rows.validation, ())
        compiled = compile_task(declared.name, task, asked, examples, self._count_tokens)
        limit = None if asked else task.limit
        return Prepared(declared, compiled, tuple(documents(compiled, limit, self.asking(prompting))))

    def questions(self, tasks: Sequence[Prepared], lm: TreeLM) -> Questions:
        """The tasks' requests, tokenised and in one forest: once for all who are asked them."""
        key = tuple(map(id, tasks))  # which live as long as this does
        if key not in self._asked:
            documents = [(place, each) for place, task in enumerate(tasks) for each in task.documents]
            counts = [len(document.requests()) for _, document in documents]
            starts = np.cumsum([0, *counts]).tolist()
            self._asked[key] = Questions(
                tasks=tasks,
                documents=documents,
                requests=[range(start, start + count) for start, count in zip(starts, counts, strict=False)],
                owners=[place for place, count in enumerate(counts) for _ in range(count)],
                work=lm.workload([request for _, document in documents for request in document.requests()]),
            )
        return self._asked[key]

    def asking(self, prompting: Prompting) -> Asking:
        return Asking(prompting.system, self._chat() if self.apply_chat_template else None)

    def _chat(self) -> Callable[..., str]:
        return partial(_in_chat, self.tokenizer)

    def _count_tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text))

    def probe_prompts(self) -> list[str]:
        """A prompt of every task, in turn: an adapter shows itself first on what it was trained for."""
        prepared = [self.task(key, "test", NO_PROMPT) for key in self.tasks]
        prompts = [str(document.instances[0].args[0]) for task in prepared for document in task.documents[:2]]
        return [prompt[:PROBE_CHARACTERS] or "The" for prompt in prompts[:PROBE_PROMPTS]]


def _in_chat(tokenizer: Any, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """Turns as the model's own template writes them; the shape in which lm-eval calls for it."""
    return str(
        tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
    )
