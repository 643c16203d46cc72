"""The verdict, the rules behind it and what they are able to certify."""

from __future__ import annotations

from harness.experiment.gate_schema import Gate
from harness.experiment.metrics import METRICS
from harness.gate.questions import tier_of
from harness.gate.verdict import Endpoint, EndpointStatus, GateResult, Judgement, Verdict
from harness.gate.wording import LONGEST_VALUE
from harness.report import wording
from harness.report.document import (
    Banner,
    Block,
    Bullets,
    Cell,
    Column,
    Fold,
    Heading,
    Row,
    Section,
    Table,
    Text,
)
from harness.report.facts import ReportFacts
from harness.report.inert import cut
from harness.report.sections.recommendation import recommendation
from harness.report.sections.seeds import estimand
from harness.report.sections.tuning import FEW

_WORST_FIRST = (
    EndpointStatus.REGRESSED,
    EndpointStatus.INCONCLUSIVE,
    EndpointStatus.RETAINED,
    EndpointStatus.IMPROVED,
)
_RULES = {
    "min_gain": ("domain gain", "more than", 1),
    "max_drop_task": ("drop on a task", "above", -1),
    "max_drop_average": ("drop on the average", "above", -1),
    "max_bits_per_byte_increase": ("rise in bits per byte", "below", 1),
    "max_drop_format": ("drop of answers in the asked form", "above", -1),
    "max_drop_slice": ("drop on a slice", "above", -1),
}


def _columns(alpha: float) -> tuple[Column, ...]:
    """The gate reads the bounds of the two-sided interval at 1 - 2·alpha."""
    numbers = ("Limit", "Measured", f"{100 * (1 - 2 * alpha):.4g} % interval", "p, holds", "p, broken")
    numeric = (Column(title, numeric=True) for title in numbers)
    return (Column("Task"), Column("Rule"), *numeric, Column("Status"))


def _row(endpoint: Endpoint, advisory: bool) -> Row:
    name, word, sign = _RULES.get(endpoint.rule, (endpoint.rule, "", 1))
    unit = endpoint.unit
    metric = METRICS.get(endpoint.metric)
    measured = wording.titled(metric) if metric else endpoint.metric
    holm = endpoint.p_broken_holm
    cells = (
        Cell(endpoint.task or "average", f"{endpoint.suite} · {measured}{_slice(endpoint)}"),
        Cell(name, endpoint.rule),
        Cell(f"{word} {wording.change(unit, sign * abs(endpoint.limit))}".strip()),
        Cell(wording.change(unit, endpoint.value)),
        Cell(wording.span(unit, endpoint.low, endpoint.high)),
        Cell(wording.p_value(endpoint.p_holds)),
        Cell(wording.p_value(endpoint.p_broken), "" if holm is None else f"Holm {wording.p_value(holm)}"),
        wording.status_cell(endpoint, advisory),
    )
    return Row(cells)


def _slice(endpoint: Endpoint) -> str:
    if endpoint.slice is None:
        return ""
    field, value = endpoint.slice
    return f" · {field}: {cut(value, LONGEST_VALUE)}"


def _rules(judgement: Judgement, alpha: float, advisory: bool) -> Table:
    """Worst first: what decided the verdict stands on top."""
    endpoints = judgement.advisory if advisory else (*judgement.slices, *judgement.endpoints)
    ordered = sorted(endpoints, key=lambda endpoint: _WORST_FIRST.index(endpoint.status))
    pair = wording.pair_name(judgement.base, judgement.tuned)
    what = "Advisory rules, not part of the verdict" if advisory else "Rules of the gate"
    rows = tuple(_row(endpoint, advisory) for endpoint in ordered)
    return Table(f"{what}: {pair}", _columns(alpha), rows)


def _sentence(result: Judgement | GateResult) -> str:
    """The sentence without the verdict's word, which stands before it already; names keep their case."""
    judged = result.judgements if isinstance(result, GateResult) else (result,)
    text = result.sentence.removeprefix(f"{result.verdict.value}: ")
    named = any(text.startswith(each.tuned) for each in judged)
    return text if named else text[:1].upper() + text[1:]


def _judgement(judgement: Judgement, alpha: float, alone: bool) -> list[Block]:
    """One of a few: its banner (unless the report's own says the same) and its rules."""
    mark, tone = wording.VERDICTS[judgement.verdict]
    blocks: list[Block] = [] if alone else [Banner(mark, _headline(judgement), _sentence(judgement), tone)]
    if judgement.reasons:
        blocks.append(Bullets(judgement.reasons, tone))
    if _has_rules(judgement):
        blocks.append(_rules(judgement, alpha, advisory=False))
    if _has_rules(judgement) and judgement.advisory:
        table = _rules(judgement, alpha, advisory=True)
        blocks.append(Fold(f"Advisory rules ({len(judgement.advisory)})", (table,)))
    return blocks


