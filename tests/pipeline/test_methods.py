"""Every way to tune on a tiny model: each is a real row, proved, paired with the right base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from harness.experiment.load import load_experiment
from harness.gate.stored import stored_run, strength_curves
from harness.plan import make_plan
from harness.store.artifacts import Store
from harness.store.measurements import Measurement, read_measurement
from tests.conftest import tiny_model, tiny_tokenizer, write_rows
from tests.pipeline.conftest import Project, write_project

METHODS = """
[tuned.swept]
extends = "tuned.lora"
strengths = [0.0, 0.5, 1.0]
[tuned.full]
method = "full"
learning_rate = 2e-3
epochs = 2
[tuned.full_kl]
extends = "tuned.full"
kl = 5.0
[tuned.half]
method = "partial"
learning_rate = 2e-3
epochs = 2
strengths = [0.0, 1.0]
[tuned.half.partial]
top_layers = 1
[tuned.replayed]
extends = "tuned.lora"
seeds = [0, 1]
epochs = 2
[tuned.replayed.replay]
source = "general-rows.jsonl"
fraction = 0.2
[tuned.asked]
method = "prompt"
[tuned.asked.prompt]
system = "one two three four five"
shots = 2
[tuned.other]
method = "model"
model = "{other}"
[suites]"""


def with_methods(root: Path, model: Path) -> Project:
    other = root / "other-model"
    tiny_model(seed=7).save_pretrained(other)
    tiny_tokenizer().save_pretrained(other)
    project = write_project(root / "project", model)
    write_rows(
        project.root / "general-rows.jsonl", [{"text": f"sphinx {n} of black quartz"} for n in range(40)]
    )
    text = project.file.read_text(encoding="utf-8")
    text = text.replace("[suites]", METHODS.format(other=other), 1).replace('tuned = ["lora"]\n', "")
    project.file.write_text(text.replace("epochs = 6", "epochs = 3"), encoding="utf-8")
    return project


def with_one(root: Path, model: Path, settings: str) -> Project:
    """A project whose only tuned configuration is not trained here."""
    project = write_project(root, model)
    text = project.file.read_text(encoding="utf-8")
    start, stop = text.index("[data.train]"), text.index("[suites]")
    project.file.write_text(f"{text[:start]}[tuned.lora]\n{settings}\n{text[stop:]}", encoding="utf-8")
    return project


def trained_adapter(project: Project, folder: Path) -> Path:
    """A copy of the adapter that the project trained, as somebody else would be given it."""
    trained = make_plan(load_experiment(project.file)).configuration("lora").change
    assert trained is not None
    shutil.copytree(Store(project.store).folder(trained), folder)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Project:
    project = with_methods(tmp_path_factory.mktemp("methods"), model_folder)
    assert project.run() == 0
    return project


def measured(project: Project, validation: bool = False) -> dict[str, dict[str, Measurement]]:
    store, plan = Store(project.store), make_plan(load_experiment(project.file))
    return {
        entry.name: {
            task: read_measurement(store, step)
            for (_, task), step in (entry.validation if validation else entry.measurements).items()
        }
        for entry in plan.configurations
    }


def scores(measurement: Measurement) -> list[tuple[str, dict[str, float]]]:
    return sorted((item.item, dict(item.scores)) for item in measurement.items)


def test_every_method_is_a_row_that_is_compared_with_its_base_in_one_thing(project: Project) -> None:
    record = stored_run(load_experiment(project.file), Store(project.store))

    assert {pair.tuned: (pair.base, pair.differs_in) for pair in record.pairs} == {
        "lora": ("base", "adapter"),
        "swept@0": ("base", "adapter"),
        "swept@0.5": ("base", "adapter"),
        "swept@1": ("base", "adapter"),
        "full": ("base", "weights"),
        "full_kl": ("base", "weights"),
        "half@0": ("base", "weights"),
        "half@1": ("base", "weights"),
        "replayed-seed0": ("base", "adapter"),
        "replayed-seed1": ("base", "adapter"),
        "asked": ("base", "prompt"),
        "other": ("base", "model"),
    }
    report = (project.root / "reports/tiny/report.md").read_text(encoding="utf-8")
    for pair in record.pairs:
        assert pair.tuned.partition("@")[0] in report


def test_no_pair_of_a_live_method_has_problems(project: Project) -> None:
    store = Store(project.store)
    for proof in project.store.glob("proofs/*/step.json"):
        facts = json.loads(proof.read_text(encoding="utf-8"))
        assert facts["problems"] == [], facts["tuned"]
    record = stored_run(load_experiment(project.file), store)
    for pair in record.pairs:
        facts = json.loads((project.store / "comparisons" / pair.comparison / "step.json").read_text())
        assert facts["comparison"]["problems"] == []
        assert [task["problems"] for task in facts["comparison"]["tasks"]] == [[]] * 4, pair.tuned


@pytest.mark.parametrize("family", ["swept", "half"])
def test_strength_zero_is_the_base_item_by_item_and_one_is_as_trained(project: Project, family: str) -> None:
    found = measured(project)
    for task, of_base in found["base"].items():
        assert scores(found[f"{family}@0"][task]) == scores(of_base)
    assert scores(found[f"{family}@1"]["colour"]) != scores(found["base"]["colour"])


def test_all_strengths_come_from_one_training(project: Project) -> None:
    plan = make_plan(load_experiment(project.file))
    swept = [entry for entry in plan.configurations if entry.family == "swept"]

    assert len({entry.change.fingerprint for entry in swept if entry.change}) == 1
    assert len({entry.proof.fingerprint for entry in swept if entry.proof}) == 1
    lora = plan.configuration("lora").change
    assert lora is not None
    assert swept[0].change is not None
    assert lora.fingerprint == swept[0].change.fingerprint, "the same recipe is the same adapter"
    found = measured(project)
    assert scores(found["swept@1"]["choice"]) == scores(found["lora"]["choice"])


def test_the_strength_is_chosen_on_validation_items_and_judged_on_test_items(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded, store = load_experiment(project.file), Store(project.store)
    curves = strength_curves(stored_run(loaded, store), store, loaded.experiment.gate)

    assert {(curve.family, len(curve.points)) for curve in curves} == {("swept", 3), ("half", 2)}
    validation, test = measured(project, validation=True), measured(project)
    shared = {item.item for item in validation["swept@1"]["colour"].items} & {
        item.item for item in test["swept@1"]["colour"].items
    }
    assert not shared
    capsys.readouterr()
    project.gate("--format", "json")
    judged = [each["tuned"] for each in json.loads(capsys.readouterr().out)["judgements"]]
    chosen = {f"{curve.family}@{curve.chosen:g}" for curve in curves}
    assert {name for name in judged if "@" in name} == chosen


def test_a_prompt_is_asked_before_every_question_and_reaches_no_text(project: Project) -> None:
    found = measured(project)
    for item in found["asked"]["colour"].items:
        assert item.prompt.startswith("one two three four five")
        assert item.prompt.count(":") == 3, "two solved examples and the question"
    assert scores(found["asked"]["prose"]) == scores(found["base"]["prose"])
    assert scores(found["asked"]["colour"]) != scores(found["base"]["colour"])


def test_only_the_trained_part_is_kept(project: Project) -> None:
    kept = [json.loads(path.read_text()) for path in project.store.glob("weights/*/step.json")]
    total = sum(weight.numel() for weight in tiny_model().parameters())
    half = next(record for record in kept if record["method"] == "partial")

    assert half["trainable_parameters"] < total / 2
    assert {record["trainable_parameters"] for record in kept if record["method"] == "full"} == {total}
    for record in kept:
        assert record["adapter_bytes"] < 4 * record["trainable_parameters"] + 10_000


def test_kl_keeps_full_fine_tuning_nearer_to_the_base(project: Project) -> None:
    found = measured(project)

    def moved(name: str) -> float:
        before = {item.item: item.scores["bits_per_byte"] for item in found["base"]["prose"].items}
        return sum(
            abs(item.scores["bits_per_byte"] - before[item.item]) for item in found[name]["prose"].items
        )

    assert moved("full_kl") < moved("full")


def test_an_adapter_given_back_in_another_store_scores_every_item_the_same(
    project: Project, tmp_path: Path, model_folder: Path
) -> None:
    given = trained_adapter(project, tmp_path / "given")
    settings = f'method = "adapter"\nadapter = "{given}"\nstrengths = [0.5, 1.0]'
    other = with_one(tmp_path / "other", model_folder, settings)

    assert other.run() == 0

    before, after = measured(project), measured(other)
    for task in ("colour", "say", "choice", "prose"):
        assert scores(after["lora@1"][task]) == scores(before["lora"][task])
        assert scores(after["lora@0.5"][task]) == scores(before["swept@0.5"][task])


def test_an_adapter_of_another_base_is_not_comparable(
    project: Project, tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = trained_adapter(project, tmp_path / "given")
    declared = json.loads((given / "adapter_config.json").read_text(encoding="utf-8"))
    declared["base_model_name_or_path"] = "org/another"
    (given / "adapter_config.json").write_text(json.dumps(declared), encoding="utf-8")
    other = with_one(tmp_path / "other", model_folder, f'method = "adapter"\nadapter = "{given}"')

    assert other.run() == 0
    assert other.gate() == 4
    assert "declares the base 'org/another'" in capsys.readouterr().out


def test_a_checkpoint_of_another_vocabulary_is_not_comparable(
    tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = tmp_path / "stranger"
    tiny_model().save_pretrained(stranger)
    tokenizer: Any = tiny_tokenizer()
    tokenizer.add_tokens(["unheard-of"])
    tokenizer.save_pretrained(stranger)
    model = AutoModelForCausalLM.from_pretrained(stranger)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(stranger)
    project = with_one(tmp_path / "project", model_folder, f'method = "model"\nmodel = "{stranger}"')

    assert project.run() == 0
    assert project.gate() == 4
    assert "another vocabulary" in capsys.readouterr().out
