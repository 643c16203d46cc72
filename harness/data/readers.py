"""Readers of the file formats. Each yields rows, and problems in the place of rows that cannot be read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.data.rows import Row
from harness.errors import ConfigurationError, MissingExtra, Problem

LARGEST_CELL = 1 << 30


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read_jsonl(file: Path) -> Iterator[Row | Problem]:
    """One JSON object a line; empty lines are passed over."""
    number = 0
    with open(file, "rb") as stream:
        for line, data in enumerate(stream, 1):
            text = data.decode("utf-8-sig" if line == 1 else "utf-8", "surrogateescape").rstrip("\r\n")
            if not text.strip():
                continue
            number += 1
            yield _json_row(text, Row({}, file, line, number))


def _json_row(text: str, at: Row) -> Row | Problem:
    if any("\udc80" <= sign <= "\udcff" for sign in text):
        return Problem("this line is not UTF-8 text", at.file, at.line, 1, help="save the file as UTF-8")
    try:
        values = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        return Problem(message, at.file, at.line, error.colno, text, "one JSON object a line")
    except (ValueError, RecursionError) as error:
        return Problem(f"not valid JSON: {error}", at.file, at.line, 1, text)
    if not isinstance(values, dict):
        return Problem(
            "this line is not a JSON object", at.file, at.line, 1, text, 'write {"column": value, …}'
        )
    return Row(values, at.file, at.line, at.number)


def read_json(file: Path) -> Iterator[Row | Problem]:
    """A list of objects."""
    try:
        rows = json.loads(file.read_bytes().decode("utf-8-sig"), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        yield Problem(
            f"not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}",
            file,
            error.lineno,
            error.colno,
            error.doc.split("\n")[error.lineno - 1],
            "a file with one object a line is called .jsonl",
        )
        return
    except (ValueError, RecursionError) as error:
        yield Problem(f"not valid JSON: {error}", file)
        return
    if not isinstance(rows, list):
        yield Problem("this is not a list of objects", file, 1, 1, help='write [{"column": value, …}, …]')
        return
    for number, values in enumerate(rows, 1):
        if isinstance(values, dict):
            yield Row(values, file, None, number)
        else:
            yield Problem(f"row {number} of {file.name} is not an object", file)


def read_csv(file: Path) -> Iterator[Row | Problem]:
    """Comma-separated with a header line; every value is text."""
    csv.field_size_limit(LARGEST_CELL)  # the module's own 128 KiB are less than a long document
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            yield from _csv_rows(csv.reader(stream, strict=True), file)
    except UnicodeDecodeError:
        yield Problem("this is not UTF-8 text", file, help="save the file as UTF-8")


def _csv_rows(reader: Any, file: Path) -> Iterator[Row | Problem]:
    header: list[str] | None = None
    number, line = 0, 1
    try:
        for cells in reader:
            start, line = line, reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = cells
                repeated = {name for name in cells if cells.count(name) > 1 or not name.strip()}
                if repeated:
                    named = ", ".join(sorted(f'"{name}"' for name in repeated))
                    yield Problem(f"columns need names of their own: {named}", file, start, 1)
                    return
                continue
            number += 1
            if len(cells) != len(header):
                message = f"this row has {len(cells)} cells, the header {len(header)}"
                yield Problem(message, file, start, 1, help='a cell with commas stands in quotes: "a, b"')
            else:
                yield Row(dict(zip(header, cells, strict=True)), file, start, number)
    except csv.Error as error:
        yield Problem(f"not valid CSV: {error}", file, line, 1)


def read_parquet(file: Path) -> Iterator[Row | Problem]:
    """Raises MissingExtra without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("models", "pyarrow") from None
    try:
        table = pyarrow.parquet.ParquetFile(file)
        number = 0
        for batch in table.iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield Row(values, file, None, number)
    except (pyarrow.ArrowException, OSError) as error:
        yield Problem(f"not a readable Parquet file: {str(error).splitlines()[0]}", file)


_READERS: dict[str, Callable[[Path], Iterator[Row | Problem]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def read_file(file: Path) -> Iterator[Row | Problem]:
    """Rows of a file, by its suffix. Raises ConfigurationError for a suffix that has no reader."""
    if file.suffix not in _READERS:
        known = ", ".join(_READERS)
        problem = Problem(
            f"`{file.name}` is not a kind of file that can be read", file, help=f"expected {known}"
        )
        raise ConfigurationError([problem])
    return _READERS[file.suffix](file)