def _folded(judgement: Judgement, alpha: float) -> Fold:
    """One of many: its word on the fold, everything else in it."""
    mark, tone = wording.VERDICTS[judgement.verdict]
    blocks: list[Block] = [Text(_sentence(judgement))]
    if judgement.reasons:
        blocks.append(Bullets(judgement.reasons, tone))
    if _has_rules(judgement):
        blocks.append(_rules(judgement, alpha, advisory=False))
        blocks += [_rules(judgement, alpha, advisory=True)] if judgement.advisory else []
    return Fold(f"{mark} {_headline(judgement)}", tuple(blocks))


def _headline(judgement: Judgement) -> str:
    return f"{judgement.verdict.value} · {wording.pair_name(judgement.base, judgement.tuned)}"


def _has_rules(judgement: Judgement) -> bool:
    return judgement.verdict is not Verdict.NOT_COMPARABLE and bool(judgement.endpoints)


def _certifiable(facts: ReportFacts) -> str:
    """What the margins and the number of items can certify together."""
    policy = facts.policy
    judged = {judgement.tuned for judgement in facts.verdict.judgements}
    tasks = [
        (task.certifiable_margin, policy.bound(task.suite, task.task, "max_drop"))
        for pair in facts.comparisons
        if pair.tuned in judged and not pair.problems
        for task in pair.tasks
        if task.role == "general"
        and task.certifiable_margin is not None
        and not task.problems
        and tier_of(task, policy) == "critical"
        and task.metrics[task.primary].metric.unit == "rate"
    ]
    limits = (
        f"The limits of this gate: a general task may lose up to {_points(policy.max_drop_task)}, "
        f"the average up to {_points(policy.max_drop_average)}.{_own_limits(policy)}"
    )
    margins = [margin for margin, _ in tasks]
    if not margins:
        return limits
    low, high = _points(min(margins)), _points(max(margins))
    reach = low if low == high else f"{low} (best task) to {high} (weakest task)"
    weak = sum(margin > limit for margin, limit in tasks)
    closing = (
        f"On {weak} of {len(margins)} tasks the limit is tighter than the items can certify: expect "
        "INCONCLUSIVE there, and measure more items."
        if weak
        else "A PASS rules out drops beyond the limits; smaller drops can be there unseen."
    )
    return (
        f"{limits} With the items measured here, and if nothing truly changed, a task can certify a margin "
        f"of {reach} (80 % power, one-sided {wording.small(policy.alpha)}). {closing}"
    )


def _own_limits(policy: Gate) -> str:
    """Rules of single tasks, and of slices."""
    said = []
    for name, rule in policy.task.items():
        words: list[str] = [] if rule.tier == "critical" else [rule.tier]
        words += [f"gains more than {_points(rule.min_gain)}"] if rule.min_gain is not None else []
        words += [f"up to {_points(rule.max_drop)}"] if rule.max_drop is not None else []
        if rule.max_bits_per_byte_increase is not None:
            rise = wording.change("relative", rule.max_bits_per_byte_increase, signed=False)
            words.append(f"up to {rise} in bits per byte")
        said.append(f"{name}: {', '.join(words) or rule.tier}")
    own = f" Of their own: {'; '.join(said)}." if said else ""
    if policy.max_drop_slice is None:
        return own
    return f"{own} A slice that surely loses more than {_points(policy.max_drop_slice)} fails."


def _points(fraction: float) -> str:
    return wording.change("rate", fraction, signed=False)


def _exit(result: GateResult) -> str:
    return f"harness gate exits with {result.exit_code}."


def verdict_section(facts: ReportFacts) -> Section:
    """One sentence a person can paste, then the rules."""
    result = facts.verdict
    mark, tone = wording.VERDICTS[result.verdict]
    blocks: list[Block] = [Banner(mark, result.verdict.value, _sentence(result), tone, (_exit(result),))]
    advice = recommendation(facts)
    if advice:
        blocks.append(Text(f"Recommendation: {advice}"))
    alone = len(result.judgements) == 1
    if not alone and result.judgements:
        blocks.append(Heading("Each tuned configuration (the worst decides)"))
    for judgement in result.judgements:
        if len(result.judgements) > FEW:
            blocks.append(_folded(judgement, facts.policy.alpha))
        else:
            blocks += _judgement(judgement, facts.policy.alpha, alone)
    blocks += [Text(text) for text in (_certifiable(facts), estimand(facts)) if text]
    return Section("verdict", "Verdict", tuple(blocks))
