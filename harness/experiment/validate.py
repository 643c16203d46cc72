"""Pydantic's findings as problems in plain words, each at its place in the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from harness.errors import Problem
from harness.experiment.annotations import (
    annotation_at,
    choices_of,
    in_words,
    is_model,
    is_table,
    options_of,
    shown,
)
from harness.experiment.document import KeyPath, key_name
from harness.experiment.located import Located

M = TypeVar("M", bound=BaseModel)


def validation_problems(
    located: Located, model: type[BaseModel], at: KeyPath = ()
) -> tuple[list[Problem], list[KeyPath]]:
    """What is wrong with the table at `at` as a `model`: the problems, and the paths they are about."""
    table = value_at(located.table, at)
    try:
        model.model_validate(table)
    except ValidationError as error:
        found = [_Finding(located, model, at, details) for details in _distinct(error, table)]
        return [finding.problem() for finding in found], [finding.path for finding in found]
    return [], []


def valid(model: type[M], table: Any) -> M | None:
    """The table as a `model`, or None. For checks that go on beside errors reported elsewhere."""
    try:
        return model.model_validate(table)
    except ValidationError:
        return None


def without(table: Any, paths: Iterable[KeyPath]) -> Any:
    """A copy of the table that lacks the keys at `paths`."""
    dropped = {path for path in paths if path}
    return _copy_without(table, (), dropped)


def _copy_without(value: Any, path: KeyPath, dropped: set[KeyPath]) -> Any:
    if isinstance(value, dict):
        return {
            key: _copy_without(child, (*path, key), dropped)
            for key, child in value.items()
            if (*path, key) not in dropped
        }
    return value


def value_at(table: Any, path: KeyPath) -> Any:
    """The value at `path`, or None."""
    for part in path:
        holds = isinstance(table, dict) and part in table
        if not holds and not (isinstance(table, list) and isinstance(part, int) and part < len(table)):
            return None
        table = table[part]
    return table


def texts_at(table: Any, path: KeyPath) -> list[tuple[int, str]]:
    """The texts in the list at `path` with their indexes; what is no text is reported elsewhere."""
    value = value_at(table, path)
    elements = value if isinstance(value, list) else []
    return [(index, element) for index, element in enumerate(elements) if isinstance(element, str)]


def suggestion(word: str, choices: Iterable[str], quote: str = "`") -> str:
    """What to write instead of `word`."""
    choices = list(choices)
    near = difflib.get_close_matches(word, choices, n=1)
    if near:
        return f"did you mean {quote}{near[0]}{quote}?"
    return "expected one of " + ", ".join(f"{quote}{choice}{quote}" for choice in choices)


def _distinct(error: ValidationError, table: Any) -> list[ErrorDetails]:
    """Each mistake once: a union reports every branch, and a list of bad elements also that it is short."""
    details = error.errors(include_url=False)
    chosen: dict[tuple[str, KeyPath], ErrorDetails] = {}
    for detail in details:
        place = _existing(table, detail["loc"])
        within = any(other is not detail and _begins(place, other["loc"]) for other in details)
        if detail["type"] == "too_short" and within:
            continue
        kind = detail["type"] if place == detail["loc"] or detail["type"] == "missing" else "union"
        lacking = detail["loc"] if detail["type"] == "missing" else place
        chosen.setdefault((kind, lacking), detail)
    return list(chosen.values())


def _begins(path: KeyPath, longer: KeyPath) -> bool:
    return len(longer) > len(path) and longer[: len(path)] == path


def _existing(table: Any, location: tuple[int | str, ...]) -> KeyPath:
    """The part of pydantic's location that is keys of the file; the rest names branches of a union."""
    for length in range(len(location), 0, -1):
        if value_at(table, location[:length]) is not None:
            return location[:length]
    return ()


