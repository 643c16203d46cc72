"""Where rows come from: the four forms a source takes, and whether what it names is there.

Nothing is imported or downloaded: a `python:` module is found as a file below the root and parsed.
"""

from __future__ import annotations

import ast
import difflib
import glob
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from math import inf
from pathlib import Path
from posixpath import normpath
from typing import NamedTuple

from harness.errors import ConfigurationError, Problem

FILE_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
_WILDCARD = re.compile(r"[*?\[]")
_HUB = re.compile(r"hub:(?P<dataset>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[^#\s]+))?(?:#(?P<split>\S+))?")
_SLICE = re.compile(r"(?P<source>.+)#\[(?P<start>\d*):(?P<stop>\d*)\]", re.DOTALL)
_PYTHON = re.compile(r"python:(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<function>[^\W\d]\w*)")


@dataclass(frozen=True)
class FileSource:
    """A path or a glob, relative to the root."""

    pattern: str


@dataclass(frozen=True)
class HubSource:
    """`hub:org/name`, with `@revision` and `#split` where needed."""

    dataset: str
    revision: str
    split: str


@dataclass(frozen=True)
class PythonSource:
    """`python:module:function`; the module is a file below the root."""

    module: str
    function: str


Source = FileSource | HubSource | PythonSource


def sliced(text: str) -> tuple[str, slice]:
    """`rows.jsonl#[100:]` is a source and a part of its rows, counted from 0; any source may have one."""
    found = _SLICE.fullmatch(text)
    if found is None:
        return text, slice(None)
    start, stop = (int(found[name]) if found[name] else None for name in ("start", "stop"))
    return found["source"], slice(start, stop)


class Rows(NamedTuple):
    """A part of a source's rows: those from `first` on, before `end`."""

    source: Source | str
    first: int
    end: float


def rows_of(text: str, limit: object = None) -> Rows:
    """The rows that a source's text names, of which at most `limit` are read."""
    named, part = sliced(text)
    first = part.start or 0
    end = inf if part.stop is None else part.stop
    return Rows(_meant(named), first, min(end, first + limit) if isinstance(limit, int) else end)


def _meant(text: str) -> Source | str:
    """The source however it is written: `./rows.jsonl` is `rows.jsonl`, `hub:x` is `hub:x@main#train`."""
    try:
        source = parse_source(text)
    except ConfigurationError:
        return text  # told elsewhere
    return FileSource(normpath(source.pattern)) if isinstance(source, FileSource) else source


def overlap(one: Rows, other: Rows) -> bool:
    """Whether two sources share rows, as far as their texts tell; a pattern shares what matches it."""
    if isinstance(one.source, FileSource) and isinstance(other.source, FileSource):
        left, right = one.source.pattern, other.source.pattern
        if left != right:
            return fnmatchcase(left, right) or fnmatchcase(right, left)
    return one.source == other.source and max(one.first, other.first) < min(one.end, other.end)


def parse_source(text: str) -> Source:
    """Where the rows are, whatever part of them is wanted.

    Raises ConfigurationError, without a place, for a text that is no source.
    """
    text, _ = sliced(text)
    if text.startswith("hub:"):
        found = _HUB.fullmatch(text)
        if not found:
            raise _unreadable(
                text, "hub:org/name", "write hub:org/name, hub:org/name@revision or hub:org/name#split"
            )
        return HubSource(found["dataset"], found["revision"] or "main", found["split"] or "train")
    if text.startswith("python:"):
        found = _PYTHON.fullmatch(text)
        if not found:
            raise _unreadable(text, "python:module:function", "write python:suites.medical:training_rows")
        return PythonSource(found["module"], found["function"])
    if not text.strip():
        raise _unreadable(text, "a source", "write a path, a glob, hub:org/name or python:module:function")
    return FileSource(text)


def _unreadable(text: str, form: str, help: str) -> ConfigurationError:
    return ConfigurationError([Problem(f"`{text}` is not of the form {form}", help=help)])


def matching_files(pattern: str, root: Path) -> list[Path]:
    """The files a path or glob names, in order of their names. Empty if there are none."""
    literal = root / pattern
    if literal.exists() or not _WILDCARD.search(pattern):
        return [literal] if literal.is_file() else []
    found = (root / name for name in glob.glob(pattern, root_dir=root, recursive=True))
    return sorted(file for file in found if file.is_file())


