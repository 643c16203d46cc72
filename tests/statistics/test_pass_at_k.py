from __future__ import annotations

from itertools import combinations
from statistics import fmean

import pytest

from harness import Gate, Pair, UsageError, Verdict, columns, compare, judge, pass_at_k


def test_pass_at_k_reproduces_its_oracle(oracles):
    assert pass_at_k(10, 3, 5) == pytest.approx(oracles["O22_passk"]["v"], abs=1e-12)


@pytest.mark.parametrize(("samples", "correct", "k"), [(6, 2, 3), (6, 0, 2), (6, 6, 1), (5, 3, 5), (7, 1, 4)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(samples, correct, k):
    right = [place < correct for place in range(samples)]
    assert pass_at_k(samples, correct, k) == pytest.approx(
        fmean(any(some) for some in combinations(right, k))
    )


@pytest.mark.parametrize(("samples", "correct", "k"), [(5, 6, 1), (5, -1, 1), (5, 2, 6), (5, 2, 0)])
def test_counts_that_cannot_be_are_refused(samples, correct, k):
    with pytest.raises(UsageError, match="does not exist"):
        pass_at_k(samples, correct, k)


def test_sampled_answers_are_judged_by_their_pass_at_k():
    counts = {"base": [number % 3 for number in range(90)], "tuned": [number % 3 + 5 for number in range(90)]}
    base, tuned = (
        columns(side, "code", {"pass@5": [pass_at_k(10, right, 5) for right in column]}, suite="code")
        for side, column in counts.items()
    )
    pair = Pair(base="base", tuned="tuned", differs_in="weights", roles={"code": "domain"})

    comparison = compare([base], [tuned], pair)

    assert comparison.tasks[0].metrics["pass@5"].metric.unit == "rate"
    assert judge(comparison, Gate()).verdict is Verdict.PASS
