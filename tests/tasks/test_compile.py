"""Suites compile to lm-eval tasks that lm-eval itself can run, with the same values."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import evaluate
import pytest
from lm_eval.evaluator import evaluate as lm_eval_evaluate
from sklearn.metrics import f1_score

import harness.tasks.metrics
from harness.comparison.aggregates import measured_value
from harness.errors import RunFailed, UsageError
from harness.experiment.schema import Task
from harness.models.loading import device
from harness.models.quiet import quiet_lm_eval
from harness.scoring.items import Document, documents, scored_item
from harness.scoring.language_model import TreeLM
from harness.store.measurements import Item, Measurement
from harness.tasks.compile import CompiledTask, compile_task
from tests.conftest import tiny_model, tiny_tokenizer

COLOURS = ["blue", "red", "green"]
CHOICE_ROWS = [
    {"q": f"colour {n}", "options": COLOURS, "right": n % 3, "group": f"g{n % 4}"} for n in range(12)
]
LABEL_ROWS = [{"title": f"thing {n}", "label": COLOURS[n % 3]} for n in range(12)]
QA_ROWS = [{"q": f"say {n}", "golds": ["the quick brown fox", f"answer {n}"]} for n in range(5)]
TEXT_ROWS = [{"text": f"the quick brown fox number {n} jumps over the lazy dog"} for n in range(6)]

TASKS: dict[str, tuple[Task, list[dict[str, Any]]]] = {
    "choice": (
        Task(
            kind="multiple_choice",
            prompt="Q: {{ q }}\nA:",
            choices="options",
            answer="right",
            cluster="group",
            slices=("group", "right"),
        ),
        CHOICE_ROWS,
    ),
    "labels": (
        Task(kind="classification", prompt="{{ title }} is", labels=tuple(COLOURS), answer="label"),
        LABEL_ROWS,
    ),
    "qa": (Task(kind="qa", prompt="{{ q }}:", answer="golds", max_new_tokens=5), QA_ROWS),
    "text": (Task(kind="perplexity", text="text"), TEXT_ROWS),
}


@pytest.fixture(scope="module")
def lm() -> TreeLM:
    return TreeLM(tiny_model().to(device()), tiny_tokenizer())


def compiled(name: str, lm: TreeLM) -> CompiledTask:
    task, rows = TASKS[name]
    return compile_task(name, task, rows, [], lambda text: len(lm.tok_encode(text)))


def items_of(task: CompiledTask, lm: TreeLM) -> list[Item]:
    return [answered(document, task, lm) for document in documents(task, None)]


def answered(document: Document, task: CompiledTask, lm: TreeLM) -> Item:
    document.answer(lm.answers(document.requests()))
    return scored_item(document, task)


def measurement(task: CompiledTask, items: list[Item]) -> Measurement:
    return Measurement(
        "x", "s", task.name, task.kind, task.primary, task.metrics, {}, tuple(items), {}, task.labels
    )


@pytest.mark.parametrize("name", list(TASKS))
def test_every_kind_gives_the_values_of_lm_evals_own_evaluator(name: str, lm: TreeLM) -> None:
    task = compiled(name, lm)
    ours = measurement(task, items_of(task, lm))

    with quiet_lm_eval():
        theirs = lm_eval_evaluate(lm, {name: compiled(name, lm).lm_tasks[0]}, bootstrap_iters=0)["results"][
            name
        ]

    for metric in task.metrics:
        assert measured_value(ours, metric) == pytest.approx(theirs[f"{metric},none"], rel=1e-5), metric


def test_items_hold_gold_prediction_chance_cluster_and_raw_responses(lm: TreeLM) -> None:
    item = items_of(compiled("choice", lm), lm)[4]

    assert item.gold == "red"
    assert item.predicted in COLOURS
    assert item.chance == pytest.approx(1 / 3)
    assert item.cluster == "g0"
    assert item.slices == {"group": "g0", "right": "1"}
    assert item.prompt == "Q: colour 4\nA:"
    assert [response["continuation"] for response in item.responses] == [" blue", " red", " green"]


def test_a_slice_that_documents_lack_is_refused_before_anything_is_scored(lm: TreeLM) -> None:
    task = replace(compiled("choice", lm), slices=("grup",))

    with pytest.raises(UsageError, match="slices by `grup`, which its documents have not; they have q, opt"):
        documents(task, None)


def test_token_f1_with_several_golds_stays_a_fraction(lm: TreeLM) -> None:
    """lm-eval's metric_list would turn 0.8 into 1.0 here."""
    process = compiled("qa", lm).lm_tasks[0].process_results

    values = process({"golds": ["something else", "a black cat"]}, ["The black cat, sat."])

    assert values == pytest.approx({"token_f1": 0.8, "exact_match": 0.0})