def module_file(module: str, root: Path) -> Path | None:
    """The file below the root that `module` is imported from."""
    base = root.joinpath(*module.split("."))
    for file in (base / "__init__.py", base.with_name(base.name + ".py")):
        if file.is_file():
            return file
    return None


@lru_cache(maxsize=64)
def parsed_module(code: bytes) -> ast.Module:
    """Several sources usually name the same module. Raises SyntaxError."""
    return ast.parse(code)


def check_source(text: str, root: Path) -> Problem | None:
    """What is wrong with a source; without a file where the problem is the text itself."""
    try:
        source = parse_source(text)
    except ConfigurationError as error:
        return error.problems[0]
    if isinstance(source, PythonSource):
        return _check_python(source, root)
    if isinstance(source, FileSource):
        return _check_files(source, root)
    return None


def _check_files(source: FileSource, root: Path) -> Problem | None:
    path = root / source.pattern
    forms = ", ".join(FILE_SUFFIXES)
    if path.is_dir():
        return Problem(
            f"`{source.pattern}` is a folder", help=f"name its files: {source.pattern.rstrip('/')}/*.jsonl"
        )
    files = matching_files(source.pattern, root)
    if not files and _WILDCARD.search(source.pattern):
        return Problem(f"no file matches `{source.pattern}`", help=f"patterns start at {root}")
    if not files:
        return Problem(f"there is no file `{source.pattern}`", help=near_path(source.pattern, root))
    for file in files:
        if file.suffix not in FILE_SUFFIXES:
            return Problem(
                f"`{file.name}` is not a kind of file that can be read", help=f"expected one of {forms}"
            )
    return None


def near_path(pattern: str, root: Path) -> str:
    """What to do about a path that is not there: the nearest name beside it, or where paths start."""
    folder = (root / pattern).parent
    names = [child.name for child in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(Path(pattern).name, names, n=1)
    return f"did you mean `{Path(pattern).parent / near[0]}`?" if near else f"paths start at {root}"


def _check_python(source: PythonSource, root: Path) -> Problem | None:
    file = module_file(source.module, root)
    if file is None:
        wanted = source.module.replace(".", "/") + ".py"
        return Problem(f"there is no module `{source.module}`", help=f"expected {root / wanted}")
    try:
        named = _names(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        return _syntax_problem(error, file)
    if source.function not in named:
        message = f"`{source.module}` has no function `{source.function}`"
        functions = [name for name, node in named.items() if isinstance(node, ast.FunctionDef)]
        near = difflib.get_close_matches(source.function, functions, n=1)
        return Problem(message, help=f"did you mean `{near[0]}`?" if near else f"it is looked for in {file}")
    node = named[source.function]
    if isinstance(node, ast.ClassDef | ast.AsyncFunctionDef):
        return Problem(f"`{source.function}` in `{source.module}` is not a plain function", help="use `def`")
    if isinstance(node, ast.FunctionDef) and _needs_arguments(node.args):
        message = f"`{source.function}` in `{source.module}` needs arguments; it is called without any"
        return Problem(message, help="give every parameter a default")
    return None


_COMPILE = "`python -m py_compile` of the file says the same"


def _syntax_problem(error: SyntaxError | ValueError, file: Path) -> Problem:
    if isinstance(error, SyntaxError) and error.lineno:
        text = (error.text or "").rstrip("\n")
        column = error.offset or 1
        return Problem(f"not valid Python: {error.msg}", file, error.lineno, column, text, _COMPILE)
    return Problem(f"not valid Python: {error}", file, help=_COMPILE)


@lru_cache(maxsize=64)
def _names(code: bytes) -> dict[str, ast.stmt]:
    """What the module defines or imports, and by which statement. Raises SyntaxError."""
    tree = parsed_module(code)
    named: dict[str, ast.stmt] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            named.update({alias.asname or alias.name: node for alias in node.names})
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            named[node.name] = node
        if isinstance(node, ast.Assign):
            named.update({target.id: node for target in node.targets if isinstance(target, ast.Name)})
    return named


def _needs_arguments(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    return positional > len(arguments.defaults) or None in arguments.kw_defaults
