"""Which part of a task changed: its difference by the values of its fields, the worst first."""

from __future__ import annotations

from harness.comparison.facts import Comparison, SlicedField, SliceFacts, TaskFacts
from harness.experiment.metrics import Metric
from harness.gate.verdict import Endpoint
from harness.gate.wording import LONGEST_VALUE
from harness.report import wording
from harness.report.document import Block, Cell, Column, Fold, Heading, Row, Section, Table, Text
from harness.report.facts import ReportFacts
from harness.report.inert import cut
from harness.report.sections.tuning import FEW, judgement_of, tuning_pairs

# Slices of one task that stand open; the rest is folded.
OPEN = 8
_COLUMNS = (
    Column("Slice"),
    Column("n", numeric=True),
    Column("Base", numeric=True),
    Column("Tuned", numeric=True),
    Column("Δ", numeric=True),
    Column("90 % interval", numeric=True),
    Column("Won / lost", numeric=True),
    Column("p, adjusted", numeric=True),
    Column("Reading"),
)
Broken = frozenset[tuple[str, str, str, str]]


def slices_section(facts: ReportFacts) -> Section | None:
    """Every judged pair whose tasks have slices; of many pairs each is folded."""
    pairs = [pair for pair in tuning_pairs(facts) if not pair.problems and _sliced(pair)]
    blocks: list[Block] = []
    for pair in pairs:
        broken, alpha = _broken(facts, pair), facts.policy.alpha
        name = wording.pair_name(pair.base, pair.tuned)
        if len(pairs) > FEW:
            tables = [_table(task, _ordered(task), broken, alpha) for task in _sliced(pair)]
            blocks.append(Fold(name, tuple(tables)))
        else:
            blocks.append(Heading(name))
            for task in _sliced(pair):
                blocks += _task_blocks(task, broken, alpha)
    return Section("slices", "Slices", (Text(_reading(facts)), *blocks)) if blocks else None


def _reading(facts: ReportFacts) -> str:
    limit = facts.policy.max_drop_slice
    judged = (
        "They decide nothing"
        if limit is None
        else f"One that surely loses more than {wording.change('rate', limit, signed=False)} fails the gate"
    )
    return (
        "Where a change lies: every task that names fields, by their values, worst first. "
        f"{judged}; none has to be shown kept. Many slices are looked at, so some differ by chance: p is "
        "two-sided and adjusted over a task's slices (Benjamini and Hochberg), and a slice reads better or "
        f"worse where it is below {wording.small(facts.policy.alpha)}."
    )


def _sliced(pair: Comparison) -> list[TaskFacts]:
    return [task for task in pair.tasks if any(sliced.values for sliced in task.slices)]


def _broken(facts: ReportFacts, pair: Comparison) -> Broken:
    """Suite, task, field and value of what fails the gate."""
    judgement = judgement_of(facts, pair)
    endpoints: tuple[Endpoint, ...] = judgement.slices if judgement else ()
    return frozenset((each.suite, each.task, *each.slice) for each in endpoints if each.slice)


def _ordered(task: TaskFacts) -> list[tuple[str, SliceFacts]]:
    """Field and slice, the greatest loss first; those without an interval after the others."""
    sign = 1 if task.metrics[task.primary].metric.higher_is_better else -1
    entries = [(sliced.field, each) for sliced in task.slices for each in sliced.values]

    def place(entry: tuple[str, SliceFacts]) -> tuple[bool, float]:
        return entry[1].difference is None, sign * (entry[1].tuned - entry[1].base)

    return sorted(entries, key=place)


def _task_blocks(task: TaskFacts, broken: Broken, alpha: float) -> list[Block]:
    ordered = _ordered(task)
    blocks: list[Block] = [_table(task, ordered[:OPEN], broken, alpha)]
    rest = ordered[OPEN:]
    if rest:
        name = f"{task.suite} / {task.task}"
        blocks.append(Fold(f"{len(rest)} more slices of {name}", (_table(task, rest, broken, alpha),)))
    blocks += [Text(text) for text in map(_left_out, task.slices) if text]
    return blocks


def _left_out(sliced: SlicedField) -> str:
    if not sliced.left_out_values:
        return ""
    return (
        f"{sliced.field}: the {len(sliced.values)} most frequent values; {sliced.left_out_values:,} more "
        f"with {sliced.left_out_items:,} items together are left out."
    )


def _table(task: TaskFacts, entries: list[tuple[str, SliceFacts]], broken: Broken, alpha: float) -> Table:
    metric = task.metrics[task.primary].metric
    rows = tuple(
        _row(metric, field, each, alpha, (task.suite, task.task, field, each.value) in broken)
        for field, each in entries
    )
    return Table(f"Slices of {task.suite} / {task.task}: {wording.titled(metric)}", _COLUMNS, rows)


def _row(metric: Metric, field: str, each: SliceFacts, alpha: float, broken: bool) -> Row:
    estimate = each.difference
    change = interval = wording.DASH
    if estimate is not None:
        change = Cell(wording.change(metric.unit, estimate.value), wording.method(estimate))
        interval = Cell(wording.span(metric.unit, estimate.interval90.low, estimate.interval90.high))
    return Row(
        (
            Cell(cut(each.value, LONGEST_VALUE), field),
            Cell(f"{each.n:,}"),
            Cell(wording.level(metric, each.base)),
            Cell(wording.level(metric, each.tuned)),
            change,
            interval,
            wording.DASH if each.wins is None else Cell(f"{each.wins:,} / {each.losses:,}"),
            Cell(wording.known(each.p_adjusted, wording.p_value)),
            _read(metric, each, alpha, broken),
        )
    )


def _read(metric: Metric, each: SliceFacts, alpha: float, broken: bool) -> Cell:
    if each.difference is None:
        return Cell("⊘ no interval", each.reason or "", "void")
    if broken:
        return Cell("▼ beyond the limit", "fails the gate", "worse")
    if each.p_adjusted is None or each.p_adjusted >= alpha:
        apart = wording.separated(each.difference)
        return Cell("○ not separated", "apart before the adjustment" if apart else "")
    gained = (each.difference.value > 0) == metric.higher_is_better
    return Cell("△ better", tone="better") if gained else Cell("▽ worse", tone="worse")
