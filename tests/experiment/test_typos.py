"""A typo in any key of the two files is caught at its place, with the right key named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from harness.experiment.annotations import is_model, options_of
from harness.experiment.document import key_name
from harness.experiment.lora_fields import LoraFields
from harness.experiment.schema import Experiment, Suite, Tuned

if TYPE_CHECKING:
    from tests.experiment.conftest import Project

E, D = "experiments/small.toml", "suites/domain.toml"


def keys(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a model and of the tables below it. A table with free names has one called `lora`."""
    for name, field in model.model_fields.items():
        here = (*path, name)
        yield here
        if model is Tuned and name == "lora":
            yield from keys(LoraFields, here)
        for option in options_of(field.annotation):
            yield from keys_of_option(option, here)


def keys_of_option(option: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if is_model(option):
        yield from keys(option, path)
    elif get_origin(option) is dict:
        for inner in options_of(get_args(option)[1]):
            yield from keys_of_option(inner, (*path, "lora"))
    elif get_origin(option) in (tuple, list):
        for inner in options_of(get_args(option)[0]):
            yield from keys_of_option(inner, (*path, "[]"))


def typo(key: str) -> str:
    """Two signs the other way round, or one more where that changes nothing."""
    for index in range(1, len(key) - 1):
        if key[index] != key[index + 1]:
            return key[:index] + key[index + 1] + key[index] + key[index + 2 :]
    return key + "x"


CASES = [(E, path) for path in keys(Experiment)] + [(D, path) for path in keys(Suite)]


@pytest.mark.parametrize(("file", "path"), CASES, ids=[f"{file[0]} {'.'.join(path)}" for file, path in CASES])
def test_a_typo_in_a_key_is_caught_where_it_stands(
    project: Project, file: str, path: tuple[str, ...]
) -> None:
    *table, key = path
    line = f"{typo(key)} = 1"
    header = f"[{'.'.join(table)}]".replace("[generate.[]]", "[[generate]]") if table else ""
    project.write(file, f"{header}\n{line}\n")

    where = tuple(0 if part == "[]" else part for part in (*table, typo(key)))
    (problem,) = [each for each in project.problems() if f"`{key_name(where)}`" in each.message]
    assert "unknown key" in problem.message
    assert (problem.file, problem.source_line, problem.column) == (project.root / file, line, 1)
    assert f"`{key}`" in (problem.help or "")


def test_the_cases_are_all_keys() -> None:
    paths = {path for _, path in CASES}
    assert len(CASES) > 150
    assert {("tuned", "lora", "lora", "loftq_config", "loftq_bits"), ("generate", "[]", "prompt")} <= paths
    assert {("tuned", "lora", "replay", "template", "text"), ("task", "lora", "data", "test")} <= paths
