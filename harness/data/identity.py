"""What an item is called: a hash of its content, so that order and position do not matter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.store.measurements import told_apart


def item_id(document: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of the document's canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def item_ids(documents: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """An id for each document; the second identical one ends in #1, the third in #2."""
    return tuple(told_apart(map(item_id, documents)))


def _plain(value: Any) -> Any:
    """Values that Parquet knows and JSON does not: dates, decimals, bytes."""
    return value.hex() if isinstance(value, bytes) else str(value)
