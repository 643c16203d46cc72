"""Recipes: crossed items and seeds, against the oracle, against one seed, and against the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.bootstrap import macro_f1_change, macro_f1_difference
from harness.statistics.estimates import Estimate, NoEstimate, negated, scaled
from harness.statistics.evidence import p_above
from harness.statistics.linear import singletons
from harness.statistics.means import mean_change, mean_difference
from harness.statistics.power import items_to_settle, seeds_to_settle
from harness.statistics.ratio import exp_ratio_change, ratio_change, ratio_difference
from harness.statistics.seeds import error_over_seeds, mean_parts, over_seeds
from harness.statistics.tango import tango_interval


def crossed(differences, clusters=None, binary=False):
    """The recipe's estimate; one row of differences a seed."""
    nothing = np.zeros(len(differences[0]))
    clusters = singletons(nothing.size) if clusters is None else clusters
    return over_seeds([mean_change(nothing, row) for row in differences], clusters, binary)


def drawn(seeds=4, items=120, spread=0.02, seed=1):
    generator = np.random.default_rng(seed)
    own = generator.normal(0, spread, seeds)
    shared = generator.normal(-0.01, 0.2, items)
    return own[:, None] + shared + generator.normal(0, 0.1, (seeds, items))


def test_the_crossed_analysis_gives_the_oracles_numbers(oracles):
    oracle = oracles["O24_seeds"]
    generator = np.random.default_rng(7)
    seeds, shared = generator.normal(0, 0.015, 5), generator.normal(-0.02, 0.30, 200)
    found = crossed(seeds[:, None] + shared + generator.normal(0, 0.25, (5, 200)))
    assert found.value == pytest.approx(oracle["mean"], abs=1e-12)
    assert found.standard_error == pytest.approx(oracle["se"], abs=1e-12)
    assert found.standard_error == pytest.approx(oracle["mixedlm_se"], abs=1e-6)
    assert found.degrees_of_freedom == pytest.approx(oracle["df"], abs=1e-6)
    assert (found.interval95.low, found.interval95.high) == pytest.approx(tuple(oracle["ci95"]), abs=1e-9)
    assert found.seeds.items * 5 * 200 == pytest.approx(oracle["MS_item"])
    assert found.seeds.residual * 5 * 200 == pytest.approx(oracle["var_res"])


def test_seeds_that_agree_entirely_add_nothing_to_one_of_them():
    row = drawn(1)[0]
    one = mean_difference(np.zeros(row.size), row, singletons(row.size))
    three = crossed([row, row, row])
    assert three.value == pytest.approx(one.value)
    assert three.standard_error == pytest.approx(one.standard_error)
    assert three.degrees_of_freedom == pytest.approx(one.degrees_of_freedom)


def test_more_items_do_not_make_up_for_seeds_that_lie_apart():
    wide = crossed(drawn(seeds=3, items=20_000, spread=0.05))
    items_alone = mean_difference(
        np.zeros(20_000), drawn(seeds=3, items=20_000, spread=0.05).mean(axis=0), singletons(20_000)
    )
    assert wide.standard_error > 5 * items_alone.standard_error
    assert wide.degrees_of_freedom < 3
    assert items_to_settle(wide, wide.value + 0.01) is None
    assert seeds_to_settle(wide, wide.value + 0.01) > 3


def test_the_seeds_that_would_settle_it_do():
    found = crossed(drawn(seeds=4, items=4000, spread=0.03))
    threshold = found.value - 0.02
    needed = seeds_to_settle(found, threshold)
    parts, seeds = found.seeds, 4
    among = found.standard_error**2 - max(parts.items - parts.residual, 0) - parts.residual
    variance = (among + parts.residual) * seeds / needed + max(parts.items - parts.residual, 0)
    assert math.sqrt(variance) * (1.645 + 0.8416) <= 0.02 * 1.001


def test_two_seeds_make_no_recipe():
    assert crossed(drawn(seeds=2)).reason == "only 2 seeds; a recipe needs at least 3"


def test_seven_clusters_are_too_few_for_a_recipe():
    found = crossed(drawn(items=70), np.repeat(np.arange(7), 10))
    assert isinstance(found, NoEstimate)
    assert "only 7 clusters" in found.reason


def test_three_seeds_are_called_few_and_five_are_not():
    assert crossed(drawn(seeds=3)).warning == "only 3 seeds; the interval is approximate"
    assert crossed(drawn(seeds=5)).warning is None


def test_answers_that_hardly_change_under_any_seed_prove_no_more_than_tango_allows():
    flips = np.zeros((3, 60))
    flips[1, 4] = -1.0
    found = crossed(flips, binary=True)
    assert found.method == "tango"
    assert found.value == pytest.approx(-1 / 180)
    assert found.interval90.low == pytest.approx(tango_interval(0, 1, 60, 0.90).low)
    assert found.interval90.high == pytest.approx(tango_interval(0, 0, 60, 0.90).high)
    assert p_above(found, -0.03) > 0.05  # sixty items, a loss among them
    assert found.seeds is not None


