"""`[matrix]` as it is written, and the combinations that it makes by GitHub's rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from harness.errors import Problem
from harness.experiment.annotations import shown
from harness.experiment.document import key_name, split_key
from harness.experiment.overrides import unknown_tuned
from harness.experiment.validate import suggestion
from harness.experiment.written import Written, plain

Key = tuple[str, ...]
Combination = dict[Key, Written]

_QUOTE_IT = 'write the whole key in quotes: "base.model" = ["a", "b"]'
# What no axis can be: these are read before the matrix, or made by it.
_NO_AXIS = ("version", "name", "extends", "matrix")


@dataclass
class Matrix:
    """The axes in their order with their values, and what is added and left out."""

    axes: dict[Key, list[Written]] = field(default_factory=dict)
    include: list[Combination] = field(default_factory=list)
    exclude: list[Combination] = field(default_factory=list)


def combined(matrix: Matrix) -> list[Combination]:
    """All combinations.

    `exclude` drops those that it matches in part. Then each `include` is added to every combination of
    the axes of which it overwrites no value; one that fits none is a combination of its own.
    """
    crossed = product(*matrix.axes.values()) if matrix.axes else ()
    original = [dict(zip(matrix.axes, values, strict=True)) for values in crossed]
    kept = [one for one in original if not any(_agree(one, entry, entry) for entry in matrix.exclude)]
    grown = [dict(one) for one in kept]
    added = []
    for entry in matrix.include:
        shared = entry.keys() & matrix.axes.keys()
        fitting = [index for index, one in enumerate(kept) if _agree(one, entry, shared)]
        for index in fitting:
            grown[index].update(entry)
        if not fitting:
            added.append(dict(entry))
    return grown + added


def _agree(one: Combination, other: Combination, keys: Iterable[Key]) -> bool:
    return all(identical(plain(one[key]), plain(other[key])) for key in keys)


def identical(one: Any, other: Any) -> bool:
    """Whether two values are the same; 1 is 1.0, but not true."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def read_matrix(table: Written, tree: Written) -> tuple[Matrix, list[Problem]]:
    """The matrix of the experiment `tree`, and what is wrong with it."""
    matrix = Matrix()
    if not table.is_table:
        return matrix, [table.origin.problem("`matrix` must be a table", _QUOTE_IT)]
    reading = _Reading(tree, matrix.axes)
    for text, values in table.value.items():
        if text not in ("include", "exclude"):
            reading.axis(text, values)
    for text, target in (("include", matrix.include), ("exclude", matrix.exclude)):
        if text in table.value:
            target += reading.entries(text, table.value[text])
    return matrix, reading.problems


@dataclass
class _Reading:
    """What is being read, and what was found wrong on the way."""

    tree: Written
    axes: dict[Key, list[Written]]
    problems: list[Problem] = field(default_factory=list)

    def axis(self, text: str, values: Written) -> None:
        if not isinstance(values.value, list):
            help = _QUOTE_IT if values.is_table else f"write [{shown(plain(values))}]"
            self._note(values, f"`matrix.{key_name((text,))}` must be a list of values", help)
        elif not values.value:
            self._note(values, f"the axis `{text}` has no value", "write at least one value")
        else:
            for index, value in enumerate(values.value):
                if any(identical(plain(value), plain(other)) for other in values.value[:index]):
                    self._note(value, f"the axis `{text}` has this value twice", "take one out")
            key = self._key(text, values)
            if key is not None:
                self.axes[key] = values.value

    def entries(self, kind: str, entries: Written) -> list[Combination]:
        if not isinstance(entries.value, list) or not all(one.is_table for one in entries.value):
            self._note(entries, f"`matrix.{kind}` must be a list of tables", f"write [[matrix.{kind}]]")
            return []
        read = []
        for entry in entries.value:
            if not entry.value:
                self._note(entry, f"this `{kind}` is empty", 'write "base.model" = …, or take it out')
            keys = {text: self._entry_key(kind, text, value) for text, value in entry.value.items()}
            read.append({key: entry.value[text] for text, key in keys.items() if key is not None})
        return read

    def _entry_key(self, kind: str, text: str, value: Written) -> Key | None:
        key = self._key(text, value)
        if key is None or key in self.axes:
            return key
        known = [key_name(axis) for axis in self.axes]
        if any(axis[: len(key)] == key for axis in self.axes):
            self._note(value, f"`{text}` holds axes, and is none itself", f"write it as {' or '.join(known)}")
        elif kind == "exclude":
            self._note(value, f"`exclude` names `{text}`, which is no axis", suggestion(text, known))
        return key

    def _key(self, text: str, value: Written) -> Key | None:
        """The parts of an axis's key; None, with a problem noted, for what cannot be one."""
        key = split_key(text)
        if key is None:
            self._note(value, f"`{text}` is no dotted key", _QUOTE_IT)
            return None
        if key[0] in _NO_AXIS or key[2:3] == ("extends",):
            self._note(value, f"`{text}` cannot be an axis", "a matrix changes what is declared, after that")
            return None
        if key[0] == "tuned" and len(key) < 3:
            help = 'name a key of one configuration: "tuned.lora.learning_rate" = [1e-4, 2e-4]'
            self._note(value, f"`{text}` cannot be an axis", help)
            return None
        problem = unknown_tuned(self.tree, key, value)
        if problem is not None:
            self.problems.append(problem)
            return None
        return key

    def _note(self, value: Written, message: str, help: str) -> None:
        self.problems.append(value.origin.problem(message, help))
