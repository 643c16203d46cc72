"""Limits that lie within what scoring the base twice changes."""

from __future__ import annotations

import json

import pytest

from harness.comparison.facts import NoiseFacts
from harness.experiment.schema import Gate
from harness.gate.formats import as_json
from harness.gate.judge import gate, judge
from harness.gate.verdict import EndpointStatus, Verdict

POLICY = Gate(max_drop_task=0.065, max_drop_average=0.025)


def noise(deviation, items=200):
    return NoiseFacts(items=items, to_wrong=0.01, to_right=0.01, deviation=deviation)


def gain(task, **fields):
    return task("chapter", 150, 20, role="domain", **fields)


def kept(task, name="facts", **fields):
    """Surely within 6.5 pp by its p-value."""
    return task(name, 6, 7, 400, **fields)


def endpoint_of(judgement, task):
    (found,) = [e for e in (*judgement.endpoints, *judgement.advisory) if e.task == task]
    return found


def test_a_limit_within_the_noise_is_not_kept_whatever_the_p_value(task, compared):
    judgement = judge(compared(gain(task), kept(task, noise=noise(0.04)), kept(task, "other")), POLICY)
    endpoint = endpoint_of(judgement, "facts")
    assert endpoint.p_holds < 0.001
    assert endpoint.status is EndpointStatus.INCONCLUSIVE
    assert endpoint.within_noise == pytest.approx(0.08)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.INCONCLUSIVE, 4)
    assert judgement.reasons == (
        "suite/facts: the limit −6.5 pp certifies nothing; "
        "scoring base twice may alone change this by ±8.0 pp",
    )
    assert judgement.sentence == (
        "INCONCLUSIVE: these items cannot show that lora keeps suite/facts within its limit against base: "
        "−0.2 pp (90 % interval −1.9 to +1.3, limit −6.5 pp); scoring base twice may alone change this by "
        "±8.0 pp; about 606 items would settle it."
    )


def test_the_margin_must_exceed_two_deviations_and_not_only_reach_them(task, compared):
    def status(deviation):
        return endpoint_of(
            judge(compared(gain(task), kept(task, noise=noise(deviation))), POLICY), "facts"
        ).status

    assert status(0.0325) is EndpointStatus.INCONCLUSIVE
    assert status(0.0324) is EndpointStatus.RETAINED
    assert status(0.0) is EndpointStatus.RETAINED
    assert status(None) is EndpointStatus.RETAINED


def test_an_improvement_within_the_noise_is_not_shown_either(task, compared):
    better = task("facts", 60, 2, 400, noise=noise(0.04))
    assert endpoint_of(judge(compared(gain(task), better), POLICY), "facts").status is (
        EndpointStatus.INCONCLUSIVE
    )


def test_noise_hides_no_certain_loss(task, compared):
    judgement = judge(compared(gain(task), task("maths", 5, 75, 300, noise=noise(0.04))), POLICY)
    assert endpoint_of(judgement, "maths").status is EndpointStatus.REGRESSED
    assert judgement.verdict is Verdict.FAIL


def test_a_gain_needs_no_margin_and_an_allowed_loss_has_one(task, compared):
    """A gain is shown on items whose spread holds the noise already; a loss that may be is a margin."""
    comparison = compared(gain(task, noise=noise(0.04)), kept(task))
    for policy in (POLICY, POLICY.model_copy(update={"min_gain": 0.05})):
        judgement = judge(comparison, policy)
        assert (judgement.verdict, judgement.reasons) == (Verdict.PASS, ())
    loss_allowed = judge(comparison, POLICY.model_copy(update={"min_gain": -0.03}))
    assert endpoint_of(loss_allowed, "chapter").status is EndpointStatus.INCONCLUSIVE
    assert loss_allowed.reasons[0].startswith("suite/chapter: the limit −3.0 pp certifies nothing")


def test_the_average_is_held_to_its_own_noise(task, compared):
    tasks = [kept(task, f"g{k}", noise=noise(0.03)) for k in range(4)]
    assert compared(*tasks).general_noise == pytest.approx(0.015)
    judgement = judge(compared(gain(task), *tasks), POLICY)
    assert endpoint_of(judgement, "g0").status is EndpointStatus.RETAINED
    assert endpoint_of(judgement, "average").within_noise == pytest.approx(0.03)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reasons == (
        "the general average: the limit −2.5 pp certifies nothing; "
        "scoring base twice may alone change this by ±3.0 pp",
    )


def test_the_guard_compares_the_noise_as_a_share_of_the_base(task, text, compared):
    def judged(deviation):
        prose = text("prose", 0.001, 0.0004, base=1.25, noise=noise(deviation))
        return judge(compared(gain(task), kept(task), prose), POLICY)

    assert judged(0.0124).verdict is Verdict.PASS
    loud = judged(0.0126)
    assert endpoint_of(loud, "prose").within_noise == pytest.approx(2 * 0.0126 / 1.25)
    assert loud.reasons[0].startswith("bits per byte of suite/prose: the limit +2.00 % certifies nothing")


def test_noise_of_another_metric_than_the_judged_one_decides_nothing(task, text, compared):
    bits = text("prose", 0.001, 0.0004).metrics["bits_per_byte"]
    perplexity = bits.model_copy(
        update={"metric": bits.metric.model_copy(update={"name": "perplexity", "unit": "perplexity"})}
    )
    both = {"perplexity": perplexity, "bits_per_byte": bits}
    prose = text("prose", 0.0, 0.0, metrics=both, primary="perplexity", noise=noise(9.0))
    judgement = judge(compared(gain(task), kept(task), prose), POLICY)
    assert (judgement.verdict, endpoint_of(judgement, "prose").within_noise) == (Verdict.PASS, None)


def test_an_advisory_task_within_the_noise_gives_no_reason(task, compared):
    advisory = kept(task, "shown", noise=noise(0.04), gated=False)
    judgement = judge(compared(gain(task), kept(task), advisory), POLICY)
    assert (judgement.verdict, judgement.reasons) == (Verdict.PASS, ())
    assert endpoint_of(judgement, "shown").status is EndpointStatus.INCONCLUSIVE


def test_more_items_settle_what_noise_hides(task, compared):
    """The same noise of an item on as many items as the gate asked for."""
    few = judge(compared(gain(task), kept(task, noise=noise(0.04))), POLICY)
    needed = endpoint_of(few, "facts").items_needed
    scaled = 0.04 * (400 / needed) ** 0.5
    many = judge(compared(gain(task), task("facts", 9, 10, needed, noise=noise(scaled))), POLICY)
    assert endpoint_of(many, "facts").status is EndpointStatus.RETAINED


def test_the_json_says_it_for_machines(task, compared):
    result = gate([judge(compared(gain(task), kept(task, noise=noise(0.04))), POLICY)], POLICY)
    (judgement,) = json.loads(as_json(result))["judgements"]
    rules = {rule["task"]: rule for rule in judgement["rules"]}
    assert rules["facts"]["within_noise"] == pytest.approx(0.08)
    assert rules["chapter"]["within_noise"] is None
    assert judgement["comparability"] == list(result.judgements[0].reasons)
