"""Forgetting beyond chance, retention and the exchange rate (O17, O19)."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.estimates import Estimate, NoEstimate
from harness.statistics.forgetting import beyond_chance, exchange_rate, retained, retention
from harness.statistics.linear import singletons, t_interval


@pytest.mark.parametrize(("case", "options"), [("k4", 4), ("k2_random", 2), ("paper_example", 4)])
def test_flips_beyond_chance_reproduce_their_oracle(oracles, case, options):
    o17 = oracles["O17_harmon"][case]
    found = beyond_chance(o17["pre"], o17["post"], o17["F"], o17["BT"], 1 / options)
    assert found is not None
    assert found.by_chance == pytest.approx(o17["F_chance"]) == pytest.approx(o17["BT_chance"])
    assert (found.forgetting, found.transfer) == pytest.approx((o17["F_true"], o17["BT_true"]))
    assert (found.most_forgetting, found.most_transfer) == pytest.approx((o17["F_max"], o17["BT_max"]))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 0.95))
def test_the_same_share_is_taken_from_forgetting_and_from_transfer(base, tuned, forgotten, chance):
    found = beyond_chance(base, tuned, forgotten, 1.0, chance)
    swapped = beyond_chance(tuned, base, 1.0, forgotten, chance)
    assert found is not None
    assert swapped is not None
    assert (found.forgetting, found.by_chance) == pytest.approx((swapped.transfer, swapped.by_chance))
    assert 0.0 <= found.forgetting <= forgotten


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_where_guessing_is_hopeless_or_certain_nothing_is_adjusted(chance):
    assert beyond_chance(0.8, 0.7, 0.15, 0.05, chance) is None


def test_retention_at_no_chance_is_one_less_the_relative_drop_of_luo(oracles):
    before, after = (50.0, 40.0), ((45.0, 38.0), (40.0, 36.0))
    drops = [fmean(1 - retained(base, later[place]) for later in after) for place, base in enumerate(before)]
    final = [1 - retained(base, after[-1][place]) for place, base in enumerate(before)]
    assert 100 * fmean(drops) == pytest.approx(oracles["O19_luo"]["FG"])
    assert 100 * fmean(final) == pytest.approx(oracles["O19_luo"]["final_only"])


def test_retention_is_that_of_the_means_and_knows_each_items_chance():
    base, tuned = np.array([1.0, 1, 1, 1, 0, 1, 1, 0, 1, 1]), np.array([1.0, 0, 1, 0, 1, 0, 1, 0, 1, 0])
    chance = np.array([0.25, 0.5] * 5)
    estimate = retention(base, tuned, chance, singletons(10))
    assert isinstance(estimate, Estimate)
    assert estimate.value == pytest.approx(retained(0.8, 0.5, 0.375))


def test_the_interval_of_a_retention_has_the_spread_that_resampling_shows():
    generator = np.random.default_rng(5)
    base = (generator.random(400) < 0.6).astype(float)
    tuned = np.where(generator.random(400) < 0.15, 1.0 - base, base)
    chance = np.full(400, 0.25)
    estimate = retention(base, tuned, chance, singletons(400))
    assert isinstance(estimate, Estimate)
    drawn = generator.integers(400, size=(4000, 400))
    again = (tuned[drawn].mean(1) - 0.25) / (base[drawn].mean(1) - 0.25)
    assert estimate.standard_error == pytest.approx(again.std(), rel=0.06)
    low, high = np.quantile(again, [0.05, 0.95])
    assert (estimate.interval90.low, estimate.interval90.high) == pytest.approx((low, high), abs=0.03)


def test_repeating_every_item_within_its_cluster_changes_no_interval_of_a_retention():
    generator = np.random.default_rng(6)
    base, tuned = ((generator.random(60) < rate).astype(float) for rate in (0.7, 0.6))
    chance, clusters = np.full(60, 0.25), singletons(60)
    once = retention(base, tuned, chance, clusters)
    twice = retention(*(np.repeat(each, 2) for each in (base, tuned, chance, clusters)))
    assert isinstance(once, Estimate)
    assert isinstance(twice, Estimate)
    assert twice.interval90.low == pytest.approx(once.interval90.low)
    assert twice.interval90.high == pytest.approx(once.interval90.high)


def test_four_changed_items_make_no_interval_of_a_retention():
    base = np.ones(300)
    tuned = base.copy()
    tuned[:4] = 0.0
    found = retention(base, tuned, np.zeros(300), singletons(300))
    assert found == NoEstimate(reason="only 4 changed; an interval needs at least 5 that do")


def sure(value: float, error: float) -> Estimate:
    return Estimate(
        value=value,
        interval90=t_interval(value, error, None, 0.90),
        interval95=t_interval(value, error, None, 0.95),
        method="normal",
        n=300,
        standard_error=error,
    )


def test_the_exchange_rate_is_what_is_gained_for_one_unit_lost():
    assert exchange_rate(sure(0.266, 0.02), sure(-0.02, 0.005)) == pytest.approx(13.3)


@pytest.mark.parametrize(
    ("gain", "average"),
    [
        (sure(0.266, 0.02), sure(-0.02, 0.015)),
        (sure(0.02, 0.02), sure(-0.02, 0.005)),
        (sure(0.266, 0.02), sure(0.02, 0.005)),
        (sure(-0.266, 0.02), sure(-0.02, 0.005)),
    ],
)
def test_without_a_sure_gain_and_a_sure_loss_there_is_no_exchange_rate(gain, average):
    assert exchange_rate(gain, average) is None
