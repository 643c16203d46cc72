"""Three training seeds at two strengths through the whole pipeline: the recipe is judged, not a run of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.experiment.load import load_experiment
from harness.gate.stored import judged, stored_comparisons, stored_run, strength_curves
from harness.store.artifacts import Store
from tests.pipeline.conftest import Project, write_project


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Project:
    more = "seeds = [0, 1, 2]\nstrengths = [0.5, 1.0]"
    project = write_project(tmp_path_factory.mktemp("seeded"), model_folder, more=more)
    assert project.run() == 0
    return project


def test_the_recipe_is_judged_at_its_chosen_strength_and_its_runs_are_not(seeded: Project) -> None:
    loaded, store = load_experiment(seeded.file), Store(seeded.store)
    record = stored_run(loaded, store)
    result = judged(record, store, loaded.experiment.gate)
    (judgement,) = result.judgements
    chosen = next(
        curve.chosen for curve in strength_curves(record, store, loaded.experiment.gate) if curve.seed is None
    )
    assert judgement.tuned == f"lora@{chosen:g}"


def test_a_recipes_numbers_are_the_means_of_its_runs(seeded: Project) -> None:
    loaded = load_experiment(seeded.file)
    record = stored_run(loaded, Store(seeded.store))
    pairs = {
        pair.tuned: pair for pair in stored_comparisons(record, Store(seeded.store), loaded.experiment.gate)
    }
    assert [name for name in pairs if "seed" not in name] == ["lora@0.5", "lora@1"]
    for strength in ("0.5", "1"):
        recipe = pairs[f"lora@{strength}"]
        runs = [pairs[f"lora-seed{seed}@{strength}"] for seed in range(3)]
        assert recipe.runs == tuple(run.tuned for run in runs)
        for index, task in enumerate(recipe.tasks):
            for name, facts in task.metrics.items():
                values = [run.tasks[index].metrics[name].tuned for run in runs]
                assert facts.tuned == pytest.approx(np.mean(values))


def test_the_report_says_that_the_recipe_is_meant(seeded: Project) -> None:
    text = next((seeded.root / "reports").rglob("report.md")).read_text(encoding="utf-8")
    assert "is about its recipe: 3 training runs with other seeds" in text
    assert "Δ under each seed" in text


def test_a_second_run_makes_nothing(seeded: Project, capsys: pytest.CaptureFixture[str]) -> None:
    seeded.run()
    assert "no step ran" in capsys.readouterr().err


def test_the_gates_json_names_the_recipe(seeded: Project, capsys: pytest.CaptureFixture[str]) -> None:
    seeded.gate("--format", "json")
    (judgement,) = json.loads(capsys.readouterr().out)["judgements"]
    assert judgement["tuned"].startswith("lora@")
