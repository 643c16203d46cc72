"""`extends`: a file that begins as another file, a tuned configuration that begins as another one."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import ConfigurationError, Problem
from harness.experiment.annotations import shown
from harness.experiment.document import key_name, read_document
from harness.experiment.environment import interpolated
from harness.experiment.written import Written, merged, plain, written

_TUNED = re.compile(r"(?:(?P<file>.+):)?tuned\.(?P<name>.+)")


@dataclass
class Extended:
    """An experiment with every `extends` followed.

    broken: tuned configurations whose `extends` failed, so that they stay incomplete
    """

    tree: Written
    problems: list[Problem]
    broken: set[str]


def read_extended(path: Path, root: Path) -> Extended:
    """Reads the file and all that it extends. Tables merge; all else is replaced.

    Raises ConfigurationError where a file cannot be read: what it would bring is then unknown.
    """
    files = _Files(root)
    tree = files.read(path, ())
    if files.problems:
        raise ConfigurationError(files.problems)
    tuned = tree.at("tuned")
    if tuned is None or not tuned.is_table:
        return Extended(tree, [], set())
    chains = _Chains(files)
    resolved = {name: chains.resolve((path.resolve(), name), tuned.value, ()) for name in tuned.value}
    return Extended(tree.with_child("tuned", Written(resolved, tuned.origin)), files.problems, chains.broken)


@dataclass
class _Files:
    """Files by their paths, each read once and merged with what it extends."""

    root: Path
    problems: list[Problem] = field(default_factory=list)
    trees: dict[Path, Written] = field(default_factory=dict)

    def read(self, path: Path, chain: tuple[Path, ...]) -> Written:
        """The file laid on what it extends. Raises ConfigurationError for one that is no TOML."""
        place = path.resolve()
        if place not in self.trees:
            self.trees[place] = self._merged(written(read_document(path)), (*chain, path))
        return self.trees[place]

    def _merged(self, own: Written, chain: tuple[Path, ...]) -> Written:
        tree: Written | None = None
        for named in self._named(own.at("extends")):
            under = self.named(named, chain)
            if under is not None:
                tree = under if tree is None else merged(tree, under)
        own = own.without("extends")
        return own if tree is None else merged(tree, own)

    def _named(self, extends: Written | None) -> list[Written]:
        """The files that `extends` names; what is no text is a problem."""
        if extends is None:
            return []
        elements: list[Written] = extends.value if isinstance(extends.value, list) else [extends]
        for element in elements:
            if not isinstance(element.value, str):
                message = f"`extends` names files, not {shown(plain(element))}"
                self.note(element.origin.problem(message, 'write extends = "other.toml"'))
        return [element for element in elements if isinstance(element.value, str)]

    def named(self, name: Written, chain: tuple[Path, ...]) -> Written | None:
        """The file that the text names; None, with a problem noted at the text, if it cannot be had."""
        name, problems = interpolated(name)
        if problems:
            self.problems += problems
            return None
        path = self.root / name.value
        circle = [file.resolve() for file in chain]
        if path.resolve() in circle:
            names = " → ".join(file.name for file in (*chain[circle.index(path.resolve()) :], path))
            message = f"`extends` goes round in a circle: {names}"
            self.note(name.origin.problem(message, "take one of the `extends` out"))
            return None
        try:
            return self.read(path, chain)
        except ConfigurationError as error:
            for problem in error.problems:
                self.note(name.origin.placed(problem))
            return None

    def note(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


class _Chains:
    """The chains of tuned configurations being followed, each link a file and a name in it."""

    def __init__(self, files: _Files) -> None:
        self.files = files
        self.broken: set[str] = set()
        self.circles: set[frozenset[tuple[Path, str]]] = set()

    def resolve(
        self, link: tuple[Path, str], tuned: dict[str, Written], chain: tuple[tuple[Path, str], ...]
    ) -> Written:
        """The configuration of that name among `tuned`, laid on what it extends."""
        table = tuned[link[1]]
        if not table.is_table or "extends" not in table.value:
            return table
        chain = (*chain, link)
        own = table.without("extends")
        extends, problems = interpolated(table.value["extends"])
        found = _TUNED.fullmatch(extends.value) if isinstance(extends.value, str) else None
        for problem in problems:
            self.files.note(problem)
        file, siblings = link[0], tuned
        if found and found["file"]:
            file = (self.files.root / found["file"]).resolve()
            siblings = self._tuned_of(Written(found["file"], extends.origin))
        parent = self._parent(extends, found["name"] if found else None, siblings, link)
        if parent is None or self._is_circle(extends, (file, parent), chain):
            self.broken.update(name for _, name in chain)
            return own
        inherited = self.resolve((file, parent), siblings, chain)
        return merged(inherited, own) if inherited.is_table else own

    def _tuned_of(self, file: Written) -> dict[str, Written]:
        tree = self.files.named(file, ())
        tuned = tree.at("tuned") if tree is not None else None
        return tuned.value if tuned is not None and tuned.is_table else {}

    def _parent(
        self, extends: Written, name: str | None, siblings: dict[str, Written], link: tuple[Path, str]
    ) -> str | None:
        """`name` where there is such a configuration; None, with a problem noted, where there is none."""
        if name in siblings:
            return name
        said = extends.value if isinstance(extends.value, str) else ""
        prefix = said.rpartition(":")[0]
        choices = [f"{prefix}:tuned.{other}" if prefix else f"tuned.{other}" for other in siblings]
        choices = [choice for choice in choices if prefix or choice != f"tuned.{link[1]}"]
        near = difflib.get_close_matches(said, choices, n=1)
        others = ", ".join(f'"{choice}"' for choice in choices) or "none to extend"
        where = f"`{prefix}`" if prefix else "this file"
        message = f"`{key_name(extends.origin.path)}` names no tuned configuration of {where}: "
        help = f'did you mean "{near[0]}"?' if near else f"{where} has {others}"
        self.files.note(extends.origin.problem(message + shown(plain(extends)), help))
        return None

    def _is_circle(
        self, extends: Written, parent: tuple[Path, str], chain: tuple[tuple[Path, str], ...]
    ) -> bool:
        """Whether the chain comes back to where it was; noted once for each circle."""
        if parent not in chain:
            return False
        circle = chain[chain.index(parent) :]
        if frozenset(circle) not in self.circles:
            self.circles.add(frozenset(circle))
            names = " → ".join(name for _, name in (*circle, parent))
            message = f"`{key_name(extends.origin.path)}` goes round in a circle: {names}"
            self.files.note(extends.origin.problem(message, "take one of the `extends` out"))
        return True
