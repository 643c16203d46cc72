"""JSON Schema of the two files, for editors. Generated from the models, so that the two cannot differ.

Draft 7 with `definitions`: what taplo and Even Better TOML read. A file that extends another may lack
what the other one brings, so only a file without `extends` is held to be complete.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field

from harness.experiment.annotations import is_model, options_of
from harness.experiment.declared import Declared, Name
from harness.experiment.lora_fields import LoraFields
from harness.experiment.schema import Experiment, Suite, Tuned

Kind = Literal["experiment", "suite"]
_DRAFT = "http://json-schema.org/draft-07/schema#"
_BLOCK = re.compile(r"(?P<names>[a-z_]+(?:, [a-z_]+)*): +(?P<text>.*)")


class Matrix(Declared):
    """Axes: quoted dotted keys with lists of values, such as "tuned.lora.lora.r" = [4, 16].

    include: added to every combination that it fits, else a combination of its own
    exclude: combinations that are left out, matched in part
    """

    include: list[dict[str, Any]] = Field(default_factory=list)
    exclude: list[dict[str, Any]] = Field(default_factory=list)


class TunedTable(Tuned):
    """One way to tune, as it is written.

    extends: another configuration: "tuned.<name>", or "other.toml:tuned.<name>"
    """

    extends: str | None = None
    lora: LoraFields  # type: ignore[assignment]


class ExperimentFile(Experiment):
    """An experiment, as it is written.

    extends: files from the project's root that this one begins as
    matrix:  makes several experiments, or several tuned configurations, of one file
    """

    extends: str | list[str] | None = None
    matrix: Matrix | None = None
    tuned: Annotated[dict[Name, TunedTable], Field(min_length=1)]  # type: ignore[assignment]


def schema_text(kind: Kind) -> str:
    """The schema as it is shipped."""
    made = _experiment_schema() if kind == "experiment" else _described(Suite, _SUITE)
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _experiment_schema() -> dict[str, Any]:
    schema = _described(ExperimentFile, _EXPERIMENT)
    definitions = schema["definitions"]
    definitions["Matrix"]["additionalProperties"] = {"type": "array", "minItems": 1}
    for name, table in (("", schema), *definitions.items()):
        if name not in _WHOLE:
            needed = table.pop("required", [])
            properties = {
                key: value if key in needed or key in _NEVER_UNSET else _or_unset(value)
                for key, value in table["properties"].items()
            }
            table["properties"] = properties if name == "" else {**properties, "unset": _UNSET}
    definitions["Unset"] = {"type": "object", "properties": {"unset": _UNSET}, "required": ["unset"]}
    whole = _complete(Experiment)
    whole["properties"]["tuned"] = {"additionalProperties": _unless_it_extends(_complete(Tuned))}
    return {**schema, **_unless_it_extends(whole)}


_EXPERIMENT = "An experiment of harness: a base, tuned configurations, suites, a gate."
_SUITE = "A suite of harness: a named set of tasks."
_UNSET = {"description": "takes out what was inherited", "const": True}
_NEVER_UNSET = ("extends", "matrix")
_WHOLE = ("Matrix", "Generate")  # no part of these is ever inherited


def _unless_it_extends(rule: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"required": ["extends"]}, "then": {}, "else": rule}


def _complete(model: type[BaseModel]) -> dict[str, Any]:
    """What a table of this model, and every table in it, may not lack."""
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    below = {
        name: rule
        for name, field in model.model_fields.items()
        for option in options_of(field.annotation)
        if is_model(option) and (rule := _complete(option))
    }
    return {key: value for key, value in (("required", required), ("properties", below)) if value}


def _described(model: type[BaseModel], description: str) -> dict[str, Any]:
    """Pydantic's schema with the docstrings' descriptions, without titles and nulls."""
    made = model.model_json_schema(ref_template="#/definitions/{model}")
    definitions = made.pop("$defs", {})
    models = {each.__name__: each for each in _models(model)}
    tables = {name: _table(table, models[name]) for name, table in sorted(definitions.items())}
    return {"$schema": _DRAFT, **_table(made, model), "description": description, "definitions": tables}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that a type is made of."""
    for option in options_of(annotation):
        if is_model(option):
            yield option
            for field in option.model_fields.values():
                yield from _models(field.annotation)
        else:
            for part in get_args(option):
                yield from _models(part)


def _table(table: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    described = descriptions(model)
    kept = {key: value for key, value in table.items() if key not in ("title", "description", "properties")}
    properties = {
        # Tables inside `lora` are PEFT's own; its documentation describes them.
        key: {"description": described.get(key, f"PEFT's {model.__name__}.{key}"), **_value(value)}
        for key, value in table["properties"].items()
    }
    summary = inspect.cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    return {"description": summary, **kept, "properties": properties}


def _value(value: dict[str, Any]) -> dict[str, Any]:
    """A key's schema. TOML has no null, and Draft 7 reads nothing beside `$ref`."""
    value = {key: part for key, part in value.items() if key != "title"}
    if value.get("default") is None or isinstance(value["default"], dict):
        value.pop("default", None)
    options = [option for option in value.get("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        del value["anyOf"]
        value = {**value, **options[0]}
    elif options:
        value["anyOf"] = options
    if "$ref" in value:
        value = {**value, "allOf": [{"$ref": value["$ref"]}]}
        del value["$ref"]
    return value


def _or_unset(value: dict[str, Any]) -> dict[str, Any]:
    """The value, or `{ unset = true }`. A table has a key for that, or editors find its mistakes too late."""
    if "allOf" in value or value.get("type") == "object":
        return value
    beside = {key: part for key, part in value.items() if key in ("description", "default")}
    own = {key: part for key, part in value.items() if key not in beside}
    options = own["anyOf"] if own.keys() == {"anyOf"} else [own]
    return {**beside, "anyOf": [*options, {"$ref": "#/definitions/Unset"}]}


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a model and of those it extends say of each key."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        for block in _blocks(inspect.cleandoc(one.__doc__ or "")) if is_model(one) else ():
            for name in block["names"].split(", "):
                found[name] = block["text"]
    return found


def _blocks(docstring: str) -> Iterator[dict[str, str]]:
    """Each `name: text` of a docstring; a text goes on until the next one or an empty line."""
    block: dict[str, str] | None = None
    for line in docstring.split("\n"):
        begins = _BLOCK.fullmatch(line)
        if begins or not line.strip():
            if block:
                yield block
            block = begins.groupdict() if begins else None
        elif block:
            block["text"] += " " + line.strip()
    if block:
        yield block
