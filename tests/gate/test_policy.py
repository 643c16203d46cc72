"""What the gate asks of single tasks: margins of their own, and how much each task counts."""

from __future__ import annotations

import pytest

from harness.comparison.compare import average_difference
from harness.comparison.facts import SuiteFacts
from harness.experiment.gate_schema import TaskRule
from harness.experiment.metrics import METRICS
from harness.experiment.schema import Gate
from harness.gate.formats import as_document
from harness.gate.judge import gate, judge
from harness.gate.lint import Counted, chance_to_pass, prospects
from harness.gate.policy import under
from harness.gate.strength import excess, mean_change
from harness.gate.verdict import EndpointStatus, Verdict


def policy(**rules):
    """Rules of tasks of the suite called `suite`."""
    return Gate(task={f"suite/{name}": TaskRule(**rule) for name, rule in rules.items()})


def gain(task, name="chapter", **fields):
    return task(name, 150, 20, role="domain", **fields)


def steady(task, count=4):
    return [task(f"general{k}", 6, 7, 400) for k in range(count)]


def endpoint_of(judgement, name):
    (found,) = [each for each in (*judgement.endpoints, *judgement.advisory) if each.task == name]
    return found


SUPPORTING, ADVISORY = {"tier": "supporting"}, {"tier": "advisory"}


def test_a_task_is_judged_by_its_own_drop(task, compared):
    comparison = compared(gain(task), *steady(task, 9), task("maths", 10, 40, 400))
    assert judge(comparison, policy()).verdict is Verdict.INCONCLUSIVE
    wide = judge(comparison, policy(maths={"max_drop": 0.15}))
    assert wide.verdict is Verdict.PASS
    assert endpoint_of(wide, "maths").limit == 0.15
    assert endpoint_of(wide, "general0").limit == 0.065
    assert "suite/maths −7.5 pp" in wide.sentence
    assert "limit −15.0 pp" in wide.sentence
    narrow = judge(comparison, policy(maths={"max_drop": 0.01}))
    assert narrow.verdict is Verdict.FAIL
    assert "loses on suite/maths" in narrow.sentence
    assert "limit −1.0 pp" in narrow.sentence


def test_a_domain_task_is_judged_by_its_own_gain(task, compared):
    comparison = compared(gain(task), *steady(task))
    much = judge(comparison, policy(chapter={"min_gain": 0.6}))
    assert much.verdict is Verdict.INCONCLUSIVE
    assert "gains less on suite/chapter than the gate asks for" in much.sentence
    lost = compared(task("chapter", 20, 45, 2000, role="domain"), *steady(task))
    assert judge(lost, policy()).verdict is Verdict.FAIL
    assert judge(lost, policy(chapter={"min_gain": -0.03})).verdict is Verdict.PASS


def test_a_text_is_judged_by_its_own_rise(task, text, compared):
    comparison = compared(gain(task), *steady(task), text("prose", 0.060, 0.004))
    assert judge(comparison, policy()).verdict is Verdict.FAIL
    wide = judge(comparison, policy(prose={"max_bits_per_byte_increase": 0.1}))
    assert wide.verdict is Verdict.PASS
    assert endpoint_of(wide, "prose").limit == 0.1


def test_an_undecided_supporting_task_never_blocks_a_pass_and_is_said(task, compared):
    """Eight losses in a hundred: a drop of 8 pp that 100 items cannot tell from the limit."""
    comparison = compared(gain(task), *steady(task, 8), task("maths", 0, 8, 100))
    assert judge(comparison, policy()).verdict is Verdict.INCONCLUSIVE
    judgement = judge(comparison, policy(maths=SUPPORTING))
    assert judgement.verdict is Verdict.PASS
    endpoint = endpoint_of(judgement, "maths")
    assert (endpoint.tier, endpoint.status) == ("supporting", EndpointStatus.INCONCLUSIVE)
    assert "; supporting only, not shown: suite/maths −8.0 pp" in judgement.sentence
    assert {each.tier for each in judgement.endpoints if each.task != "maths"} == {"critical"}


def test_a_shown_loss_on_a_supporting_task_fails(task, compared):
    comparison = compared(gain(task), *steady(task), task("maths", 5, 75, 300))
    judgement = judge(comparison, policy(maths=SUPPORTING))
    assert judgement.verdict is Verdict.FAIL
    assert judgement.sentence.startswith("FAIL: lora loses on suite/maths against base: −23.3 pp")