def test_text_weights_are_bytes_tokens_and_words(lm: TreeLM) -> None:
    item = items_of(compiled("text", lm), lm)[0]
    text = TEXT_ROWS[0]["text"]

    assert item.weights["bits_per_byte"] == len(text.encode())
    assert item.weights["word_perplexity"] == len(text.split())
    nats = -float(item.responses[0]["loglikelihood"])
    assert item.scores["bits_per_byte"] == pytest.approx(nats / len(text) / math.log(2))


def test_identical_documents_are_two_items_and_order_does_not_name_them(lm: TreeLM) -> None:
    task, _ = TASKS["text"]
    rows = [TEXT_ROWS[0], TEXT_ROWS[1], TEXT_ROWS[0]]
    forward = documents(compile_task("text", task, rows, [], len), None)
    backward = documents(compile_task("text", task, rows[::-1], [], len), None)

    assert forward[2].item == f"{forward[0].item}#1"
    assert {each.item for each in forward} == {each.item for each in backward}


def test_a_digit_is_the_text_of_a_choice_before_it_is_an_index(lm: TreeLM) -> None:
    task = Task(kind="multiple_choice", prompt="{{ options[0] }} is not", choices="options", answer="right")
    rows = [{"options": ["12", "14", "1"], "right": "14"}, {"options": ["12", "14", "1"], "right": 1}]

    golds = [
        entry.lm_task.doc_to_target(entry.document)
        for entry in documents(
            compile_task("sum", task, [{**row, "right": str(row["right"])} for row in rows], [], len), None
        )
    ]

    assert golds == [1, 2], "'14' is a choice; '1' is one too, so it is not taken as an index"


def test_the_official_arc_easy_runs_on_local_rows(lm: TreeLM) -> None:
    rows = [
        {
            "id": str(n),
            "question": f"Which colour is thing {n}?",
            "choices": {"text": COLOURS, "label": ["A", "B", "C"]},
            "answerKey": "ABC"[n % 3],
        }
        for n in range(6)
    ]
    task = compile_task("arc", Task(kind="lm_eval", task="arc_easy"), rows, [], len)

    items = items_of(task, lm)

    assert task.primary == "acc"
    assert set(task.metrics) == {"acc", "acc_norm"}
    assert [item.gold for item in items] == [COLOURS[n % 3] for n in range(6)]
    assert items[0].prompt == "Question: Which colour is thing 0?\nAnswer:"
    assert all(set(item.scores) == {"acc", "acc_norm"} for item in items)


def test_a_registered_task_without_its_data_says_how_to_go_on_without_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("could not reach the hub")

    monkeypatch.setattr("datasets.load_dataset", offline)
    with pytest.raises(
        RunFailed, match=r"'arc_easy' could not be loaded.*could not reach(.|\n)*data = \{ test"
    ):
        compile_task("x", Task(kind="lm_eval", task="arc_easy"), [], [], len)


@pytest.mark.parametrize("name", ["token_f1", "macro_f1"])
def test_our_metrics_are_evaluate_modules_that_need_no_network(name: str) -> None:
    folder = Path(harness.tasks.metrics.__file__).parent / name

    module = evaluate.load(str(folder))

    if name == "token_f1":
        got = module.compute(predictions=["New York City"], references=[["New York", "London"]])
        assert got == pytest.approx({"token_f1": 0.8, "exact_match": 0.0})
    else:
        golds, guesses = ["a", "b", "c", "a"], ["a", "b", "b", "b"]
        expected = f1_score(golds, guesses, labels=["a", "b", "c", "d"], average="macro", zero_division=0)
        got = module.compute(predictions=guesses, references=golds, labels=["a", "b", "c", "d"])
        assert got == {"macro_f1": pytest.approx(expected)}
