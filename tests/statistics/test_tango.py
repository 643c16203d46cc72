from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, xlogy

from harness.statistics.estimates import negated
from harness.statistics.evidence import interval_at, p_above, p_below
from harness.statistics.rates import mcnemar
from harness.statistics.tango import exact_p_above, tango_difference, tango_interval, tango_p_above, tango_z


@st.composite
def flips(draw: st.DrawFn, largest: int = 400) -> tuple[int, int, int]:
    n = draw(st.integers(1, largest))
    wins = draw(st.integers(0, n))
    return wins, draw(st.integers(0, n - wins)), n


def test_intervals_reproduce_r_propcis(oracles):
    """O5. R's scoreci.mp, after undoing its opposite sign."""
    cases = {
        "ci90_better28_worse25_n618": (28, 25, 618, 0.90),
        "ci95_better20_worse60_n1000": (20, 60, 1000, 0.95),
        "ci95_0_0_50": (0, 0, 50, 0.95),
        "ci95_better5_worse15_n100": (5, 15, 100, 0.95),
    }
    for name, case in cases.items():
        interval = tango_interval(*case)
        assert (interval.low, interval.high) == pytest.approx(oracles["O5_tango"][name], abs=1e-8), name


def test_margin_test_reproduces_its_oracle(oracles):
    expected = oracles["O5_tango"]["ni_better5_worse15_n500_margin03"]
    assert float(tango_z(5, 15, 500, -0.03)) == pytest.approx(expected["z"], abs=1e-9)
    assert tango_p_above(5, 15, 500, -0.03) == pytest.approx(expected["p"], abs=1e-9)
    interval = tango_interval(5, 15, 500, 0.90)
    assert (interval.low, interval.high) == pytest.approx(expected["ci90"], abs=1e-8)


def test_z_at_zero_is_mcnemars_signed_root(oracles):
    assert float(tango_z(5, 15, 100, 0.0)) == pytest.approx(oracles["O5_tango"]["z_at_0"], abs=1e-12)
    assert float(tango_z(7, 2, 30, 0.0)) == pytest.approx(5 / 3)


def test_exact_mcnemar_reproduces_statsmodels(oracles):
    from statsmodels.stats.contingency_tables import mcnemar as reference

    assert mcnemar(5, 15) == pytest.approx(oracles["O4_mcnemar"]["p_exact"], abs=1e-12)
    for wins, losses in ((0, 1), (3, 3), (12, 0), (40, 61)):
        expected = reference([[9, losses], [wins, 9]], exact=True).pvalue
        assert mcnemar(wins, losses) == pytest.approx(expected, abs=1e-12)


def test_score_test_alone_accepts_too_few_items_without_flips(oracles):
    """O25: what the score test would accept, and why the exact test decides instead."""
    for margin, n in oracles["O25_zero_flip_min_n"]["search"].items():
        assert tango_p_above(0, 0, n, -float(margin)) < 0.05 <= tango_p_above(0, 0, n - 1, -float(margin))
        assert exact_p_above(0, 0, n, -float(margin)) > 0.065


@pytest.mark.parametrize(("margin", "n"), [(0.05, 59), (0.03, 99), (0.02, 149), (0.01, 299)])
def test_without_flips_the_decision_takes_as_many_items_as_the_exact_test(margin, n):
    assert p_above(tango_difference(0, 0, n), -margin) == pytest.approx((1 - margin) ** n, rel=1e-6)
    assert p_above(tango_difference(0, 0, n), -margin) < 0.05
    assert p_above(tango_difference(0, 0, n - 1), -margin) > 0.05


def brute_force(wins: int, losses: int, n: int, threshold: float) -> float:
    """Every table of the trinomial, at 1501 nuisance rates."""
    b, c = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"))
    b, c = b[b + c <= n], c[b + c <= n]
    extreme = tango_z(b, c, n, threshold) >= float(tango_z(wins, losses, n, threshold)) - 1e-9
    b, c = b[extreme], c[extreme]
    choose = gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(n - b - c + 1)
    rates = np.linspace(max(0.0, -threshold), (1 - threshold) / 2, 1501)
    rest = np.maximum(1 - 2 * rates - threshold, 0.0)
    logs = (xlogy(k, p[:, None]) for k, p in ((b, rates + threshold), (c, rates), (n - b - c, rest)))
    return float(np.exp(choose + sum(logs)).sum(axis=1).max())


@pytest.mark.parametrize(
    "table", [(2, 5, 30, -0.1), (0, 3, 25, -0.05), (6, 1, 30, 0.05), (0, 0, 20, -0.2), (3, 3, 12, 0.3)]
)
def test_exact_p_equals_brute_force_enumeration(table):
    assert exact_p_above(*table) == pytest.approx(brute_force(*table), abs=2e-5)


def test_exact_test_keeps_its_size_where_the_score_test_does_not():
    """At n·m < 20 the chance to accept a true drop of exactly m stays below 5 % at every nuisance rate."""
    n, margin = 60, 0.05
    wins, losses = (grid.ravel() for grid in np.meshgrid(np.arange(9), np.arange(13), indexing="ij"))
    accepted = [
        (b, c)
        for b, c in zip(wins.tolist(), losses.tolist(), strict=True)
        if exact_p_above(b, c, n, -margin) < 0.05
    ]
    assert (0, 0) in accepted
    for winning in (0.0, 0.005, 0.02, 0.05):
        losing = winning + margin
        chance = sum(
            math.comb(n, b)
            * math.comb(n - b, c)
            * winning**b
            * losing**c
            * (1 - winning - losing) ** (n - b - c)
            for b, c in accepted
        )
        assert chance <= 0.05


@given(flips())
def test_interval_contains_the_observed_difference(table):
    wins, losses, n = table
    for level in (0.5, 0.9, 0.95):
        interval = tango_interval(wins, losses, n, level)
        assert -1 <= interval.low <= (wins - losses) / n <= interval.high <= 1
        assert interval.low < interval.high


@given(flips())
def test_swapping_the_sides_negates_difference_and_interval(table):
    wins, losses, n = table
    forth, back = tango_difference(wins, losses, n), negated(tango_difference(losses, wins, n))
    assert forth.value == back.value
    for level in (0.90, 0.95, 0.98):
        a, b = interval_at(forth, level), interval_at(back, level)
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-9)


@given(flips(100), st.integers(2, 20))
def test_more_items_at_the_same_rates_never_widen_the_interval(table, times):
    wins, losses, n = table
    few = tango_interval(wins, losses, n, 0.9)
    many = tango_interval(wins * times, losses * times, n * times, 0.9)
    assert many.high - many.low <= few.high - few.low + 1e-9


@settings(max_examples=40, deadline=None)
@given(flips(120), st.floats(-0.5, 0.5))
def test_p_values_are_probabilities_and_fall_as_the_threshold_does(table, threshold):
    estimate = tango_difference(*table)
    assert 0.0 <= p_above(estimate, threshold) <= 1.0
    assert 0.0 <= p_below(estimate, threshold) <= 1.0
    z_here, z_lower = (float(tango_z(*table, t)) for t in (threshold, threshold - 0.1))
    assert z_lower >= z_here - 1e-9


def test_p_above_at_an_interval_bound_is_half_of_what_the_interval_leaves_out():
    estimate = tango_difference(60, 110, 1267)
    assert p_above(estimate, estimate.interval90.low) == pytest.approx(0.05, abs=1e-6)
    assert p_below(estimate, estimate.interval95.high) == pytest.approx(0.025, abs=1e-6)
