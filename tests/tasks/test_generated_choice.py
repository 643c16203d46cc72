"""Choices that the model writes: lm-eval's own evaluation has the same values, and the items tell what was read."""

from __future__ import annotations

from typing import Any

import pytest
from lm_eval.evaluator import evaluate as lm_eval_evaluate

from harness.comparison.aggregates import measured_value
from harness.experiment.schema import Task
from harness.models.loading import device
from harness.models.quiet import quiet_lm_eval
from harness.scoring.items import Document, documents, scored_item
from harness.scoring.language_model import TreeLM
from harness.store.measurements import Item, Measurement
from harness.tasks.compile import CompiledTask, compile_task
from tests.conftest import tiny_model, tiny_tokenizer

COLOURS = ["blue", "red", "green"]
ROWS = [
    {"q": f"thing {n} is", "options": [*COLOURS[n % 3 :], *COLOURS[: n % 3]], "right": n % 2, "label": COLOURS[n % 3]}
    for n in range(12)
]  # fmt: skip
SHARED = {"kind": "generated_choice", "prompt": "{{ q }}:", "max_new_tokens": 6}
LABELS = Task.model_validate({**SHARED, "labels": COLOURS})
CHOICES = Task.model_validate({**SHARED, "choices": "options", "answer": "right"})


@pytest.fixture(scope="module")
def lm() -> TreeLM:
    return TreeLM(tiny_model().to(device()), tiny_tokenizer())


def compiled(task: Task) -> CompiledTask:
    return compile_task("written", task, ROWS, [], len)


def answered(task: CompiledTask, texts: list[str]) -> list[Item]:
    """Items of a model that writes these texts, one after the other."""
    items = []
    for document, text in zip(documents(task, None), texts, strict=False):
        document.answer([text])
        items.append(scored_item(document, task))
    return items


def measurement(task: CompiledTask, items: list[Item]) -> Measurement:
    return Measurement(
        "x", "s", task.name, task.kind, task.primary, task.metrics, {}, tuple(items), {}, task.labels
    )


@pytest.mark.parametrize("task", [LABELS, CHOICES], ids=["labels", "choices"])
def test_lm_evals_own_evaluator_has_the_same_values(
    task: Task, lm: TreeLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny model writes no colour: words are put into its mouth, right, wrong and none."""
    said = [" Blue.", " red\nand so on", " purple", "", " green, of course", " Red"]
    asked: dict[str, str] = {}

    def speak(requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        prompts = [request.args[0] for request in requests]
        return [asked.setdefault(prompt, said[len(asked) % len(said)]) for prompt in prompts]

    monkeypatch.setattr(lm, "generate_until", speak)
    ours = compiled(task)
    items = []
    for document in documents(ours, None):
        document.answer(speak(document.requests()))
        items.append(scored_item(document, ours))
    with quiet_lm_eval():
        theirs = lm_eval_evaluate(lm, {"written": compiled(task).lm_tasks[0]}, bootstrap_iters=0)["results"][
            "written"
        ]

    assert 0 < measured_value(measurement(ours, items), "accuracy") < 1
    for metric in ours.metrics:
        assert measured_value(measurement(ours, items), metric) == pytest.approx(theirs[f"{metric},none"]), (
            metric
        )


def test_a_generated_text_is_read_in_a_real_run_too(lm: TreeLM) -> None:
    task = compiled(LABELS)
    document = documents(task, None)[0]
    document.answer(lm.answers(document.requests()))
    item = scored_item(document, task)
    assert set(item.scores) == {"accuracy", "parsed"}
    assert item.responses[0]["text"]
    assert task.decoding == "greedy, at most 6 tokens, stop ['\\n']"


def test_an_item_holds_the_option_that_was_read_or_the_text_as_it_is() -> None:
    items = answered(compiled(LABELS), [" Blue, I think", " no idea ", " green"])
    assert [item.gold for item in items] == COLOURS
    assert [item.predicted for item in items] == ["blue", "no idea", "green"]
    assert [item.scores["parsed"] for item in items] == [1.0, 0.0, 1.0]
    assert [item.scores["accuracy"] for item in items] == [1.0, 0.0, 1.0]
    assert {item.chance for item in items} == {0.0}, "who writes does not guess among options"


def test_an_answer_is_read_among_the_options_of_its_own_row() -> None:
    task = compile_task("written", CHOICES, [{"q": "a", "options": ["yes", "no"], "right": 1}], [], len)
    (document,) = documents(task, None)
    for text, accuracy, parsed in ((" No.", 1.0, 1.0), (" yes", 0.0, 1.0), (" blue", 0.0, 0.0)):
        document.answer([text])
        assert scored_item(document, task).scores == {"accuracy": accuracy, "parsed": parsed}


def test_items_are_those_of_the_task_that_scores_the_same_rows_by_likelihood() -> None:
    likely = Task.model_validate({"kind": "classification", "prompt": "{{ q }}:", "labels": COLOURS})
    fewer = compile_task("written", LABELS, ROWS[:5], [], len)
    names = [document.item for document in documents(compile_task("likely", likely, ROWS, [], len), None)]
    assert [document.item for document in documents(fewer, None)] == names[:5]


def test_solved_examples_show_the_answer_as_it_has_to_be_written() -> None:
    task = LABELS.model_copy(update={"num_fewshot": 2})
    (document, *_) = documents(compile_task("written", task, ROWS[:1], ROWS[3:5], len), None)
    prompt = str(document.instances[0].args[0])
    assert "thing 3 is: blue" in prompt
    assert "thing 4 is: red" in prompt


def filtered(text: str) -> Item:
    """An item of lm-eval's own GSM8K, whose filters look for a number."""
    sums = Task(kind="lm_eval", task="gsm8k", num_fewshot=0)
    task = compile_task("sums", sums, [{"question": "1 + 1", "answer": "#### 2"}], [], len)
    document: Document = documents(task, None)[0]
    document.answer([text])
    return scored_item(document, task)


def test_a_filter_of_a_registered_task_that_finds_no_answer_says_so() -> None:
    found = {text: filtered(text).responses[0]["unread"] for text in ("so #### 2", "it is 2", "who knows")}
    assert found == {
        "so #### 2": {"strict-match": False, "flexible-extract": False},
        "it is 2": {"strict-match": True, "flexible-extract": False},
        "who knows": {"strict-match": True, "flexible-extract": True},
    }
