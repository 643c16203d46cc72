"""Verdicts: what passes, what fails, and above all what must not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.schema import Gate
from harness.gate.judge import exit_code, gate, judge
from harness.gate.verdict import EndpointStatus, Verdict

POLICY = Gate(max_drop_task=0.065, max_drop_average=0.025)


def gain(task, **fields):
    return task("chapter", 150, 20, role="domain", **fields)


def small_changes(task, count=4, n=400):
    return [task(f"general{k}", 6, 7, n) for k in range(count)]


def endpoint_of(judgement, task):
    (found,) = [e for e in (*judgement.endpoints, *judgement.advisory) if e.task == task]
    return found


def test_a_gain_that_costs_nothing_passes(task, text, compared):
    judgement = judge(compared(gain(task), *small_changes(task), text("prose", 0.002, 0.004)), POLICY)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.PASS, 0)
    assert endpoint_of(judgement, "chapter").status is EndpointStatus.IMPROVED
    assert {e.status for e in judgement.endpoints[1:]} == {EndpointStatus.RETAINED}
    assert [e.rule for e in judgement.endpoints] == [
        "min_gain",
        "max_drop_average",
        *["max_drop_task"] * 4,
        "max_bits_per_byte_increase",
    ]
    assert judgement.sentence.startswith(
        "PASS: lora gains on suite/chapter over base: +43.3 pp (90 % interval"
    )
    for number in ("the general average", "limit −2.5 pp", "limit −6.5 pp", "bits per byte of suite/prose"):
        assert number in judgement.sentence


def test_the_composite_oracle_is_inconclusive_with_a_measurable_drop(task, compared):
    """O26: a plain significance gate would call WinoGrande a failure, a mean-only 3 pp gate would pass it."""
    comparison = compared(
        task("domain", 120, 60, 800, role="domain"),
        task("hellaswag", 70, 90, 2000),
        task("arc_c", 55, 62, 1172),
        task("winogrande", 60, 110, 1267),
    )
    judgement = judge(comparison, Gate(max_drop_task=0.03, max_drop_average=0.03))
    assert (judgement.verdict, judgement.exit_code) == (Verdict.INCONCLUSIVE, 4)
    found = {e.task: e for e in judgement.endpoints}
    assert found["domain"].p_holds == pytest.approx(4.572292942305125e-06, rel=1e-9)
    assert (found["domain"].low, found["domain"].high) == pytest.approx(
        (0.0478433606, 0.1025314598), abs=1e-9
    )
    expected = {
        "hellaswag": (0.0011115321829579374, 0.9988884678170421, EndpointStatus.RETAINED, False),
        "arc_c": (0.005578871500044435, 0.9944211284999556, EndpointStatus.RETAINED, False),
        "winogrande": (0.823620118809968, 0.176379881190032, EndpointStatus.INCONCLUSIVE, True),
    }
    for name, (holds, broken, status, drop) in expected.items():
        endpoint = found[name]
        assert (endpoint.p_holds, endpoint.p_broken) == pytest.approx((holds, broken), abs=1e-9), name
        assert (endpoint.status, endpoint.measurable_drop) == (status, drop), name
    assert found["average"].p_holds == pytest.approx(0.011322872423387495, abs=1e-9)
    assert "suite/winogrande" in judgement.sentence
    assert "−3.9 pp (90 % interval −5.7 to −2.3, limit −3.0 pp)" in judgement.sentence
    assert "the drop itself is measurable" in judgement.sentence
    assert f"about {found['winogrande'].items_needed:,} items would settle it" in judgement.sentence


def test_identical_scores_never_pass(task, text, compared):
    unchanged = [task(f"general{k}", 0, 0, 400) for k in range(4)]
    judgement = judge(compared(task("chapter", 0, 0, role="domain"), *unchanged), POLICY)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.INCONCLUSIVE, 4)
    assert "suite/chapter" in judgement.sentence


def test_a_gain_with_too_few_unchanged_items_does_not_pass(task, compared):
    """No flip in 30 items is no proof: the exact test needs about 45 for 6.5 pp."""
    few = judge(compared(gain(task), *[task(f"g{k}", 0, 0, 30) for k in range(6)]), POLICY)
    assert few.verdict is Verdict.INCONCLUSIVE
    many = judge(compared(gain(task), *[task(f"g{k}", 0, 0, 300) for k in range(6)]), POLICY)
    assert many.verdict is Verdict.PASS


def test_eight_losses_without_a_win_in_a_hundred_items_are_not_retained(task, compared):
    """Others called this "no significant change" or "within 10 %"; it is a measurable drop."""
    judgement = judge(compared(gain(task), task("maths", 0, 8, 100), *small_changes(task)), POLICY)
    endpoint = endpoint_of(judgement, "maths")
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert (endpoint.status, endpoint.measurable_drop) == (EndpointStatus.INCONCLUSIVE, True)
    assert endpoint.p_holds > 0.5
    strict = judge(compared(gain(task), task("maths", 0, 8, 100)), Gate(max_drop_task=0.02))
    assert strict.verdict is Verdict.FAIL


def test_a_certain_loss_on_one_general_task_fails(task, compared):
    judgement = judge(compared(gain(task), *small_changes(task), task("maths", 5, 75, 300)), POLICY)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.FAIL, 1)
    endpoint = endpoint_of(judgement, "maths")
    assert endpoint.status is EndpointStatus.REGRESSED
    assert endpoint.p_broken < endpoint.p_broken_holm < 0.05
    assert judgement.sentence.startswith(
        "FAIL: lora loses on suite/maths against base: −23.3 pp (90 % interval"
    )
    assert "limit −6.5 pp" in judgement.sentence
    assert "Holm-adjusted p" in judgement.sentence


def test_one_unlucky_task_of_many_is_not_a_failure(task, compared):
    """Beyond its limit by itself, but no longer once it is asked of ten tasks: Holm."""
    unlucky = task("unlucky", 8, 45, 300)
    alone = judge(compared(gain(task), unlucky), Gate(max_drop_task=0.085, max_drop_average=0.5))
    assert endpoint_of(alone, "unlucky").p_broken < 0.05
    among = judge(
        compared(gain(task), unlucky, *small_changes(task, 9)),
        Gate(max_drop_task=0.085, max_drop_average=0.5),
    )
    assert endpoint_of(among, "unlucky").status is EndpointStatus.REGRESSED
    assert among.verdict is Verdict.INCONCLUSIVE
    assert "though not after correction" in among.sentence


def test_a_certain_loss_in_the_domain_fails(task, compared):
    judgement = judge(compared(task("chapter", 10, 60, role="domain"), *small_changes(task)), POLICY)
    assert judgement.verdict is Verdict.FAIL
    assert "loses on suite/chapter" in judgement.sentence


def test_a_gain_smaller_than_asked_for_is_said_and_no_items_are_promised(task, compared):
    judgement = judge(
        compared(task("chapter", 30, 10, 400, role="domain"), *small_changes(task)), Gate(min_gain=0.20)
    )
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "gains less on suite/chapter than the gate asks for" in judgement.sentence
    assert endpoint_of(judgement, "chapter").items_needed is None


def test_an_allowed_small_loss_in_the_domain_is_not_a_failure(task, compared):
    domain = task("chapter", 20, 45, 2000, role="domain")
    assert judge(compared(domain, *small_changes(task)), POLICY).verdict is Verdict.FAIL
    assert judge(compared(domain, *small_changes(task)), Gate(min_gain=-0.03)).verdict is Verdict.PASS


def test_a_hidden_loss_behind_a_good_average_does_not_pass(task, compared):
    """TRACE: GSM8K fell from 26 to 3 while the mean barely moved."""
    winners = [task(f"g{k}", 40, 5, 300) for k in range(5)]
    judgement = judge(compared(gain(task), *winners, task("maths", 5, 75, 300)), POLICY)
    assert endpoint_of(judgement, "average").status is EndpointStatus.IMPROVED
    assert judgement.verdict is Verdict.FAIL


def test_the_average_can_fail_where_no_task_does(task, compared):
    losers = [task(f"g{k}", 10, 28, 300) for k in range(6)]
    judgement = judge(compared(gain(task), *losers), POLICY)
    assert endpoint_of(judgement, "g0").status is EndpointStatus.INCONCLUSIVE
    assert judgement.verdict is Verdict.FAIL
    assert "the general average" in judgement.sentence


def test_the_guard_limits_the_relative_rise_of_bits_per_byte(task, text, compared):
    def verdict(rise, error):
        return judge(compared(gain(task), *small_changes(task), text("prose", rise, error)), POLICY)

    assert verdict(0.010, 0.004).verdict is Verdict.PASS
    assert verdict(0.024, 0.004).verdict is Verdict.INCONCLUSIVE
    failed = verdict(0.060, 0.004)
    assert failed.verdict is Verdict.FAIL
    assert "raises bits per byte of suite/prose" in failed.sentence
    endpoint = endpoint_of(failed, "prose")
    assert (endpoint.unit, endpoint.limit) == ("relative", 0.02)
    assert endpoint.value == pytest.approx(0.060 / 1.25)
    assert endpoint.low < endpoint.value < endpoint.high
    assert endpoint_of(verdict(-0.060, 0.004), "prose").status is EndpointStatus.IMPROVED


def test_domain_text_is_advisory(task, text, compared):
    worse = text("notes", 0.5, 0.01, role="domain")
    judgement = judge(compared(gain(task), *small_changes(task), worse), POLICY)
    assert judgement.verdict is Verdict.PASS
    (advisory,) = judgement.advisory
    assert (advisory.task, advisory.status, advisory.unit) == ("notes", EndpointStatus.REGRESSED, "bits")
    assert advisory.value == pytest.approx(-0.5)


def test_a_task_that_is_not_gated_is_shown_and_decides_nothing(task, compared):
    advisory = task("maths", 5, 75, 300, gated=False)
    judgement = judge(compared(gain(task), *small_changes(task), advisory), POLICY)
    assert judgement.verdict is Verdict.PASS
    assert [e.task for e in judgement.advisory] == ["maths"]
    assert judgement.advisory[0].p_broken_holm is None


def test_a_gated_task_without_an_interval_keeps_the_gate_from_passing(task, compared):
    known = gain(task)
    facts = known.metrics["accuracy"].model_copy(update={"difference": None, "reason": "only 5 clusters"})
    silent = task("grammar", metrics={"accuracy": facts})
    judgement = judge(compared(known, *small_changes(task), silent), POLICY)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reasons == ("suite/grammar: only 5 clusters",)
    assert "no interval for suite/grammar: only 5 clusters" in judgement.sentence


def test_problems_of_the_pair_are_not_comparable(compared):
    judgement = judge(compared(problems=("the adapter is not live", "another")), POLICY)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.NOT_COMPARABLE, 4)
    assert judgement.sentence == "NOT COMPARABLE: lora against base: the adapter is not live (1 more)."
    assert judgement.endpoints == ()


def test_a_problem_of_a_gated_task_is_not_comparable_and_named_once(task, compared):
    broken = [task(f"g{k}", problems=("dtype differs",), metrics={}) for k in range(3)]
    judgement = judge(compared(gain(task), *broken, general_average=None), POLICY)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.NOT_COMPARABLE, 4)
    assert judgement.reasons == ("suite/g0 and 2 more tasks: dtype differs",)


def test_a_problem_of_an_advisory_task_is_told_and_decides_nothing(task, compared):
    broken = task("maths", problems=("1 item missing",), metrics={}, gated=False)
    judgement = judge(compared(gain(task), *small_changes(task), broken), POLICY)
    assert judgement.verdict is Verdict.PASS
    assert judgement.reasons == ("suite/maths: 1 item missing (advisory)",)


def test_an_alarm_fails_whatever_the_margins(task, compared):
    alarm = "lora generated nothing but empty answers"
    judgement = judge(compared(gain(task), *small_changes(task), task("qa", alarms=(alarm,))), POLICY)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.FAIL, 1)
    assert judgement.sentence == f"FAIL: lora against base: suite/qa: {alarm}."


def test_scores_that_are_not_finite_fail_rather_than_being_incomparable(task, compared):
    text = "lora has scores that are not finite on item 3"
    broken = task("qa", alarms=(text,), problems=(text,), metrics={})
    assert judge(compared(gain(task), broken, general_average=None), POLICY).verdict is Verdict.FAIL


def test_without_a_domain_task_that_can_decide_nothing_passes(task, text, compared):
    for domain in ([], [text("notes", 0.0, 0.01, role="domain")], [gain(task, gated=False)]):
        judgement = judge(compared(*domain, *small_changes(task)), POLICY)
        assert (judgement.verdict, judgement.exit_code) == (Verdict.NOT_COMPARABLE, 4)


def test_a_pass_without_general_tasks_says_that_forgetting_was_not_looked_at(task, compared):
    judgement = judge(compared(gain(task)), POLICY)
    assert judgement.verdict is Verdict.PASS
    assert "nothing is said about forgetting" in judgement.sentence


def test_a_stricter_alpha_widens_the_bounds_and_raises_the_bar(task, compared):
    comparison = compared(task("chapter", 40, 22, role="domain"), *small_changes(task))
    usual, strict = judge(comparison, POLICY), judge(comparison, POLICY.model_copy(update={"alpha": 0.001}))
    assert usual.verdict is Verdict.PASS
    assert strict.verdict is Verdict.INCONCLUSIVE
    assert endpoint_of(strict, "chapter").low < endpoint_of(usual, "chapter").low
    assert "99.8 % interval" in strict.sentence


def test_few_changed_answers_are_decided_by_the_exact_test_and_the_sentence_says_so(task, compared):
    comparison = compared(task("chapter", 5, 0, 100, role="domain"), *small_changes(task))
    assert judge(comparison, POLICY).verdict is Verdict.PASS
    fewer = judge(compared(task("chapter", 4, 0, 100, role="domain"), *small_changes(task)), POLICY)
    assert endpoint_of(fewer, "chapter").low > 0
    assert fewer.verdict is Verdict.INCONCLUSIVE
    assert "the exact or corrected test decides, p 0.062" in fewer.sentence


@pytest.mark.parametrize(
    ("verdict", "blocked", "allowed"),
    [
        (Verdict.PASS, 0, 0),
        (Verdict.FAIL, 1, 1),
        (Verdict.INCONCLUSIVE, 4, 0),
        (Verdict.NOT_COMPARABLE, 4, 4),
    ],
)
def test_every_verdict_has_its_exit_code(verdict, blocked, allowed):
    assert exit_code(verdict, Gate()) == blocked
    assert exit_code(verdict, Gate(on_inconclusive="allow")) == allowed


def test_an_allowed_inconclusive_says_that_it_was_allowed(task, compared):
    comparison = compared(task("chapter", 0, 0, role="domain"), *small_changes(task))
    judgement = judge(comparison, Gate(on_inconclusive="allow"))
    assert (judgement.verdict, judgement.exit_code) == (Verdict.INCONCLUSIVE, 0)
    assert judgement.sentence.endswith('Allowed by on_inconclusive = "allow".')


def test_the_worst_of_several_decides(task, compared):
    passed = judge(compared(gain(task), *small_changes(task), tuned="a"), POLICY)
    unsure = judge(compared(task("chapter", role="domain"), *small_changes(task), tuned="b"), POLICY)
    void = judge(compared(problems=("not live",), tuned="c"), POLICY)
    failed = judge(compared(gain(task), task("maths", 5, 75), tuned="d"), POLICY)
    worst = [
        ([passed], Verdict.PASS, 0),
        ([passed, unsure], Verdict.INCONCLUSIVE, 4),
        ([unsure, void, passed], Verdict.NOT_COMPARABLE, 4),
        ([passed, void, failed, unsure], Verdict.FAIL, 1),
    ]
    for judgements, verdict, code in worst:
        result = gate(judgements, POLICY)
        assert (result.verdict, result.exit_code) == (verdict, code)
        assert result.sentence.startswith(verdict)
        assert result.judgements == tuple(judgements)


def test_only_the_declared_configurations_count_and_all_of_them_must_be_measured(task, compared):
    passed = judge(compared(gain(task), *small_changes(task), tuned="a"), POLICY)
    failed = judge(compared(gain(task), task("maths", 5, 75), tuned="b"), POLICY)
    assert gate([passed, failed], Gate(tuned=("a",))).verdict is Verdict.PASS
    absent = gate([passed, failed], Gate(tuned=("a", "c")))
    assert (absent.verdict, absent.exit_code) == (Verdict.NOT_COMPARABLE, 4)
    assert absent.sentence.startswith("NOT COMPARABLE: c: nothing is measured yet.")


def test_nothing_measured_is_not_comparable():
    result = gate([], POLICY)
    assert (result.verdict, result.exit_code) == (Verdict.NOT_COMPARABLE, 4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), min_size=2, max_size=5))
def test_a_tuned_model_that_only_loses_never_passes(task, compared, tables):
    domain = task("chapter", 0, tables[0][1], role="domain")
    general = [task(f"g{k}", *table) for k, table in enumerate(tables[1:])]
    assert judge(compared(domain, *general), POLICY).verdict is not Verdict.PASS


def test_shuffled_labels_pass_no_more_often_than_alpha(task, compared):
    """A no-op in the domain: wins and losses are a fair coin; passing is a false claim."""
    generator = np.random.default_rng(1)
    general = small_changes(task)
    wins = generator.binomial(40, 0.5, size=600)
    passes = sum(
        judge(compared(task("chapter", int(w), 40 - int(w), role="domain"), *general), POLICY).verdict
        is Verdict.PASS
        for w in wins
    )
    assert 0 < passes / 600 <= 0.065
