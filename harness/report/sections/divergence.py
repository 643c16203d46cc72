"""How far each tuned model moved from the base on text: KL in nats per token (statistics.md 3.6)."""

from __future__ import annotations

from collections.abc import Sequence

from harness.comparison.facts import Comparison, TaskFacts
from harness.report import wording
from harness.report.document import Block, Cell, Column, Row, Table, Text

_TITLE = "KL from the base, nats per token"
_READING = (
    "KL from the base says how far the tuned model's probabilities of the next token lie from the base's, "
    "averaged over all tokens while both read the same text. 0 means unchanged; there is no upper bound. It "
    "says how much moved, not whether that is good, and is never gated. The interval is the 95 % one."
)


def divergence_blocks(tasks: Sequence[TaskFacts]) -> list[Block]:
    """One pair, text by text."""
    measured = [task for task in tasks if _is_known(task)]
    columns = (
        Column("Text"),
        Column("Documents", numeric=True),
        Column("Tokens", numeric=True),
        Column(_TITLE, numeric=True),
        Column("95 % interval", numeric=True),
    )
    rows = tuple(_text_row(task) for task in measured)
    return (
        [Table("How far the tuned model moved from the base", columns, rows), Text(_READING)] if rows else []
    )


def divergences_of_all(pairs: Sequence[Comparison]) -> list[Block]:
    """Every comparable pair in one row, every text in one column."""
    tasks = {
        (pair.tuned, task.suite, task.task): task
        for pair in pairs
        if not pair.problems
        for task in pair.tasks
        if _is_known(task)
    }
    texts = {
        (task.suite, task.task): f"{task.role} text: {task.suite} / {task.task}" for task in tasks.values()
    }
    columns = (Column("Tuned"), *(Column(title, numeric=True) for title in texts.values()))
    rows = tuple(
        Row((Cell(pair.tuned), *(_value(tasks.get((pair.tuned, *text))) for text in texts)))
        for pair in pairs
        if not pair.problems
    )
    return [Table(_TITLE, columns, rows), Text(_READING)] if tasks else []


def _is_known(task: TaskFacts) -> bool:
    """Whether there is a divergence, or a reason why there is none."""
    return not task.problems and (task.divergence is not None or task.no_divergence is not None)


def _text_row(task: TaskFacts) -> Row:
    where = Cell(task.task, f"{task.suite} · {task.role} text")
    facts = task.divergence
    if facts is None:
        return Row((where, wording.DASH, wording.DASH, _value(task), wording.DASH))
    interval = facts.interval95
    return Row(
        (
            where,
            Cell(f"{facts.documents:,}"),
            Cell(f"{facts.tokens:,}"),
            Cell(wording.small(facts.nats_per_token)),
            wording.DASH if interval is None else Cell(wording.small_span(interval)),
        )
    )


def _value(task: TaskFacts | None) -> Cell:
    if task is None:
        return wording.DASH
    facts = task.divergence
    if facts is None:
        return Cell("⊘ no number", task.no_divergence or "", "void")
    span = "" if facts.interval95 is None else wording.small_span(facts.interval95)
    return Cell(wording.small(facts.nats_per_token), span)
