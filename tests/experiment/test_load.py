"""A sound experiment: what is filled in, what its key covers, where its paths start, what it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import Problem
from harness.experiment.load import load_experiment
from harness.experiment.problems import format_problem
from harness.experiment.project import root_of
from harness.experiment.resolved import experiment_key, resolved, resolved_toml
from harness.experiment.schema import LoadedExperiment, Quantization
from harness.experiment.sources import overlap, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.experiment.conftest import Project

E, D = "experiments/small.toml", "suites/domain.toml"


def test_a_sound_experiment_loads_with_its_suites(project: Project) -> None:
    loaded = project.load()
    assert loaded.root == project.root
    assert [(suite.path, suite.role, suite.suite.name) for suite in loaded.suites] == [
        ("suites/domain.toml", "domain", "domain"),
        ("suites/general.toml", "general", "general"),
    ]


def test_extends_merges_tables_and_replaces_the_rest(project: Project) -> None:
    project.replace(E, "[tuned.qlora.lora]", "seeds = [7]\n[tuned.qlora.lora]")
    tuned = project.load().experiment.tuned["qlora"]
    assert (tuned.method, tuned.learning_rate, tuned.seeds) == ("qlora", 2e-4, (7,))
    assert (tuned.lora["r"], tuned.lora["target_modules"]) == (4, "all-linear")


def test_extends_follows_a_chain(project: Project) -> None:
    project.replace(E, "[suites]", '[tuned.third]\nextends = "tuned.qlora"\nepochs = 3\n[suites]')
    tuned = project.load().experiment.tuned["third"]
    assert (tuned.method, tuned.epochs, tuned.lora["r"]) == ("qlora", 3.0, 4)


def test_qlora_quantises_in_nf4_unless_told_otherwise(project: Project) -> None:
    tuned = project.load().experiment.tuned
    assert tuned["qlora"].quantization == Quantization(type="nf4", double=True, compute_dtype="bfloat16")
    assert tuned["lora"].quantization is None


def test_qlora_takes_the_quantization_of_the_base(project: Project) -> None:
    project.replace(E, 'dtype = "bfloat16"', 'quantization = { type = "fp4" }')
    project.replace(E, 'method = "lora"', 'method = "qlora"')
    assert {tuned.quantization for tuned in project.load().experiment.tuned.values()} == {
        Quantization(type="fp4")
    }


def test_defaults_of_a_kind_are_visible(project: Project) -> None:
    label, choice = (project.load().suites[i].suite.task[name] for i, name in ((0, "label"), (1, "choice")))
    assert (label.answer, label.primary, label.metrics) == ("label", "accuracy", ("accuracy", "macro_f1"))
    assert (choice.primary, choice.metrics) == (
        "accuracy",
        ("accuracy", "accuracy_norm", "probability", "brier"),
    )


def test_pefts_defaults_are_in_the_resolved_file(project: Project) -> None:
    lora = project.load().experiment.tuned["lora"].lora
    assert (lora["lora_alpha"], lora["bias"], lora["use_dora"]) == (8, "none", False)


def test_the_resolved_toml_is_an_experiment_that_resolves_to_itself(project: Project) -> None:
    loaded = project.load()
    text = resolved_toml(loaded)
    assert "extends" not in text
    assert "# max_steps is not set" in text
    assert tomllib.loads(text)["tuned"]["lora"]["batch_size"] == 16
    again = load_experiment(project.write("experiments/again.toml", text))
    assert resolved(again) == resolved(loaded)


def test_a_loaded_experiment_survives_json(project: Project) -> None:
    loaded = project.load()
    assert LoadedExperiment.model_validate_json(loaded.model_dump_json()) == loaded


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (E, "alpha = 0.05", "alpha = 0.1"),
        (E, 'tuned = ["lora"]', ""),
        (E, "seeds = [0, 1]", "seeds = [\n 0, 1 ] # the same"),
        (E, "r = 16", "r = 16\nlora_alpha = 8"),
        (E, "[gate]", '[gate.task."general/prose"]\ntier = "supporting"\n[gate]\nmax_drop_slice = 0.2'),
    ],
)
def test_policy_and_spelling_leave_the_key(project: Project, file: str, old: str, new: str) -> None:
    before = experiment_key(project.load())
    project.replace(file, old, new)
    assert experiment_key(project.load()) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (E, "r = 16", "r = 17"),
        (E, "[0, 1]", "[0]"),
        (E, "google/gemma", "google/gemma2"),
        (D, "{{ title }}:", "{{ title }}"),
        (D, '["a", "b"]', '["b", "a"]'),
        (D, 'prompt = "{{', 'slices = ["label"]\nprompt = "{{'),
        (D, 'prompt = "{{', 'gate = false\nprompt = "{{'),
    ],
)
def test_what_affects_results_changes_the_key(project: Project, file: str, old: str, new: str) -> None:
    before = experiment_key(project.load())
    project.replace(file, old, new)
    assert experiment_key(project.load()) != before


def test_the_key_is_the_same_elsewhere(project: Project, make_project: Callable[[], Project]) -> None:
    before = experiment_key(project.load())
    moved = project.experiment.rename(project.root / "moved.toml")
    assert experiment_key(load_experiment(moved)) == before


@pytest.mark.parametrize("mark", [".git", "pyproject.toml", ".harness"])
def test_the_root_is_the_nearest_marked_folder(tmp_path: Path, mark: str) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "a" / mark).mkdir()
    assert root_of(tmp_path / "a/b/c/x.toml") == tmp_path / "a"


def test_loading_is_quick_and_imports_no_model_library(project: Project) -> None:
    code = (
        "import sys, time; begin = time.process_time()\n"
        "from pathlib import Path\n"
        "from harness.experiment.load import load_experiment\n"
        "from harness.experiment.resolved import experiment_key\n"
        "experiment_key(load_experiment(Path(sys.argv[1])))\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'peft', 'lm_eval', 'pyarrow', 'rows'}\n"
        "print(time.process_time() - begin, heavy & sys.modules.keys())\n"
    )
    command = [sys.executable, "-c", code, str(project.experiment)]
    seconds, heavy = min(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(maxsplit=1)
        for _ in range(3)
    )
    assert heavy.strip() == "set()"
    assert float(seconds) < 0.3


def test_a_problem_is_shown_with_its_line_and_a_caret() -> None:
    problem = Problem("unknown key `rnak`", Path("x.toml"), 7, 3, "\t rnak = 16", "did you mean `r`?")
    assert format_problem(problem) == (
        "error: unknown key `rnak`\n"
        "  --> x.toml:7:3\n"
        "   |\n"
        " 7 | \t rnak = 16\n"
        "   | \t ^^^^\n"
        "  help: did you mean `r`?"
    )


def test_a_problem_without_a_place_and_one_in_a_long_line() -> None:
    assert format_problem(Problem("nothing there")) == "error: nothing there"
    shown = format_problem(Problem("bad", Path("x.jsonl"), 1, 5000, "a" * 4999 + "!" + "b" * 5000)).split(
        "\n"
    )
    assert max(len(line) for line in shown) < 200
    assert shown[3][shown[4].index("^")] == "!"


@pytest.mark.parametrize(
    ("one", "limit", "other", "shared"),
    [
        ("a.jsonl", None, "a.jsonl", True),
        ("a.jsonl", None, "b.jsonl", False),
        ("a.jsonl#[:100]", None, "a.jsonl#[100:]", False),
        ("a.jsonl#[:101]", None, "a.jsonl#[100:]", True),
        ("a.jsonl", None, "a.jsonl#[100:200]", True),
        ("a.jsonl", 100, "a.jsonl#[100:200]", False),
        ("a.jsonl#[50:]", 51, "a.jsonl#[100:200]", True),
        ("a.jsonl#[0:100]", None, "a.jsonl#[50:60]", True),
        ("hub:a/b#train#[:5]", None, "hub:a/b#test#[:5]", False),
    ],
)
def test_sources_overlap_where_they_share_rows(one: str, limit: int | None, other: str, shared: bool) -> None:
    first, second = rows_of(one, limit), rows_of(other)
    assert overlap(first, second) is overlap(second, first) is shared


def test_parts_of_one_source_may_be_trained_on_and_tested(project: Project) -> None:
    project.replace(E, "python:rows:training_rows", "data/rows.jsonl#[1:]")
    project.replace(D, "data/rows.jsonl", "data/rows.jsonl#[:1]")
    project.load()
    project.replace(D, "data/rows.jsonl#[:1]", "data/rows.jsonl#[:2]")
    (problem,) = project.problems()
    assert "test data" in problem.message
