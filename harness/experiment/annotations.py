"""The declared types of keys, and what they and their values are in plain words."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from harness.experiment.document import KeyPath


def annotation_at(model: Any, path: KeyPath) -> Any:
    """The declared type of the value at `path` below `model`, or None."""
    annotation: Any = model
    for part in path:
        annotation = next(
            (child for option in options_of(annotation) if (child := _child(option, part)) is not None), None
        )
    return annotation


def _child(annotation: Any, part: str | int) -> Any:
    if is_model(annotation):
        field = annotation.model_fields.get(part)
        return field.annotation if field else None
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if get_origin(annotation) in (tuple, list) and isinstance(part, int) else None


def options_of(annotation: Any) -> Iterable[Any]:
    """The members of a union, without None and without `Annotated`."""
    if get_origin(annotation) is Annotated:
        yield from options_of(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from options_of(member)
    elif annotation is not types.NoneType:
        yield annotation


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_table(annotation: Any) -> bool:
    return all(is_model(option) or get_origin(option) is dict for option in options_of(annotation))


def choices_of(annotation: Any) -> list[Any]:
    """The values of the literals in a type."""
    literals = [option for option in options_of(annotation) if get_origin(option) is Literal]
    return [choice for literal in literals for choice in get_args(literal)]


_WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number", Any: "any value"}
_PLURALS = {"a whole number": "whole numbers", "a number": "numbers", "a table": "tables"}


def in_words(annotation: Any) -> str:
    """What a value of this type is, for a person: "text or a list of text"."""
    return " or ".join(dict.fromkeys(_option_in_words(option) for option in options_of(annotation)))


def _option_in_words(option: Any) -> str:
    if option in _WORDS:
        return _WORDS[option]
    if get_origin(option) is Literal:
        return "one of " + ", ".join(shown(choice) for choice in get_args(option))
    if get_origin(option) in (tuple, list):
        element = in_words(get_args(option)[0])
        return f"a list of {_PLURALS.get(element, element)}"
    return "a table"


def shown(value: Any) -> str:
    """A value as the file spells it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:60]}…"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        text = "[" + ", ".join(shown(element) for element in value) + "]"
        return text if len(text) <= 60 else "a list"
    return str(value)
