"""Did anything change, in either direction?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from harness.statistics.estimates import Estimate, negated
from harness.statistics.evidence import p_any
from harness.statistics.linear import singletons
from harness.statistics.means import mean_difference
from harness.statistics.permutation import MOST_ENUMERATED, sign_flip_p
from harness.statistics.tango import tango_difference


def test_binary_items_get_exact_mcnemar_of_the_oracle(oracles):
    (_, losses), (wins, _) = oracles["O4_mcnemar"]["table"]
    assert p_any(tango_difference(wins, losses, 100)) == pytest.approx(oracles["O4_mcnemar"]["p_exact"])


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (7, 7), (3, 12), (60, 20)])
def test_mcnemar_is_statsmodels(wins, losses):
    expected = statsmodels_mcnemar([[40, losses], [wins, 40]], exact=True).pvalue
    assert p_any(tango_difference(wins, losses, 80 + wins + losses)) == pytest.approx(expected, abs=1e-12)


def test_fractional_scores_get_the_two_sided_p_of_a_paired_t():
    generator = np.random.default_rng(4)
    base, tuned = generator.random(80), generator.random(80)
    estimate = mean_difference(base, tuned, singletons(80))
    assert isinstance(estimate, Estimate)
    assert p_any(estimate) == pytest.approx(stats.ttest_rel(tuned, base).pvalue, abs=1e-12)


def test_the_exact_permutation_reproduces_its_oracle(oracles):
    base, tuned = (np.array(oracles["O6_tost"][side]) for side in ("base", "tuned"))
    assert sign_flip_p(base, tuned, singletons(10)) == pytest.approx(oracles["O9_perm"]["p_exact"], abs=1e-12)


def test_the_exact_permutation_over_clusters_is_scipys():
    generator = np.random.default_rng(11)
    clusters = np.arange(40) % 9
    base, tuned = generator.random(40), generator.random(40) + 0.1
    sums = np.bincount(clusters, weights=tuned - base)
    expected = stats.permutation_test(
        (sums, np.zeros(9)),
        lambda x, y, axis=-1: (x - y).mean(axis),
        permutation_type="samples",
        vectorized=True,
    ).pvalue
    assert sign_flip_p(base, tuned, clusters) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 1), (0, 9), (8, 8)])
def test_for_binary_scores_the_exact_permutation_is_mcnemar(wins, losses):
    base = np.array([0.0] * wins + [1.0] * losses + [1.0] * 30)
    tuned = np.array([1.0] * wins + [0.0] * losses + [1.0] * 30)
    expected = p_any(tango_difference(wins, losses, base.size))
    assert sign_flip_p(base, tuned, singletons(base.size)) == pytest.approx(expected, abs=1e-12)


def test_more_changes_than_can_be_enumerated_have_no_exact_p():
    base = np.zeros(MOST_ENUMERATED + 1)
    assert sign_flip_p(base, base + 0.5, singletons(base.size)) is None
    assert sign_flip_p(base[1:], base[1:] + 0.5, singletons(base.size - 1)) == 2.0 ** (1 - MOST_ENUMERATED)


fractions = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12)


@given(fractions)
def test_swapping_the_sides_changes_no_exact_p(pairs):
    base, tuned = np.array(pairs).T
    forward, backward = (
        sign_flip_p(*sides, singletons(base.size)) for sides in ((base, tuned), (tuned, base))
    )
    assert forward == backward
    assert forward is not None
    assert 0.0 < forward <= 1.0


@given(st.integers(0, 40), st.integers(0, 40))
def test_swapping_the_sides_changes_no_mcnemar_p(wins, losses):
    estimate = tango_difference(wins, losses, 100)
    assert p_any(estimate) == p_any(negated(estimate))


def test_swapping_the_sides_of_skewed_scores_changes_no_p():
    generator = np.random.default_rng(3)
    base = generator.random(60)
    tuned = base - np.where(np.arange(60) < 4, 0.5, 0.01 * generator.random(60))
    forward, backward = (mean_difference(*sides, singletons(60)) for sides in ((base, tuned), (tuned, base)))
    assert isinstance(forward, Estimate)
    assert isinstance(backward, Estimate)
    assert p_any(forward) == pytest.approx(p_any(backward), abs=1e-12)
