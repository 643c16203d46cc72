"""Minimal pairs: two sentences that differ in one point of grammar, and one of them is wrong.

Written for this project as templates with slots (suites/data/grammar.jsonl, Apache-2.0). In a
template, `[right|wrong]` is the point in question; what stands before it is the prompt, and what
follows belongs to both choices. A row's cluster is its template.
"""

from __future__ import annotations

import re

from suites.sampling import with_choices
from suites.templates import Template, fillings, read

Row = dict[str, object]

ITEMS_PER_TEMPLATE = 8
READS = ("suites/data/grammar.jsonl",)  # part of what these rows are made from
PAIR = re.compile(r"(?P<before>.+) \[(?P<right>[^|\]]+)\|(?P<wrong>[^|\]]+)\](?P<after>.*)")


def _rows(split: str) -> list[Row]:
    return [row for template in read("grammar.jsonl", split) for row in _filled(template)]


def _filled(template: Template) -> list[Row]:
    slots = {name: values for name, values in template.items() if name not in ("id", "text")}
    ways = fillings(template, slots, ITEMS_PER_TEMPLATE)
    # A slot such as {v[0]} looks like a pair, so the pair is found after filling.
    return [_row(template["id"], template["text"].format(**way)) for way in ways]


def _row(template: str, sentence: str) -> Row:
    pair = PAIR.fullmatch(sentence)
    if pair is None:
        raise ValueError(f"{template}: not one [right|wrong] pair after the first word: {sentence}")
    right, wrong = (pair[option] + pair["after"] for option in ("right", "wrong"))
    row: Row = {"template": template, "prompt": pair["before"]}
    return row | with_choices(right, [wrong], template, sentence)


def test() -> list[Row]:
    """Pairs from most templates."""
    return _rows("test")


def validation() -> list[Row]:
    """Pairs from the other templates."""
    return _rows("validation")
