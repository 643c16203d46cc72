"""Templates with slots, kept as JSON lines in suites/data and written for this project."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from suites.sampling import shuffled, split_of

Template = dict[str, Any]

DATA = Path(__file__).parent / "data"
VALIDATION_SHARE = 0.2


def read(name: str, split: str) -> Iterator[Template]:
    """The templates of one split; a template is in one split only."""
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        template = json.loads(line)
        if split_of(template["id"], VALIDATION_SHARE, "share") == split:
            yield template


def fillings(template: Template, slots: dict[str, list[Any]], count: int) -> list[dict[str, Any]]:
    """`count` of all the ways to fill the slots, chosen by hash."""
    ways = [dict(zip(slots, values, strict=True)) for values in product(*slots.values())]
    return shuffled(ways, template["id"], key=lambda way: json.dumps(way, sort_keys=True))[:count]