class _Finding:
    """One of pydantic's errors, with what is needed to say it well."""

    def __init__(self, located: Located, model: type[BaseModel], at: KeyPath, details: ErrorDetails) -> None:
        table = value_at(located.table, at)
        self.located = located
        self.model = model
        self.kind = details["type"]
        self.said = details["msg"]
        self.limits: dict[str, Any] = details.get("ctx", {})
        inner = details["loc"] if self.kind == "missing" else _existing(table, details["loc"])
        self.path: KeyPath = (*at, *inner)
        self.inner = inner
        self.value = value_at(table, inner)
        self.is_key_itself = bool(details["loc"]) and details["loc"][-1] == "[key]"
        self.name = located.name(self.path)
        self.annotation = annotation_at(model, inner)

    def problem(self) -> Problem:
        if self.kind == "missing":
            return self._missing()
        if self.kind == "extra_forbidden":
            return self._unknown()
        if self.is_key_itself:
            return self._at(f"`{self.name}` is not a valid name", _NAME_RULE)
        if self.kind == "string_pattern_mismatch" and "A-Za-z0-9" in self.limits.get("pattern", ""):
            return self._at(f"`{self.name}` is not a valid name: {shown(self.value)}", _NAME_RULE)
        if self.kind == "value_error":
            message, _, help = self.said.removeprefix("Value error, ").partition("; ")
            return self._at(f"`{self.name}`: {message}", help)
        choices = choices_of(self.annotation)
        if choices and (self.kind == "literal_error" or isinstance(self.value, str)):
            return self._at(f"`{self.name}` cannot be {shown(self.value)}", self._near(choices))
        if self.kind.endswith("_type") or len(list(options_of(self.annotation))) > 1:
            message = f"`{self.name}` must be {in_words(self.annotation)}, not {shown(self.value)}"
            return self._at(message, self._other_spelling())
        return self._at(f"`{self.name}` {self._limit()}", self._default())

    def _at(self, message: str, help: str) -> Problem:
        if not self.path:
            return self.located.problem_of_table((), message, help)
        return self.located.problem(self.path, message, help)

    def _near(self, choices: list[Any]) -> str:
        return suggestion(str(self.value), map(str, choices), '"' if isinstance(choices[0], str) else "")

    def _default(self) -> str:
        """What else to write: nothing, where there is a default."""
        owner = annotation_at(self.model, self.inner[:-1]) if len(self.inner) > 1 else self.model
        fields = [option.model_fields for option in options_of(owner) if is_model(option)]
        field = next((each[str(self.inner[-1])] for each in fields if self.inner[-1] in each), None)
        if field is not None and field.default not in (None, PydanticUndefined):
            return f"leave it out for the default, {shown(field.default)}"
        if is_table(self.annotation):
            return f"write a table: [{self.name}]"
        return f"write {in_words(self.annotation)}"

    def _missing(self) -> Problem:
        table, key = self.path[:-1], str(self.path[-1])
        if is_table(self.annotation):
            message, help = f"the table `[{self.name}]` is missing", f"add `[{self.name}]`"
        else:
            where = f" to `[{key_name(table)}]`" if table else " at the top of the file"
            message, help = (
                f"the key `{self.name}` is missing",
                f"add `{key} = …`{where}: {in_words(self.annotation)}",
            )
        return self.located.problem_of_table(table, message, help)

    def _unknown(self) -> Problem:
        owner = annotation_at(self.model, self.inner[:-1]) if len(self.inner) > 1 else self.model
        fields = [name for option in options_of(owner) if is_model(option) for name in option.model_fields]
        message = f"unknown key `{self.name}`"
        return self.located.problem_of_key(self.path, message, suggestion(str(self.path[-1]), fields))

    def _other_spelling(self) -> str:
        """How the value would be written, where it is only spelt wrongly."""
        options = list(options_of(self.annotation))
        if isinstance(self.value, str):
            bare = self.value.strip()
            if bool in options and bare.lower() in ("true", "false", "yes", "no", "on", "off"):
                return f"write {'true' if bare.lower() in ('true', 'yes', 'on') else 'false'} without quotes"
            if {int, float} & set(options) and _is_number(bare):
                return f"write it without quotes: {bare}"
            if any(get_origin(option) in (tuple, list) for option in options):
                return f'write a list: ["{self.value}"]'
        elif str in options and isinstance(self.value, int | float):
            return f'write it in quotes: "{str(self.value).lower()}"'
        return self._default()

    def _limit(self) -> str:
        """A number or length out of its range, in words."""
        limits, value = self.limits, shown(self.value)
        sentences = {
            "greater_than": "must be greater than {gt}, not {value}",
            "greater_than_equal": "must be at least {ge}, not {value}",
            "less_than": "must be less than {lt}, not {value}",
            "less_than_equal": "must be at most {le}, not {value}",
            "finite_number": "must be a finite number, not {value}",
            "too_short": "must not be empty",
            "string_too_long": "must have at most {max_length} characters",
        }
        said = self.said[:1].lower() + self.said[1:]
        return sentences.get(self.kind, said).format(**{**limits, "value": value})


_NAME_RULE = "a name has letters, digits, `_`, `.` and `-`, and begins with a letter or digit"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
