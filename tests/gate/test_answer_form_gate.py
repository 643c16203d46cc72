"""A tripwire on the form of answers: a sure drop fails, and nothing has to be shown for a pass."""

from __future__ import annotations

import pytest

from harness.comparison.facts import FormFacts, FormRates
from harness.experiment.schema import Gate
from harness.gate.judge import judge
from harness.gate.verdict import EndpointStatus, Verdict
from harness.statistics.tango import tango_difference

POLICY = Gate(max_drop_task=0.065, max_drop_average=0.025)


def form(wins, losses, n=300):
    """So many answers came into the asked form, and out of it."""
    rates = FormRates(empty=0.0, truncated=None, unparsed=0.1)
    return FormFacts(base=rates, tuned=rates, parsed=tango_difference(wins, losses, n))


def gain(task, **fields):
    return task("chapter", 150, 20, role="domain", **fields)


def kept(task):
    return [task(f"general{k}", 6, 7, 400) for k in range(3)]


def form_endpoint(judgement, task):
    found = [*judgement.endpoints, *judgement.advisory]
    (endpoint,) = [each for each in found if (each.task, each.rule) == (task, "max_drop_format")]
    return endpoint


@pytest.mark.parametrize("role", ["domain", "general"])
def test_a_sure_drop_of_the_form_fails_in_either_role(task, compared, role):
    written = (
        task("written", 60, 20, role=role, form=form(2, 125))
        if role == "domain"
        else task("written", 6, 7, 400, form=form(2, 125))
    )
    judgement = judge(compared(gain(task), *kept(task), written), POLICY)
    endpoint = form_endpoint(judgement, "written")
    assert (judgement.verdict, judgement.exit_code) == (Verdict.FAIL, 1)
    assert (endpoint.status, endpoint.limit, endpoint.metric) == (EndpointStatus.REGRESSED, 0.05, "parsed")
    assert endpoint.p_broken <= endpoint.p_broken_holm < 0.05
    assert judgement.sentence.startswith(
        "FAIL: lora loses the answer form on suite/written against base: −41.0 pp (90 % interval"
    )
    assert "limit −5.0 pp), Holm-adjusted p" in judgement.sentence


def test_a_form_that_is_not_shown_to_be_kept_does_not_keep_the_gate_from_passing(task, compared):
    unsure = task("written", 6, 7, 400, form=form(3, 18))
    judgement = judge(compared(gain(task), *kept(task), unsure), POLICY)
    endpoint = form_endpoint(judgement, "written")
    assert endpoint.status is EndpointStatus.INCONCLUSIVE
    assert endpoint.items_needed is None, "nothing has to be settled"
    assert judgement.verdict is Verdict.PASS


def test_a_kept_form_does_not_make_a_pass_of_an_open_question(task, compared):
    domain = task("chapter", 0, 0, role="domain", form=form(0, 0))
    assert judge(compared(domain, *kept(task)), POLICY).verdict is Verdict.INCONCLUSIVE


def test_the_limit_is_the_policys_own(task, compared):
    comparison = compared(gain(task, form=form(2, 60)), *kept(task))
    assert judge(comparison, POLICY).verdict is Verdict.FAIL
    assert judge(comparison, POLICY.model_copy(update={"max_drop_format": 0.25})).verdict is Verdict.PASS


def test_tripwires_are_asked_together_with_the_general_rules(task, compared):
    """Beyond its limit by itself, but no longer once it is asked among many: Holm."""

    def judgement(many):
        others = [task(f"general{k}", 6, 7, 400, form=form(5, 5)) for k in range(many)]
        return judge(compared(gain(task, form=form(8, 36)), *others), POLICY)

    assert form_endpoint(judgement(0), "chapter").p_broken_holm < 0.05
    assert judgement(0).verdict is Verdict.FAIL
    assert form_endpoint(judgement(8), "chapter").p_broken < 0.05
    assert form_endpoint(judgement(8), "chapter").p_broken_holm > 0.05
    assert judgement(8).verdict is Verdict.PASS


def test_the_form_of_an_advisory_task_is_shown_and_decides_nothing(task, compared):
    advisory = task("written", 6, 7, 400, form=form(2, 125), gated=False)
    judgement = judge(compared(gain(task), *kept(task), advisory), POLICY)
    assert judgement.verdict is Verdict.PASS
    assert form_endpoint(judgement, "written") in judgement.advisory
    assert form_endpoint(judgement, "written").status is EndpointStatus.REGRESSED


def test_where_the_form_is_not_known_no_rule_is_asked(task, compared):
    unknown = FormFacts(
        **{side: FormRates(empty=0.5, truncated=None, unparsed=None) for side in ("base", "tuned")}
    )
    judgement = judge(compared(gain(task, form=unknown), *kept(task)), POLICY)
    assert judgement.verdict is Verdict.PASS
    assert "max_drop_format" not in {each.rule for each in (*judgement.endpoints, *judgement.advisory)}
