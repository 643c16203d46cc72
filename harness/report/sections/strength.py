"""How much of what was trained to keep: gain and cost at every strength, and the one that was chosen."""

from __future__ import annotations

from harness.comparison.facts import Comparison
from harness.experiment.schema import Gate
from harness.gate.strength import mean_change
from harness.report import wording
from harness.report.document import Block, Cell, Column, Heading, Picture, Row, Section, Table, Text
from harness.report.facts import ReportFacts, StrengthCurve, StrengthPoint
from harness.report.pictures import file_name
from harness.report.sections.tuning import GENERAL, Measure, difference, domain_measures
from harness.report.tradeoff import Change, StrengthMark, StrengthPanel, by_strength, change_of

_READING = (
    "Chosen on validation items, judged on test items: the test columns had no part in the choice. All "
    "strengths are one training run, scaled: 0 is the base, 1 is as trained."
)
_DESCRIPTION = (
    "Filled points: test items, with their 90 % intervals. Open points, a little to the right: validation "
    "items, with theirs where their clusters are enough for one. The upright line marks the chosen "
    "strength, a dashed line the limit of the gate. "
    "The same numbers are in the table above."
)


def equals_base(pair: Comparison) -> bool:
    """Whether nothing differs: no answer flipped, and every metric is the same to the last bit."""
    return bool(pair.tasks) and all(
        not (task.problems or task.wins or task.losses)
        and all(facts.base == facts.tuned for facts in task.metrics.values())
        for task in pair.tasks
    )


def _cell(point: StrengthPoint, pair: Comparison, measure: Measure) -> Cell:
    if pair.problems:
        return Cell("⊘ not comparable", "; ".join(pair.problems), "void")
    if point.strength == 0 and equals_base(pair):
        return Cell("equal to the base")
    estimate = difference(pair, measure)
    if estimate is None:
        value = mean_change(pair, "general") if measure == GENERAL else None
        if value is None:
            return Cell(wording.NONE)
        return Cell(wording.change("rate", value), "too few clusters for an interval")
    cell = wording.difference_cell(measure.metric.unit, estimate, measure.metric.higher_is_better)
    return cell if point.strength else Cell("✘ not equal to the base", f"{cell.text}, {cell.note}", "worse")


def _row(point: StrengthPoint, chosen: float, measures: tuple[Measure, ...]) -> Row:
    first = (
        Cell(f"▶ {point.strength:g}", "chosen")
        if point.strength == chosen
        else Cell(f"{point.strength:g}", {0.0: "the base", 1.0: "as trained"}.get(point.strength, ""))
    )
    cells = (_cell(point, pair, measure) for pair in (point.validation, point.test) for measure in measures)
    return Row((first, *cells))


def _change(point: StrengthPoint, pair: Comparison, measure: Measure) -> Change | None:
    """On the axis of the picture. Strength 0 is known exactly where it equals the base."""
    estimate = difference(pair, measure)
    if estimate is None:
        value = mean_change(pair, "general") if measure == GENERAL else None
        return None if value is None else Change(100 * value, 100 * value, 100 * value)
    if point.strength == 0 and equals_base(pair):
        return Change(0.0, 0.0, 0.0)
    return change_of(estimate, wording.change_scale(measure.metric.unit))


def _panel(curve: StrengthCurve, measure: Measure, policy: Gate) -> StrengthPanel:
    metric = measure.metric
    unit = {"rate": " in pp", "bits": " in bits"}.get(metric.unit, "")
    marks = []
    for point in curve.points:
        test, validation = (_change(point, pair, measure) for pair in (point.test, point.validation))
        if test is not None and validation is not None:
            marks.append(StrengthMark(point.strength, test, validation))
    better = "up" if metric.higher_is_better else "down"
    title = f"{measure.title}, Δ{unit} · {better} is better"
    return StrengthPanel(title, tuple(marks), -100 * policy.max_drop_average if measure == GENERAL else None)


def _items(curve: StrengthCurve, measures: tuple[Measure, ...]) -> str:
    """How many items chose and how many judge."""
    last = curve.points[-1]
    counted = [
        (measure.title, chosen_on.n, judged_on.n)
        for measure in measures
        if (chosen_on := difference(last.validation, measure)) is not None
        and (judged_on := difference(last.test, measure)) is not None
    ]
    said = [f"{title}: {chosen:,} validation and {judged:,} test items" for title, chosen, judged in counted]
    return f" ({'; '.join(said)})" if said else ""


def _curve_blocks(curve: StrengthCurve, policy: Gate) -> list[Block]:
    name = curve.family if curve.seed is None else f"{curve.family}, seed {curve.seed}"
    pairs = [pair for point in curve.points for pair in (point.validation, point.test)]
    measures = (*domain_measures(pairs), GENERAL)
    titles = [
        f"{measure.title} {'↑' if measure.metric.higher_is_better else '↓'}, {items}"
        for items in ("validation", "test")
        for measure in measures
    ]
    table = Table(
        f"Gain and cost by strength: {name}{_items(curve, measures)}",
        (Column("Strength"), *(Column(title, True) for title in titles)),
        tuple(_row(point, curve.chosen, measures) for point in curve.points),
    )
    blocks: list[Block] = [Heading(name), table, Text(f"▶ Strength {curve.chosen:g}: {curve.reason}")]
    panels = [panel for panel in (_panel(curve, each, policy) for each in measures) if len(panel.marks) > 1]
    if panels:
        blocks.append(
            Picture(
                name=file_name(f"strength-{curve.family}-{curve.seed}"),
                title=f"Gain and cost by strength: {name}",
                description=_DESCRIPTION,
                wide=by_strength(panels, curve.chosen),
                narrow=by_strength(panels, curve.chosen, narrow=True),
            )
        )
    return blocks


def strength_section(facts: ReportFacts) -> Section | None:
    """Every family that was measured at several strengths."""
    if not facts.strengths:
        return None
    blocks: list[Block] = [Text(_READING)]
    for curve in facts.strengths:
        blocks += _curve_blocks(curve, facts.policy)
    return Section("strength", "Strength", tuple(blocks))
