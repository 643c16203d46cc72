"""The form of written answers on both sides, and what was lost with a lost one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.comparison.compare import compare
from harness.comparison.facts import Comparison, Pair, TaskFacts
from harness.experiment.metrics import METRICS, Metric
from harness.store.measurements import Measurement

PAIR = Pair(
    base="base",
    tuned="lora",
    differs_in="adapter",
    roles={"general": "general"},
    likelihood={("general", "written"): "facts"},
)
# An answer by writing: what was written (None: no option can be read in it), and whether it is right.
RIGHT, WRONG, NONE = ("yes", True), ("no", False), (None, False)
Answer = tuple[str | None, bool]
# Item by item: (base writes, tuned writes, tuned's likelihood picks the right one).
CASES: list[tuple[Answer, Answer, bool]] = [
    (RIGHT, RIGHT, True),
    (RIGHT, NONE, True),  # lost the form
    (RIGHT, WRONG, True),  # lost by writing alone
    (RIGHT, WRONG, False),  # lost the ability
    (RIGHT, NONE, False),  # lost both
    (RIGHT, NONE, False),
    (WRONG, NONE, True),  # was not right before
    (NONE, RIGHT, True),
    (WRONG, RIGHT, False),
    (WRONG, WRONG, False),
]


@pytest.fixture
def written(measured: Callable[..., Measurement]) -> Callable[..., Measurement]:
    def make(answers: Sequence[Answer], cut: Sequence[bool] | None = None, **fields: Any) -> Measurement:
        def per_item(index: int) -> dict[str, Any]:
            text, right = answers[index]
            response = {"text": text or ("" if index % 2 else "well"), "until": ["\n"]}
            known = {} if cut is None else {"truncated": cut[index]}
            scores = {"accuracy": float(right), "parsed": float(text is not None)}
            return {"scores": scores, "responses": ({**response, **known},), "chance": 0.0}

        metrics = {name: METRICS[name] for name in ("accuracy", "parsed")}
        scores = [float(right) for _, right in answers]
        task = {"task": "written", "kind": "generated_choice", "metrics": metrics, **fields}
        return measured(scores, per_item=per_item, **task)

    return make


@pytest.fixture
def sides(
    measured: Callable[..., Measurement], written: Callable[..., Measurement]
) -> tuple[list[Measurement], list[Measurement]]:
    lora = {"configuration": "lora"}
    base = [written([case[0] for case in CASES]), measured([1.0] * len(CASES))]
    tuned = [written([case[1] for case in CASES], **lora), measured([case[2] for case in CASES], **lora)]
    return base, tuned


def task_of(comparison: Comparison, name: str = "written") -> TaskFacts:
    assert comparison.problems == ()
    return next(task for task in comparison.tasks if task.task == name)


def test_lost_answers_are_told_apart_by_likelihood(
    sides: tuple[list[Measurement], list[Measurement]],
) -> None:
    form = task_of(compare(*sides, PAIR)).form
    assert form is not None
    assert form.losses is not None
    assert (form.losses.format, form.losses.ability, form.losses.both) == (1, 2, 2)
    assert form.losses.likelihood == "facts"
    assert form.no_losses is None


def test_a_lost_answer_carries_its_label_and_a_won_one_none(
    sides: tuple[list[Measurement], list[Measurement]],
) -> None:
    flips = task_of(compare(*sides, PAIR)).flips
    assert {flip.item: flip.loss for flip in flips if flip.direction == "loss"} == {
        "item1": "format",
        "item2": "ability",
        "item3": "ability",
        "item4": "both",
        "item5": "both",
    }
    assert {flip.loss for flip in flips if flip.direction == "win"} == {None}


def test_rates_are_shares_of_all_items_and_the_difference_of_the_form_is_paired(
    sides: tuple[list[Measurement], list[Measurement]],
) -> None:
    form = task_of(compare(*sides, PAIR)).form
    assert form is not None
    # Tuned writes no option for items 1, 4, 5, 6; blanks where the number is odd. The base for item 7 alone.
    assert (form.base.unparsed, form.tuned.unparsed) == (0.1, 0.4)
    assert (form.base.empty, form.tuned.empty) == (0.1, 0.2)
    assert form.parsed is not None
    assert (form.parsed.value, form.parsed.wins, form.parsed.losses) == (pytest.approx(-0.3), 1, 4)


def test_what_was_cut_is_known_only_where_every_item_says_so(
    written: Callable[..., Measurement], sides: tuple[list[Measurement], list[Measurement]]
) -> None:
    base, tuned = sides
    cut = [index < 3 for index in range(len(CASES))]
    knowing = [written([case[1] for case in CASES], cut, configuration="lora"), tuned[1]]
    form = task_of(compare(base, knowing, PAIR)).form
    assert form is not None
    assert (form.base.truncated, form.tuned.truncated) == (None, 0.3)


def test_a_task_that_only_reads_has_no_form(sides: tuple[list[Measurement], list[Measurement]]) -> None:
    assert task_of(compare(*sides, PAIR), "facts").form is None


def test_without_a_task_that_scores_the_same_items_nothing_is_labelled(
    sides: tuple[list[Measurement], list[Measurement]],
) -> None:
    task = task_of(compare(*sides, PAIR.model_copy(update={"likelihood": {}})))
    assert task.form is not None
    assert (task.form.losses, task.form.no_losses) == (None, None)
    assert {flip.loss for flip in task.flips} == {None}


def without_last(measurement: Measurement) -> Measurement:
    return replace(measurement, items=measurement.items[:-1])


def test_items_that_are_not_scored_by_likelihood_are_a_reason(
    sides: tuple[list[Measurement], list[Measurement]],
) -> None:
    base, tuned = ([side[0], without_last(side[1])] for side in sides)
    form = task_of(compare(base, tuned, PAIR)).form
    assert form is not None
    assert form.losses is None
    assert form.no_losses == "general/facts has no accuracy for 1 of these items (first: item9)"


def test_a_likelihood_task_that_is_not_measured_or_not_comparable_is_a_reason(
    sides: tuple[list[Measurement], list[Measurement]],
) -> None:
    base, tuned = sides
    alone = task_of(compare(base[:1], tuned[:1], PAIR)).form
    broken = task_of(compare([base[0], without_last(base[1])], tuned, PAIR)).form
    assert alone is not None
    assert broken is not None
    assert (alone.losses, alone.no_losses) == (None, "general/facts is not measured")
    assert broken.losses is None
    assert (broken.no_losses or "").startswith("general/facts is not comparable: base has no item item9")


def test_of_a_registered_task_the_filter_of_its_primary_metric_says_what_could_not_be_read(
    measured: Callable[..., Measurement],
) -> None:
    def side(strict: Sequence[bool], primary: str, **fields: Any) -> Measurement:
        def per_item(index: int) -> dict[str, Any]:
            unread = {"strict-match": strict[index], "flexible-extract": False}
            return {"scores": {primary: float(index % 2)}, "responses": ({"text": "18", "unread": unread},)}

        metrics = {primary: Metric(name=primary, title=primary)}
        return measured([0] * 4, per_item=per_item, metrics=metrics, primary=primary, **fields)

    def form(primary: str) -> Any:
        base = side([False] * 4, primary)
        tuned = side([True, True, False, False], primary, configuration="lora")
        return task_of(compare([base], [tuned], PAIR), "facts").form

    strict, flexible = form("exact_match,strict-match"), form("exact_match,flexible-extract")
    assert (strict.base.unparsed, strict.tuned.unparsed) == (0.0, 0.5)
    assert strict.parsed.value == pytest.approx(-0.5)
    assert (flexible.base.unparsed, flexible.tuned.unparsed) == (0.0, 0.0)
    assert form("other,none").tuned.unparsed is None
    assert form("other,none").parsed is None


def test_lines_of_before_say_nothing_of_what_was_cut_or_read(measured: Callable[..., Measurement]) -> None:
    def side(**fields: Any) -> Measurement:
        return measured([1, 0], per_item=lambda index: {"responses": ({"text": "x", "until": []},)}, **fields)

    form = task_of(compare([side()], [side(configuration="lora")], PAIR), "facts").form
    assert form is not None
    assert (form.tuned.truncated, form.tuned.unparsed, form.parsed) == (None, None, None)
    assert form.tuned.empty == 0.0
