"""How a problem is shown: the message, the place, the source line with a caret, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import Problem

_WIDTH = 110
# What the carets run under: a table header, a quoted text, a bare key or value, else one sign.
_MARKED = re.compile(r"\[\[?[^\]\n]*\]\]?|\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s=,\[\]{}#\"']+|.")


def format_problem(problem: Problem) -> str:
    """The problem as plain text of several lines, without a newline at the end."""
    lines = [f"error: {problem.message}"]
    if problem.file is not None:
        position = "".join(f":{number}" for number in (problem.line, problem.column) if number is not None)
        lines.append(f"  --> {_shown_path(problem.file)}{position}")
    if problem.line is not None and problem.source_line is not None:
        lines += _excerpt(problem.line, problem.column or 1, problem.source_line)
    elif problem.file is None and problem.source_line is not None:
        lines += _option(problem.column or 1, problem.source_line)
    if problem.help:
        lines.append(f"  help: {problem.help}")
    return "\n".join(lines)


def _option(column: int, text: str) -> list[str]:
    """An option of the command line is its own place."""
    begin = "  --> --set "
    return [f"{begin}{text}", " " * (len(begin) + column - 1) + _carets(text, column)]


def _excerpt(line: int, column: int, source: str) -> list[str]:
    margin = " " * len(str(line))
    source, column = _clipped(source, column)
    carets = _carets(source, column)
    # Tabs are kept, so that the caret stands below its sign at any tab width.
    indent = "".join(sign if sign == "\t" else " " for sign in source[: column - 1])
    return [f" {margin} |", f" {line} | {source}", f" {margin} | {indent}{carets}"]


def _carets(source: str, column: int) -> str:
    marked = _MARKED.match(source, column - 1)
    return "^" * min(len(marked[0]) if marked else 1, _WIDTH)


def _clipped(source: str, column: int) -> tuple[str, int]:
    """Data lines can be very long: the part around the column."""
    if len(source) <= _WIDTH:
        return source, column
    start = max(0, min(column - _WIDTH // 2, len(source) - _WIDTH))
    left, right = "…" if start else "", "…" if start + _WIDTH < len(source) else ""
    return left + source[start : start + _WIDTH] + right, column - start + len(left)


def _shown_path(file: Path) -> Path:
    """Relative to the working directory where the file lies below it."""
    try:
        return file.relative_to(Path.cwd()) if file.is_absolute() else file
    except ValueError:
        return file
