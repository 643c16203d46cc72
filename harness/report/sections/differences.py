"""Paired differences of one kind of pair: picture, table, and whether each task can show a loss at all."""

from __future__ import annotations

from harness.comparison.facts import Comparison, MetricFacts, TaskFacts
from harness.experiment.metrics import Unit
from harness.gate.questions import FORM
from harness.gate.verdict import Endpoint, EndpointStatus
from harness.report import wording
from harness.report.document import Block, Bullets, Cell, Column, Fold, Heading, Row, Section, Table, Text
from harness.report.facts import ReportFacts
from harness.report.sections.divergence import divergence_blocks
from harness.report.sections.forest import Endpoints, forest_picture
from harness.report.sections.forgetting import forgetting_blocks
from harness.report.sections.noise import beyond_noise
from harness.report.sections.seeds import seeds_blocks
from harness.report.sections.tuning import FEW, judgement_of, tuning_pairs
from harness.statistics.estimates import Estimate

_AVERAGE = "max_drop_average"
_COLUMNS = (
    Column("Task"),
    Column("n", numeric=True),
    Column("Base", numeric=True),
    Column("Tuned", numeric=True),
    Column("Δ", numeric=True),
    Column("90 % interval", numeric=True),
    Column("95 % interval", numeric=True),
    Column("Won / lost", numeric=True),
    Column("Can certify", numeric=True),
    Column("Reading"),
)


def endpoints_of(facts: ReportFacts, pair: Comparison) -> Endpoints:
    """The gate's rules on this pair by suite and task, each with whether it is advisory only.

    Those on the form of answers are beside a task's own rule, and stand with the verdict.
    """
    found: Endpoints = {}
    for judgement in facts.verdict.judgements:
        if (judgement.base, judgement.tuned) == (pair.base, pair.tuned):
            for advisory, endpoints in ((True, judgement.advisory), (False, judgement.endpoints)):
                for each in (rule for rule in endpoints if rule.rule != FORM):
                    key = (_AVERAGE, "") if each.rule == _AVERAGE else (each.suite, each.task)
                    found[key] = (each, advisory)
    return found


def comparable_tasks(pair: Comparison) -> tuple[TaskFacts, ...]:
    """Domain first in declared order, then general, the greatest loss first."""

    def place(task: TaskFacts) -> tuple[bool, bool, float]:
        primary = task.metrics[task.primary]
        if task.role == "domain" or primary.difference is None:
            return (task.role != "domain", primary.metric.unit != "rate", 0.0)
        sign = 1 if primary.metric.higher_is_better else -1
        return (True, primary.metric.unit != "rate", sign * primary.difference.value)

    return tuple(sorted((task for task in pair.tasks if not task.problems), key=place))


def _reading(task: TaskFacts, facts: MetricFacts, endpoint: tuple[Endpoint, bool] | None) -> Cell:
    estimate = facts.difference
    if estimate is None:
        return Cell("⊘ no difference", facts.reason or "", "void")
    if endpoint is not None and endpoint[0].metric != facts.metric.name:
        endpoint = None
    if endpoint is not None:
        cell = wording.status_cell(*endpoint)
        # Few changed answers are decided by an exact test, which may see more than the interval does.
        found = endpoint[0].measurable_drop or endpoint[0].status is EndpointStatus.IMPROVED
    else:
        cell = wording.separation_cell(estimate, facts.metric.higher_is_better)
        found = False
    notes = [cell.note] if cell.note else []
    if not found and not wording.separated(estimate):
        notes += _reach(task, facts)
    if estimate.warning:
        notes.append(estimate.warning)
    return Cell(cell.text, "; ".join(notes), cell.tone)


def _reach(task: TaskFacts, facts: MetricFacts) -> list[str]:
    """What stands beside every difference that is not separated from zero."""
    if facts.metric.name != task.primary or task.certifiable_margin is None:
        return []
    reach = wording.change(facts.metric.unit, task.certifiable_margin, signed=False)
    return [f"not separated; this task could detect about {reach}"]