def test_supporting_tasks_are_among_those_that_holm_corrects_for(task, compared):
    unlucky = task("unlucky", 8, 45, 300)
    asked = {f"general{k}": SUPPORTING for k in range(4)}
    wide = Gate(max_drop_task=0.085, max_drop_average=0.5)
    all_count = judge(compared(gain(task), unlucky, *steady(task)), wide)
    some = judge(
        compared(gain(task), unlucky, *steady(task)), wide.model_copy(update={"task": policy(**asked).task})
    )
    without = judge(
        compared(gain(task), unlucky, *steady(task)),
        wide.model_copy(update={"task": policy(**dict.fromkeys(asked, ADVISORY)).task}),
    )
    adjusted = [endpoint_of(each, "unlucky").p_broken_holm for each in (all_count, some, without)]
    assert adjusted[0] == adjusted[1] > adjusted[2]


def test_a_supporting_task_beyond_its_limit_but_not_after_correction_is_said_and_passes(task, compared):
    unlucky = task("unlucky", 8, 45, 300)
    wide = Gate(max_drop_task=0.085, max_drop_average=0.5, task=policy(unlucky=SUPPORTING).task)
    judgement = judge(compared(gain(task), unlucky, *steady(task, 9)), wide)
    assert endpoint_of(judgement, "unlucky").status is EndpointStatus.REGRESSED
    assert judgement.verdict is Verdict.PASS
    assert (
        "supporting only, beyond its limit though not after correction: suite/unlucky" in judgement.sentence
    )


def test_a_supporting_domain_task_need_not_gain_but_must_not_surely_lose(task, compared):
    second = task("titles", 5, 4, role="domain")
    rules = policy(titles=SUPPORTING)
    passed = judge(compared(gain(task), second, *steady(task)), rules)
    assert passed.verdict is Verdict.PASS
    assert "gains on suite/chapter over base: " in passed.sentence
    assert judge(compared(gain(task), second, *steady(task)), policy()).verdict is Verdict.INCONCLUSIVE
    losing = task("titles", 5, 60, role="domain")
    assert judge(compared(gain(task), losing, *steady(task)), rules).verdict is Verdict.FAIL


def test_at_least_one_critical_domain_task_is_needed(task, compared):
    for rule in (SUPPORTING, ADVISORY):
        judgement = judge(compared(gain(task), *steady(task)), policy(chapter=rule))
        assert (judgement.verdict, judgement.exit_code) == (Verdict.NOT_COMPARABLE, 4)
        assert "no domain task decides" in judgement.sentence


def test_an_advisory_task_is_shown_and_decides_nothing(task, compared):
    comparison = compared(gain(task), *steady(task), task("maths", 5, 75, 300))
    judgement = judge(comparison, policy(maths=ADVISORY))
    assert judgement.verdict is Verdict.PASS
    assert [(each.task, each.tier) for each in judgement.advisory] == [("maths", "advisory")]
    assert judgement == judge(
        compared(gain(task), *steady(task), task("maths", 5, 75, 300, gated=False)), Gate()
    )


def test_averages_are_over_critical_and_supporting_tasks_in_every_reader(task, compared):
    tasks = [gain(task), *steady(task), task("maths", 5, 75, 300), task("words", 3, 9, 300)]
    suites = (SuiteFacts(suite="suite", role="general", tasks=("maths",), average=None),)
    comparison = compared(*tasks, suites=suites)
    rules = policy(maths=ADVISORY, words=SUPPORTING)

    seen = under(rules, comparison)

    left = [each for each in tasks if each.role == "general" and each.task != "maths"]
    assert seen.general_average == average_difference(left)
    assert [each.gated for each in seen.tasks] == [each.task != "maths" for each in tasks]
    assert "maths" not in seen.suites[0].tasks
    assert "words" in seen.suites[0].tasks
    assert under(rules, seen) == seen
    assert under(policy(words=SUPPORTING), comparison) is comparison


