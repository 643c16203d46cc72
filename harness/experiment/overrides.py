"""`--set key.path=value` and `--set '~key.path'`: changes to an experiment from the command line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence

from harness.errors import ConfigurationError, Problem
from harness.experiment.document import DOTTED_KEY, Document, key_name, parse_document
from harness.experiment.validate import suggestion
from harness.experiment.written import Origin, Written, assigned, written

_HELP = "write --set key.path=value, or --set '~key.path' to take a key out"


def overridden(tree: Written, options: Sequence[str]) -> tuple[Written, list[Problem]]:
    """The experiment with every option applied in turn. A table merges, everything else is replaced."""
    problems: list[Problem] = []
    for option in options:
        try:
            document = _document(option)
        except ConfigurationError as error:
            problems += error.problems
            continue
        for path, value in _assignments(written(document)):
            problem = _misplaced(tree, path, value)
            if problem:
                problems.append(problem)
            else:
                tree = assigned(tree, path, value)
    return tree, problems


def _document(option: str) -> Document:
    """The option as TOML. A value that is no TOML is text, as a shell hands it over."""
    lines = tuple(option.split("\n"))
    key = DOTTED_KEY.match(option.replace("~", " ", 1) if option.startswith("~") else option)
    if key is None:
        raise ConfigurationError([Problem("this names no key", None, None, 1, lines[0], _HELP)])
    if option.startswith("~") and key.end() == len(option):
        return _as_written(f"{key[0]}={{ unset = true }}", lines)
    if option.startswith("~") or option[key.end() :][:1] != "=":
        problem = Problem("this is not key=value", None, None, key.end() + 1, lines[0], _HELP)
        raise ConfigurationError([problem])
    value = option[key.end() + 1 :].strip()
    # What begins like a list, a table or a quoted text is meant as TOML; its mistakes are shown as such.
    if _is_toml(f"value = {value}") or value[:1] in ("[", "{", '"', "'"):
        return _as_written(f"{key[0]}={value}", lines)
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return _as_written(f"{key[0]}={text}", lines)


def _as_written(toml: str, lines: tuple[str, ...]) -> Document:
    """The document that `toml` is, with the option's own text as its lines."""
    found = parse_document(toml, None)
    return Document(None, lines, found.table, found.keys, found.tables)


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _assignments(tree: Written, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Written]]:
    """The key that the option names, with its value: what stands behind the last dot."""
    is_written = tree.origin.path in tree.origin.document.tables  # an inline table is a value
    if tree.is_table and not is_written:
        for key, child in tree.value.items():
            yield from _assignments(child, (*path, key))
    else:
        yield path, tree


def _misplaced(tree: Written, path: tuple[str, ...], value: Written) -> Problem | None:
    """A key that comes too late, that names no tuned configuration, or that is not there to take out."""
    if path[0] == "extends" or (path[0] == "tuned" and path[2:3] == ("extends",)):
        message = "`extends` is followed before --set applies"
        return value.origin.problem(message, "write it into the file")
    problem = unknown_tuned(tree, path, value)
    if problem is None and value.is_unset and tree.at(*path) is None:
        table = tree.at(*path[:-1])
        help = suggestion(path[-1], table.value) if table is not None and table.is_table else "take it out"
        return value.origin.problem(f"there is no `{key_name(path)}` that could be taken out", help)
    return problem


def unknown_tuned(tree: Written, path: tuple[str, ...], value: Written) -> Problem | None:
    """A problem where a key path leads into a tuned configuration that the experiment has not."""
    tuned = tree.at("tuned")
    if path[0] != "tuned" or len(path) < 3 or tuned is None or not tuned.is_table or path[1] in tuned.value:
        return None
    message = f"there is no tuned configuration `{path[1]}`"
    origin = value.origin
    if origin.path == path:  # an option: its own second part is wrong
        origin = Origin(origin.document, path[:2])
    return origin.problem(message, suggestion(path[1], tuned.value))