def _count(estimate: Estimate | None, n: int) -> Cell:
    clusters = estimate.clusters if estimate else None
    return Cell(f"{estimate.n if estimate else n:,}", f"{clusters:,} clusters" if clusters else "")


def _estimate_cells(
    unit: Unit, estimate: Estimate | None, p_any: float | None = None
) -> tuple[Cell, Cell, Cell]:
    said = "" if p_any is None else f"p {wording.p_value(p_any)}"
    if estimate is None:
        return (Cell(wording.NONE, said), wording.DASH, wording.DASH)
    low, high = estimate.interval90, estimate.interval95
    return (
        Cell(wording.change(unit, estimate.value), ", ".join(filter(None, [wording.method(estimate), said]))),
        Cell(wording.span(unit, low.low, low.high)),
        Cell(wording.span(unit, high.low, high.high)),
    )


def _won_lost(task: TaskFacts, facts: MetricFacts) -> Cell:
    estimate = facts.difference
    wins, losses = (estimate.wins, estimate.losses) if estimate else (None, None)
    primary = facts.metric.name == task.primary
    if primary and wins is None:
        wins, losses = task.wins, task.losses
    if wins is None or losses is None:
        return wording.DASH
    won, lost = beyond_noise(task, "win"), beyond_noise(task, "loss")
    return Cell(f"{wins:,} / {losses:,}", f"beyond the noise {won} / {lost}" if primary and won else "")


def _metric_row(task: TaskFacts, name: str, endpoint: tuple[Endpoint, bool] | None) -> Row:
    facts = task.metrics[name]
    primary = name == task.primary
    where = Cell(task.task, f"{task.suite} · {wording.titled(facts.metric)}")
    margin = task.certifiable_margin if primary else None
    cells = (
        where if primary else Cell(wording.titled(facts.metric)),
        _count(facts.difference, task.n),
        Cell(wording.level(facts.metric, facts.base)),
        Cell(wording.level(facts.metric, facts.tuned)),
        *_estimate_cells(facts.metric.unit, facts.difference, facts.p_any),
        _won_lost(task, facts),
        wording.DASH if margin is None else Cell(wording.change(facts.metric.unit, margin, signed=False)),
        _reading(task, facts, endpoint),
    )
    return Row(cells, "primary" if primary else "secondary")


def _average_row(name: str, tasks: int, estimate: Estimate, endpoint: tuple[Endpoint, bool] | None) -> Row:
    reading = wording.status_cell(*endpoint) if endpoint else wording.separation_cell(estimate, True)
    cells = (
        Cell(name, f"mean over {tasks} task{'s' if tasks != 1 else ''}"),
        _count(estimate, estimate.n),
        wording.DASH,
        wording.DASH,
        *_estimate_cells("rate", estimate),
        wording.DASH,
        wording.DASH,
        reading,
    )
    return Row(cells, "total")


def _averages(pair: Comparison, endpoints: Endpoints) -> list[Row]:
    rows: list[Row] = []
    general = pair.general_average
    if general is not None:
        count = sum(len(suite.tasks) for suite in pair.suites if suite.role == "general")
        rows.append(_average_row("general average", count, general, endpoints.get((_AVERAGE, ""))))
    rows += [
        _average_row(f"{suite.suite} average", len(suite.tasks), suite.average, None)
        for suite in pair.suites
        # The average of the only general suite is the general average: saying it twice helps nobody.
        if suite.average is not None and len(suite.tasks) > 1 and suite.average != general
    ]
    return rows


def _table(pair: Comparison, tasks: tuple[TaskFacts, ...], endpoints: Endpoints) -> Table:
    rows: list[Row] = []
    for task in tasks:
        names = (task.primary, *(name for name in task.metrics if name != task.primary))
        rows += [_metric_row(task, name, endpoints.get((task.suite, task.task))) for name in names]
    rows += _averages(pair, endpoints)
    return Table(f"Paired differences: {wording.pair_name(pair.base, pair.tuned)}", _COLUMNS, tuple(rows))


