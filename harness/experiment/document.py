"""TOML with the place of every key. Values are tomllib's; the places come from a scan of its own.

The scan runs only on text that tomllib has accepted, so it may trust the grammar and stay small.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import ConfigurationError, Problem

KeyPath = tuple[str | int, ...]


class Place(NamedTuple):
    """A line and a column, both counted from 1, in characters."""

    line: int
    column: int


@dataclass(frozen=True, eq=False)
class Document:
    """One parsed text: a TOML file, or a `--set` option, which has no file.

    keys:   the place of every key, list element and part of a table header
    tables: the place where a table begins: its header's bracket, or its opening brace
    """

    file: Path | None
    lines: tuple[str, ...]
    table: dict[str, Any]
    keys: Mapping[KeyPath, Place]
    tables: Mapping[KeyPath, Place]

    def place(self, path: KeyPath) -> Place:
        """Where the key at `path` stands; for one that is not written, the nearest that holds it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.keys:
                return self.keys[path[:length]]
        return Place(1, 1)

    def problem(self, place: Place, message: str, help: str) -> Problem:
        """A problem at `place`. In an option only the column counts."""
        source = self.lines[place.line - 1] if place.line <= len(self.lines) else ""
        line = None if self.file is None else place.line
        return Problem(message, self.file, line, place.column, source, help)


