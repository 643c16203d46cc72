"""The sentence that says what to do: every branch, from verdicts and facts alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.comparison.compare import compare
from harness.comparison.facts import Comparison, Pair
from harness.experiment.gate_schema import Gate, TaskRule
from harness.gate.judge import gate, judge
from harness.gate.strength import StrengthPoint, strength_curve
from harness.gate.verdict import Verdict
from harness.report.document import Text
from harness.report.facts import ReportFacts
from harness.report.markdown import write_markdown
from harness.report.sections.exchange import exchange_blocks
from harness.report.sections.recommendation import recommendation
from harness.report.sections.tuning import domain_measures
from harness.report.sections.verdict import verdict_section
from harness.report.story import compose
from harness.store.columns import columns

POLICY = Gate(max_drop_task=0.065, max_drop_average=0.025)


def side(name: str, suite: str, task: str, right: list[int]) -> Any:
    return columns(name, task, {"accuracy": [float(score) for score in right]}, suite=suite)


def flips(wins: int, losses: int, n: int = 1000) -> tuple[list[int], list[int]]:
    """Base and tuned; of the items that do not change half are right."""
    rest = n - wins - losses
    same = [1] * (rest // 2) + [0] * (rest - rest // 2)
    return [0] * wins + [1] * losses + same, [1] * wins + [0] * losses + same


def pair_of(
    tuned: str,
    gain: tuple[int, int] = (200, 40),
    loss: tuple[int, int] = (10, 12),
    base: str = "base",
    **about: Any,
) -> Comparison:
    """A comparison of real measurements: (wins, losses) of 1,000 domain and 1,000 general items."""
    kept, changed = flips(*gain), flips(*loss)
    about = {"differs_in": "adapter", "roles": {"medical": "domain", "general": "general"}, **about}
    return compare(
        [side(base, "medical", "chapter", kept[0]), side(base, "general", "facts", changed[0])],
        [side(tuned, "medical", "chapter", kept[1]), side(tuned, "general", "facts", changed[1])],
        Pair(base=base, tuned=tuned, **about),
    )


def report(*pairs: Comparison, policy: Gate = POLICY, **fields: Any) -> ReportFacts:
    judged = [judge(pair, policy) for pair in pairs if pair.differs_in != "quantization"]
    return ReportFacts(
        name="medical", verdict=gate(judged, policy), policy=policy, comparisons=pairs, **fields
    )


def verdicts(facts: ReportFacts) -> list[Verdict]:
    return [judgement.verdict for judgement in facts.verdict.judgements]


def said(facts: ReportFacts) -> str:
    return recommendation(facts).replace("\u00a0", " ")


def test_one_that_passes_is_used_with_its_gain_its_cost_and_how_certain_they_are() -> None:
    facts = report(pair_of("lora"))

    assert verdicts(facts) == [Verdict.PASS]
    assert said(facts) == (
        "Use lora: it gains +16.0 pp (90 % interval +13.6 … +18.4) on chapter · accuracy; the general average "
        "changes by −0.2 pp (90 % interval −1.0 … +0.6); every critical rule of the gate holds, each at 5 %."
    )


def test_what_is_open_and_need_not_be_shown_is_never_what_to_measure() -> None:
    supporting = {"general/facts": TaskRule(tier="supporting", max_drop=0.02)}
    policy = POLICY.model_copy(update={"task": supporting, "max_drop_average": 0.02})
    open_domain = report(pair_of("lora", gain=(60, 50), loss=(10, 30)), policy=policy)
    (judgement,) = open_domain.verdict.judgements

    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert {each.task for each in judgement.endpoints if each.status == "inconclusive"} == {
        "chapter",
        "facts",
        "average",
    }
    assert [each.task for each in judgement.decisive] == ["chapter"]
    assert "more items of medical/chapter;" in said(open_domain)


def test_a_slice_that_broke_is_what_failed() -> None:
    def sliced(measurement: Any) -> Any:
        items = (replace(item, slices={"half": "first" if int(item.item) < 300 else "second"})
                 for item in measurement.items)  # fmt: skip
        return replace(measurement, items=tuple(items))

    right, lost = [1] * 1000, [0] * 90 + [1] * 910
    gained = flips(200, 40)
    pair = compare(
        [side("base", "medical", "chapter", gained[0]), sliced(side("base", "general", "facts", right))],
        [side("lora", "medical", "chapter", gained[1]), sliced(side("lora", "general", "facts", lost))],
        Pair(base="base", tuned="lora", differs_in="adapter",
             roles={"medical": "domain", "general": "general"}),
    )  # fmt: skip
    facts = report(pair, policy=Gate(max_drop_task=0.2, max_drop_average=0.2, max_drop_slice=0.1))

    assert verdicts(facts) == [Verdict.FAIL]
    assert said(facts).startswith("Do not ship what failed: lora breaks max_drop_slice on general/facts")


def test_a_certain_loss_is_priced() -> None:
    facts = report(pair_of("lora", loss=(2, 18)), policy=Gate(max_drop_average=0.04))

    assert verdicts(facts) == [Verdict.PASS]
    assert "changes by −1.6 pp" in said(facts)
    assert "+10.0 pp gained for each 1.0 pp lost" in said(facts)


def test_of_several_that_pass_the_one_with_the_separated_gain_is_used() -> None:
    facts = report(pair_of("small", gain=(100, 40)), pair_of("large", gain=(300, 40), loss=(10, 14)))

    assert verdicts(facts) == [Verdict.PASS, Verdict.PASS]
    assert said(facts).startswith(
        "Use large: of the 2 that pass it gains most, its interval above the others'; "
    )
    assert said(facts).endswith(
        "Choosing among several on test items makes the numbers of the chosen one optimistic."
    )


def test_of_several_that_gain_alike_the_one_that_costs_least_is_used() -> None:
    facts = report(
        pair_of("dear", gain=(205, 40), loss=(6, 20)), pair_of("cheap", loss=(30, 0)), policy=Gate(max_drop_average=0.04)
    )  # fmt: skip

    assert verdicts(facts) == [Verdict.PASS, Verdict.PASS]
    assert said(facts).startswith(
        "Use cheap: dear and cheap are not separated in gain; it costs least; it gains +16.0 pp"
    )


def test_a_least_cost_that_is_not_separated_is_said_to_be_uncertain() -> None:
    facts = report(pair_of("one", gain=(205, 40)), pair_of("other", loss=(11, 10)))

    assert (
        "Use other: one and other are not separated in gain; it costs least, though not with certainty; "
        in said(facts)
    )


def test_one_that_gains_less_for_certain_is_never_the_cheapest_choice() -> None:
    facts = report(
        pair_of("weak", gain=(90, 40), loss=(40, 0)), pair_of("a", gain=(300, 40)), pair_of("b", gain=(310, 40), loss=(9, 9))
    )  # fmt: skip

    assert verdicts(facts) == [Verdict.PASS] * 3
    assert said(facts).startswith("Use b: a and b are not separated in gain")


def test_without_general_tasks_nothing_says_what_a_gain_cost() -> None:
    def only_domain(tuned: str) -> Comparison:
        base, after = flips(200, 40)
        return compare(
            [side("base", "medical", "chapter", base)],
            [side(tuned, "medical", "chapter", after)],
            Pair(base="base", tuned=tuned, differs_in="adapter", roles={"medical": "domain"}),
        )

    assert "no average of general tasks says what it cost" in said(report(only_domain("lora")))
    assert said(report(only_domain("one"), only_domain("two"))).startswith(
        "Use one: one and two are not separated in gain, and nothing says what they cost: it is only the first"
    )


def test_gains_over_different_bases_are_not_compared() -> None:
    facts = report(pair_of("lora"), pair_of("qlora", gain=(400, 40), base="base-nf4"))

    assert "Of those against base use lora: " in said(facts)
    assert "Of those against base-nf4 use qlora: " in said(facts)
    assert said(facts).endswith(
        "Gains over different bases are not compared: first see what quantisation itself costs."
    )
    assert "optimistic" not in said(facts)


def test_what_quantisation_costs_is_never_recommended() -> None:
    quantised = pair_of("base-nf4", differs_in="quantization")
    policy = Gate()
    facts = ReportFacts(
        name="medical",
        verdict=gate([judge(quantised, policy)], policy),
        policy=policy,
        comparisons=(quantised,),
    )

    assert verdicts(facts) == [Verdict.PASS]
    assert recommendation(facts) == ""
    assert "base-nf4" not in said(report(pair_of("lora"), quantised))


@pytest.mark.parametrize("validated", [True, False])
def test_a_strength_is_said_to_be_chosen_on_validation_items_where_it_was(validated: bool) -> None:
    full, half = pair_of("lora"), pair_of("lora@0.5", gain=(120, 40))
    nothing = Comparison(base="base", tuned="lora", differs_in="adapter")
    points = [
        StrengthPoint(
            strength=strength, tuned=pair.tuned, validation=pair if validated else nothing, test=pair
        )
        for strength, pair in ((1.0, full), (0.5, half))
    ]
    facts = report(full, strengths=(strength_curve("lora", 0, points, POLICY),))

    told = "Its strength 1 was chosen on validation items, which adds no optimism." in said(facts)

    assert told is validated


def test_what_is_open_needs_so_many_more_items() -> None:
    facts = report(pair_of("lora", loss=(100, 128)))

    assert verdicts(facts) == [Verdict.INCONCLUSIVE]
    (judgement,) = facts.verdict.judgements
    needed = {
        endpoint.rule: endpoint.items_needed for endpoint in judgement.endpoints if endpoint.items_needed
    }
    assert needed
    assert said(facts).startswith("Do not ship lora yet: measure about ")
    for items in needed.values():
        assert f"about {items - 1000:,} more items of " in said(facts)
    assert "is open, −2.8 pp (90 % interval " in said(facts)


def test_of_several_that_are_open_the_nearest_to_an_answer_is_named() -> None:
    far, near = pair_of("far", gain=(110, 102)), pair_of("near", gain=(112, 92))
    facts = report(far, near)

    assert verdicts(facts) == [Verdict.INCONCLUSIVE] * 2
    assert said(facts).startswith("Do not ship near yet, the nearest to an answer of 2: measure about ")


def test_what_no_number_of_items_would_settle_is_not_measured_again() -> None:
    facts = report(pair_of("lora"), policy=Gate(min_gain=0.3, max_drop_average=0.025))

    assert verdicts(facts) == [Verdict.INCONCLUSIVE]
    assert said(facts).startswith(
        "Do not ship lora yet: lora on medical/chapter is open, +16.0 pp (90 % interval "
    )
    assert said(facts).endswith("at this value no number of items would settle it.")


def test_many_that_no_number_of_items_would_settle_are_counted() -> None:
    facts = report(
        *(pair_of(f"lora{n}") for n in range(5)), policy=Gate(min_gain=0.3, max_drop_average=0.025)
    )

    assert said(facts).startswith(
        "Do not ship lora0, lora1 and lora2 and 2 more yet: lora0 on medical/chapter is open"
    )


def test_a_task_without_an_interval_is_what_keeps_it_open() -> None:
    def clustered(name: str, right: list[int]) -> Any:
        return columns(
            name, "facts", {"accuracy": right}, suite="general", clusters=[str(n % 7) for n in range(len(right))]
        )  # fmt: skip

    kept, changed = flips(200, 40), flips(100, 100)
    pair = compare(
        [side("base", "medical", "chapter", kept[0]), clustered("base", changed[0])],
        [side("lora", "medical", "chapter", kept[1]), clustered("lora", changed[1])],
        Pair(
            base="base", tuned="lora", differs_in="adapter", roles={"medical": "domain", "general": "general"}
        ),
    )

    assert said(report(pair)) == (
        "Do not ship lora yet: nothing can be said of general/facts: only 7 clusters; an interval needs at least 8."
    )


def test_what_failed_is_not_shipped_and_its_rule_is_named() -> None:
    facts = report(pair_of("lora", loss=(10, 200)))

    assert verdicts(facts) == [Verdict.FAIL]
    assert said(facts).startswith("Do not ship what failed: lora breaks max_drop_")
    assert "−19.0 pp (90 % interval " in said(facts)


def test_an_alarm_is_what_failed() -> None:
    broken = pair_of("lora")
    alarmed = broken.model_copy(
        update={"tasks": tuple(task.model_copy(update={"alarms": ("all answers are empty",)}) for task in broken.tasks)}
    )  # fmt: skip

    assert said(report(alarmed)).startswith("Do not ship what failed: lora breaks down (")
    assert "all answers are empty" in said(report(alarmed))


def test_many_failures_are_counted_and_not_all_told() -> None:
    facts = report(*(pair_of(f"lora{n}", loss=(10, 200)) for n in range(5)))

    assert "lora2 breaks" in said(facts)
    assert "lora3" not in said(facts)
    assert said(facts).endswith(" and 2 more.")


def test_what_is_not_comparable_is_to_be_made_so_first() -> None:
    facts = report(pair_of("lora").model_copy(update={"problems": ("the adapter is not live",)}))

    assert verdicts(facts) == [Verdict.NOT_COMPARABLE]
    assert said(facts) == (
        "Make both sides comparable, for without that no number counts: lora: the adapter is not live."
    )


def test_a_configuration_that_was_never_measured_is_told_so() -> None:
    facts = report(policy=Gate(tuned=("lora",)))

    assert said(facts).endswith("lora: nothing is measured yet.")


def test_nothing_judged_nothing_recommended() -> None:
    assert recommendation(report()) == ""


def test_open_failed_and_not_comparable_are_told_in_this_order() -> None:
    facts = report(
        pair_of("dead").model_copy(update={"problems": ("the adapter is not live",)}),
        pair_of("bad", loss=(10, 200)),
        pair_of("open", loss=(100, 128)),
    )

    places = [said(facts).index(words) for words in ("Do not ship open", "bad breaks", "dead: the adapter")]
    assert places == sorted(places)


def test_the_recommendation_stands_right_behind_the_verdict_in_both_writings() -> None:
    facts = report(pair_of("lora"))

    blocks = verdict_section(facts).blocks

    assert isinstance(blocks[1], Text)
    assert blocks[1].text == f"Recommendation: {recommendation(facts)}"
    assert "Recommendation: Use lora" in write_markdown(compose(facts))


def test_names_in_a_recommendation_are_inert() -> None:
    facts = report(pair_of("<b>lora</b>|x"))

    assert "<b>lora" not in write_markdown(compose(facts))


def test_the_price_of_a_gain_is_told_only_where_gain_and_loss_are_certain() -> None:
    sure, unsure = pair_of("sure", loss=(2, 18)), pair_of("unsure")
    (measure,) = domain_measures([sure])

    (block,) = exchange_blocks([sure, unsure], measure)

    assert isinstance(block, Text)
    assert block.text == (
        "Gained on chapter · accuracy for each 1.0 pp of the general average lost, where 90 % intervals show "
        "both a gain and a loss: sure +10.0 pp."
    )
    assert exchange_blocks([unsure], measure) == []
