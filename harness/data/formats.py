"""The forms of training rows: prompt and completion, messages, plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.data.rows import Row, first_twenty, row_problem
from harness.errors import ConfigurationError, Problem

Format = Literal["prompt-completion", "messages", "text"]
ROLES = ("system", "developer", "user", "assistant", "tool")

COLUMNS: dict[Format, tuple[str, ...]] = {
    "prompt-completion": ("prompt", "completion"),
    "messages": ("messages",),
    "text": ("text",),
}


@dataclass(frozen=True)
class Formatted:
    """The rows' form; `note` says what was guessed, None where the form was declared."""

    format: Format
    note: str | None


def training_format(rows: Sequence[Row], declared: Literal["auto"] | Format, where: str) -> Formatted:
    """The form of all rows, every row checked.

    Raises ConfigurationError where the form cannot be told, or for rows that do not have it.
    """
    format, note = _guess(rows, where) if declared == "auto" else (declared, None)
    check = _CHECKS[format]
    problems = []
    for row in rows:
        wrong = check(row.values)
        if wrong:
            problems.append(row_problem(row, where, wrong))
    if problems:
        raise ConfigurationError(first_twenty(problems, len(rows), where))
    return Formatted(format, note)


def _guess(rows: Sequence[Row], where: str) -> tuple[Format, str]:
    fitting: list[Format] = []
    for format, columns in COLUMNS.items():
        if any(row.values.keys() >= set(columns) for row in rows):
            fitting.append(format)
    if len(fitting) == 1:
        named = " and ".join(f"`{column}`" for column in COLUMNS[fitting[0]])
        return fitting[0], f"format {fitting[0]}, guessed from {named} in {where}"
    file = rows[0].file if rows else None
    if fitting:
        names = ", ".join(f'"{format}"' for format in fitting)
        message = f"{where} fits several formats: {names}"
        raise ConfigurationError([Problem(message, file, help="say which: format = … in [data.train]")])
    seen = ", ".join(f"`{column}`" for column in (rows[0].values if rows else ()))
    forms = "; ".join(" and ".join(f"`{column}`" for column in columns) for columns in COLUMNS.values())
    message = f"{where} fits no format of training rows; its columns are {seen}"
    raise ConfigurationError([Problem(message, file, help=f"rows need one of: {forms}")])


def _check_prompt_completion(values: Mapping[str, Any]) -> str | None:
    for column in ("prompt", "completion"):
        if column not in values:
            return f"`{column}` is missing"
        if values[column] is None:
            return f"`{column}` is null"
    kinds = {type(values[column]) for column in ("prompt", "completion")}
    if kinds == {list}:
        return _check_turns(values["prompt"], "prompt") or _check_turns(values["completion"], "completion")
    if kinds != {str}:
        return "`prompt` and `completion` must both be text, or both lists of messages"
    return None if values["completion"].strip() else "`completion` is empty; there is nothing to learn"


def _check_messages(values: Mapping[str, Any]) -> str | None:
    if "messages" not in values:
        return "`messages` is missing"
    turns = values["messages"]
    wrong = _check_turns(turns, "messages")
    if wrong:
        return wrong
    if all(turn["role"] != "assistant" for turn in turns):
        return "`messages` has no assistant turn; there is nothing to learn"
    return None


def _check_turns(turns: Any, column: str) -> str | None:
    if not isinstance(turns, list) or not turns:
        return f"`{column}` must be a list of messages, not {_shown(turns)}"
    for index, turn in enumerate(turns):
        name = f"{column}[{index}]"
        if not isinstance(turn, Mapping):
            return f"`{name}` must have `role` and `content`, not be {_shown(turn)}"
        if turn.get("role") not in ROLES:
            return f"`{name}.role` is {_shown(turn.get('role'))}; expected one of {', '.join(ROLES)}"
        # A turn that only calls tools says nothing.
        if not isinstance(turn.get("content"), str) and not turn.get("tool_calls"):
            return f"`{name}.content` is {_shown(turn.get('content'))}; expected text"
    return None


def _check_text(values: Mapping[str, Any]) -> str | None:
    if "text" not in values:
        return "`text` is missing"
    text = values["text"]
    if not isinstance(text, str):
        return f"`text` is {_shown(text)}; expected text"
    return None if text.strip() else "`text` is empty"


_CHECKS: dict[Format, Callable[[Mapping[str, Any]], str | None]] = {
    "prompt-completion": _check_prompt_completion,
    "messages": _check_messages,
    "text": _check_text,
}


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, Mapping):
        return "an object"
    return f'"{value[:40]}"' if isinstance(value, str) else str(value)