def key_name(path: KeyPath) -> str:
    """`("suites", "domain", 0)` as `suites.domain[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{quoted}" if text else quoted
    return text


_KEY = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
DOTTED_KEY = re.compile(rf"[ \t]*{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*[ \t]*")


def split_key(text: str) -> tuple[str, ...] | None:
    """`tuned."a.b".lora` as its three parts; None for a text that is no dotted key."""
    if not DOTTED_KEY.fullmatch(text):
        return None
    parts = []
    try:
        value: Any = tomllib.loads(f"{text} = 0")
    except ValueError:
        return None
    while isinstance(value, dict):
        (key, value), *_ = value.items()
        parts.append(key)
    return tuple(parts)


def read_document(file: Path) -> Document:
    """Reads a TOML file.

    Raises ConfigurationError for a file that is missing, is not UTF-8 or is not TOML.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError([Problem(f"there is no file `{file}`", help=_near_files(file))]) from None
    except OSError as error:
        problem = Problem(f"cannot read `{file}`: {error.strerror}", help="name a TOML file")
        raise ConfigurationError([problem]) from None
    try:
        return parse_document(data.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line_start = before.rfind(b"\n") + 1
        column = len(before[line_start:].decode("utf-8", "replace")) + 1
        problem = Problem(
            "this is not UTF-8 text", file, before.count(b"\n") + 1, column, help="save as UTF-8"
        )
        raise ConfigurationError([problem]) from None


def parse_document(text: str, file: Path | None) -> Document:
    """Parses `text`; `file` is only named in problems. Raises ConfigurationError for a syntax error."""
    text = text.replace("\r\n", "\n")
    lines = tuple(text.split("\n"))
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError([_syntax_problem(error, lines, file)]) from None
    scan = _Scan(text)
    return Document(file, lines, table, scan.keys, scan.tables)


def _near_files(file: Path) -> str:
    try:
        names = [child.name for child in file.parent.iterdir() if child.suffix == ".toml"]
    except OSError:
        return f"the folder `{file.parent}` does not exist"
    near = difflib.get_close_matches(file.stem, [Path(name).stem for name in names], n=1)
    if near:
        return f"did you mean `{file.parent / near[0]}.toml`?"
    return f"the folder `{file.parent}` has {', '.join(sorted(names)[:5]) or 'no .toml file'}"


# What tomllib says, what that means, and what to do about it.
_SYNTAX = (
    ("Cannot overwrite a value", "this key is given twice", "keep one of the two"),
    ("Cannot declare", "this table is given twice", "keep one of the two headers"),
    ("Cannot mutate immutable", "this table is already closed", "write all its keys in one place"),
    ("Invalid value", "this is not a TOML value", 'text needs quotes: "…"; yes and no are true and false'),
    (
        "Expected '='",
        "a key needs `=` and a value",
        'write key = value; a key with other signs needs quotes: "…"',
    ),
    (
        "Illegal character '\\n'",
        "the text is not closed on this line",
        'close the quotes, or use """ for several lines',
    ),
    ("Unclosed", "this list or table is not closed", "close it; an inline table stands on one line"),
    ("Unterminated string", "the text is not closed", "close the quotes"),
    ("Expected newline", "there is more on this line than one key and its value", "begin a new line"),
    ("Expected ']", "the table header is not closed", "write [table] or [[table]]"),
    ("Unescaped '\\'", "a backslash in the text starts an escape", "write '…' instead of \"…\", or \\\\"),
)


def _syntax_problem(error: Exception, lines: tuple[str, ...], file: Path | None) -> Problem:
    if isinstance(error, RecursionError):
        return Problem("lists or tables are nested too deeply", file, help="nest them less")
    said, _, where = str(error).partition(" (at ")
    found = re.search(r"line (\d+), column (\d+)", where)
    if found:
        place = Place(int(found[1]), int(found[2]))
    else:
        last = max((number for number, line in enumerate(lines, 1) if line.strip()), default=1)
        place = Place(last, len(lines[last - 1]) + 1)
    source = lines[place.line - 1]
    if said.startswith(("Cannot", "Expected newline")) or place.column > len(source) + 1:
        # tomllib points behind the statement; the reader looks for the key that begins it.
        place = Place(place.line, len(source) - len(source.lstrip()) + 1)
    unknown = ("", f"not valid TOML: {said}", "toml.io has the grammar")
    _, message, help = next((known for known in _SYNTAX if said.startswith(known[0])), unknown)
    line = None if file is None else place.line
    return Problem(message, file, line, place.column, source, help)


_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?""""{0,2}' + r"|'''.*?''''{0,2}" + r'|"(?:[^"\\]|\\.)*"' + r"|'[^']*'", re.DOTALL
)
_SPACES = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SCALAR = re.compile(r"[^,\]}#\n]*")


class _Scan:
    """One pass over valid TOML that notes where keys, elements and tables begin."""

    def __init__(self, text: str) -> None:
        self.keys: dict[KeyPath, Place] = {}
        self.tables: dict[KeyPath, Place] = {}
        self._text = text
        self._at = 0
        self._line, self._line_start = 1, 0
        self._last: dict[KeyPath, int] = {}  # arrays of tables: the index of the newest element
        table: KeyPath = ()
        while self._skip(_BLANK) < len(text):
            if text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Moves over what `pattern` matches here, which may be nothing."""
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()
        return self._at

    def _here(self) -> Place:
        newlines = self._text.count("\n", self._line_start, self._at)
        if newlines:
            self._line += newlines
            self._line_start = self._text.rfind("\n", 0, self._at) + 1
        return Place(self._line, self._at - self._line_start + 1)

    def _key(self) -> list[tuple[str, Place]]:
        """A dotted key's parts and their places; stops at what follows the key."""
        parts = []
        while True:
            self._skip(_SPACES)
            start, place = self._at, self._here()
            if self._text[start] in "\"'":
                self._skip(_STRING)
                name = tomllib.loads(f"key = {self._text[start : self._at]}")["key"]
            else:
                self._skip(_BARE_KEY)
                name = self._text[start : self._at]
            parts.append((name, place))
            self._skip(_SPACES)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _header(self) -> KeyPath:
        start = self._here()
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        path: KeyPath = ()
        parts = self._key()
        for name, place in parts[:-1]:
            path = (*path, name)
            self.keys.setdefault(path, place)
            if path in self._last:
                path = (*path, self._last[path])
        name, place = parts[-1]
        path = (*path, name)
        if brackets == 2:
            self.keys.setdefault(path, place)
            self._last[path] = self._last.get(path, -1) + 1
            path = (*path, self._last[path])
        self.keys[path] = place
        self.tables[path] = start
        self._at += brackets
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for name, place in self._key():
            path = (*path, name)
            self.keys.setdefault(path, place)
        self._at += 1  # the equals sign
        self._skip(_SPACES)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        sign = self._text[self._at]
        if sign in "\"'":
            self._skip(_STRING)
        elif sign in "[{":
            self._inside(path, "]" if sign == "[" else "}")
        else:
            self._skip(_SCALAR)

    def _inside(self, path: KeyPath, end: str) -> None:
        """The elements of a list or the pairs of an inline table."""
        if end == "}":
            self.tables[path] = self._here()
        self._at += 1
        index = 0
        while self._text[self._skip(_BLANK)] != end:
            if end == "]":
                element = (*path, index)
                self.keys[element] = self._here()
                self._value(element)
                index += 1
            else:
                self._pair(path)
            if self._text[self._skip(_BLANK)] == ",":
                self._at += 1
        self._at += 1
