from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.comparison.facts import Role
from harness.experiment.schema import Gate
from harness.gate.lint import Counted, chance_to_pass, prospects
from harness.statistics.estimates import Estimate
from harness.statistics.evidence import p_above
from harness.statistics.means import mean_difference
from harness.statistics.tango import exact_p_above, tango_difference


def task(items: int, draws: int | None = None, role: Role = "general", name: str = "t") -> Counted:
    return Counted("s", name, role, items, draws or items)


def estimated(base: Any, tuned: Any, clusters: Any) -> Estimate:
    found = mean_difference(base, tuned, clusters)
    assert isinstance(found, Estimate)
    return found


@pytest.mark.parametrize(("margin", "needed"), [(0.05, 59), (0.03, 99), (0.02, 149), (0.01, 299)])
def test_a_margin_needs_the_items_that_its_exact_test_needs(margin: float, needed: int) -> None:
    policy = Gate(max_drop_task=margin)

    (short, _), (enough, _) = (prospects([task(n)], policy) for n in (needed - 1, needed))

    assert enough.impossible is None
    assert short.impossible is not None
    assert f"it takes {needed}" in short.impossible
    assert exact_p_above(0, 0, needed, -margin) < 0.05 <= exact_p_above(0, 0, needed - 1, -margin)


def test_the_margin_that_is_named_would_work() -> None:
    (short, _) = prospects([task(40)], Gate(max_drop_task=0.03))
    assert short.impossible is not None
    would = float(short.impossible.rpartition("max_drop_task = ")[2])

    (found, _) = prospects([task(40)], Gate(max_drop_task=would))

    assert found.impossible is None
    assert exact_p_above(0, 0, 40, -would) < 0.05


@pytest.mark.parametrize("gain", [0.0, 0.02, 0.5, 0.9])
def test_a_gain_is_impossible_exactly_where_winning_every_item_would_not_show_it(gain: float) -> None:
    for n in range(1, 80):
        (found,) = prospects([task(n, role="domain")], Gate(min_gain=gain))
        assert (found.impossible is None) == (p_above(tango_difference(n, 0, n), gain) < 0.05), n


def test_clusters_and_not_items_decide_where_items_are_no_independent_draws() -> None:
    few, _ = prospects([task(400, 5)], Gate())
    short, _ = prospects([task(60, 30)], Gate(max_drop_task=0.065))

    assert few.impossible == "only 5 clusters; an interval needs at least 8"
    assert short.impossible is not None
    assert "30 independent clusters cannot exclude a drop of 6.5 pp" in short.impossible


def test_many_items_in_few_clusters_are_a_caution_because_flips_give_them_a_variance() -> None:
    policy = Gate(max_drop_task=0.065)
    (found, _) = prospects([task(400, 40)], policy)

    assert found.impossible is None
    assert found.caution is not None
    assert "40 independent clusters cannot exclude" in found.caution
    clusters = np.repeat(np.arange(40), 10)
    base, tuned = np.ones(400), np.ones(400)
    assert p_above(estimated(base, tuned, clusters), -0.065) > 0.05
    base[[0, 100, 200]], tuned[[50, 150]] = 0.0, 0.0  # three wins, two losses
    assert p_above(estimated(base, tuned, clusters), -0.065) < 0.05


def test_the_chance_to_pass_is_that_of_statistics_4_9() -> None:
    """Six tasks of 1,000 items at 3 pp each, a tenth of the answers flipping: 58 % (S5)."""
    policy = Gate(max_drop_task=0.03, max_drop_average=0.02)
    found = prospects([task(1000, name=str(k)) for k in range(6)], policy)

    per_task = [each.passes for each in found if each.rule == "max_drop_task"]
    assert chance_to_pass(found[:6]) == pytest.approx(0.58, abs=0.03)
    assert per_task == [per_task[0]] * 6
    assert found[-1].rule == "max_drop_average"
    assert found[-1].passes is not None
    assert found[-1].passes > 0.999


def test_no_gain_of_everything_can_be_asked() -> None:
    (found,) = prospects([task(1000, role="domain")], Gate(min_gain=1.0))

    assert found.impossible == "no gain exceeds +100.0 pp"


def test_written_answers_to_items_that_are_counted_already_make_the_average_no_surer() -> None:
    likely = Counted("s", "likely", "general", 300, 300)
    written = Counted("s", "written", "general", 300, 300, written=True)
    *_, alone = prospects([likely], Gate())
    *_, both = prospects([likely, written], Gate())
    assert (both.certifies, both.items) == (alone.certifies, alone.items)
