"""Means, clustered means and ratios against scipy, statsmodels and the oracles."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.statistics.estimates import Estimate, NoEstimate
from harness.statistics.evidence import interval_at, p_above, p_below
from harness.statistics.linear import singletons, standard_error
from harness.statistics.means import mean_difference
from harness.statistics.ratio import (
    exp_ratio_difference,
    perplexity_ratio,
    ratio_difference,
    ratio_influences,
    weighted_ratio,
)
from harness.statistics.tango import exact_p_above


def mean_influences(values):
    values = np.asarray(values, float)
    return (values - values.mean()) / values.size


def generated(items=240, clusters=40, seed=3):
    generator = np.random.default_rng(seed)
    groups = generator.integers(clusters, size=items)
    base = generator.random(items)
    tuned = np.clip(
        base + 0.1 * generator.normal(size=clusters)[groups] + 0.1 * generator.normal(size=items), 0, 1
    )
    return base, tuned, groups


def test_unclustered_standard_error_is_the_standard_error_of_the_mean(oracles):
    """O1 and O6."""
    sevens = [1.0] * 7 + [0.0] * 3
    assert standard_error(mean_influences(sevens), singletons(10)) == pytest.approx(
        oracles["O1_se"]["se_clt"], abs=1e-12
    )
    o6 = oracles["O6_tost"]
    differences = np.subtract(o6["tuned"], o6["base"])
    assert standard_error(mean_influences(differences), singletons(10)) == pytest.approx(o6["sem"], abs=1e-12)


def test_clustered_standard_error_reproduces_statsmodels(oracles):
    """O2: with the G/(G-1) correction."""
    o2 = oracles["O2_clustered"]
    influences, groups = mean_influences(o2["y"]), np.array(o2["g"])
    assert standard_error(influences, groups) == pytest.approx(o2["se_corrected"], abs=1e-12)
    fit = sm.OLS(o2["y"], np.ones(18)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert standard_error(influences, groups) == pytest.approx(float(fit.bse[0]), abs=1e-12)


def test_paired_differences_reproduce_their_oracle(oracles):
    """O3: the clustered number is stored without the correction for few clusters."""
    o3 = oracles["O3_paired"]
    influences = mean_influences(np.subtract(o3["tuned"], o3["base"]))
    assert standard_error(influences, singletons(12)) == pytest.approx(o3["se_paired"], abs=1e-12)
    clustered = standard_error(influences, np.array(o3["clusters"]))
    assert clustered * np.sqrt(5 / 6) == pytest.approx(o3["se_paired_clustered"], abs=1e-12)


def test_fractional_scores_get_the_paired_t_of_scipy(oracles):
    """O6, with its non-inferiority and superiority p-values."""
    o6 = oracles["O6_tost"]
    estimate = mean_difference(np.array(o6["base"]), np.array(o6["tuned"]), singletons(10))
    assert isinstance(estimate, Estimate)
    assert estimate.method == "t"
    assert estimate.value == pytest.approx(o6["mean"], abs=1e-12)
    assert (estimate.interval90.low, estimate.interval90.high) == pytest.approx(o6["ci90"], abs=1e-10)
    assert p_above(estimate, -0.02) == pytest.approx(o6["ni_scipy"][1], abs=1e-10)
    assert p_below(estimate, 0.02) == pytest.approx(o6["upper"][1], abs=1e-10)
    assert p_above(estimate, 0.0) == pytest.approx(o6["sup_p"], abs=1e-10)
    wide = stats.ttest_rel(o6["tuned"], o6["base"]).confidence_interval(0.98)
    assert (interval_at(estimate, 0.98).low, interval_at(estimate, 0.98).high) == pytest.approx(tuple(wide))


def test_clustered_difference_is_statsmodels_with_a_t_on_clusters_minus_one():
    base, tuned, groups = generated()
    estimate = mean_difference(base, tuned, groups)
    assert isinstance(estimate, Estimate)
    fit = sm.OLS(tuned - base, np.ones(240)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    assert (estimate.method, estimate.clusters, estimate.degrees_of_freedom) == ("cluster_t", 40, 39)
    assert estimate.standard_error == pytest.approx(float(fit.bse[0]), rel=1e-12)
    assert (estimate.interval95.low, estimate.interval95.high) == pytest.approx(tuple(fit.conf_int(0.05)[0]))


def test_ignoring_clusters_would_be_too_sure():
    """O8 in shape: correlated items are worth less than their number."""
    base, tuned, groups = generated()
    influences = mean_influences(tuned - base)
    assert standard_error(influences, groups) > 1.3 * standard_error(influences, singletons(240))


def test_bits_per_byte_difference_reproduces_its_oracle(oracles):
    """O12: value, standard error (= WLS with HC1) and the perplexity ratio."""
    o12 = oracles["O12_ppl"]
    sizes, tokens = np.array(o12["B"], float), np.array(o12["T"], float)
    before, after = np.array(o12["L_a"], float), np.array(o12["L_b"], float)
    base, tuned = -before / (np.log(2) * sizes), -after / (np.log(2) * sizes)
    assert weighted_ratio(base, sizes) == pytest.approx(o12["bpb_base"], abs=1e-12)
    assert weighted_ratio(tuned, sizes) == pytest.approx(o12["bpb_tuned"], abs=1e-12)
    assert weighted_ratio(tuned - base, sizes) == pytest.approx(o12["d_bpb"], abs=1e-12)
    error = standard_error(ratio_influences(tuned - base, sizes), singletons(3))
    assert error == pytest.approx(o12["se_ratio"], abs=1e-12)
    assert np.exp(weighted_ratio(-before / tokens, tokens)) == pytest.approx(o12["tok_ppl"], abs=1e-12)
    assert perplexity_ratio(-before / tokens, -after / tokens, tokens) == pytest.approx(
        o12["ratio_token_ppl"]
    )


def test_ratio_difference_is_weighted_least_squares():
    base, tuned, groups = generated()
    sizes = np.random.default_rng(5).integers(50, 900, size=240).astype(float)
    plain = ratio_difference(base, tuned, sizes, singletons(240))
    fit = sm.WLS(tuned - base, np.ones(240), weights=sizes).fit(cov_type="HC1")
    assert isinstance(plain, Estimate)
    assert plain.value == pytest.approx(float(fit.params[0]), abs=1e-12)
    assert plain.standard_error == pytest.approx(float(fit.bse[0]), rel=1e-10)
    clustered = ratio_difference(base, tuned, sizes, groups)
    assert isinstance(clustered, Estimate)
    assert clustered.standard_error != pytest.approx(plain.standard_error, rel=0.05)


def test_perplexity_difference_has_the_spread_that_resampling_shows():
    generator = np.random.default_rng(11)
    tokens = generator.integers(40, 400, size=300).astype(float)
    base = generator.normal(3.0, 0.4, size=300)
    tuned = base + generator.normal(0.05, 0.1, size=300)
    estimate = exp_ratio_difference(base, tuned, tokens, singletons(300))
    assert isinstance(estimate, Estimate)
    drawn = generator.integers(300, size=(4000, 300))
    w = tokens[drawn]
    values = [np.exp((w * side[drawn]).sum(1) / w.sum(1)) for side in (base, tuned)]
    assert estimate.standard_error == pytest.approx((values[1] - values[0]).std(), rel=0.06)


def test_no_difference_at_all_never_becomes_a_certain_zero():
    """statistics.md 4.3: a t test of all-zero differences gives p = 0 and five items prove anything."""
    same = np.linspace(0.1, 0.9, 300)
    groups = np.arange(300) // 6
    for answer in (
        mean_difference(same, same, singletons(300)),
        mean_difference(same, same, groups),
        ratio_difference(same, same, np.ones(300), singletons(300)),
        exp_ratio_difference(same, same, np.ones(300), groups),
    ):
        assert isinstance(answer, NoEstimate)
        assert "changed" in answer.reason


def test_constant_shift_has_no_estimate():
    base = np.full(50, 0.25)
    answer = mean_difference(base, base + 0.5, singletons(50))
    assert isinstance(answer, NoEstimate)
    assert "do not vary" in answer.reason


def test_clustered_binary_items_without_flips_count_clusters_not_items():
    scores = np.tile([1.0, 0.0], 150)
    estimate = mean_difference(scores, scores, np.arange(300) // 6)
    assert isinstance(estimate, Estimate)
    assert (estimate.method, estimate.n, estimate.wins, estimate.losses) == ("tango", 50, 0, 0)
    assert "50 clusters, not the 300 items" in (estimate.warning or "")
    assert p_above(estimate, -0.065) == exact_p_above(0, 0, 50, -0.065)
    assert p_above(estimate, -0.04) > 0.05 > p_above(estimate, -0.065)


def test_one_flip_in_clustered_items_is_not_stronger_evidence_than_none():
    scores = np.ones(300)
    groups = np.arange(300) // 6
    one = scores.copy()
    one[0] = 0.0
    unchanged, nearly = mean_difference(scores, scores, groups), mean_difference(scores, one, groups)
    assert isinstance(unchanged, Estimate)
    assert isinstance(nearly, Estimate)
    assert nearly.value == pytest.approx(-1 / 300)
    assert nearly.interval90.low < nearly.value < nearly.interval90.high
    assert p_above(nearly, -0.065) > p_above(unchanged, -0.065)


def test_fewer_than_eight_clusters_are_refused_and_fewer_than_thirty_warned_about():
    base, tuned, _ = generated()
    refused = mean_difference(base, tuned, np.arange(240) % 7)
    assert isinstance(refused, NoEstimate)
    assert "only 7 clusters" in refused.reason
    warned, trusted = (mean_difference(base, tuned, np.arange(240) % g) for g in (29, 30))
    assert isinstance(warned, Estimate)
    assert isinstance(trusted, Estimate)
    assert "29" in (warned.warning or "")
    assert trusted.warning is None


def sides(seed, items):
    generator = np.random.default_rng(seed)
    return generator.random(items), generator.random(items), generator.integers(1, 50, items).astype(float)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(24, 80), st.integers(8, 12))
def test_repeating_every_item_within_its_cluster_changes_no_standard_error(seed, items, clusters):
    before, after, weights = sides(seed, items)
    groups = np.arange(items) % clusters
    doubled = [np.tile(column, 2) for column in (before, after, weights, groups)]
    for once, twice in (
        (mean_difference(before, after, groups), mean_difference(doubled[0], doubled[1], doubled[3])),
        (ratio_difference(before, after, weights, groups), ratio_difference(*doubled)),
    ):
        assert isinstance(once, Estimate)
        assert isinstance(twice, Estimate)
        assert twice.standard_error == pytest.approx(once.standard_error, rel=1e-9)
        assert twice.degrees_of_freedom == once.degrees_of_freedom


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(9, 80))
def test_swapping_the_sides_negates_means_and_ratios(seed, items):
    before, after, weights = sides(seed, items)
    groups = np.arange(items) % 9
    for forth, back in (
        (mean_difference(before, after, groups), mean_difference(after, before, groups)),
        (ratio_difference(before, after, weights, groups), ratio_difference(after, before, weights, groups)),
        (
            exp_ratio_difference(before, after, weights, groups),
            exp_ratio_difference(after, before, weights, groups),
        ),
    ):
        assert isinstance(forth, Estimate)
        assert isinstance(back, Estimate)
        assert forth.value == pytest.approx(-back.value, abs=1e-12)
        assert forth.interval95.low == pytest.approx(-back.interval95.high, abs=1e-9)
        assert p_above(forth, 0.01) == pytest.approx(p_below(back, -0.01), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 60), st.integers(2, 6))
def test_more_clusters_at_the_same_scores_never_widen_the_interval(seed, items, times):
    before, after, weights = sides(seed, items)
    groups = np.arange(items) // 2
    more = np.concatenate([groups + items * copy for copy in range(times)])
    many = [np.tile(column, times) for column in (before, after, weights)]
    for few, larger in (
        (mean_difference(before, after, groups), mean_difference(many[0], many[1], more)),
        (ratio_difference(before, after, weights, groups), ratio_difference(*many, more)),
    ):
        assert isinstance(few, Estimate)
        assert isinstance(larger, Estimate)
        assert larger.interval90.high - larger.interval90.low < few.interval90.high - few.interval90.low


def skewed(draws: int, sign: float) -> Estimate:
    """A few large changes among many small ones the other way."""
    change = np.full(draws, -0.01 * sign)
    change[: draws // 20] = 0.5 * sign
    found = mean_difference(np.zeros(draws), change, singletons(draws))
    assert isinstance(found, Estimate)
    return found


def test_a_few_large_losses_make_t_too_sure_and_the_corrected_test_is_not():
    estimate = skewed(100, -1.0)
    plain = stats.t.sf((estimate.value + 0.06) / estimate.standard_error, 99)

    assert estimate.skewness == pytest.approx(float(stats.skew(-skewed_changes(100))), abs=1e-9)
    assert p_above(estimate, -0.06) > plain
    assert p_above(estimate, -0.06) == pytest.approx(p_below(skewed(100, 1.0), 0.06))


def skewed_changes(draws: int) -> np.ndarray:
    change = np.full(draws, -0.01)
    change[: draws // 20] = 0.5
    return change


def test_skewness_is_that_of_the_clusters_and_duplicated_items_do_not_change_it():
    base, tuned, groups = generated()
    once, twice = (
        mean_difference(np.tile(base, times), np.tile(tuned, times), np.tile(groups, times))
        for times in (1, 2)
    )
    assert isinstance(once, Estimate)
    assert isinstance(twice, Estimate)
    assert once.skewness == pytest.approx(twice.skewness)
    sums = np.bincount(groups, weights=(tuned - base) - (tuned - base).mean())
    assert once.skewness == pytest.approx(float(stats.skew(sums)), abs=1e-9)


def test_symmetric_changes_are_judged_by_t_alone():
    change = np.concatenate([np.full(50, 0.2), np.full(50, -0.2), np.zeros(100)])
    estimate = mean_difference(np.zeros(200), change, singletons(200))
    assert isinstance(estimate, Estimate)
    assert estimate.skewness == pytest.approx(0.0, abs=1e-12)
    assert p_above(estimate, -0.03) == pytest.approx(float(stats.t.sf(0.03 / estimate.standard_error, 199)))


def test_much_skew_on_few_draws_is_said():
    assert (
        skewed(40, 1.0).warning == "the differences are skewed and only 40 draws; the interval is approximate"
    )
    assert skewed(4000, 1.0).warning is None


def test_differences_that_are_not_finite_have_a_reason_and_no_number():
    base, weights = np.full(40, 700.0), np.ones(40)
    base[0] = 900.0 * 40  # exp of the mean overflows
    with np.errstate(over="ignore", invalid="ignore"):
        found = exp_ratio_difference(base, base + np.linspace(0, 1, 40), weights, singletons(40))
    assert isinstance(found, NoEstimate)
    assert "not finite" in found.reason
