"""A number with its source: from the store, estimated, or unknown. Missing is not zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Source = Literal["stored", "estimated", "unknown"]


@dataclass(frozen=True)
class Note:
    """How something was estimated, or what is unknown; `about` names what that holds for."""

    said: str
    about: str = ""


@dataclass(frozen=True)
class Quantity:
    """A number of tokens or seconds.

    value:   None where nothing is known of it
    source:  the weakest of the sources that are in `value`; "unknown" where it is None
    missing: parts of a sum that are unknown, and therefore not in `value`
    """

    value: float | None
    source: Source
    missing: int = 0
    notes: tuple[Note, ...] = ()


NOTHING = Quantity(0, "stored")


def stored(value: float) -> Quantity:
    return Quantity(value, "stored")


def estimated(value: float, *notes: Note) -> Quantity:
    return Quantity(value, "estimated", notes=notes)


def unknown(*notes: Note) -> Quantity:
    return Quantity(None, "unknown", 1, notes)


def total(parts: Iterable[Quantity]) -> Quantity:
    """The sum of what is known, and how many parts are not in it."""
    each = list(parts)
    known = [part for part in each if part.value is not None]
    nothing = not any(part.value for part in known)
    notes = tuple(dict.fromkeys(note for part in each for note in part.notes))
    missing = sum(part.missing for part in each)
    if missing and nothing:
        return Quantity(None, "unknown", missing, notes)
    source: Source = "stored" if all(part.source == "stored" for part in known) else "estimated"
    return Quantity(sum(part.value or 0 for part in known), source, missing, notes)


def told(notes: Iterable[Note]) -> tuple[str, ...]:
    """The notes as sentences, each once, with all that it is about."""
    about: dict[str, dict[str, None]] = {}
    for note in notes:
        named = about.setdefault(note.said, {})
        if note.about:
            named[note.about] = None
    return tuple(f"{said}: {', '.join(named)}" if named else said for said, named in about.items())
