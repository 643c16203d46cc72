"""Every way of tuning in one row: what it bought, what it cost; and all of them in one picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.comparison.facts import Comparison, TaskFacts
from harness.report import wording
from harness.report.document import Block, Cell, Column, Picture, Row, Section, Table, Text
from harness.report.facts import ReportFacts
from harness.report.pictures import file_name
from harness.report.sections.divergence import divergences_of_all
from harness.report.sections.exchange import exchange_blocks
from harness.report.sections.pareto import pareto_sentences
from harness.report.sections.tuning import (
    Measure,
    configuration_of,
    curve_of,
    difference,
    domain_measures,
    judgement_of,
    training_of,
    tuning_pairs,
)
from harness.report.tradeoff import PlanePoint, at_origin, change_of, plane
from harness.statistics.estimates import Estimate, scaled

_TITLE = "What each way of tuning bought, and what it cost"
_READING = (
    "Every number is tuned minus its own base on the same items, with its 90 % interval below it; "
    "△ ▽ ○ say whether that interval excludes zero. The worst task is picked after looking, which its "
    "interval does not know. Time, memory and size are those of the training run."
)
_SEVERAL_BASES = " What quantisation itself costs is not in these rows: it has a section of its own."
_DESCRIPTION = (
    "Right: more general ability kept. Up: more gained. Each mark is a configuration with its 90 % "
    "intervals as a cross, the square at the origin is the base. Marks follow the gate: triangle up PASS, "
    "triangle down FAIL, diamond INCONCLUSIVE, cross NOT COMPARABLE, circle not judged. A thin line with "
    "small rings joins the strengths of one training run. The same numbers are in the table above."
)


@dataclass(frozen=True)
class _Columns:
    """What the rows of one table have in common."""

    measures: tuple[Measure, ...]
    has_text: bool
    usual_base: str

    def titles(self) -> tuple[Column, ...]:
        gains = (
            Column(f"Gain: {measure.title} {'↑' if measure.metric.higher_is_better else '↓'}", True)
            for measure in self.measures
        )
        text = (Column("General text, bits per byte, in % ↓"),) if self.has_text else ()
        costs = ("Training time", "Peak memory", "Trainable parameters", "Stored")
        return (
            Column("Tuned"),
            *gains,
            Column("General average ↑", True),
            Column("Worst general task"),
            *text,
            *(Column(title, True) for title in costs),
            Column("Gate"),
        )


def _general_rates(pair: Comparison) -> list[tuple[TaskFacts, Estimate]]:
    """The tasks that the general average is made of."""
    primaries = [
        (task, task.metrics[task.primary])
        for task in pair.tasks
        if task.role == "general" and task.gated and not task.problems
    ]
    return [
        (task, facts.difference)
        for task, facts in primaries
        if facts.metric.unit == "rate" and facts.difference is not None
    ]


def _general_text(pair: Comparison) -> list[tuple[TaskFacts, Estimate]]:
    """Bits per byte of general text, as a fraction of the base's."""
    return [
        (task, scaled(facts.difference, 1.0 / facts.base))
        for task in pair.tasks
        if task.role == "general" and not task.problems
        for facts in task.metrics.values()
        if facts.metric.unit == "bits" and facts.difference is not None and facts.base > 0
    ]


def _gain(pair: Comparison, measure: Measure) -> Cell:
    estimate = difference(pair, measure)
    if estimate is None:
        problems = (text for task in pair.tasks if task.suite == measure.suite for text in task.problems)
        return Cell("⊘", next(problems, "no difference"), "void")
    return wording.difference_cell(measure.metric.unit, estimate, measure.metric.higher_is_better)


def _worst(found: list[tuple[TaskFacts, Estimate]], unit: wording.ChangeUnit, better: bool) -> Cell:
    if not found:
        return wording.DASH
    sign = 1 if better else -1
    task, estimate = min(found, key=lambda each: sign * each[1].value)
    return wording.difference_cell(unit, estimate, better, task.task)


def _named(facts: ReportFacts, pair: Comparison, usual_base: str) -> Cell:
    """The configuration, and below it what it is."""
    notes = []
    configuration, curve = configuration_of(facts, pair.tuned), curve_of(facts, pair.tuned)
    if configuration is not None and configuration.method is not None:
        notes.append(configuration.method)
    if curve is not None:
        notes.append(f"strength {curve.chosen:g}")
    if configuration is not None and configuration.trainable_parameters is not None and not pair.problems:
        trained, all_of_them = configuration.trainable_parameters, configuration.parameters
        share = f" ({wording.percent(trained / all_of_them)})" if all_of_them else ""
        notes.append(f"{wording.short_count(trained)} trained{share}")
    if pair.base != usual_base:
        notes.append(f"against {pair.base}")
    return Cell(pair.tuned, ", ".join(notes))


