"""`harness init`: what it writes loads and runs, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.init import STARTER
from harness.cli.main import entry
from harness.data.sources import read_rows
from harness.experiment.load import load_experiment


def test_the_written_project_loads_and_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry(["init", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    experiment = tmp_path / "new/experiment.toml"
    for command in ("plan", "data", "run"):
        assert f"harness {command} {experiment}" in said
    loaded = load_experiment(experiment)
    assert loaded.root == tmp_path / "new"
    assert len(read_rows("data/train.jsonl", loaded.root)) == 10
    assert len(read_rows("data/test.jsonl", loaded.root)) == 12
    assert entry(["plan", str(experiment)]) == 0


def test_inside_a_project_paths_start_at_its_root(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert entry(["init", str(tmp_path / "sub/new")]) == 0
    loaded = load_experiment(tmp_path / "sub/new/experiment.toml")
    assert loaded.root == tmp_path
    assert loaded.experiment.suites.domain == ("sub/new/suite.toml",)


def test_the_folder_is_the_present_one_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert entry(["init"]) == 0
    assert all((tmp_path / name).is_file() for name in STARTER)


@pytest.mark.parametrize("name", STARTER)
def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    assert entry(["init", str(tmp_path)]) == 2
    assert f"`{file}` is there already" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [file]


def test_the_written_project_runs(tmp_path: Path, model_folder: Path) -> None:
    assert entry(["init", str(tmp_path)]) == 0
    experiment = str(tmp_path / "experiment.toml")
    options = ["--set", f"base.model={model_folder}", "--set", "base.dtype=float32"]
    assert entry(["run", experiment, *options]) == 0
    assert (tmp_path / "reports/tickets/report.html").is_file()
    assert entry(["gate", experiment, *options]) in (0, 1, 4)
    assert entry(["gate", experiment]) == 4, "of the written base nothing is measured"
