"""Sums, differences and products of small numbers, four-way, with near misses as wrong choices.

Written for this project as templates (suites/data/arithmetic.jsonl, Apache-2.0): a text, an
operation, and the ranges that the numbers a and b come from. A row's cluster is its template.
"""

from __future__ import annotations

import operator

from suites.sampling import shuffled, with_choices
from suites.templates import Template, fillings, read

Row = dict[str, object]

ITEMS_PER_TEMPLATE = 5
READS = ("suites/data/arithmetic.jsonl",)  # part of what these rows are made from
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
NEAR_MISSES = (-14, -13, -12, -11, -9, -8, -7, -6, -5, -4, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)


def _rows(split: str) -> list[Row]:
    return [row for template in read("arithmetic.jsonl", split) for row in _filled(template)]


def _filled(template: Template) -> list[Row]:
    slots = {name: list(range(template[name][0], template[name][1] + 1)) for name in ("a", "b")}
    ways = fillings(template, slots, ITEMS_PER_TEMPLATE)
    return [_row(template, way) for way in ways]


def _row(template: Template, way: dict[str, int]) -> Row:
    right = OPERATIONS[template["operation"]](way["a"], way["b"])
    # As many digits as the answer: a shorter number would be likelier for its length alone.
    near = (right + miss for miss in NEAR_MISSES)
    alike = [str(wrong) for wrong in near if wrong > 0 and len(str(wrong)) == len(str(right))]
    prompt = template["text"].format(**way)
    row: Row = {"template": template["id"], "operation": template["operation"], "prompt": prompt}
    return row | with_choices(str(right), shuffled(alike, prompt)[:3], prompt)


def test() -> list[Row]:
    """Questions from most templates."""
    return _rows("test")


def validation() -> list[Row]:
    """Questions from the other templates."""
    return _rows("validation")
