"""General rows to mix into a training: plain statements that share nothing with the test items.

Sums of number pairs that no arithmetic test item asks for, sentences of the grammar templates and
facts about the countries that are kept for validation, and the validation prose.
"""

from __future__ import annotations

import json
from itertools import product

from suites import arithmetic, grammar, world
from suites.sampling import shuffled
from suites.templates import DATA

READS = ("suites/data/prose_validation.jsonl",)  # part of what these rows are made from
SUMS = 400
RANGE = range(2, 70)


def rows() -> list[dict[str, str]]:
    """Every row as plain text, in an order that mixes the kinds."""
    texts = [*_sums(), *_facts(), *_prose()]
    return [{"text": text} for text in shuffled(texts, "replay")]


def _sums() -> list[str]:
    asked = "\n".join(str(row["prompt"]) for row in arithmetic.test())
    sums = shuffled(product(RANGE, "+-", RANGE), "sums")
    free = [
        (a, sign, b) for a, sign, b in sums if f"{a} {sign} {b} =" not in asked and (sign == "+" or a > b)
    ]
    return [f"{a} {sign} {b} = {a + b if sign == '+' else a - b}" for a, sign, b in free[:SUMS]]


def _facts() -> list[str]:
    questions = [*world.validation(), *grammar.validation()]
    return [f"{row['prompt']} {row['choices'][row['answer']]}" for row in questions]  # type: ignore[index]


def _prose() -> list[str]:
    lines = (DATA / "prose_validation.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]
