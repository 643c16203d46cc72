"""Rows of ../shared/data as lm-eval's requests, compiled the way that the product compiles a suite."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.experiment.schema import Task
from harness.scoring.items import Document, documents
from harness.tasks.compile import CompiledTask, compile_task

Rows = list[dict[str, Any]]

QUESTION = "Question: {{question}}\nAnswer:"
SHOTS = 5
PROMPTS = 200
PROSE_CHARACTERS = (50, 6000)
# Where an answer may end, and after how many tokens it is cut: a fourth of the prompts each.
ENDS = ((16, ("\n",)), (32, ("\n\n",)), (64, ("\n\n", ". ")), (128, ("\n\n\n",)))


@dataclass(frozen=True)
class Asked:
    """Documents with their requests, all of one kind."""

    documents: tuple[Document, ...]

    @property
    def instances(self) -> list[Any]:
        return [instance for document in self.documents for instance in document.instances]

    @property
    def kind(self) -> str:
        return str(self.documents[0].instances[0].request_type)

    def first(self, count: int) -> Asked:
        return Asked(self.documents[:count])


def read(file: Path) -> Rows:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def choices(prompt: str = QUESTION, shots: int | None = None) -> Task:
    """lm-eval puts a space before each choice, as its own arc_easy and piqa have it."""
    return Task(
        kind="multiple_choice",
        prompt=prompt,
        choices="choices",
        answer="answer",
        num_fewshot=shots,
        metrics=("accuracy", "accuracy_norm"),
    )


def compiled(name: str, task: Task, rows: Rows) -> CompiledTask:
    return compile_task(name, task, rows, (), len)


def plain(name: str, data: Path, limit: int | None) -> CompiledTask:
    """ARC-Easy or PIQA without examples, of the first `limit` rows."""
    return compiled(name, choices(), read(data / name / "test.jsonl")[:limit])


def _plain(name: str) -> Callable[[Path, int | None], Asked]:
    return lambda data, limit: Asked(tuple(documents(plain(name, data, limit), None)))


def _random_shots(data: Path, limit: int | None) -> Asked:
    """lm-eval draws the examples of each item anew, from all other rows."""
    rows = read(data / "arc_easy" / "test.jsonl")
    return Asked(tuple(documents(compiled("arc_easy_random", choices(shots=SHOTS), rows), limit)))


def _fixed_shots(data: Path, limit: int | None) -> Asked:
    """The same examples before every item: the last rows, which are not asked."""
    rows = read(data / "arc_easy" / "test.jsonl")
    asked, examples = rows[:-SHOTS][:limit], rows[-SHOTS:]
    block = "".join(
        f"Question: {row['question']}\nAnswer: {row['choices'][row['answer']]}\n\n" for row in examples
    )
    prompted = [{**row, "prompt": f"{block}Question: {row['question']}\nAnswer:"} for row in asked]
    return Asked(tuple(documents(compiled("arc_easy_fixed", choices(prompt="prompt"), prompted), None)))


def _wikitext(data: Path, limit: int | None) -> Asked:
    rows = read(data / "wikitext2" / "test.jsonl")[:limit]
    return Asked(tuple(documents(compiled("wikitext", Task(kind="perplexity", text="text"), rows), None)))


def _generation(data: Path, limit: int | None) -> Asked:
    """Written prompts and beginnings of articles by turns, with different ends."""
    texts = mixed_prompts(data)[:limit]
    asked: list[Document] = []
    for kind, (most, stops) in enumerate(ENDS):
        rows = [{"prompt": text, "answer": ""} for text in texts[kind :: len(ENDS)]]
        task = Task(kind="qa", prompt="prompt", answer="answer", max_new_tokens=most, stop=stops)
        if rows:
            asked += documents(compiled(f"generation_{most}", task, rows), None)
    return Asked(tuple(asked))


def mixed_prompts(data: Path) -> list[str]:
    written = [row["prompt"] for row in read(data / "awesome_prompts" / "prompts.jsonl")]
    articles = [row["text"] for row in read(data / "wikitext2" / "test.jsonl")]
    draw = random.Random(0)
    texts = []
    for number in range(PROMPTS // 2):
        article = articles[number % len(articles)]
        texts += [written[number], article[: draw.randint(*PROSE_CHARACTERS)]]
    draw.shuffle(texts)
    return texts


REQUESTS: dict[str, Callable[[Path, int | None], Asked]] = {
    "arc_easy": _plain("arc_easy"),
    "arc_easy_5shot_random": _random_shots,
    "arc_easy_5shot_fixed": _fixed_shots,
    "piqa": _plain("piqa"),
    "wikitext": _wikitext,
    "generation": _generation,
}


def values(asked: Asked, answers: Sequence[Any]) -> list[dict[str, Any]]:
    """What lm-eval's `process_results` makes of each document's answers."""
    remaining = iter(answers)
    return [
        document.lm_task.process_results(document.document, [next(remaining) for _ in document.instances])
        for document in asked.documents
    ]
