"""What to do, in a sentence that names its evidence: a plain function of the verdicts and the facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.comparison.facts import Comparison
from harness.experiment.metrics import Unit
from harness.experiment.schema import Gate
from harness.gate.verdict import Endpoint, EndpointStatus, Judgement, Verdict
from harness.gate.wording import evidence, hardest, place, settled_by
from harness.report import wording
from harness.report.facts import ReportFacts
from harness.report.sections.exchange import exchange
from harness.report.sections.tuning import FEW, Measure, curve_of, difference, domain_measures, judged_pair
from harness.statistics.estimates import Estimate, oriented


@dataclass(frozen=True)
class _Candidate:
    """One judged configuration; `pair` is None where nothing of it was measured."""

    judgement: Judgement
    pair: Comparison | None

    @property
    def name(self) -> str:
        return self.judgement.tuned


def recommendation(facts: ReportFacts) -> str:
    """Which configuration to use and on what evidence, or what to do where none passes.

    Empty where nothing was judged. What quantisation itself costs is a fact, and never recommended.
    """
    judged = [_Candidate(each, judged_pair(facts, each)) for each in facts.verdict.judgements]
    judged = [each for each in judged if each.pair is None or each.pair.differs_in != "quantization"]

    def of(verdict: Verdict) -> list[_Candidate]:
        return [each for each in judged if each.judgement.verdict is verdict]

    passing = of(Verdict.PASS)
    if passing:
        return _use(facts, passing)
    said = (
        _open(of(Verdict.INCONCLUSIVE), facts.policy),
        _failed(of(Verdict.FAIL), facts.policy),
        _not_comparable(of(Verdict.NOT_COMPARABLE)),
    )
    return " ".join(filter(None, said))


def _use(facts: ReportFacts, passing: Sequence[_Candidate]) -> str:
    """One of those with the same base: a gain over another base starts from somewhere else."""
    groups: dict[str, list[_Candidate]] = {}
    for each in passing:
        groups.setdefault(each.judgement.base, []).append(each)
    said = []
    for base, group in groups.items():
        measures = domain_measures([each.pair for each in group if each.pair is not None])
        chosen, why = _choice(group, measures)
        of_base = f"Of those against {base} use" if len(groups) > 1 else "Use"
        said.append(f"{of_base} {chosen.name}: {why}{_evidence(chosen, measures, facts.policy)}.")
        curve = curve_of(facts, chosen.name)
        if curve is not None and any(point.validation.tasks for point in curve.points):
            said.append(
                f"Its strength {curve.chosen:g} was chosen on validation items, which adds no optimism."
            )
    if any(len(group) > 1 for group in groups.values()):
        said.append("Choosing among several on test items makes the numbers of the chosen one optimistic.")
    if len(groups) > 1:
        said.append("Gains over different bases are not compared: first see what quantisation itself costs.")
    return " ".join(said)


def _choice(group: Sequence[_Candidate], measures: Sequence[Measure]) -> tuple[_Candidate, str]:
    """Who gains most if that is certain, else who costs least of those that may; and why, in words."""
    if len(group) == 1:
        return group[0], ""
    front = [each for each in group if not any(_gains_more(other, each, measures) for other in group)]
    if len(front) == 1:
        return front[0], f"of the {len(group)} that pass it gains most, its interval above the others'; "
    names = f"{wording.listed([each.name for each in front])} are not separated in gain"
    costs = [(each, cost) for each in front if (cost := _cost(each)) is not None]
    if not costs:
        return front[0], f"{names}, and nothing says what they cost: it is only the first of them; "
    cheapest, least = max(costs, key=lambda each: each[1].value)
    apart = all(least.interval90.low > cost.interval90.high for each, cost in costs if each is not cheapest)
    unsure = "" if apart and len(costs) == len(front) else ", though not with certainty"
    return cheapest, f"{names}; it costs least{unsure}; "


def _gains_more(one: _Candidate, other: _Candidate, measures: Sequence[Measure]) -> bool:
    """By every measure, with 90 % intervals that do not touch."""
    gains = [(_gain(one, measure), _gain(other, measure)) for measure in measures]
    return bool(gains) and all(
        mine is not None and theirs is not None and mine.interval90.low > theirs.interval90.high
        for mine, theirs in gains
    )


def _gain(candidate: _Candidate, measure: Measure) -> Estimate | None:
    """Oriented so that more is better."""
    estimate = None if candidate.pair is None else difference(candidate.pair, measure)
    return None if estimate is None else oriented(estimate, measure.metric.higher_is_better)


def _cost(candidate: _Candidate) -> Estimate | None:
    return None if candidate.pair is None else candidate.pair.general_average


def _evidence(chosen: _Candidate, measures: Sequence[Measure], policy: Gate) -> str:
    """Gain, cost and how certain both are."""
    gains = [
        f"{_measured(measure.metric.unit, gain)} on {measure.title}"
        for measure in measures
        if (gain := _gain(chosen, measure)) is not None
    ]
    cost = _cost(chosen)
    costs = (
        "no average of general tasks says what it cost"
        if cost is None
        else f"the general average changes by {_measured('rate', cost)}"
    )
    rates = [exchange(chosen.pair, measure) for measure in measures if chosen.pair is not None]
    gained = f"it gains {wording.listed(gains)}; " if gains else ""
    rate = rates[0] if len(rates) == 1 else None
    paid = "" if rate is None else f", {wording.change('rate', rate / 100)} gained for each 1.0 pp lost"
    return f"{gained}{costs}{paid}; every critical rule of the gate holds, each at {100 * policy.alpha:.4g} %"


def _measured(unit: Unit, estimate: Estimate) -> str:
    bounds = wording.span(unit, estimate.interval90.low, estimate.interval90.high)
    return f"{wording.change(unit, estimate.value)} (90 % interval {bounds})"


def _open(candidates: Sequence[_Candidate], policy: Gate) -> str:
    """Of what is inconclusive: the one that needs the fewest more items, or why no items would do."""
    if not candidates:
        return ""
    counted = [(each, more) for each in candidates if (more := _more_items(each)) is not None]
    if not counted:
        name = wording.listed([each.name for each in candidates[:FEW]])
        return f"Do not ship {name}{_and_more(candidates)} yet: {_why_open(candidates[0], policy)}."
    candidate, needed = min(counted, key=lambda each: sum(each[1].values()))
    tasks = wording.listed([f"about {count:,} more items of {task}" for task, count in needed.items()])
    nearest = f", the nearest to an answer of {len(candidates)}" if len(candidates) > 1 else ""
    return f"Do not ship {candidate.name} yet{nearest}: measure {tasks}; {_why_open(candidate, policy)}."


def _more_items(candidate: _Candidate) -> dict[str, int] | None:
    """For every open rule the items that it lacks; None where items alone would not settle all of them."""
    if not candidate.judgement.decisive:
        return None
    lacking: dict[str, int] = {}
    for each in candidate.judgement.decisive:
        measured = _items(candidate.pair, each)
        if each.items_needed is None or measured is None:
            return None
        lacking[place(each)] = max(each.items_needed - measured, 1)
    return lacking


def _items(pair: Comparison | None, endpoint: Endpoint) -> int | None:
    """What its estimate rests on now."""
    if pair is None:
        return None
    if endpoint.rule == "max_drop_average":
        return None if pair.general_average is None else pair.general_average.n
    tasks = (task.n for task in pair.tasks if (task.suite, task.task) == (endpoint.suite, endpoint.task))
    return next(tasks, None)


def _why_open(candidate: _Candidate, policy: Gate) -> str:
    """The rule that holds with the least evidence; without one, why nothing could be said."""
    if not candidate.judgement.decisive:
        return f"nothing can be said of {_first(candidate.judgement)}"
    hardest_one = hardest(candidate.judgement.decisive)
    words = f"{candidate.name} on {place(hardest_one)} is open, {evidence(hardest_one, policy)}"
    if hardest_one.status is EndpointStatus.REGRESSED:
        return f"{words}, beyond its limit though not after correction for several rules"
    return words if hardest_one.items_needed is not None else f"{words}, and {settled_by(hardest_one)}"


def _failed(candidates: Sequence[_Candidate], policy: Gate) -> str:
    if not candidates:
        return ""
    rules = "; ".join(f"{each.name} breaks {_broken(each.judgement, policy)}" for each in candidates[:FEW])
    return f"Do not ship what failed: {rules}{_and_more(candidates)}."


def _broken(judgement: Judgement, policy: Gate) -> str:
    """The rule that is broken with the most evidence; without one, the alarm."""
    if not judgement.decisive:
        return f"down ({_first(judgement)})"
    worst = min(judgement.decisive, key=lambda each: each.p_broken)
    return f"{worst.rule} on {place(worst)}, {evidence(worst, policy)}"


def _not_comparable(candidates: Sequence[_Candidate]) -> str:
    if not candidates:
        return ""
    reasons = "; ".join(f"{each.name}: {_first(each.judgement)}" for each in candidates[:FEW])
    return f"Make both sides comparable, for without that no number counts: {reasons}{_and_more(candidates)}."


def _first(judgement: Judgement) -> str:
    return judgement.reasons[0] if judgement.reasons else "no reason given"


def _and_more(candidates: Sequence[_Candidate]) -> str:
    left = len(candidates) - FEW
    return f" and {left} more" if left > 0 else ""
