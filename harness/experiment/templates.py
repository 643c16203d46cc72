"""Prompts, choices, answers and texts: a column's name, or a Jinja template over columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta


def _regex_replace(string: str, pattern: str, repl: str, count: int = 0) -> str:
    """lm-eval's own filter, by its own parameter names."""
    return re.sub(pattern, repl, string, count=count)


# As lm-eval renders them, so that what passes here renders there.
_ENVIRONMENT = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
_ENVIRONMENT.filters["regex_replace"] = _regex_replace


def is_template(text: str) -> bool:
    """Whether `text` is a template; otherwise it is a column's name."""
    return any(sign in text for sign in ("{{", "{%"))


@lru_cache(maxsize=256)
def columns_of(text: str) -> frozenset[str]:
    """The columns that a column's name or template refers to. Raises jinja2.TemplateError."""
    if not is_template(text):
        return frozenset({text})
    return frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(text)) - _ENVIRONMENT.globals.keys())


@lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    return _ENVIRONMENT.from_string(text)


def render(text: str, row: Mapping[str, Any]) -> Any:
    """The column's value, or the rendered template. Raises KeyError or jinja2.TemplateError."""
    return _compiled(text).render(row) if is_template(text) else row[text]


def template_error(text: str) -> tuple[str, int] | None:
    """What is wrong with a template and on which of its lines; None if it can be compiled."""
    try:
        columns_of(text)
        if is_template(text):
            _compiled(text)
    except TemplateSyntaxError as error:
        return error.message or "not valid", error.lineno
    except TemplateError as error:
        return str(error), 1
    return None
