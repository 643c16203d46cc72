"""The commands over the experiments of a matrix, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.gate.formats import several_as_json
from harness.gate.judge import worst
from harness.gate.verdict import GateResult, Verdict
from tests.pipeline.conftest import Project, write_project

CELLS = ("tiny-limit16", "tiny-limit32")
MATRIX = '[matrix]\n"data.train.limit" = [16, 32]\n'


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Project:
    """A matrix of two experiments, run to its end."""
    project = write_project(tmp_path_factory.mktemp("cells"), model_folder)
    project.file.write_text(project.file.read_text(encoding="utf-8") + MATRIX, encoding="utf-8")
    assert project.run("--set", "tuned.lora.epochs=1") == 0
    return project


OPTIONS = ("--set", "tuned.lora.epochs=1")


def test_a_run_names_the_experiments_first_and_sums_up_at_the_end(
    ran: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran.run(*OPTIONS) == 0
    said = capsys.readouterr().err
    assert said.startswith("2 experiments: tiny-limit16, tiny-limit32\n")
    table = said[said.index("all experiments") :]
    rows = [line for line in table.split("\n") if "tiny-limit" in line]
    assert [next(name for name in CELLS if name in row) for row in rows] == list(CELLS)
    assert all("pp [" in row for row in rows)
    assert said.count("tuned.lora.epochs=1") == 2, "the command that comes next has the same options"


def test_the_base_is_measured_once_for_all_cells(ran: Project) -> None:
    steps = [json.loads(file.read_text()) for file in ran.store.glob("measurements/*/step.json")]
    measured = [step["configuration"] for step in steps if step["task"] == "colour"]
    assert sorted(measured) == ["base", "lora", "lora"]


def test_the_gate_answers_for_each_and_the_worst_decides(
    ran: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ran.gate(*OPTIONS, "--format", "json")
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "harness.gate/1"
    assert [one["name"] for one in document["experiments"]] == list(CELLS)
    assert [one["judgements"][0]["tuned"] for one in document["experiments"]] == ["lora", "lora"]
    assert document["exit_code"] == code == max(one["exit_code"] for one in document["experiments"])
    assert ran.gate(*OPTIONS) == code
    assert "tiny-limit32: " in capsys.readouterr().out


def test_an_experiment_that_is_not_measured_hides_no_other(
    ran: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    wider = (*OPTIONS, "--set", 'matrix."data.train.limit"=[16, 8]')
    assert ran.gate(*wider, "--format", "json") in (1, 4)
    first, second = json.loads(capsys.readouterr().out)["experiments"]
    assert "nothing is measured yet" not in first["sentence"]
    assert second["verdict"] == "NOT COMPARABLE"
    assert ran.call("compare", str(ran.file), *wider) == 4
    shown = capsys.readouterr()
    assert "tiny-limit16" in shown.out
    assert "tiny-limit8: nothing is measured yet" in shown.err


def test_compare_and_report_speak_of_each(
    ran: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ran.call("compare", str(ran.file), *OPTIONS) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in CELLS)
    assert ran.call("report", str(ran.file), *OPTIONS, "-o", str(tmp_path)) == 0
    assert all((tmp_path / name / "report.html").is_file() for name in CELLS)


def test_more_than_sixty_four_configurations_are_not_run_without_a_yes(
    ran: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran.run("--set", f'matrix."tuned.lora.lora.r"={list(range(1, 34))}') == 2
    assert (
        "2 experiments with 66 tuned configurations in all; more than 64 need --yes"
        in capsys.readouterr().err
    )


def result(verdict: Verdict, code: int) -> GateResult:
    return GateResult(verdict=verdict, sentence=verdict.value, exit_code=code)


FAIL, OPEN = result(Verdict.FAIL, 1), result(Verdict.INCONCLUSIVE, 4)
ALLOWED, PASS = result(Verdict.INCONCLUSIVE, 0), result(Verdict.PASS, 0)
NOT_COMPARABLE = result(Verdict.NOT_COMPARABLE, 4)


def test_the_worst_of_several_wins_and_what_blocks_is_worse_than_what_is_allowed() -> None:
    ranking = [FAIL, NOT_COMPARABLE, OPEN, ALLOWED, PASS]
    for index, expected in enumerate(ranking):
        assert worst(ranking[index:][::-1]) is expected


def test_the_json_of_several_has_each_under_its_name() -> None:
    document = json.loads(several_as_json({"a": PASS, "b": OPEN}))
    assert (document["verdict"], document["exit_code"]) == ("INCONCLUSIVE", 4)
    assert [(one["name"], one["verdict"]) for one in document["experiments"]] == [
        ("a", "PASS"),
        ("b", "INCONCLUSIVE"),
    ]
