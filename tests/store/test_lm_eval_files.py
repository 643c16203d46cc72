from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import entry
from harness.errors import UsageError
from harness.store.lm_eval_files import read_lm_eval

DATE = "2026-11-28T13-54-18.718598"
LATER = "2026-11-29T00-00-00.000001"


def sample(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "doc_id": number,
        "doc": {"q": f"question {number}", "passage": number // 2},
        "target": "1",
        "arguments": {f"gen_args_{k}": {"arg_0": f"question {number}", "arg_1": f" {k}"} for k in range(4)},
        "resps": [[["-1.0", "False"]]] * 4,
        "filtered_resps": [["-3.0", "False"], ["-1.0", "True"], ["-2.0", "False"], ["-4.0", "False"]],
        "filter": "none",
        "metrics": ["acc"],
        "doc_hash": f"d{number}",
        "prompt_hash": f"p{number}",
        "target_hash": "t",
        "acc": 1.0,
        **fields,
    }


def write(
    folder: Path, samples: list[dict[str, Any]], task: str = "quiz", date: str = DATE, **about: Any
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(each) + "\n" for each in samples)
    (folder / f"samples_{task}_{date}.jsonl").write_text(lines, encoding="utf-8")
    results = {
        "higher_is_better": {task: {"acc": True, "brier_score": False}},
        "configs": {task: {"output_type": "multiple_choice"}},
        "versions": {task: 1.0},
        "n-shot": {task: 0},
        "lm_eval_version": "0.4.13",
        "config": {"model_dtype": "torch.bfloat16"},
        **about,
    }
    (folder / f"results_{date}.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


def right(many: int, of: int) -> list[dict[str, Any]]:
    return [sample(k, acc=float(k < many)) for k in range(of)]


def general(task: str) -> str:
    return "general"


def compare(*arguments: Path | str) -> int:
    return entry(["compare", *map(str, arguments)])


def test_items_have_what_a_comparison_needs(tmp_path: Path) -> None:
    (measured,) = read_lm_eval(write(tmp_path, right(1, 2)), "base", general, "passage")

    first, second = measured.items
    assert (measured.configuration, measured.suite, measured.task, measured.primary) == (
        "base",
        "general",
        "quiz",
        "acc",
    )
    assert (first.item, first.prompt_hash, first.cluster, first.gold, first.predicted) == (
        "d0",
        "p0",
        "0",
        "1",
        " 1",
    )
    assert (first.scores, second.scores) == ({"acc": 1.0}, {"acc": 0.0})
    assert first.chance == 0.25
    assert measured.conditions["dtype"] == "torch.bfloat16"


def test_of_several_runs_the_newest_counts(tmp_path: Path) -> None:
    write(tmp_path, right(0, 3))
    write(tmp_path, right(3, 3), date=LATER)

    (measured,) = read_lm_eval(tmp_path, "base", general)

    assert [item.scores["acc"] for item in measured.items] == [1.0] * 3


def test_a_value_that_is_not_there_is_missing_and_not_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write(tmp_path / "a", right(5, 10))
    tuned = write(tmp_path / "b", [sample(k, acc=None if k == 3 else 1.0) for k in range(10)])

    assert compare(base, tuned, "--domain", "quiz") == 4
    assert "has no acc on item d3" in capsys.readouterr().out


def test_equal_documents_stay_two_items(tmp_path: Path) -> None:
    twice = [sample(0), sample(1, doc_hash="d0")]

    (measured,) = read_lm_eval(write(tmp_path, twice), "base", general)

    assert [item.item for item in measured.items] == ["d0", "d0#1"]


@pytest.mark.parametrize("value", [1.4, 0.4])
def test_a_metric_that_is_better_lower_is_read_so(tmp_path: Path, value: float) -> None:
    rows = [sample(k, metrics=["brier_score"], brier_score=value) for k in range(3)]

    (measured,) = read_lm_eval(write(tmp_path, rows), "base", general)

    metric = measured.metrics["brier_score"]
    assert (metric.higher_is_better, metric.unit) == (False, "score")


def test_a_gain_passes_and_a_loss_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worse, better = write(tmp_path / "worse", right(100, 400)), write(tmp_path / "better", right(200, 400))

    assert compare(worse, better, "--domain", "quiz") == 0
    assert "PASS: better gains on domain/quiz over worse: +25.0 pp" in capsys.readouterr().out
    assert compare(better, worse, "--domain", "quiz") == 1
    assert "FAIL" in capsys.readouterr().out


def test_other_margins_are_set_as_in_an_experiment(tmp_path: Path) -> None:
    worse, better = write(tmp_path / "worse", right(100, 400)), write(tmp_path / "better", right(200, 400))

    assert compare(worse, better, "--domain", "quiz", "--set", "gate.min_gain=0.5") == 4


@pytest.mark.parametrize(
    "setting", ['gate.task."domain/quiz".min_gain=0.5', 'gate.task={ "domain/quiz" = { min_gain = 0.5 } }']
)
def test_a_rule_for_one_task_is_set_as_in_an_experiment(tmp_path: Path, setting: str) -> None:
    worse, better = write(tmp_path / "worse", right(100, 400)), write(tmp_path / "better", right(200, 400))

    assert compare(worse, better, "--domain", "quiz", "--set", setting) == 4


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            'gate.task."domain/quizz".min_gain=0.5',
            '"domain/quizz", which is not among the tasks: domain/quiz',
        ),
        ('gate.task."domain/quiz".max_drop=0.5', "max_drop for domain/quiz has no use"),
        ('gate.task."domain/quiz".min_gian=0.5', "gate.task.domain/quiz.min_gian"),
        ('gate.task."domain/quiz".tier=suporting', "gate.task.domain/quiz.tier"),
        ("gate.task=3", "gate.task"),
        ("gate.alpha.x=3", "only the gate can be set"),
        ("gate=3", "only the gate can be set"),
        ("=3", "only the gate can be set"),
    ],
)
def test_a_mistake_in_a_rule_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, said: str
) -> None:
    worse, better = write(tmp_path / "worse", right(10, 40)), write(tmp_path / "better", right(20, 40))

    assert compare(worse, better, "--domain", "quiz", "--set", setting) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"config": {"model_dtype": "torch.float32"}},
            "dtype is torch.bfloat16 for a but torch.float32 for b",
        ),
        ({"n-shot": {"quiz": 5}}, "shots is 0 for a but 5 for b"),
        ({"chat_template_sha": "x"}, "chat template is none for a but x for b"),
        ({"lm_eval_version": "0.4.9"}, "lm-eval version is 0.4.13 for a but 0.4.9 for b"),
    ],
)
def test_runs_under_other_conditions_are_not_comparable(
    tmp_path: Path, change: dict[str, Any], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base, tuned = write(tmp_path / "a", right(5, 10)), write(tmp_path / "b", right(9, 10), **change)

    assert compare(base, tuned, "--domain", "quiz") == 4
    assert reason in capsys.readouterr().out


def test_other_prompts_are_refused_until_they_are_declared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write(tmp_path / "a", right(5, 10))
    tuned = write(tmp_path / "b", [sample(k, prompt_hash="other") for k in range(10)])

    assert compare(base, tuned, "--domain", "quiz") == 4
    assert "prompt_hash differs on 10 items" in capsys.readouterr().out
    compare(base, tuned, "--domain", "quiz", "--other-prompts")
    assert "prompt_hash" not in capsys.readouterr().out


def test_items_of_one_side_only_are_not_comparable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, tuned = write(tmp_path / "a", right(5, 10)), write(tmp_path / "b", right(9, 9))

    assert compare(base, tuned, "--domain", "quiz") == 4
    assert "b has no item d9" in capsys.readouterr().out


def broken(tmp_path: Path, how: str) -> Path:
    folder = write(tmp_path / "b", right(5, 10))
    (samples,) = folder.glob("samples_*")
    (results,) = folder.glob("results_*")
    if how == "no results file":
        results.unlink()
    elif how == "damaged results file":
        results.write_text("{", encoding="utf-8")
    elif how == "a damaged line":
        samples.write_text(samples.read_text(encoding="utf-8") + '{"doc_id": 3\n', encoding="utf-8")
    elif how == "no samples":
        samples.unlink()
    elif how == "no metric of items":
        samples.write_text(json.dumps(sample(0, acc=["a", "b"])) + "\n", encoding="utf-8")
    else:
        write(folder / "other", right(5, 10))
    return folder


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no results file", "is missing: it says which way each metric of quiz runs"),
        ("damaged results file", "cannot be read"),
        ("a damaged line", ".jsonl:11 is no sample of lm-eval's"),
        ("no samples", "--log_samples"),
        ("no metric of items", "no metric with a value for each item (acc)"),
        ("two models", "holds results of several models"),
    ],
)
def test_broken_results_are_refused_with_what_is_wrong(tmp_path: Path, how: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        read_lm_eval(broken(tmp_path, how), "b", general)

    assert said in str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--domain", "nope"), "--domain nope fits no task of"),
        (("--primary", "nope"), "--primary nope is measured for no task; there are acc"),
        (("--cluster", "nope"), "documents have no field `nope` (they have q, passage)"),
        (("--set", "gate.max_drop=1"), "only the gate can be set: gate.alpha"),
        (("--set", "base.dtype=float32"), "only the gate can be set"),
        (("--set", "gate.alpha=0.9"), "--set gate.alpha"),
    ],
)
def test_options_that_fit_nothing_are_refused(
    tmp_path: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base, tuned = write(tmp_path / "a", right(5, 10)), write(tmp_path / "b", right(9, 10))

    assert compare(base, tuned, *options) == 2
    assert said in capsys.readouterr().err


def test_options_for_lm_evals_results_are_refused_for_an_experiment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(tmp_path / "x.toml", "--domain", "quiz") == 2
    assert "--domain is for two folders of lm-eval's results" in capsys.readouterr().err


def test_the_option_that_is_refused_is_named_as_it_was_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(tmp_path / "x.toml", "--json") == 2
    assert "--json is for two folders of lm-eval's results" in capsys.readouterr().err


def test_a_metric_of_which_lm_eval_knows_no_direction_is_better_higher(tmp_path: Path) -> None:
    folder = write(tmp_path, right(1, 2), higher_is_better={"quiz": {"acc": None}})

    (measured,) = read_lm_eval(folder, "base", general)

    assert measured.metrics["acc"].higher_is_better


def test_an_empty_text_is_missing_and_no_division_by_zero(tmp_path: Path) -> None:
    texts = [sample(k, metrics=["bits_per_byte"], bits_per_byte=[-8.0 * k, 4 * k]) for k in range(3)]

    (measured,) = read_lm_eval(write(tmp_path, texts), "base", general)

    assert [dict(item.weights) for item in measured.items] == [
        {},
        {"bits_per_byte": 4.0},
        {"bits_per_byte": 8.0},
    ]


def test_markup_in_names_is_only_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write(tmp_path / "[red]a\x1b[31m", right(5, 10), task="[blink]quiz\x1b[0m")
    tuned = write(tmp_path / "b", right(9, 10), task="[blink]quiz\x1b[0m")

    assert compare(base, tuned) == 0
    shown = capsys.readouterr().out
    assert "[blink]quiz" in shown
    assert "[red]a⟨U+001B⟩" in shown
    assert "\x1b" not in shown


def said(number: int, text: str, name: str, answer: str) -> dict[str, Any]:
    return sample(
        number,
        resps=[[text]],
        filtered_resps=[answer],
        filter=name,
        metrics=["exact_match"],
        exact_match=0.0,
        arguments={"gen_args_0": {"arg_0": f"question {number}", "arg_1": {"until": ["\n"]}}},
    )


def test_written_answers_come_with_their_text_and_with_what_their_filters_could_not_read(
    tmp_path: Path,
) -> None:
    filters = [
        {"name": "strict-match", "filter": [{"function": "regex", "regex_pattern": "#### (\\d+)"}]},
        {"name": "odd", "filter": [{"function": "regex", "fallback": "nothing"}, {"function": "take_first"}]},
        {"name": "whole", "filter": [{"function": "take_first"}]},
    ]
    written = [("so #### 2", "2", "nothing"), ("who knows", "[invalid]", "7"), ("", "[invalid]", "nothing")]
    samples = [
        said(number, text, name, answer)
        for number, (text, strict, odd) in enumerate(written)
        for name, answer in (("strict-match", strict), ("odd", odd), ("whole", text))
    ]
    config = {"output_type": "generate_until", "filter_list": filters}
    folder = write(tmp_path, samples, configs={"quiz": config})

    (measurement,) = read_lm_eval(folder, "base", general)

    assert [item.responses[0] for item in measurement.items] == [
        {"text": "so #### 2", "unread": {"strict-match": False, "odd": True}},
        {"text": "who knows", "unread": {"strict-match": True, "odd": False}},
        {"text": "", "unread": {"strict-match": True, "odd": True}},
    ]


def test_a_choice_by_likelihood_has_written_nothing(tmp_path: Path) -> None:
    (measurement,) = read_lm_eval(write(tmp_path, right(3, of=4)), "base", general)
    assert {item.responses for item in measurement.items} == {()}
