"""Choosing without chance: every draw is ordered by a hash, so rows are the same in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def rank(*key: object) -> int:
    """A number that looks random and depends on the key alone (never on PYTHONHASHSEED)."""
    text = "\x1f".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def shuffled(values: Iterable[T], *seed: object, key: Callable[[T], object] = str) -> list[T]:
    """The values in an order that the seed and each value's key determine."""
    return sorted(values, key=lambda value: (rank(*seed, key(value)), str(key(value))))


def split_of(cluster: str, validation_share: float, *seed: object) -> str:
    """ "validation" or "test" for a whole cluster, so that no cluster is in both."""
    return "validation" if rank("split", *seed, cluster) % 1000 < 1000 * validation_share else "test"


def with_choices(right: str, wrong: Iterable[str], *seed: object) -> dict[str, object]:
    """The choices in an order that says nothing about the answer, and the answer's index."""
    choices = shuffled([right, *wrong], "choices", *seed)
    return {"choices": choices, "answer": choices.index(right)}
