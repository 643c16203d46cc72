from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from harness.statistics.bootstrap import macro_f1, macro_f1_difference, macro_f1_draws, macro_f1_interval
from harness.statistics.estimates import Estimate, NoEstimate
from harness.statistics.linear import singletons


def labelled(items, classes=22, seed=0, rates=(0.2, 0.6)):
    generator = np.random.default_rng(seed)
    gold = generator.integers(classes, size=items)
    return gold, *(
        np.where(generator.random(items) < rate, gold, generator.integers(classes, size=items))
        for rate in rates
    )


def test_macro_f1_reproduces_its_oracle(oracles):
    o7 = oracles["O7_bootstrap"]
    gold, base, tuned = (np.array(o7[name]) for name in ("gold", "base", "tuned"))
    assert macro_f1(gold, base, 3) == pytest.approx(o7["macroF1_base"], abs=1e-12)
    assert macro_f1(gold, tuned, 3) == pytest.approx(o7["macroF1_tuned"], abs=1e-12)
    drawn = macro_f1_draws(gold, (base, tuned), 3, singletons(12), draws=9999)
    spread = np.percentile(drawn[:, 1] - drawn[:, 0], [2.5, 97.5])
    assert tuple(spread) == pytest.approx(o7["pct95"], abs=0.02)
    estimate = macro_f1_difference(gold, base, tuned, 3, singletons(12))
    assert isinstance(estimate, Estimate)
    assert estimate.value == pytest.approx(o7["diff"], abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 5)), min_size=1, max_size=60))
def test_macro_f1_is_scikit_learns_over_the_fixed_label_list(pairs):
    gold, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    expected = f1_score(gold, predicted, labels=range(6), average="macro", zero_division=0)
    assert macro_f1(gold, predicted, 6) == pytest.approx(expected, abs=1e-12)


def test_a_draw_is_macro_f1_of_the_resampled_items():
    gold, base, _ = labelled(50, classes=4)
    groups = np.arange(50) // 5
    drawn = macro_f1_draws(gold, (base,), 4, groups, draws=3)
    picked = np.random.default_rng(0).integers(10, size=(3, 10))
    for row, clusters in zip(drawn[:, 0], picked, strict=True):
        items = np.concatenate([np.flatnonzero(groups == cluster) for cluster in clusters])
        expected = f1_score(gold[items], base[items], labels=range(4), average="macro", zero_division=0)
        assert row == pytest.approx(expected, abs=1e-12)


def test_the_bootstrap_is_paired():
    """Sides that are wrong on the same items differ more surely than sides that are wrong independently."""
    gold, base, _ = labelled(400, rates=(0.5,) * 2)
    tuned = np.where(np.arange(400) % 20 == 0, gold, base)
    estimate = macro_f1_difference(gold, base, tuned, 22, singletons(400))
    assert isinstance(estimate, Estimate)
    drawn = macro_f1_draws(gold, (base, tuned), 22, singletons(400))
    assert estimate.standard_error < 0.6 * np.hypot(*drawn.std(axis=0))


def test_the_same_input_gives_the_same_interval_and_swapping_negates_it():
    gold, base, tuned = labelled(300)
    forth = macro_f1_difference(gold, base, tuned, 22, singletons(300))
    back = macro_f1_difference(gold, tuned, base, 22, singletons(300))
    assert isinstance(forth, Estimate)
    assert isinstance(back, Estimate)
    assert forth == macro_f1_difference(gold, base, tuned, 22, singletons(300))
    assert (forth.value, forth.interval90.low) == pytest.approx((-back.value, -back.interval90.high))


def test_clusters_are_resampled_whole():
    gold, base, tuned = labelled(60)
    repeated = [np.repeat(column, 10) for column in (gold, base, tuned)]
    honest = macro_f1_difference(*repeated, 22, np.repeat(np.arange(60), 10))
    careless = macro_f1_difference(*repeated, 22, singletons(600))
    assert isinstance(honest, Estimate)
    assert isinstance(careless, Estimate)
    assert honest.clusters == 60
    assert honest.standard_error > 2.5 * careless.standard_error


def test_unchanged_predictions_have_no_estimate():
    gold, base, _ = labelled(300)
    assert isinstance(macro_f1_difference(gold, base, base, 22, singletons(300)), NoEstimate)


def test_seven_clusters_have_no_bootstrap():
    gold, base, tuned = labelled(70)
    assert isinstance(macro_f1_difference(gold, base, tuned, 22, np.arange(70) % 7), NoEstimate)
    assert macro_f1_interval(gold, base, 22, np.arange(70) % 7) is None


def test_rare_classes_are_warned_about():
    gold, base, tuned = labelled(300)
    estimate = macro_f1_difference(gold, base, tuned, 22, singletons(300))
    assert isinstance(estimate, Estimate)
    assert "rarest class" in (estimate.warning or "")


def test_two_thousand_items_in_twenty_two_classes_take_less_than_two_seconds():
    gold, base, tuned = labelled(2000)
    start = time.process_time()
    macro_f1_difference(gold, base, tuned, 22, singletons(2000))
    assert time.process_time() - start < 2.0
