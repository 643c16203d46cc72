"""Columns that a column's name or a template asks for, and what a row lacks of them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError

from harness.experiment.templates import columns_of, is_template, render

Wrong = tuple[str, str | None]


def column_trouble(key: str, text: str, values: Mapping[str, Any]) -> Wrong | None:
    """Why `text`, the value of `key`, gives nothing for this row: what is wrong, and what to do."""
    lacking = sorted(columns_of(text) - values.keys())
    if lacking and not _renders(text, values):
        message = f"there is no column `{lacking[0]}`, which `{key}` names"
        return message, _column_help(text, lacking[0], values)
    null = sorted(column for column in columns_of(text) & values.keys() if values[column] is None)
    if null and (not is_template(text) or not _guards(text, null[0])):
        return f"`{null[0]}` is null, and `{key}` names it", (
            f"take the row out, or do without it: {{{{ {null[0]} | default('', true) }}}}"
        )
    if not lacking and is_template(text) and not _renders(text, values):
        return (
            f"`{key}` cannot be rendered with this row: {_render_error(text, values)}",
            "correct the template, or take the row out",
        )
    return None


def _renders(text: str, values: Mapping[str, Any]) -> bool:
    """A template may do without a column: `{{ hint | default('') }}`."""
    return is_template(text) and _render_error(text, values) is None


def _render_error(text: str, values: Mapping[str, Any]) -> str | None:
    try:
        render(text, values)
    except (TemplateError, TypeError, ValueError, KeyError, ZeroDivisionError) as error:
        return str(error) or type(error).__name__
    return None


def _guards(text: str, column: str) -> bool:
    """Whether the template says what happens without a value, as in `{% if hint %}`."""
    return f"if {column}" in text or "default(" in text


def _column_help(text: str, column: str, values: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(column, list(values), n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    if not is_template(text) and not column.isidentifier():
        return "text with columns in it is written as a template: {{ column }}"
    return "the row has " + ", ".join(f"`{name}`" for name in values)
