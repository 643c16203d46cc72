from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.statistics.distributions import quantile, two_sided, upper_tail
from harness.statistics.estimates import Estimate, Interval
from harness.statistics.evidence import interval_at, p_above, p_below
from harness.statistics.linear import singletons
from harness.statistics.multiplicity import benjamini_hochberg, holm
from harness.statistics.power import binary_margin, certifiable_margin, items_to_settle, zero_flip_items
from harness.statistics.rates import mean_interval, wilson
from harness.statistics.tango import tango_difference


def test_wilson_reproduces_its_oracle(oracles):
    interval = wilson(7, 10)
    assert (interval.low, interval.high) == pytest.approx(oracles["O1_se"]["wilson"], abs=1e-12)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case):
    expected = stats.binomtest(*case).proportion_ci(method="wilson")
    interval = wilson(*case)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-10)


@pytest.mark.parametrize("degrees", [None, 7, 39, 400])
def test_tails_and_quantiles_are_scipys(degrees):
    law = stats.norm() if degrees is None else stats.t(degrees)
    assert quantile(0.95, degrees) == pytest.approx(law.ppf(0.95), abs=1e-9)
    assert two_sided(0.95, degrees) == pytest.approx(law.ppf(0.975), abs=1e-9)
    assert upper_tail(1.3, degrees) == pytest.approx(law.sf(1.3), abs=1e-12)


def test_a_clustered_rate_is_less_certain_than_wilson_says():
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(30), 10)
    scores = (generator.random(300) < np.repeat(generator.choice([0.2, 0.8], 30), 10)).astype(float)
    clustered, naive = mean_interval(scores, groups), mean_interval(scores, singletons(300))
    assert clustered is not None
    assert naive is not None
    assert naive == wilson(int(scores.sum()), 300)
    assert clustered.high - clustered.low > 1.5 * (naive.high - naive.low)


def test_a_clustered_rate_without_variance_is_judged_by_its_clusters():
    assert mean_interval(np.ones(300), np.repeat(np.arange(30), 10)) == wilson(30, 30)
    assert mean_interval(np.zeros(300), np.repeat(np.arange(30), 10)) == wilson(0, 30)


def test_a_rate_over_seven_clusters_has_no_interval():
    scores = np.random.default_rng(0).integers(2, size=80).astype(float)
    assert mean_interval(scores, np.arange(80) % 7) is None
    assert mean_interval(scores, np.arange(80) % 8) is not None


def test_holm_reproduces_its_oracles(oracles):
    assert holm(oracles["O10_multi"]["p"]) == pytest.approx(oracles["O10_multi"]["holm"], abs=1e-12)
    regressed = [
        oracles["O26_gate"]["general"][k]["p_regressed"] for k in ("hellaswag", "arc_c", "winogrande")
    ]
    assert holm(regressed) == pytest.approx(oracles["O26_gate"]["holm_regressed"], abs=1e-9)
    assert holm([]) == ()


def test_benjamini_and_hochberg_reproduce_their_oracle(oracles):
    assert benjamini_hochberg(oracles["O10_multi"]["p"]) == pytest.approx(
        oracles["O10_multi"]["bh"], abs=1e-12
    )
    assert benjamini_hochberg([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_and_hochberg_are_scipys(p_values):
    expected = stats.false_discovery_control(p_values)
    assert benjamini_hochberg(p_values) == pytest.approx(expected, abs=1e-12)


# Few cases: one call of multipletests takes 0.1 s.
@pytest.mark.parametrize(
    "p_values", [[0.3], [0.04, 0.04, 0.04], [0.9, 0.0, 0.02, 1.0], [0.2, 0.011, 0.013, 0.012, 0.01, 0.5]]
)
def test_holm_is_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_certifiable_margin_is_where_the_power_formula_says(oracles):
    """O11: n needed for a margin and margin for an n are one formula."""
    o11 = oracles["O11_power"]
    assert binary_margin(1000, 0.10) == pytest.approx(o11["ni_mde_disc10_n1000"], abs=1e-9)
    for margin, n in ((0.01, o11["ni_n_disc10_m01"]), (0.03, o11["ni_n_disc10_m03"])):
        assert certifiable_margin(np.sqrt(0.10 / n), 10_000) == pytest.approx(margin, abs=1e-9)
    assert binary_margin(250, 0.17) == pytest.approx(0.065, abs=0.0005)


def test_without_flips_the_margin_is_what_the_exact_test_allows():
    for n, margin in ((59, 0.05), (99, 0.03), (149, 0.02), (299, 0.01)):
        assert binary_margin(n, 0.0) <= margin < binary_margin(n - 1, 0.0)
        assert zero_flip_items(margin) == n


def test_items_to_settle_would_have_eighty_percent_power():
    estimate = tango_difference(20, 30, 300)
    n = items_to_settle(estimate, -0.065)
    assert n is not None
    error = estimate.standard_error * np.sqrt(300 / n)
    assert (estimate.value + 0.065) / error == pytest.approx(1.6449 + 0.8416, abs=0.01)


def test_items_to_settle_without_flips_is_the_zero_flip_number():
    assert items_to_settle(tango_difference(0, 0, 40), -0.05) == 59


def test_no_number_of_items_separates_a_value_from_itself():
    assert items_to_settle(tango_difference(10, 10, 300), 0.0) is None


def test_items_to_settle_are_always_more_than_there_are():
    """The exact test can leave open what the power formula already calls settled."""
    assert items_to_settle(tango_difference(4, 0, 100), -0.2) == 101


def test_a_clustered_rate_near_its_end_stays_a_rate():
    scores = np.zeros(100)
    scores[:2] = 1.0
    interval = mean_interval(scores, np.arange(100) // 5)
    assert interval is not None
    assert interval.low == 0.0
    assert 0.02 < interval.high < 1.0


def test_an_estimate_without_variance_is_evidence_of_nothing():
    exact = Interval(low=0.1, high=0.1, level=0.9)
    estimate = Estimate(value=0.1, interval90=exact, interval95=exact, method="t", n=5, standard_error=0.0)
    assert p_above(estimate, 0.0) == 1.0
    assert p_below(estimate, 0.2) == 1.0
    with pytest.raises(ValueError, match="no standard error"):
        interval_at(estimate, 0.8)
