"""A table whose every value knows where it is written, so that a mistake in it can be shown there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import Problem
from harness.experiment.document import KeyPath, key_name, read_document
from harness.experiment.written import Origin, Written, nodes, plain, written


@dataclass(frozen=True, eq=False)
class Located:
    """Plain values, and the origin of each by its path. One table may come from several documents."""

    table: dict[str, Any]
    origins: Mapping[KeyPath, Origin]

    def origin(self, path: KeyPath) -> Origin:
        """The origin of the value at `path`; of one that is not written, the nearest that holds it."""
        return self.origins[path[: self._known(path)]]

    def _known(self, path: KeyPath) -> int:
        return next(length for length in range(len(path), -1, -1) if path[:length] in self.origins)

    def written(self, path: KeyPath) -> KeyPath:
        """The path under which the value at `path` stands in its document, or would stand there."""
        known = self._known(path)
        return (*self.origins[path[:known]].path, *path[known:])

    def name(self, path: KeyPath) -> str:
        """The key as it is written: an inherited one by the path where it stands, a matrix's by its axis."""
        at = self.written(path)
        if at[:1] != ("matrix",) or len(at) < 3:
            return key_name(at)
        axis, rest = (at[3], at[4:]) if at[1] == "include" and len(at) > 3 else (at[1], at[3:])
        return str(axis) + "".join(f".{part}" for part in rest)

    def table_name(self, path: KeyPath, length: int) -> str:
        """The name of the table, `length` keys long, in which the key at `path` is written."""
        at = self.written(path)
        return key_name(at[:length]) if at[:1] == path[:1] else self.name(path[:length])

    def problem(self, path: KeyPath, message: str, help: str) -> Problem:
        """A problem with the value at `path`, or with its key."""
        return self.origin(path).problem(message, help)

    def problem_of_key(self, path: KeyPath, message: str, help: str) -> Problem:
        """A problem with the key itself: for a value of a matrix's axis it is the axis."""
        origin = self.origin(path)
        if isinstance(path[-1], str) and isinstance(origin.path[-1], int):
            origin = Origin(origin.document, origin.path[:-1])
        return origin.problem(message, help)

    def problem_of_table(self, path: KeyPath, message: str, help: str) -> Problem:
        """A problem with the table at `path` as a whole, such as a key that it lacks."""
        return self.origin(path).problem_of_table(message, help)

    def placed(self, path: KeyPath, problem: Problem) -> Problem:
        """`problem` itself where it knows its file, else the same problem at the key `path`."""
        return self.origin(path).placed(problem)


def located(tree: Written) -> Located:
    """The tree as plain values and a table of origins."""
    return Located(plain(tree), {path: node.origin for path, node in nodes(tree)})


def read_located(file: Path) -> Located:
    """One TOML file on its own. Raises ConfigurationError as `read_document` does."""
    return located(written(read_document(file)))
