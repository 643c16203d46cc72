"""What a comparison says of forgetting, and published averages of differences by our own average (O18)."""

from __future__ import annotations

import numpy as np
import pytest

from harness.comparison.compare import average_difference, compare
from harness.comparison.facts import MetricFacts, TaskFacts
from harness.experiment.metrics import METRICS
from harness.statistics.tango import tango_difference

TRACE_BASE = (46.56, 26.08, 40.23, 23.47, 70.55, 76.22)
TRACE_TUNED = {
    "Seq": (46.43, 3.49, 30.11, 33.23, 77.89, 76.5),
    "LoraSeq": (42.28, 14.71, 33.61, 21.72, 53.43, 75.19),
    "Replay": (47.04, 3.03, 36.61, 31.57, 75.75, 75.3),
}


def facts_of(measured, pair, base, tuned, **fields):
    sides = measured(base, **fields), measured(tuned, configuration="lora", **fields)
    (task,) = compare(sides[:1], sides[1:], pair).tasks
    return task.forgetting


def flipped(right, wins, losses, n):
    """Scores of base and tuned: the base has `right` of `n` items right."""
    base = np.zeros(n)
    base[:right] = 1.0
    tuned = base.copy()
    tuned[:losses], tuned[right : right + wins] = 0.0, 1.0
    return base, tuned


def test_a_task_of_choices_tells_flips_what_chance_explains_and_what_is_retained(measured, pair, oracles):
    o17 = oracles["O17_harmon"]["k4"]
    facts = facts_of(measured, pair, *flipped(80, wins=5, losses=15, n=100))
    assert (facts.forgetting, facts.transfer) == pytest.approx((o17["F"], o17["BT"]))
    assert facts.by_chance == pytest.approx(o17["F_chance"])
    assert facts.forgetting_beyond_chance == pytest.approx(o17["F_true"])
    assert facts.transfer_beyond_chance == pytest.approx(o17["BT_true"])
    assert (facts.most_forgetting, facts.most_transfer) == pytest.approx((o17["F_max"], o17["BT_max"]))
    assert facts.retention == pytest.approx((0.7 - 0.25) / (0.8 - 0.25))
    assert facts.retention_interval90.low < facts.retention < facts.retention_interval90.high
    assert facts.note is None


def test_an_answer_that_cannot_be_guessed_has_no_chance_part(measured, pair):
    facts = facts_of(measured, pair, *flipped(80, 5, 15, 100), per_item=lambda i: {"chance": 0.0})
    assert (facts.forgetting, facts.by_chance, facts.forgetting_beyond_chance) == (0.15, None, None)
    assert facts.retention == pytest.approx(0.7 / 0.8)


def test_fractional_scores_have_a_retention_and_no_flips(measured, pair):
    base = np.linspace(0.2, 0.9, 60)
    facts = facts_of(
        measured, pair, base, base * 0.9, metric="token_f1", kind="qa", per_item=lambda i: {"chance": 0.0}
    )
    assert (facts.forgetting, facts.transfer, facts.by_chance) == (None, None, None)
    assert facts.retention == pytest.approx(0.9)


def test_a_base_that_may_be_guessing_has_nothing_to_retain(measured, pair):
    facts = facts_of(measured, pair, *flipped(30, 5, 15, 100))
    assert (facts.retention, facts.retention_interval90) == (None, None)
    assert facts.note == "the base is not surely above chance, so there is nothing that could be retained"
    assert facts.forgetting == 0.15


def test_a_base_of_seven_clusters_may_be_guessing(measured, pair):
    facts = facts_of(
        measured, pair, *flipped(80, 5, 15, 100), per_item=lambda i: {"cluster": f"template{i % 7}"}
    )
    assert facts.retention is None
    assert facts.note == "there is no interval for the base, which may be guessing"


def test_too_few_changes_leave_the_retention_without_an_interval(measured, pair):
    facts = facts_of(measured, pair, *flipped(80, 1, 2, 100))
    assert facts.retention == pytest.approx((0.79 - 0.25) / (0.8 - 0.25))
    assert facts.retention_interval90 is None
    assert facts.note == "only 3 changed; an interval needs at least 5 that do"


def test_a_recipe_tells_the_means_over_its_seeds_and_an_interval_that_knows_of_them(measured, pair):
    names = ("lora-seed0", "lora-seed1", "lora-seed2")
    losses = (10, 30, 50)
    base = measured(flipped(240, 0, 0, 300)[0])
    runs = [
        measured(flipped(240, 10, lost, 300)[1], configuration=name)
        for name, lost in zip(names, losses, strict=True)
    ]
    (task,) = compare([base], runs, pair.model_copy(update={"runs": names})).tasks
    alone = [facts_of(measured, pair, *flipped(240, 10, lost, 300)) for lost in losses]
    told = task.forgetting
    assert told.forgetting == pytest.approx(0.1)
    assert told.transfer == pytest.approx(10 / 300)
    for name in ("by_chance", "forgetting_beyond_chance", "transfer_beyond_chance", "retention"):
        assert getattr(told, name) == pytest.approx(np.mean([getattr(each, name) for each in alone])), name
    widths = [each.retention_interval90.high - each.retention_interval90.low for each in alone]
    assert told.retention_interval90.high - told.retention_interval90.low > 2 * max(widths)
    assert task.metrics["accuracy"].p_any > 0.05


@pytest.mark.parametrize("metric", ["bits_per_byte", "brier", "macro_f1"])
def test_what_is_no_mean_of_rates_has_no_such_facts(measured, pair, metric):
    scores = np.linspace(0.5, 1.5, 40)
    assert facts_of(measured, pair, scores, scores + 0.01, metric=metric) is None


def rate(name: str, base: float, tuned: float) -> TaskFacts:
    """A task of 10,000 items with these rates, which are given to a hundredth of a per cent."""
    right = round(10_000 * base), round(10_000 * tuned)
    difference = tango_difference(max(right[1] - right[0], 0), max(right[0] - right[1], 0), 10_000)
    facts = MetricFacts(metric=METRICS["accuracy"], base=base, tuned=tuned, difference=difference)
    return TaskFacts(
        suite="trace",
        task=name,
        role="general",
        kind="qa",
        primary="accuracy",
        metrics={"accuracy": facts},
        n=10_000,
    )


@pytest.mark.parametrize("method", list(TRACE_TUNED))
def test_the_general_average_reproduces_the_change_of_general_ability_of_trace(oracles, method):
    rates = zip(TRACE_BASE, TRACE_TUNED[method], strict=True)
    tasks = [rate(str(place), base / 100, tuned / 100) for place, (base, tuned) in enumerate(rates)]
    average = average_difference(tasks)
    assert average is not None
    assert 100 * average.value == pytest.approx(oracles["O18_trace"]["dG"][method], abs=1e-9)


def test_backward_transfer_is_an_average_of_differences_with_or_without_the_last_task(oracles):
    learned, finally_ = (0.80, 0.75, 0.85), (0.60, 0.70, 0.85)
    tasks = [
        rate(str(n), before, after) for n, (before, after) in enumerate(zip(learned, finally_, strict=True))
    ]
    over_all, without_last = average_difference(tasks), average_difference(tasks[:-1])
    assert over_all is not None
    assert without_last is not None
    assert over_all.value == pytest.approx(oracles["O18_trace"]["BWT_over_t"])
    assert without_last.value == pytest.approx(oracles["O18_trace"]["BWT_gem_t_minus_1"])