def test_a_gain_under_one_seed_alone_is_no_gain_of_the_recipe():
    flips = np.zeros((3, 300))
    flips[2, :4] = 1.0
    found = crossed(flips, binary=True)
    assert found.interval90.low < 0 < found.value < found.interval90.high
    assert p_above(found, 0.0) > 0.1


@pytest.mark.parametrize("seeds", [3, 8])
def test_a_recipe_proves_no_more_than_items_of_which_not_one_changed(seeds):
    flips = np.zeros((seeds, 30))
    flips[:, :3], flips[:, 3:6] = 1.0, -1.0
    assert crossed(flips, binary=True).method == "crossed"
    assert p_above(crossed(flips, binary=True), -0.065) >= 0.935**30


def test_skewness_is_that_of_the_items_however_few_the_degrees_of_freedom():
    """A recipe's degrees of freedom tell of its seeds: they must not stand in for the number of items."""
    flips = np.zeros((3, 2000))
    for seed, losses in enumerate((10, 30, 20)):
        flips[seed, :losses] = -1.0
    found = crossed(flips, binary=True)
    assert found.degrees_of_freedom < 6
    assert found.skewness < -5
    assert p_above(found, -0.018) > p_above(found.model_copy(update={"skewness": None}), -0.018)
    assert p_above(found, -0.018) < 0.1


def test_scores_that_hardly_change_have_no_interval():
    changes = np.zeros((3, 60))
    changes[0, :3] = 0.3
    assert "only 3 of 60 items changed at all under any seed" in crossed(changes).reason


def test_clusters_take_the_place_of_items():
    rows = drawn(items=40)
    whole = crossed(rows)
    repeated = crossed(np.repeat(rows, 3, axis=1), np.repeat(np.arange(40), 3))
    assert repeated.value == pytest.approx(whole.value)
    assert repeated.standard_error == pytest.approx(whole.standard_error)
    assert repeated.clusters == 40


@given(st.permutations(range(4)), st.integers(0, 50))
def test_neither_order_of_seeds_nor_of_sides_matters(order, seed):
    rows = drawn(seed=seed)
    found, other = crossed(rows), crossed(-rows[list(order)])
    mirrored = negated(other)
    assert mirrored.value == pytest.approx(found.value)
    assert mirrored.standard_error == pytest.approx(found.standard_error)
    assert sorted(mirrored.seeds.values) == pytest.approx(sorted(found.seeds.values))


def test_a_ratio_under_equal_seeds_is_that_of_one():
    generator = np.random.default_rng(2)
    base, weights = generator.random(50) + 1, generator.lognormal(5, 1, 50)
    tuned = base + generator.normal(0, 0.1, 50)
    one = ratio_difference(base, tuned, weights, singletons(50))
    three = over_seeds([ratio_change(base, tuned, weights)] * 3, singletons(50), binary=False)
    assert three.value == pytest.approx(one.value)
    assert three.standard_error == pytest.approx(one.standard_error)
    in_percent = scaled(three, 100.0)
    assert in_percent.seeds.items == pytest.approx(three.seeds.items * 1e4)


def test_the_first_order_change_of_perplexity_adds_up():
    generator = np.random.default_rng(2)
    base, weights = generator.random(50) + 1, generator.lognormal(5, 1, 50)
    change = exp_ratio_change(base, base + 0.1, weights)
    assert change.influences.sum() == pytest.approx(0, abs=1e-9)
    assert change.value == pytest.approx(np.exp(np.average(base, weights=weights)) * (np.exp(0.1) - 1))


def test_macro_f1_item_by_item_has_the_bootstraps_error():
    generator = np.random.default_rng(5)
    gold = generator.integers(4, size=800)
    base, tuned = (
        np.where(generator.random(800) < 0.7, gold, generator.integers(4, size=800)) for _ in range(2)
    )
    change = macro_f1_change(gold, base, tuned, 4)
    drawn_error = macro_f1_difference(gold, base, tuned, 4, singletons(800)).standard_error
    error = math.sqrt(800 / 799 * np.sum(change.influences**2))
    assert change.influences.sum() == pytest.approx(0, abs=1e-9)
    assert error == pytest.approx(drawn_error, rel=0.05)


def test_an_average_over_tasks_knows_that_a_bad_seed_loses_everywhere():
    first, second = crossed(drawn(items=5000, seed=3)), crossed(drawn(items=5000, seed=3))
    assert isinstance(first, Estimate)
    together, _ = error_over_seeds([first.seeds, second.seeds])
    # Independent seeds would halve the variance; the same ones leave it.
    assert together == pytest.approx(first.standard_error, rel=0.02)
    assert mean_parts([first.seeds, second.seeds]).values == pytest.approx(first.seeds.values)
