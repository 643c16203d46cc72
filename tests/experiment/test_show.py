"""`harness show`: valid TOML, each value with its origin, nothing that a terminal would act on."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest

from harness.cli.main import entry
from harness.experiment.resolved import resolved, resolved_toml

if TYPE_CHECKING:
    from tests.experiment.conftest import Project

E = "experiments/small.toml"


def show(project: Project, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert entry(["show", str(project.experiment), *options]) == 0
    return capsys.readouterr().out


def origin(text: str, line: str) -> str:
    """The comment behind the first line that begins so."""
    return next(each for each in text.split("\n") if each.startswith(line)).rpartition("  # ")[2]


def test_every_value_has_its_origin_behind_it(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTYPE", "float16")
    child = project.write(
        "child.toml",
        f'extends = "{E}"\n[base]\ndtype = "${{env:DTYPE}}"\n[matrix]\n"tuned.lora.lora.r" = [4, 8]\n',
    )
    shown = show(type(project)(project.root, child), capsys, "--set", "gate.alpha=0.2")
    assert {
        line: origin(shown, line)
        for line in (
            "model =",
            "dtype =",
            "alpha =",
            "r = 4",
            "r = 8",
            "epochs =",
            "seeds =",
            "prompt =",
            "name =",
        )
    } == {
        "model =": "experiments/small.toml:5",
        "dtype =": "from env DTYPE, child.toml:3",
        "alpha =": "--set",
        "r = 4": "matrix, child.toml:5",
        "r = 8": "matrix, child.toml:5",
        "epochs =": "default",
        "seeds =": "experiments/small.toml:15",
        "prompt =": "experiments/small.toml:35",
        "name =": "experiments/small.toml:2",
    }
    assert not [line for line in shown.split("\n") if " = " in line and "  # " not in line]


def test_it_is_the_resolved_toml(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert tomllib.loads(show(project, capsys)) == tomllib.loads(resolved_toml(project.load()))


def test_keys_without_a_use_are_not_shown(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.replace(E, "[suites]", '[tuned.ask]\nmethod = "prompt"\nprompt = { shots = 2 }\n[suites]')
    tuned = tomllib.loads(show(project, capsys))["tuned"]
    assert tuned["ask"] == {"method": "prompt", "prompt": {"shots": 2}}
    assert "weights_dtype" not in tuned["lora"]


@pytest.mark.parametrize(
    "prompt", ["\x1b[31mred\x1b[0m", "\u202eright", "a\u2028b", "tab\tand \x7f", "é – 🦊 \U000e0041"]
)
def test_hostile_text_is_inert_and_still_the_same(
    project: Project, capsys: pytest.CaptureFixture[str], prompt: str
) -> None:
    text = json.dumps(prompt, ensure_ascii=False).replace("\x7f", "\\u007f")
    project.replace(E, '"Act as a travel guide"', text)
    shown = show(project, capsys)
    assert all(sign.isprintable() or sign == "\n" for sign in shown)
    assert tomllib.loads(shown)["generate"][0]["prompt"] == prompt
    assert all(sign.isprintable() or sign == "\n" for sign in show(project, capsys, "--json"))


def test_one_cell_is_shown_and_all_are_in_the_json(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.replace(E, "[gate]", '[matrix]\n"base.dtype" = ["float16", "float32"]\n[gate]')
    shown = tomllib.loads(show(project, capsys, "--cell", "small-dtype-float32"))
    assert (shown["name"], shown["base"]["dtype"]) == ("small-dtype-float32", "float32")
    document = json.loads(show(project, capsys, "--json"))
    assert document["schema"] == "harness.show/1"
    assert [one["name"] for one in document["experiments"]] == ["small-dtype-float16", "small-dtype-float32"]
    first = document["experiments"][0]
    assert first["origins"]["base.dtype"] == "matrix, experiments/small.toml:31"
    assert [suite["suite"]["name"] for suite in first["suites"]] == ["domain", "general"]


def test_the_json_is_the_resolved_experiment(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = json.loads(show(project, capsys, "--json"))["experiments"]
    assert {key: shown[key] for key in ("experiment", "suites")} == resolved(project.load())


def test_what_cannot_be_shown_says_what_to_do(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.replace(E, "[gate]", '[matrix]\n"base.dtype" = ["float16", "float32"]\n[gate]')
    assert entry(["show", str(project.experiment)]) == 2
    assert "--cell small-dtype-float16\n" in capsys.readouterr().err
    assert entry(["show", str(project.experiment), "--cell", "small-dtype-float61"]) == 2
    assert "did you mean `small-dtype-float16`?" in capsys.readouterr().err
    assert entry(["show"]) == 2
    assert "name an experiment" in capsys.readouterr().err
