"""From one file with a matrix to its experiments ("cells") and their tuned configurations.

An axis inside `tuned.<name>` makes more tuned configurations of one experiment. Any other axis makes
more experiments.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from harness.errors import Problem, UsageError
from harness.experiment.matrix import Combination, Key, combined, read_matrix
from harness.experiment.written import Written, assigned, plain, without_taken_out

MOST_CONFIGURATIONS = 64
_LONGEST_NAME = 80
Cell = tuple[Combination, list[Combination]]


def expanded(tree: Written, most: int | None) -> tuple[list[Written], list[Problem]]:
    """The experiments that the file declares, without `matrix`. One where the matrix is faulty.

    Raises UsageError where there are more than `most` tuned configurations in all.
    """
    table = tree.at("matrix")
    if table is None:
        return [tree], []
    tree = tree.without("matrix")
    matrix, problems = read_matrix(table, tree)
    cells = [] if problems else _cells(combined(matrix))
    if not cells and not problems:
        problems.append(table.origin.problem_of_table("`matrix` leaves no combination", "exclude less"))
    if problems:
        return [tree], problems
    _refuse_too_many(tree, cells, most)
    suffixes = labels([own for own, _ in cells], matrix.axes, 0)
    trees = []
    for suffix, (own, members) in zip(suffixes, cells, strict=True):
        made, found = _multiplied(_declared(tree, suffix, own), members, matrix.axes)
        trees.append(made)
        problems += found
    return trees, problems


def _cells(combinations: Sequence[Combination]) -> list[Cell]:
    """Combinations that differ only inside `tuned` belong to one cell, as its members."""
    cells: dict[str, Cell] = {}
    for one in combinations:
        own = {key: value for key, value in one.items() if key[0] != "tuned"}
        _, members = cells.setdefault(_identity(own), (own, []))
        members.append({key: value for key, value in one.items() if key[0] == "tuned"})
    return list(cells.values())


def _variants(members: Sequence[Combination], name: str) -> list[Combination]:
    """What the members say of one tuned configuration, each once; nothing is a variant too."""
    found: dict[str, Combination] = {}
    for one in members:
        variant = {key: value for key, value in one.items() if key[1] == name}
        found.setdefault(_identity(variant), variant)
    return list(found.values())


def _identity(combination: Combination) -> str:
    return json.dumps([[key, plain(value)] for key, value in sorted(combination.items())], default=str)


def _refuse_too_many(tree: Written, cells: Sequence[Cell], most: int | None) -> None:
    tuned = tree.at("tuned")
    names = list(tuned.value) if tuned is not None and tuned.is_table else []
    count = sum(len(_variants(members, name)) for _, members in cells for name in names)
    if most is not None and count > most:
        raise UsageError(
            f"the matrix makes {len(cells)} experiments with {count} tuned configurations in all; "
            f"more than {most} need --yes"
        )


def _declared(tree: Written, suffix: str, own: Combination) -> Written:
    """The experiment with a cell's values and a name of its own."""
    for key, value in own.items():
        tree = _with(tree, key, value)
    name = tree.at("name")
    if name is None or not isinstance(name.value, str):
        return tree
    return tree.with_child("name", Written(named(name.value, suffix), name.origin))


def _multiplied(
    tree: Written, members: Sequence[Combination], axes: Collection[Key]
) -> tuple[Written, list[Problem]]:
    """The experiment with each tuned configuration in all its variants, in place of itself."""
    tuned = tree.at("tuned")
    if tuned is None or not tuned.is_table:
        return tree, []
    made: dict[str, Written] = {}
    names: dict[str, list[str]] = {}
    problems = []
    for name, configuration in tuned.value.items():
        variants = _variants(members, name) if configuration.is_table else [{}]
        names[name] = [named(name, label) for label in labels(variants, axes, 2)]
        for each, variant in zip(names[name], variants, strict=True):
            if each in made or (each != name and each in tuned.value):
                message = f"the matrix makes a second tuned configuration called `{each}`"
                origin = tuned.value.get(each, configuration).origin
                problems.append(origin.problem_of_table(message, "rename one of the two"))
            made[each] = configuration
            for key, value in variant.items():
                made[each] = _with(made[each], key[2:], value)
    return _judging_all(tree.with_child("tuned", Written(made, tuned.origin)), names), problems


def _with(tree: Written, key: Key, value: Written) -> Written:
    """The tree with the value of an axis. `{ unset = true }` takes out what is there, if anything is."""
    if value.is_unset and tree.at(*key) is None:
        return tree
    return without_taken_out(assigned(tree, key, value))[0]


def _judging_all(tree: Written, names: dict[str, list[str]]) -> Written:
    """`gate.tuned = ["lora"]` means every configuration that the matrix made of it."""
    gate, judged = tree.at("gate"), tree.at("gate", "tuned")
    if gate is None or judged is None or not isinstance(judged.value, list):
        return tree
    meant: list[Written] = []
    for element in judged.value:
        of_matrix = names.get(element.value) if isinstance(element.value, str) else None
        meant += [Written(name, element.origin) for name in of_matrix] if of_matrix else [element]
    return tree.with_child("gate", gate.with_child("tuned", Written(meant, judged.origin)))


def labels(parts: Sequence[Combination], axes: Collection[Key], skipped: int) -> list[str]:
    """What tells the parts of combinations from each other: "r4", "model-a", "model-a-r4".

    A value stands behind the last part of its key, or more of the key where two would be equal; the
    first `skipped` parts go without saying. What only `include` gives is left out where the axes
    suffice. Names that would still be equal are numbered.
    """
    by_axes = [{key: value for key, value in part.items() if key in axes} for part in parts]
    texts: list[str] = []
    for chosen in (by_axes, parts):
        keys = {key[skipped:] for part in chosen for key in part}
        texts = [_label({key[skipped:]: value for key, value in part.items()}, keys) for part in chosen]
        if len(set(texts)) == len(texts):
            return texts
    return [
        f"{text}-{texts[:index].count(text) + 1}".strip("-") if text in texts[:index] else text
        for index, text in enumerate(texts)
    ]


def _label(part: Combination, keys: Collection[Key]) -> str:
    return "-".join(
        _safe(f"{_short(key, keys)}{'' if _is_number(value.value) else '-'}{_text(plain(value))}")
        for key, value in part.items()
    )


def _short(key: Key, keys: Collection[Key]) -> str:
    """The last part of the key, or as many as no other key ends with."""
    for length in range(1, len(key)):
        if sum(other[-length:] == key[-length:] for other in keys) == 1:
            return ".".join(key[-length:])
    return ".".join(key)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "-".join(f"{key}-{_text(child)}" for key, child in value.items())
    if isinstance(value, list):
        return "-".join(_text(child) for child in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _safe(text: str) -> str:
    """The text with only the signs that a name may have."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")


def named(name: str, label: str) -> str:
    """The name with a label, cut to the length that names may have."""
    full = f"{name}-{label}" if label else name
    if len(full) <= _LONGEST_NAME:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:8]
    return f"{full[: _LONGEST_NAME - 9]}-{digest}"