def _chance_row(task: TaskFacts) -> Row:
    facts = task.metrics[task.primary]
    interval = facts.base_interval95
    if interval is None:
        answer = Cell("○ unknown", "no interval for the base")
    elif interval.low > task.chance:
        answer = Cell("✔ above chance", "a loss would show", "better")
    else:
        answer = Cell("◐ not above chance", "this task cannot show a loss", "unsure")
    return Row(
        (
            Cell(task.task, f"{task.suite} · {wording.titled(facts.metric)}"),
            Cell(f"{task.n:,}"),
            Cell(wording.level(facts.metric, facts.base)),
            Cell(wording.level_span(facts.metric, interval)) if interval else wording.DASH,
            Cell(wording.level(facts.metric, task.chance)),
            answer,
        )
    )


def _chance(pair: Comparison, tasks: tuple[TaskFacts, ...]) -> list[Block]:
    rates = [task for task in tasks if task.metrics[task.primary].metric.unit == "rate"]
    columns = (
        Column("Task"),
        Column("n", numeric=True),
        Column("Base", numeric=True),
        Column("95 % interval", numeric=True),
        Column("Chance", numeric=True),
        Column("Can it show a loss?"),
    )
    caption = f"The base against chance: {pair.base}"
    return [Table(caption, columns, tuple(_chance_row(task) for task in rates))] if rates else []


def pair_blocks(facts: ReportFacts, pair: Comparison) -> list[Block]:
    """One pair; one that is not comparable shows its reasons and no number."""
    if pair.problems:
        return [Text("⊘ Not comparable, so no number is shown.", "void"), Bullets(pair.problems, "void")]
    tasks, endpoints = comparable_tasks(pair), endpoints_of(facts, pair)
    picture = forest_picture(pair, tasks, endpoints)
    blocks: list[Block] = [*picture, _table(pair, tasks, endpoints), *_chance(pair, tasks)]
    blocks += [*seeds_blocks(pair), *forgetting_blocks(tasks), *divergence_blocks(tasks)]
    left_out = tuple(
        f"{task.suite} / {task.task}: {'; '.join(task.problems)}" for task in pair.tasks if task.problems
    )
    if left_out:
        blocks += [
            Text("⊘ Left out, because base and tuned cannot be compared there:", "void"),
            Bullets(left_out),
        ]
    return blocks


def _headed(facts: ReportFacts, pair: Comparison) -> list[Block]:
    return [Heading(wording.pair_name(pair.base, pair.tuned)), *pair_blocks(facts, pair)]


def differences_section(facts: ReportFacts) -> Section:
    """What tuning changed, task by task. Of several pairs only what is judged is open, if that is few."""
    pairs = tuning_pairs(facts)
    judged = [pair for pair in pairs if judgement_of(facts, pair) is not None]
    opened = judged if len(judged) <= FEW else []
    blocks: list[Block] = []
    for pair in pairs:
        if len(pairs) == 1:
            blocks += _headed(facts, pair)
        else:
            name = wording.pair_name(pair.base, pair.tuned)
            blocks.append(Fold(name, tuple(pair_blocks(facts, pair)), open=pair in opened))
    return Section("differences", "What changed", tuple(blocks) or (Text("No pair was compared."),))


def quantization_section(facts: ReportFacts) -> Section | None:
    """What quantisation alone costs."""
    pairs = [pair for pair in facts.comparisons if pair.differs_in == "quantization"]
    if not pairs:
        return None
    blocks: list[Block] = [
        Text(
            "The same weights without any tuning, quantised against not quantised. "
            "It tells apart what quantisation costs from what training costs, and is never gated."
        )
    ]
    blocks += [block for pair in pairs for block in _headed(facts, pair)]
    return Section("quantisation", "What quantisation costs by itself", tuple(blocks))
