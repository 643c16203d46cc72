"""`harness plan` as a person and a script see it: tables, steps, JSON, several experiments, no torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from harness.cli.main import entry
from tests.conftest import write_rows
from tests.estimate.conftest import Project

MATRIX = """
[matrix]
"base.model" = ["org/model-1B", "org/model-7B"]
"data.train.limit" = [4, 8]
"""
SIXTY_FOUR = """
[matrix]
"tuned.lora.learning_rate" = [1e-4, 2e-4, 3e-4, 4e-4]
"tuned.lora.lora.r" = [4, 8, 16, 32]
"tuned.lora.batch_size" = [4, 8, 16, 32]
"""
HEAVY = ["torch", "transformers", "peft", "trl", "lm_eval", "datasets", "bitsandbytes"]


def printed(capsys: pytest.CaptureFixture[str], project: Project, *options: str) -> str:
    assert entry(["plan", str(project.file), *options]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], project: Project, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(capsys, project, "--json", *options))
    return found


def row(text: str, name: str) -> list[str]:
    """The cells of a configuration's line in the table."""
    line = next(line for line in text.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_every_configuration_has_a_line_and_all_of_them_a_total(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.add('[tuned.swept]\nextends = "tuned.lora"\nseeds = [0, 1]\nstrengths = [0.5, 1.0]')
    text = printed(capsys, project)

    assert row(text, "base")[1:4] == ["base", "–", "≈ 822"]
    assert row(text, "lora")[:4] == ["lora", "lora", "≈ 200", "≈ 548"]
    assert row(text, "swept (2 seeds, 2 strengths)")[1:3] == ["lora", "≈ 200"]  # seed 0 is that of lora
    assert row(text, "total")[2] == "≈ 400"
    assert row(text, "total")[6].startswith("0 of ")
    assert re.search(r"memory of lora: ≈ \d\.\d GB = weights 2\.0 GB \+ adapter \d+ MB \+ ", text)


def test_numbers_of_the_store_stand_without_a_sign_and_what_is_unknown_makes_a_lower_bound(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.past_training("lora")
    project.replace('"prose.jsonl"', '"hub:org/prose"', "suite.toml")

    text = printed(capsys, project, "--set", "tuned.lora.epochs=2")

    assert row(text, "lora")[2:5] == ["2,000", "≥ 148", "unknown"]


def test_the_steps_are_listed_with_their_fingerprints(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.past_training("lora")
    change = project.configuration("lora").change
    assert change is not None

    lines = printed(capsys, project, "--steps").splitlines()

    assert f"stored  adapters      {change.fingerprint[:12]}  lora" in lines
    assert lines[-1] == "small: 8 steps, 1 in the store, 7 to do"
    assert sum(line.startswith("to do ") for line in lines) == 7


def test_the_json_has_a_versioned_schema_and_a_source_for_every_number(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.past_training("lora")

    found = document(capsys, project, "--set", "tuned.lora.epochs=2")

    assert found["schema"] == "harness.plan/1"
    assert found.keys() == {"schema", "experiments", "machine", "warnings", "notes", "total"}
    (experiment,) = found["experiments"]
    base, lora = experiment["groups"]
    assert lora["train_tokens"] == {"value": 2000, "source": "stored", "missing": 0, "notes": []}
    assert base["score_tokens"]["source"] == "estimated"
    assert lora["seconds"]["source"] == "unknown"
    assert lora["memory"]["source"] == "estimated"
    assert lora["memory"]["value"] == sum(lora["memory"]["parts"].values())
    assert [step["stored"] for step in lora["steps"]] == [False] * 5
    assert found["total"]["steps"] == 8
    assert found["total"]["score_tokens"]["value"] == 2 * base["score_tokens"]["value"]


def test_experiments_of_a_matrix_share_steps_which_count_once(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write(project.file.read_text(encoding="utf-8") + MATRIX)

    found = document(capsys, project)
    text = printed(capsys, project)

    measured = [
        len(
            [
                step
                for group in experiment["groups"]
                for step in group["steps"]
                if step["kind"] == "measurements"
            ]
        )
        for experiment in found["experiments"]
    ]
    # The two limits of one model train two adapters, and have one base.
    assert measured == [6, 3, 6, 3]
    assert found["experiments"][1]["groups"][0]["score_tokens"]["value"] == 0
    assert found["total"]["train_tokens"]["value"] == 2 * (4 + 8) * 20
    assert text.count("as above") == 2
    assert text.splitlines().count("in all".ljust(len(text.splitlines()[0]))) <= 1
    assert "in all" in text


def test_a_mistake_in_the_file_is_a_usage_error(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.replace('"train.jsonl"', '"trian.jsonl"')

    assert entry(["plan", str(project.file), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "trian.jsonl" in captured.err


def test_what_a_file_says_cannot_act_on_the_terminal(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(project.root / "train.jsonl", [{"\x1b[31m[bold]": "x"}])
    (project.root / "[bold] 1B.gguf").touch()
    project.replace("org/model-1B", "[bold] 1B.gguf")

    text = printed(capsys, project)

    assert "\x1b" not in text
    assert "⟨U+001B⟩[31m[bold]" in text
    assert "[bold] 1B.gguf\n" in text


def test_sixty_four_configurations_are_planned_without_torch_and_nothing_else_is_written(
    project: Project,
) -> None:
    project.write(project.file.read_text(encoding="utf-8") + SIXTY_FOUR)
    before = set(project.root.rglob("*"))
    code = (
        "import sys; from harness.cli.main import entry; "
        f"code = entry(['plan', {str(project.file)!r}, '--json']); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "[]"
    (experiment,) = json.loads(done.stdout)["experiments"]
    assert len(experiment["groups"]) == 65
    new = set(project.root.rglob("*")) - before
    counts = project.store.root / "counts"
    assert {path for path in new if path.parent != counts} == {project.store.root, counts}
