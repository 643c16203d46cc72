"""lm-eval runs itself, writes its own files, and `harness compare` reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM

from harness.cli.main import entry
from harness.models.quiet import quiet_lm_eval
from harness.store.lm_eval_files import read_lm_eval
from tests.conftest import tiny_model, tiny_tokenizer, write_rows

ITEMS = 40
CHOICES = ["blue", "red", "green", "yellow"]


def tasks(folder: Path) -> list[dict[str, Any]]:
    rows = [
        {"q": f"{k} the colour of thing {k % 7} is", "choices": CHOICES, "answer": k % 4, "passage": k // 2}
        for k in range(ITEMS)
    ]
    write_rows(folder / "rows.jsonl", rows)
    shared = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{q}}",
    }
    return [
        {
            **shared,
            "task": "colours",
            "output_type": "multiple_choice",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
        {
            **shared,
            "task": "said",
            "output_type": "generate_until",
            "doc_to_target": "{{choices[answer]}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
            "metric_list": [{"metric": "exact_match", "higher_is_better": True}],
            "filter_list": [
                {"name": "whole", "filter": [{"function": "take_first"}]},
                {"name": "lower", "filter": [{"function": "lowercase"}, {"function": "take_first"}]},
            ],
        },
        {
            **shared,
            "task": "read",
            "output_type": "loglikelihood_rolling",
            "doc_to_target": "{{q}}",
            "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
        },
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Two folders that lm-eval wrote, of two models, and what it said itself."""
    folder = tmp_path_factory.mktemp("lm_eval")
    said = {}
    for name, seed in (("base", 0), ("tuned", 1)):
        with quiet_lm_eval():
            lm = HFLM(pretrained=tiny_model(seed=seed), tokenizer=tiny_tokenizer(), batch_size=8)
            results = simple_evaluate(lm, tasks=tasks(folder), log_samples=True, bootstrap_iters=0)
        samples = results.pop("samples")
        tracker = EvaluationTracker(output_path=str(folder / name))
        tracker.general_config_tracker.model_name_sanitized = "tiny"
        tracker.save_results_aggregated(results, samples)
        for task, rows in samples.items():
            tracker.save_results_samples(task, rows)
        said[name] = results["results"]
    return folder, said


def test_every_number_is_lm_evals_own(runs: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    from harness.comparison.aggregates import measured_value

    folder, said = runs
    found = {each.task: each for each in read_lm_eval(folder / "base", "base", lambda task: "general")}

    assert set(found) == {"colours", "said", "read"}
    for task, metric, theirs in (
        ("colours", "acc", "acc,none"),
        ("colours", "acc_norm", "acc_norm,none"),
        ("said", "exact_match,whole", "exact_match,whole"),
        ("said", "exact_match,lower", "exact_match,lower"),
        ("read", "word_perplexity", "word_perplexity,none"),
        ("read", "bits_per_byte", "bits_per_byte,none"),
    ):
        assert measured_value(found[task], metric) == pytest.approx(said["base"][task][theirs], rel=1e-6)
    (first, *_) = found["colours"].items
    assert (first.chance, first.gold, first.prompt) == (0.25, "0", "0 the colour of thing 0 is")
    assert first.predicted in {f" {choice}" for choice in CHOICES}
    assert len({item.item for each in found.values() for item in each.items}) == ITEMS


def test_two_folders_give_a_comparison_and_a_verdict(
    runs: tuple[Path, dict[str, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = runs
    code = entry(
        ["compare", str(folder / "base"), str(folder / "tuned"), "--domain", "colours", "--cluster", "passage",
         "--set", "gate.max_drop_task=0.9", "--json"]
    )  # fmt: skip
    document = json.loads(capsys.readouterr().out)

    assert code == document["exit_code"]
    (judgement,) = document["judgements"]
    assert (judgement["base"], judgement["tuned"]) == ("base", "tuned")
    rules = {(rule["rule"], rule["task"]) for rule in judgement["rules"] + judgement["advisory"]}
    assert ("min_gain", "colours") in rules
    assert ("max_bits_per_byte_increase", "read") in rules


def test_a_run_against_itself_is_refused(
    runs: tuple[Path, dict[str, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = runs

    assert entry(["compare", str(folder / "base"), str(folder / "base")]) == 2
    assert "are the same results" in capsys.readouterr().err
