"""What other tools were seen to get wrong when they were run (landscape.md), and the right answer on the same numbers.

The fifth, a cache that gives the tuned model the base's answers, is in tests/pipeline/test_run.py; an adapter that
was never applied is there too, as a whole run.
"""

from __future__ import annotations

import pytest
from scipy import stats

from harness.experiment.schema import Gate
from harness.gate.formats import as_document
from harness.gate.judge import gate, judge
from harness.gate.verdict import EndpointStatus, Verdict
from harness.statistics.rates import mcnemar
from harness.statistics.tango import tango_difference


def test_an_adapter_that_changes_nothing_is_no_go(task, compared):
    """NeMo Evaluator 0.3.0 says GO to identical runs."""
    for n in (100, 1000, 100_000):
        judgement = judge(compared(task("domain", 0, 0, n, role="domain"), task("general", 0, 0, n)), Gate())
        assert judgement.verdict is Verdict.INCONCLUSIVE
        assert judgement.exit_code == 4


def test_gate_and_comparison_cannot_say_two_things_of_one_drop(task, compared):
    """NeMo's gate says INCONCLUSIVE and its compare BLOCK of the same drop of 2.5 points."""
    comparison = compared(task("domain", 60, 10, 400, role="domain"), task("general", 10, 20, 400))
    judgement = judge(comparison, Gate(max_drop_task=0.03, max_drop_average=0.03))
    document = as_document(gate([judgement], Gate(max_drop_task=0.03, max_drop_average=0.03)))

    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.sentence.startswith("INCONCLUSIVE: ")
    assert (document["verdict"], document["exit_code"]) == ("INCONCLUSIVE", 4)
    assert document["judgements"][0]["sentence"] == document["sentence"] == judgement.sentence


@pytest.mark.parametrize("n", [20, 50, 100])
def test_an_interval_of_95_percent_covers_the_truth_as_often_as_it_says(n):
    """finetunecheck 2.0.2 covers 63, 92 and 88 % where 5 % of the items are lost and none won."""
    covered = 0.0
    for losses in range(n + 1):
        interval = tango_difference(0, losses, n).interval95
        if interval.low <= -0.05 <= interval.high:
            covered += float(stats.binom.pmf(losses, n, 0.05))

    assert covered >= 0.95


def test_eight_losses_and_no_gain_in_a_hundred_are_not_within_noise(task, compared):
    """backpropagate 1.8.5 accepts them."""
    comparison = compared(task("domain", 60, 10, 400, role="domain"), task("general", 0, 8, 100))
    judgement = judge(comparison, Gate())
    (found,) = [endpoint for endpoint in judgement.endpoints if endpoint.task == "general"]

    assert mcnemar(0, 8) == pytest.approx(0.0078125)
    assert found.measurable_drop
    assert found.status is not EndpointStatus.RETAINED
    assert judgement.verdict is not Verdict.PASS
    assert judge(comparison, Gate(max_drop_task=0.02)).verdict is Verdict.FAIL
