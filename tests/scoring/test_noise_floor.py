"""The noise floor is what another packing changes, and nothing when it changes nothing."""

from __future__ import annotations

import pytest

from harness.data.task_rows import TaskRows
from harness.experiment.schema import Task
from harness.models.loading import device
from harness.scoring.items import documents, scored_item
from harness.scoring.language_model import TreeLM
from harness.scoring.noise import FEWEST, noise_of
from harness.scoring.prepared import Prepared, SuiteTask
from harness.scoring.recording import Recording
from harness.store.artifacts import step
from harness.tasks.compile import compile_task
from tests.conftest import tiny_model, tiny_tokenizer

ROWS = [
    {"prompt": f"the quick brown fox {word} jumps", "choices": [" over", " lazy dog", " blue"], "answer": 0}
    for word in (
        "one",
        "two",
        "three",
        "four",
        "five",
        "red",
        "green",
        "yellow",
        "black",
        "vow",
        "my",
        "judge",
    )
]


def recorded(lm: TreeLM, primary: str = "accuracy") -> Recording:
    """A task whose items are all scored."""
    task = Task(kind="multiple_choice", prompt="prompt", choices="choices", answer="answer", primary=primary)
    compiled = compile_task("choice", task, ROWS, (), len)
    found = documents(compiled, None)
    items = {}
    for document in found:
        document.answer(lm.answers(document.requests()))
        items[document.item] = scored_item(document, compiled)
    declared = SuiteTask("suite", "choice", task, TaskRows(tuple(ROWS), ()))
    prepared = Prepared(declared, compiled, tuple(found))
    return Recording(prepared, step("measurements", "choice", {"a": primary}), None, items, 0)  # type: ignore[arg-type]


def language_model() -> TreeLM:
    return TreeLM(tiny_model("gemma3").to(device()), tiny_tokenizer())


def test_in_float32_no_answer_flips_and_a_probability_hardly_moves() -> None:
    lm = language_model()
    by_accuracy, by_probability = recorded(lm), recorded(lm, "probability")

    noise = noise_of(lm, [by_accuracy, by_probability])

    accuracy, probability = (noise[each.step.fingerprint] for each in (by_accuracy, by_probability))
    assert (accuracy.items, accuracy.to_wrong, accuracy.to_right, accuracy.deviation) == (FEWEST, 0, 0, 0.0)
    assert 0.0 <= probability.deviation < 1e-5


def test_a_flip_is_counted_on_the_side_to_which_it_goes() -> None:
    lm = language_model()
    recording = recorded(lm)
    first = min(recording.items)  # one of the items that are scored again
    item = recording.items[first]
    wrong = item.scores["accuracy"] == 0.0
    recording.items[first] = item.__class__(
        **{**vars(item), "scores": {**item.scores, "accuracy": 1.0 if wrong else 0.0}}
    )

    noise = noise_of(lm, [recording])[recording.step.fingerprint]

    assert (noise.to_wrong, noise.to_right) == ((1, 0) if wrong else (0, 1))
    assert noise.deviation == pytest.approx((1 / FEWEST) ** 0.5)


def test_what_is_packed_otherwise_is_packed_as_before_afterwards() -> None:
    lm = language_model()
    before = lm.budget
    with lm.packed_otherwise():
        assert lm.budget.shape.row < before.shape.row
        assert lm.budget.nodes < before.nodes
    assert lm.budget is before