def _costs(facts: ReportFacts, pair: Comparison) -> tuple[Cell, ...]:
    run = training_of(facts, pair.tuned)
    if run is None:
        return (wording.DASH,) * 4
    return (
        Cell(wording.known(run.seconds, wording.duration)),
        Cell(wording.known(run.peak_memory_bytes, wording.size)),
        Cell(wording.known(run.trainable_parameters, wording.count)),
        Cell(wording.known(run.adapter_bytes, wording.size)),
    )


def _gate(facts: ReportFacts, pair: Comparison) -> Cell:
    judgement = judgement_of(facts, pair)
    if judgement is None:
        return Cell(wording.NONE, "not judged")
    mark, tone = wording.VERDICTS[judgement.verdict]
    return Cell(f"{mark}\u00a0{judgement.verdict.value}", tone=tone)


def _row(facts: ReportFacts, pair: Comparison, columns: _Columns) -> Row:
    name = _named(facts, pair, columns.usual_base)
    if pair.problems:
        reason = Cell("⊘ not comparable", "; ".join(pair.problems), "void")
        return Row((name, *(wording.DASH,) * (len(columns.titles()) - 2), reason))
    average = pair.general_average
    text = (_worst(_general_text(pair), "relative", better=False),) if columns.has_text else ()
    return Row(
        (
            name,
            *(_gain(pair, measure) for measure in columns.measures),
            wording.DASH if average is None else wording.difference_cell("rate", average, True),
            _worst(_general_rates(pair), "rate", better=True),
            *text,
            *_costs(facts, pair),
            _gate(facts, pair),
        )
    )


def _points(facts: ReportFacts, pairs: Sequence[Comparison], measure: Measure) -> dict[str, list[PlanePoint]]:
    """Comparable configurations by their base, in the order of the table."""
    points: dict[str, list[PlanePoint]] = {}
    for pair in pairs:
        gain, average = difference(pair, measure), pair.general_average
        if gain is not None and average is not None:
            point = PlanePoint(pair.tuned, change_of(average), change_of(gain), _gate(facts, pair).tone)
            points.setdefault(pair.base, []).append(point)
    return points


def _lines(facts: ReportFacts, measure: Measure) -> list[list[tuple[float, float]]]:
    """Each training run's way from strength to strength, on test items."""
    lines = []
    for curve in facts.strengths:
        ends = [(point.test.general_average, difference(point.test, measure)) for point in curve.points]
        lines.append([(100 * x.value, 100 * y.value) for x, y in ends if x is not None and y is not None])
    return [line for line in lines if len(line) > 1]


def _plane(facts: ReportFacts, pairs: Sequence[Comparison], measure: Measure) -> list[Block]:
    """Gain against general ability, where both are rates; and what may be said of the order."""
    points = _points(facts, pairs, measure)
    if measure.metric.unit != "rate" or not points:
        return []
    drawn = [point for group in points.values() for point in group]
    titles = ("general average, Δ in pp · right is better →", f"{measure.title}, Δ in pp · up is better →")
    lines = _lines(facts, measure)
    picture = Picture(
        name=file_name(f"methods-{measure.suite}-{measure.task or 'average'}"),
        title=f"Gain against general ability: {measure.title}",
        description=_DESCRIPTION,
        wide=plane(drawn, lines, titles),
        narrow=plane(drawn, lines, ("general average, Δ in pp →", "gain in pp →"), narrow=True),
    )
    said = [
        Text(f"Against {base}: " * (len(points) > 1) + pareto_sentences([at_origin(base), *group]))
        for base, group in points.items()
    ]
    return [picture, *said, *exchange_blocks(pairs, measure)]


def methods_section(facts: ReportFacts) -> Section | None:
    """One row for each way of tuning, as soon as there are two to set side by side."""
    pairs = tuning_pairs(facts)
    if len(pairs) < 2:
        return None
    comparable = [pair for pair in pairs if not pair.problems]
    usual_base, uses = Counter(pair.base for pair in pairs).most_common(1)[0]
    several = uses < len(pairs)
    caption = f"Against {usual_base}{', unless the row names another base' if several else ''}"
    reading = Text(_READING + _SEVERAL_BASES * several)
    columns = _Columns(
        measures=domain_measures(pairs),
        has_text=any(_general_text(pair) for pair in comparable),
        usual_base=usual_base,
    )
    rows = tuple(_row(facts, pair, columns) for pair in pairs)
    blocks: list[Block] = [Table(caption, columns.titles(), rows), reading]
    blocks += divergences_of_all(comparable)
    for measure in columns.measures:
        blocks += _plane(facts, comparable, measure)
    return Section("methods", _TITLE, tuple(blocks))