def test_the_average_need_not_be_shown_where_only_supporting_tasks_are_in_it(task, compared):
    small = [task(f"g{k}", 1, 2, 40) for k in range(2)]
    supporting = policy(g0=SUPPORTING, g1=SUPPORTING)
    judgement = judge(compared(gain(task), *small), supporting)
    assert endpoint_of(judgement, "average").tier == "supporting"
    assert judgement.verdict is Verdict.PASS
    assert "kept within" not in judgement.sentence
    half = judge(compared(gain(task), *small), policy(g0=SUPPORTING))
    assert endpoint_of(half, "average").tier == "critical"
    assert half.verdict is Verdict.INCONCLUSIVE


def silent(task, name):
    facts = (
        task(name).metrics["accuracy"].model_copy(update={"difference": None, "reason": "only 5 clusters"})
    )
    return task(name, metrics={"accuracy": facts})


def test_a_supporting_task_without_an_interval_is_said_and_blocks_only_the_average_it_is_part_of(
    task, text, compared
):
    rules = policy(grammar=SUPPORTING)
    alone = judge(compared(gain(task), silent(task, "grammar"), text("prose", 0.002, 0.004)), rules)
    assert alone.verdict is Verdict.PASS
    assert alone.reasons == ("suite/grammar: only 5 clusters (supporting)",)
    averaged = judge(compared(gain(task), silent(task, "grammar"), *steady(task)), rules)
    assert averaged.verdict is Verdict.INCONCLUSIVE
    assert (
        "no interval for the general average: suite/grammar has none (only 5 clusters)" in averaged.sentence
    )


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"grammer": {"max_drop": 0.1}}, '"suite/grammer", which is not among the tasks'),
        ({"chapter": {"max_drop": 0.1}}, "max_drop for suite/chapter has no use"),
        ({"general0": {"min_gain": 0.1}}, "min_gain for suite/general0 has no use"),
        ({"general0": {"max_bits_per_byte_increase": 0.1}}, "increase for suite/general0 has no use"),
        ({"prose": {"max_drop": 0.1}}, "max_drop for suite/prose has no use"),
    ],
)
def test_a_rule_that_says_nothing_about_what_was_compared_gives_no_verdict(task, text, compared, rules, said):
    judgement = judge(compared(gain(task), *steady(task), text("prose", 0.002, 0.004)), policy(**rules))
    assert judgement.verdict is Verdict.NOT_COMPARABLE
    assert said in judgement.sentence


def test_the_tier_is_in_the_document_for_machines(task, compared):
    judgement = judge(compared(gain(task), *steady(task, 1)), policy(general0=SUPPORTING))
    (found,) = as_document(gate([judgement], Gate()))["judgements"]
    assert [rule["tier"] for rule in found["rules"]] == ["critical", "supporting", "supporting"]
    assert found["slices"] == []


def test_the_strength_is_chosen_by_the_margins_of_single_tasks(task, text, compared):
    comparison = compared(gain(task), task("maths", 0, 40, 400), text("prose", 0.05, 0.001))
    rules = policy(maths={"max_drop": 0.2}, prose={"max_bits_per_byte_increase": 0.08})
    wide = rules.model_copy(update={"max_drop_average": 0.5})
    assert excess(comparison, wide.model_copy(update={"task": {}})) == pytest.approx(0.04 / 0.02 - 1)
    assert excess(comparison, wide) == pytest.approx(0.1 / 0.2 - 1)
    alone = under(policy(maths=ADVISORY, prose=ADVISORY), comparison)
    assert excess(alone, Gate()) == -1.0


def counted(name, items, role="general"):
    return Counted("suite", name, role, items, items)


def test_only_critical_rules_make_a_gate_impossible_or_less_likely_to_pass():
    tasks = [counted("chapter", 300, "domain"), counted("big", 2000), counted("small", 20)]
    as_all = prospects(tasks, policy())
    assert [each.place for each in as_all if each.impossible] == ["suite/small"]
    for rule in (SUPPORTING, ADVISORY):
        found = prospects(tasks, policy(small=rule))
        assert not [each for each in found if each.impossible or each.caution]
        alone = [each for each in found if each.place != "the general average"]
        assert chance_to_pass(alone) == chance_to_pass(prospects([counted("big", 2000)], policy())[:1])
    assert "suite/small" in {each.place for each in prospects(tasks, policy(small=SUPPORTING))}
    assert "suite/small" not in {each.place for each in prospects(tasks, policy(small=ADVISORY))}


