"""Rows of a source: files, the hub, or a Python function of the person's own."""

from __future__ import annotations

import importlib
import linecache
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from harness.data.readers import read_file
from harness.data.rows import Row, first_twenty
from harness.errors import ConfigurationError, MissingExtra, Problem, RunFailed
from harness.experiment.sources import (
    FileSource,
    HubSource,
    PythonSource,
    check_source,
    matching_files,
    module_file,
    parse_source,
    sliced,
)


def read_rows(source: str, root: Path, limit: int | None = None) -> tuple[Row, ...]:
    """The source's rows, at most `limit`, in their order.

    Raises ConfigurationError for a source that is not there, for rows that cannot be read (up to
    twenty are named) and for one without rows; RunFailed where the hub does not deliver; MissingExtra.
    """
    trouble = check_source(source, root)
    if trouble:
        raise ConfigurationError([trouble])
    rows: list[Row] = []
    problems: list[Problem] = []
    _, part = sliced(source)
    for found in islice(islice(_found(source, root), part.start, part.stop), limit):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            rows.append(found)
    if problems:
        raise ConfigurationError(first_twenty(problems, len(rows) + len(problems), source))
    if not rows:
        file = _only_file(source, root)
        raise ConfigurationError(
            [Problem(f"`{source}` holds no rows", file, help="an empty data set measures nothing")]
        )
    return tuple(rows)


def _only_file(source: str, root: Path) -> Path | None:
    parsed = parse_source(source)
    files = matching_files(parsed.pattern, root) if isinstance(parsed, FileSource) else []
    return files[0] if len(files) == 1 else None


def _found(source: str, root: Path) -> Iterator[Row | Problem]:
    parsed = parse_source(source)
    if isinstance(parsed, PythonSource):
        return _python_rows(parsed, source, root)
    if isinstance(parsed, HubSource):
        return _hub_rows(parsed, source)
    return _file_rows(parsed, root)


def _file_rows(source: FileSource, root: Path) -> Iterator[Row | Problem]:
    for file in matching_files(source.pattern, root):
        yield from read_file(file)


def _hub_rows(source: HubSource, text: str) -> Iterator[Row | Problem]:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("models", "datasets") from None
    try:
        rows = datasets.load_dataset(source.dataset, revision=source.revision, split=source.split)
    except Exception as error:  # the library raises many kinds, some of them from below
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunFailed(
            f"the data set `{text}` could not be loaded from the hub: {said}\n"
            f"Check the name, the split (`#{source.split}`) and the network; a private one needs HF_TOKEN, "
            "a mirror HF_ENDPOINT. Without a network, save its rows as JSONL and name that file instead."
        ) from error
    for number, values in enumerate(rows, 1):
        yield Row(dict(values), None, None, number)


def _python_rows(source: PythonSource, text: str, root: Path) -> Iterator[Row | Problem]:
    file = module_file(source.module, root)
    assert file is not None  # check_source has seen it
    with _importable(root):
        try:
            rows: Any = getattr(_imported(source.module, file, root), source.function)()
            if isinstance(rows, str | Mapping) or not isinstance(rows, Iterable):
                raise TypeError(f"it gives {type(rows).__name__}, not rows")
            for number, values in enumerate(rows, 1):
                row = Row(values, None, None, number) if isinstance(values, Mapping) else None
                said = f"row {number} of {text} is {type(values).__name__}, not a dict"
                yield replace(row, values=dict(values)) if row else Problem(said, file)
        except Exception as error:
            raise ConfigurationError([_raised(error, text, file, root)]) from error


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Modules below the root can be imported, also by functions that import while they run."""
    entry = str(root)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _imported(module: str, file: Path, root: Path) -> Any:
    """The module from this root, even where one of the same name from another root is loaded."""
    family = module.partition(".")[0]
    for name, loaded in list(sys.modules.items()):
        if name == family or name.startswith(f"{family}."):
            origin = getattr(loaded, "__file__", None)
            if origin is None or not Path(origin).resolve().is_relative_to(root.resolve()):
                del sys.modules[name]
    importlib.invalidate_caches()
    return importlib.import_module(module)


def _raised(error: Exception, text: str, file: Path, root: Path) -> Problem:
    """The exception at the line of the person's own code that it came from."""
    message = f"{text} raised {type(error).__name__}: {error}"
    help = None
    if isinstance(error, ModuleNotFoundError) and error.name:
        help = f"install the package that has `{error.name}`; the shipped suites need: pip install '.[demo]'"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename, root)]
    if not frames:
        return Problem(message, file, help=help)
    last = frames[-1]
    place = Path(last.filename)
    source = linecache.getline(last.filename, last.lineno or 1).rstrip("\n")
    return Problem(message, place, last.lineno, len(source) - len(source.lstrip()) + 1, source, help)


def _is_own(filename: str, root: Path) -> bool:
    """Below the root, and neither the harness nor an installed package there (a .venv)."""
    path = Path(filename).resolve()
    installed = "site-packages" in path.parts or path.is_relative_to(Path(__file__).resolve().parents[1])
    return path.is_relative_to(root.resolve()) and not installed
