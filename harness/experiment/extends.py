"""`extends = "tuned.<name>"`: a tuned configuration that begins as a copy of another."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from harness.errors import Problem
from harness.experiment.located import KeyPath, Located, key_name, with_table


class Resolved(NamedTuple):
    """The file without `extends`, what was wrong with it, and the configurations that stay incomplete."""

    located: Located
    problems: list[Problem]
    broken: set[str]


def resolve_extends(located: Located) -> Resolved:
    """Replaces every `extends` by what it names. Tables merge; scalars and lists are replaced."""
    tuned = located.table.get("tuned")
    if not isinstance(tuned, dict):
        return Resolved(located, [], set())
    merge = _Merge(located, tuned)
    resolved = {name: merge.resolve(name, ()) for name in tuned}
    resolved_file = with_table(located, {**located.table, "tuned": resolved}, merge.origins)
    return Resolved(resolved_file, merge.problems, merge.broken)


class _Merge:
    """The chains being followed, and what was found on the way."""

    def __init__(self, located: Located, tuned: dict[str, Any]) -> None:
        self.located = located
        self.tuned = tuned
        self.origins: dict[KeyPath, KeyPath] = {}
        self.problems: list[Problem] = []
        self.broken: set[str] = set()
        self.circles: set[frozenset[str]] = set()

    def resolve(self, name: str, chain: tuple[str, ...]) -> Any:
        table = self.tuned[name]
        if not isinstance(table, dict) or "extends" not in table:
            return table
        own = {key: value for key, value in table.items() if key != "extends"}
        parent = self._parent(name, table["extends"], (*chain, name))
        if parent is None:
            self.broken.update((*chain, name))
            return own
        inherited = self.resolve(parent, (*chain, name))
        if not isinstance(inherited, dict):
            return own
        return self._merged(inherited, own, ("tuned", parent), ("tuned", name))

    def _parent(self, name: str, extends: Any, chain: tuple[str, ...]) -> str | None:
        """The name of the configuration that is extended; None, with a problem noted, if it cannot be."""
        key: KeyPath = ("tuned", name, "extends")
        written = [f"tuned.{other}" for other in self.tuned]
        if not isinstance(extends, str) or extends not in written:
            near = difflib.get_close_matches(
                str(extends), [text for text in written if text != f"tuned.{name}"], n=1
            )
            others = ", ".join(f'"{text}"' for text in written if text != f"tuned.{name}") or "no other one"
            help = f'did you mean "{near[0]}"?' if near else f"this file has {others}"
            message = f"`{key_name(key)}` names no tuned configuration of this file: {_shown(extends)}"
            self._note(self.located.problem(key, message, help))
            return None
        parent = extends.removeprefix("tuned.")
        if parent in chain:
            circle = chain[chain.index(parent) :]
            if frozenset(circle) not in self.circles:
                self.circles.add(frozenset(circle))
                message = f"`{key_name(key)}` goes round in a circle: {' → '.join((*circle, parent))}"
                self._note(self.located.problem(key, message, "take one of the `extends` out"))
            return None
        return parent

    def _note(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _merged(
        self, inherited: dict[str, Any], own: dict[str, Any], source: KeyPath, target: KeyPath
    ) -> dict[str, Any]:
        merged = dict(inherited)
        for key, value in own.items():
            before = inherited.get(key)
            if isinstance(before, dict) and isinstance(value, dict):
                merged[key] = self._merged(before, value, (*source, key), (*target, key))
            else:
                merged[key] = value
        for key in inherited.keys() - own.keys():
            self._inherit(inherited[key], (*source, key), (*target, key))
        return merged

    def _inherit(self, value: Any, source: KeyPath, target: KeyPath) -> None:
        self.origins[target] = self.origins.get(source, source)
        if isinstance(value, dict):
            for key in value:
                self._inherit(value[key], (*source, key), (*target, key))
        if isinstance(value, list):
            for index, element in enumerate(value):
                self._inherit(element, (*source, index), (*target, index))


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
