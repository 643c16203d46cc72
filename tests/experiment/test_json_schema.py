"""The schemas for editors: current, complete, and of one mind with the loader."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import harness.experiment
from harness.cli.main import entry
from harness.experiment.json_schema import descriptions, schema_text
from harness.experiment.lora_fields import LoraFields
from harness.experiment.schema import Experiment, Tuned

if TYPE_CHECKING:
    from tests.experiment.conftest import Project

ROOT = Path(__file__).parent.parent.parent
SHIPPED = Path(harness.experiment.__path__[0]) / "schemas"
FILES = [*sorted(ROOT.glob("experiments/*.toml")), *sorted(ROOT.glob("suites/*.toml"))]


def validator(kind: str) -> Any:
    return jsonschema.Draft7Validator(json.loads((SHIPPED / f"{kind}.schema.json").read_text("utf-8")))


def mistakes(kind: str, text: str) -> list[str]:
    return [error.message for error in validator(kind).iter_errors(tomllib.loads(text))]


@pytest.mark.parametrize("kind", ["experiment", "suite"])
def test_the_shipped_schema_is_current_and_valid(kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = (SHIPPED / f"{kind}.schema.json").read_text("utf-8")
    assert shipped == schema_text(kind), f"run: harness show --schema {kind} > {SHIPPED / kind}.schema.json"
    jsonschema.Draft7Validator.check_schema(json.loads(shipped))
    assert entry(["show", "--schema", kind]) == 0
    assert capsys.readouterr().out == shipped


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_shipped_file_is_valid_and_names_its_schema(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    kind = file.parent.name.removesuffix("s")
    assert mistakes(kind, text) == []
    directive = text.split("\n")[0]
    assert directive.startswith("#:schema ")
    named = (file.parent / directive.removeprefix("#:schema ")).resolve()
    assert named == (ROOT / f"harness/experiment/schemas/{kind}.schema.json")


def test_every_key_is_described() -> None:
    for kind in ("experiment", "suite"):
        schema = validator(kind).schema
        for table in (schema, *schema["definitions"].values()):
            for key, value in table["properties"].items():
                assert value["description"], key
    assert set(descriptions(Experiment)) == set(Experiment.model_fields)
    assert set(descriptions(Tuned)) == set(Tuned.model_fields)
    assert set(descriptions(LoraFields)) == set(LoraFields.model_fields)
    assert descriptions(Tuned)["adapter"].startswith("a folder or hub id")


def test_what_the_loader_takes_the_schema_takes(project: Project) -> None:
    for old, new in (
        ("seeds = [0, 1]", "seeds = [0, 1]\nstrengths = [0, 1]\nmicro_batch_size = 4\nkl = { unset = true }"),
        ("r = 16", 'r = 16\ninit_lora_weights = "pissa_niter_4"\nlayers_to_transform = [1, 2]'),
        ('"all-linear"', '["q_proj"]'),
        ("[gate]", '[matrix]\n"base.model" = ["a/b"]\n[[matrix.exclude]]\n"base.model" = "x"\n[gate]'),
    ):
        project.replace("experiments/small.toml", old, new)
    assert mistakes("experiment", project.experiment.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        'extends = "a.toml"\n[base]\ndtype = "float32"\n[tuned.lora]\nlora = { r = 4 }\n[data.train]\nlimit = 5',
        'extends = ["a.toml", "b.toml"]\n[tuned.x]\nextends = "tuned.lora"\nreplay = { unset = true }',
        'extends = "a.toml"\n[data.validation]\nunset = true',
    ],
)
def test_a_file_that_extends_may_be_incomplete(text: str) -> None:
    assert mistakes("experiment", text) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("model =", "modle =", "'modle' was unexpected"),
        ('model = "google/gemma"\n', "", "'model' is a required property"),
        ('name = "small"\n', "", "'name' is a required property"),
        ('method = "lora"\n', "", "'method' is a required property"),
        ("r = 16", "rnak = 16", "'rnak' was unexpected"),
        ('method = "lora"', 'method = "lorra"', "'lorra' is not one of"),
        ("alpha = 0.05", "alpha = 2", "2 is not valid under any"),
        ("[gate]", "[matrix]\na = 3\n[gate]", "3 is not of type 'array'"),
    ],
)
def test_what_the_loader_refuses_the_schema_refuses(project: Project, old: str, new: str, said: str) -> None:
    project.replace("experiments/small.toml", old, new)
    assert [message for message in mistakes("experiment", project.experiment.read_text()) if said in message]
