"""Values that know where they are written: they are merged, replaced and taken out as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import Problem
from harness.experiment.document import Document, KeyPath, key_name

# In place of a value that `{ unset = true }` took out.
TAKEN_OUT = object()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value is written: a document and the key path in it.

    variables: the environment variables that are part of the text
    """

    document: Document
    path: KeyPath
    variables: tuple[str, ...] = ()

    def problem(self, message: str, help: str) -> Problem:
        """A problem with the key, or with the element of a list; `help` says what to do."""
        return self.document.problem(self.document.place(self.path), message, help)

    def problem_of_table(self, message: str, help: str) -> Problem:
        """A problem with the table as a whole: at its header, or at its opening brace."""
        document = self.document
        return document.problem(document.tables.get(self.path) or document.place(self.path), message, help)

    def placed(self, problem: Problem) -> Problem:
        """`problem` itself where it knows its file, else the same problem here."""
        if problem.file is not None:
            return problem
        return replace(self.problem(problem.message, ""), help=problem.help)

    def in_words(self, root: Path) -> str:
        """`experiments/medical.toml:12`, `--set`, and what else had a part in it."""
        file = self.document.file
        if file is None:
            return "--set"
        file, root = file.resolve(), root.resolve()
        name = file.relative_to(root) if file.is_relative_to(root) else file
        place = f"{name.as_posix()}:{self.document.place(self.path).line}"
        if self.path[:1] == ("matrix",):
            place = f"matrix, {place}"
        return f"from env {', '.join(self.variables)}, {place}" if self.variables else place


@dataclass(frozen=True, slots=True)
class Written:
    """A value and its origin. The value of a table is a dict of these, that of a list a list of these."""

    value: Any
    origin: Origin

    @property
    def is_table(self) -> bool:
        return isinstance(self.value, dict) and not self.is_unset

    @property
    def is_unset(self) -> bool:
        """Whether it is `{ unset = true }`, which takes out what it is laid on."""
        return isinstance(self.value, dict) and len(self.value) == 1 and _is_true(self.value.get("unset"))

    def at(self, *path: str | int) -> Written | None:
        """What stands below at `path`, or None."""
        found: Written | None = self
        for part in path:
            if found is None:
                return None
            found = _child(found.value, part)
        return found

    def with_child(self, key: str, child: Written) -> Written:
        """The same table with one key replaced or added."""
        return Written({**self.value, key: child}, self.origin)

    def without(self, *keys: str) -> Written:
        """The same table without some of its keys."""
        kept = {key: child for key, child in self.value.items() if key not in keys}
        return Written(kept, self.origin)


def _is_true(value: Written | None) -> bool:
    return value is not None and value.value is True


def _child(value: Any, part: str | int) -> Written | None:
    if isinstance(value, dict):
        child = value.get(part)
        return child if isinstance(child, Written) else None
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        child = value[part]
        return child if isinstance(child, Written) else None
    return None


def written(document: Document) -> Written:
    """Everything in a document."""
    return _written(document.table, document, ())


def _written(value: Any, document: Document, path: KeyPath) -> Written:
    if isinstance(value, dict):
        value = {key: _written(child, document, (*path, key)) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_written(child, document, (*path, index)) for index, child in enumerate(value)]
    return Written(value, Origin(document, path))


def plain(tree: Written) -> Any:
    """The values without their origins."""
    if isinstance(tree.value, dict):
        return {key: plain(child) for key, child in tree.value.items()}
    if isinstance(tree.value, list):
        return [plain(child) for child in tree.value]
    return tree.value


def merged(under: Written, over: Written) -> Written:
    """`over` laid on `under`: tables merge, everything else is replaced, what is unset is taken out."""
    if over.is_unset:
        return Written(TAKEN_OUT, over.origin)
    if not (under.is_table and over.is_table):
        return over
    children = dict(under.value)
    for key, child in over.value.items():
        children[key] = merged(children[key], child) if key in children else child
    return Written(children, over.origin)


def assigned(tree: Written, path: tuple[str, ...], value: Written) -> Written:
    """The tree with `value` laid on what stands at `path`. Tables on the way there are made."""
    key, below = path[0], path[1:]
    child = tree.value.get(key)
    if below:
        table = child if child is not None and child.is_table else Written({}, _above(value.origin, below))
        return tree.with_child(key, assigned(table, below, value))
    return tree.with_child(key, value if child is None else merged(child, value))


def _above(origin: Origin, below: tuple[str, ...]) -> Origin:
    """The origin of the table that holds the keys `below`, where they are written as such."""
    above = len(origin.path) - len(below)
    return Origin(origin.document, origin.path[:above]) if origin.path[above:] == below else origin


def without_taken_out(tree: Written, path: KeyPath = ()) -> tuple[Written, list[Problem]]:
    """The tree without what was taken out, and a problem for each `unset` that found nothing to take."""
    if not isinstance(tree.value, dict):
        return tree, []
    kept: dict[str, Written] = {}
    problems = []
    for key, child in tree.value.items():
        if child.value is TAKEN_OUT:
            continue
        if child.is_unset:
            message = f"there is no `{key_name((*path, key))}` that could be taken out"
            problems.append(child.origin.problem(message, "it has no value without this; take the key out"))
            continue
        kept[key], found = without_taken_out(child, (*path, key))
        problems += found
    return Written(kept, tree.origin), problems


def nodes(tree: Written, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Written]]:
    """Every value below with its path: tables and lists before what they hold."""
    yield path, tree
    if isinstance(tree.value, dict):
        children: Any = tree.value.items()
    elif isinstance(tree.value, list):
        children = enumerate(tree.value)
    else:
        return
    for key, child in children:
        yield from nodes(child, (*path, key))