def test_a_supporting_domain_task_with_too_few_items_makes_nothing_impossible():
    tasks = [counted("chapter", 300, "domain"), counted("tiny", 3, "domain")]
    assert [each.place for each in prospects(tasks, policy()) if each.impossible] == ["suite/tiny"]
    assert not [each for each in prospects(tasks, policy(tiny=SUPPORTING)) if each.impossible]
    (asked, *_) = prospects(tasks, policy(chapter={"min_gain": 0.995}))
    assert asked.limit == 0.995
    assert asked.impossible is not None


def test_a_prospect_is_about_the_margin_of_its_task_and_names_its_key():
    (found, _) = prospects([counted("small", 40)], policy(small={"max_drop": 0.03}))
    assert found.limit == 0.03
    assert found.impossible is not None
    assert "cannot exclude a drop of 3.0 pp" in found.impossible
    would = float(found.impossible.rpartition("or max_drop = ")[2])
    (wide, _) = prospects([counted("small", 40)], policy(small={"max_drop": would}))
    assert wide.impossible is None


def test_the_average_of_supporting_tasks_alone_is_no_part_of_the_chance():
    found = prospects([counted("small", 40)], policy(small=SUPPORTING))
    assert [each.passes for each in found] == [None, None]
    assert {each.tier for each in found} == {"supporting"}


def test_many_domain_tasks_that_lost_nothing_for_certain_after_holm_do_not_fail(task, compared):
    """One of six domain tasks is below zero at p 0.03: among six that is chance."""
    unlucky = task("odd", 12, 24, role="domain")
    others = [task(f"domain{k}", 15, 15, role="domain") for k in range(4)]
    rules = policy(odd=SUPPORTING, **{f"domain{k}": SUPPORTING for k in range(4)})
    judgement = judge(compared(gain(task), unlucky, *others, *steady(task)), rules)
    found = endpoint_of(judgement, "odd")
    assert found.p_broken < 0.05 < found.p_broken_holm
    assert judgement.verdict is Verdict.PASS
    surely = judge(compared(gain(task), task("odd", 5, 60, role="domain"), *steady(task)), rules.model_copy(
        update={"task": {"suite/odd": TaskRule(tier="supporting")}}))  # fmt: skip
    assert surely.verdict is Verdict.FAIL


def of_brier(task, name):
    """A general task of which a score is primary that no limit is known for, and that got much worse."""
    facts = task(name, 10, 12)
    brier = METRICS["brier"]
    return facts.model_copy(
        update={
            "primary": "brier",
            "metrics": {"brier": facts.metrics["accuracy"].model_copy(update={"metric": brier})},
        }
    )


def test_a_general_task_without_a_limit_is_said_to_decide_nothing(task, compared):
    judgement = judge(compared(gain(task), *steady(task), of_brier(task, "sure")), policy())
    assert judgement.verdict is Verdict.PASS
    assert "suite/sure decides nothing: Brier score has no limit" in judgement.reasons


def test_a_tier_that_no_limit_stands_behind_gives_no_verdict(task, compared):
    comparison = compared(gain(task), *steady(task), of_brier(task, "sure"))
    judgement = judge(comparison, policy(sure={"tier": "critical"}))
    assert judgement.verdict is Verdict.NOT_COMPARABLE
    assert judgement.exit_code == 4
    assert "no limit is known" in judgement.sentence


def test_the_strength_is_chosen_by_the_average_that_the_gate_judges(task, compared):
    """Written answers to the same items won what the likelihood lost: they are no part of the average."""
    likely, written = task("likely", 0, 30), task("written", 40, 0, likelihood="likely")
    comparison = compared(gain(task), likely, written)
    assert comparison.general_average.value == pytest.approx(-0.1)
    assert mean_change(comparison, "general") == pytest.approx(-0.1)
    assert excess(comparison, Gate(max_drop_task=0.2, max_drop_average=0.05)) == pytest.approx(1.0)


@pytest.mark.parametrize("key", ["max_drop_task", "max_drop_average", "max_drop_slice", "max_drop_format"])
def test_percent_points_written_for_fractions_are_refused(key):
    with pytest.raises(ValueError, match="less than 1"):
        Gate(**{key: 6.5})
