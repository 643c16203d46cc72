"""What forbids a comparison."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from harness.comparison.compare import compare

RIGHT = [1.0] * 40
MIXED = [1.0, 0.0] * 20


def only_task(comparison):
    assert comparison.problems == ()
    (task,) = comparison.tasks
    return task


def test_a_missing_item_is_not_comparable_and_never_a_zero(measured, pair):
    gap = {"scores": {}, "missing": "the prompt is longer than the model's window"}
    tuned = measured(RIGHT, configuration="lora", per_item=lambda i: gap if i == 3 else {})
    comparison = compare([measured(RIGHT)], [tuned], pair)
    task = only_task(comparison)
    assert task.problems == ("lora could not score item item3: the prompt is longer than the model's window",)
    assert task.metrics == {}
    assert comparison.general_average is None


def test_an_item_that_one_side_lacks_is_not_comparable(measured, pair):
    base, tuned = measured(RIGHT), measured(RIGHT[:-1], configuration="lora")
    assert only_task(compare([base], [tuned], pair)).problems == ("lora has no item item39",)
    assert only_task(compare([tuned], [base], pair)).problems == ("base has no item item39",)


def test_items_are_matched_by_identity_and_not_by_place(measured, pair):
    base, tuned = measured(MIXED), measured(MIXED, configuration="lora")
    shuffled = replace(tuned, items=tuple(reversed(tuned.items)))
    task = only_task(compare([base], [shuffled], pair))
    assert task.problems == ()
    assert (task.wins, task.losses) == (0, 0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"prompt_hash": "other"}, "prompt_hash differs on item item7"),
        ({"gold": "perhaps"}, "gold differs on item item7"),
        ({"cluster": "c"}, "cluster differs on item item7"),
        ({"slices": {"kind": "capital"}}, "slices differs on item item7"),
        ({"chance": 0.5}, "chance differs on item item7"),
        ({"weights": {"accuracy": 2.0}}, "weights differs on item item7"),
        ({"item": "item8"}, "lora has item item8 more than once"),
        ({"scores": {}}, "lora has no accuracy on item item7"),
    ],
)
def test_items_that_are_not_the_same_question_are_not_comparable(measured, pair, change, problem):
    tuned = measured(RIGHT, configuration="lora", per_item=lambda i: change if i == 7 else {})
    assert problem in only_task(compare([measured(RIGHT)], [tuned], pair)).problems


def test_only_the_condition_that_the_pair_is_about_may_differ(measured, pair):
    base = measured(RIGHT)
    adapter = {"dtype": "bfloat16", "adapter": "sha256:1"}
    assert (
        only_task(compare([base], [measured(RIGHT, configuration="lora", conditions=adapter)], pair)).problems
        == ()
    )
    other = {**adapter, "dtype": "float32", "engine": "2"}
    assert only_task(
        compare([base], [measured(RIGHT, configuration="lora", conditions=other)], pair)
    ).problems == (
        "dtype is bfloat16 for base but float32 for lora",
        "engine is not recorded for base but 2 for lora",
    )
    quantised = pair.model_copy(update={"differs_in": "quantization"})
    assert "adapter is none for base but sha256:1 for lora" in (
        only_task(
            compare([base], [measured(RIGHT, configuration="lora", conditions=adapter)], quantised)
        ).problems
    )


@pytest.mark.parametrize("change", [{"kind": "qa"}, {"metrics": {}}, {"labels": ("yes", "no")}])
def test_a_task_that_was_defined_differently_is_not_comparable(measured, pair, change):
    tuned = measured(RIGHT, configuration="lora", **change)
    (name,) = change
    assert (
        f"{name} differs between base and lora"
        in only_task(compare([measured(RIGHT)], [tuned], pair)).problems
    )


def test_a_task_measured_on_one_side_only_is_not_comparable(measured, pair):
    base = [measured(RIGHT), measured(RIGHT, task="words")]
    comparison = compare(base, [measured(RIGHT, configuration="lora")], pair)
    assert [task.problems for task in comparison.tasks] == [(), ("not measured for lora",)]
    assert comparison.general_average is None


def test_scores_that_are_not_finite_are_an_alarm_when_tuned_and_a_problem_when_base(measured, pair):
    broken = measured([1.0, math.nan], configuration="lora")
    task = only_task(compare([measured([1.0, 1.0])], [broken], pair))
    assert task.alarms == ("lora has scores that are not finite on item item1",)
    assert task.metrics == {}
    turned = only_task(compare([broken], [measured([1.0, 1.0])], pair))
    assert turned.alarms == ()
    assert turned.problems == ("base has scores that are not finite on item item1",)


def test_nothing_but_empty_answers_is_an_alarm_unless_the_base_does_the_same(measured, pair):
    silent = {"predicted": " \n"}
    base = measured(MIXED, kind="qa")
    tuned = measured([0.0] * 40, kind="qa", configuration="lora", per_item=lambda i: silent)
    assert only_task(compare([base], [tuned], pair)).alarms == ("lora generated nothing but empty answers",)
    one_word = measured(
        [0.0] * 40, kind="qa", configuration="lora", per_item=lambda i: {} if i == 0 else silent
    )
    assert only_task(compare([base], [one_word], pair)).alarms == ()
    also_silent = measured([0.0] * 40, kind="qa", per_item=lambda i: silent)
    assert only_task(compare([also_silent], [tuned], pair)).alarms == ()


def test_problems_of_the_pair_leave_no_number_behind(measured, pair):
    dead = pair.model_copy(update={"problems": ("the adapter is not live",)})
    comparison = compare([measured(MIXED)], [measured(RIGHT, configuration="lora")], dead)
    assert comparison.problems == ("the adapter is not live",)
    assert comparison.tasks == ()
    assert comparison.general_average is None


def test_a_side_without_measurements_is_not_comparable(measured, pair):
    assert compare([measured(RIGHT)], [], pair).problems == ("nothing is measured for lora",)
    assert len(compare([], [], pair).problems) == 2


def test_a_configuration_is_not_compared_with_itself(measured, pair):
    same = [measured(MIXED)]
    assert compare(same, same, pair).problems == ("both sides hold measurements of the same configuration",)


def test_every_suite_of_the_experiment_must_be_measured_and_have_a_role(measured, pair):
    both = pair.model_copy(update={"roles": {"general": "general", "medical": "domain"}})
    sides = [measured(RIGHT)], [measured(RIGHT, configuration="lora")]
    assert compare(*sides, both).problems == ("no task of suite medical is measured",)
    neither = pair.model_copy(update={"roles": {}})
    assert compare(*sides, neither).problems == ("suite general has no role",)


def test_a_task_measured_twice_is_not_comparable(measured, pair):
    comparison = compare([measured(RIGHT)] * 2, [measured(RIGHT, configuration="lora")], pair)
    assert comparison.problems == ("general/facts is measured 2 times for base",)
