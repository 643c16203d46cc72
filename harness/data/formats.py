"""Which form training rows have, told or guessed, and the rows of it in their canonical shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.data.columns import column_trouble
from harness.data.rows import Row, first_twenty, row_problem
from harness.data.shapes import (
    Shape,
    Unusable,
    alpaca,
    messages,
    prompt_completion,
    sharegpt,
    text,
    tokens,
)
from harness.errors import ConfigurationError, Problem
from harness.experiment.schema import RowTemplate, TrainData
from harness.experiment.templates import render, template_error

Format = Literal["prompt-completion", "messages", "text", "alpaca", "sharegpt", "tokens"]
TrainOn = Literal["completion", "assistant", "all"]


@dataclass(frozen=True)
class _Form:
    """The columns that mark a format, what its rows become, and which parts can be trained on.

    The first of `train_on` is the one that "auto" means.
    """

    columns: tuple[str, ...]
    shape: Callable[[Mapping[str, Any]], Shape]
    train_on: tuple[TrainOn, ...]


FORMS: dict[Format, _Form] = {
    "prompt-completion": _Form(
        ("prompt", "completion"), prompt_completion, ("completion", "assistant", "all")
    ),
    "messages": _Form(("messages",), messages, ("assistant", "all")),
    "text": _Form(("text",), text, ("all",)),
    "alpaca": _Form(("instruction", "output"), alpaca, ("completion", "all")),
    "sharegpt": _Form(("conversations",), sharegpt, ("assistant", "all")),
    "tokens": _Form(("input_ids",), tokens, ("all",)),
}


@dataclass(frozen=True)
class Shaped:
    """Rows in canonical shape; `note` says what was guessed, None where the form was declared."""

    rows: tuple[Shape, ...]
    train_on: TrainOn
    note: str | None


def shaped(rows: Sequence[Row], data: TrainData) -> Shaped:
    """The rows in the canonical shape of their format, every row checked.

    Raises ConfigurationError where the format cannot be told, where template, format and train_on
    contradict each other, or for rows that do not have the format.
    """
    format, note = _format(rows, data)
    train_on = _train_on(format, data)
    shapes: list[Shape] = []
    problems: list[Problem] = []
    for row in rows:
        try:
            values = row.values if data.template is None else _templated(data.template, row.values)
            shape = FORMS[format].shape(values)
            if train_on == "assistant" and isinstance(shape.get("prompt"), str):
                raise Unusable("the prompt has no roles, so nothing of it is the assistant's", _OTHERWISE)
            shapes.append(shape)
        except Unusable as wrong:
            problems.append(row_problem(row, data.source, wrong.message, wrong.help))
    if problems:
        raise ConfigurationError(first_twenty(problems, len(rows), data.source))
    return Shaped(tuple(shapes), train_on, note)


_OTHERWISE = "take `train_on` out: the default trains on the completion"


def _format(rows: Sequence[Row], data: TrainData) -> tuple[Format, str | None]:
    if data.template is not None:
        return _format_of_template(data.template, data), None
    return _guess(rows, data.source) if data.format == "auto" else (data.format, None)


def _train_on(format: Format, data: TrainData) -> TrainOn:
    possible = FORMS[format].train_on
    if data.train_on == "auto":
        return possible[0]
    if data.train_on not in possible:
        message = f'`train_on = "{data.train_on}"` does not fit the format {format} of {data.source}'
        help = "it can be " + " or ".join(f'"{part}"' for part in possible)
        raise ConfigurationError([Problem(message, help=help)])
    return data.train_on


def _guess(rows: Sequence[Row], where: str) -> tuple[Format, str]:
    fitting = [
        format
        for format, form in FORMS.items()
        if any(row.values.keys() >= set(form.columns) for row in rows)
    ]
    columns = list(dict.fromkeys(column for row in rows for column in row.values))
    file = rows[0].file if rows else None
    if len(fitting) == 1:
        return fitting[0], f"format {fitting[0]}, guessed from {_named(FORMS[fitting[0]].columns)} in {where}"
    seen = f"its columns are {_listed(columns)}"
    if fitting:
        names = ", ".join(f'"{format}"' for format in fitting)
        message = f"{where} fits several formats: {names}; {seen}"
        help = f'say which: format = "{fitting[0]}", or make the text yourself with `template`'
        raise ConfigurationError([Problem(message, file, help=help)])
    forms = "; ".join(_named(form.columns) for form in FORMS.values())
    message = f"{where} fits no format of training rows; {seen}"
    help = f"rows need one of: {forms}. Any other columns become text by a template: {_example(columns)}"
    raise ConfigurationError([Problem(message, file, help=help)])


def _named(columns: Sequence[str]) -> str:
    return " and ".join(f"`{column}`" for column in columns)


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f"`{column}`" for column in columns)


def _example(columns: Sequence[str]) -> str:
    """A template over the columns that are there."""
    names = [column for column in columns if column.isidentifier() and column != "id"]
    if len(names) < 2:
        return f'template = {{ text = "{{{{ {names[0] if names else "column"} }}}}" }}'
    return f'template = {{ prompt = "{{{{ {names[0]} }}}}", completion = "{{{{ {names[1]} }}}}" }}'


def _format_of_template(template: RowTemplate, data: TrainData) -> Format:
    texts = template.model_dump(exclude_none=True)
    if texts.keys() not in ({"text"}, {"prompt", "completion"}):
        message = f"`template` for {data.source} needs either `text`, or `prompt` and `completion`"
        given = _listed(list(texts)) or "nothing"
        raise ConfigurationError([Problem(message, help=f"it has {given}")])
    for key, value in texts.items():
        if (wrong := template_error(value)) is not None:
            message = f"`template.{key}` for {data.source} is not a valid template: {wrong[0]}"
            raise ConfigurationError([Problem(message, help="columns are written {{ column }}")])
    format: Format = "text" if "text" in texts else "prompt-completion"
    if data.format not in ("auto", format):
        message = f'`template` for {data.source} makes rows of the format "{format}", not "{data.format}"'
        raise ConfigurationError([Problem(message, help="take `format` out, or `template`")])
    return format


def _templated(template: RowTemplate, values: Mapping[str, Any]) -> dict[str, Any]:
    texts = template.model_dump(exclude_none=True)
    for key, value in texts.items():
        if (wrong := column_trouble(f"template.{key}", value, values)) is not None:
            raise Unusable(*wrong)
    return {key: render(value, values) for key, value in texts.items()}
