"""Which keys a table needs and may use, where that follows from one of them: a kind, a method."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """What a table cannot do without, and what else it has a use for."""

    needs: frozenset[str]
    may: frozenset[str]


def keys(needs: str, may: str = "") -> Keys:
    """Both as names with spaces between."""
    return Keys(frozenset(needs.split()), frozenset(may.split()))
