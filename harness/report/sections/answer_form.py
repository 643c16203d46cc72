"""Whether written answers kept their form, and what was lost with those that were lost."""

from __future__ import annotations

from harness.comparison.facts import Comparison, FormFacts, Loss, LossCounts, TaskFacts
from harness.report import wording
from harness.report.document import Block, Bullets, Cell, Column, Fold, Heading, Row, Section, Table, Text
from harness.report.facts import ReportFacts
from harness.report.sections.tuning import FEW, shown_pairs, tuning_pairs

LOST: dict[Loss, str] = {
    "format": "lost the form: by likelihood still right",
    "ability": "lost the ability: by likelihood wrong too",
    "both": "lost form and ability",
}
_COLUMNS = (
    Column("Task"),
    Column("n", numeric=True),
    Column("Empty", numeric=True),
    Column("Cut at the limit", numeric=True),
    Column("Not in the asked form", numeric=True),
    Column("Δ in the asked form", numeric=True),
)
_READING = (
    "Shares of the answers that a model wrote, base → tuned: nothing but blanks; cut at the limit of tokens, "
    "so that nothing the model wrote ended them; and those in which no answer could be read. A model that "
    "only lost the form may know as much as before."
)


def answer_form_section(facts: ReportFacts) -> Section | None:
    """Nothing, where nothing is written."""
    pairs = [pair for pair in shown_pairs(facts) if not pair.problems and _written(pair)]
    many = len(tuning_pairs(facts)) > FEW
    blocks: list[Block] = []
    for pair in pairs:
        name = wording.pair_name(pair.base, pair.tuned)
        inside = _blocks(pair)
        blocks += [Fold(name, tuple(inside))] if many else [Heading(name), *inside]
    return Section("answer-form", "Answer form", (Text(_READING), *blocks)) if blocks else None


def _written(pair: Comparison) -> list[tuple[TaskFacts, FormFacts]]:
    return [(task, task.form) for task in pair.tasks if task.form is not None and not task.problems]


def _blocks(pair: Comparison) -> list[Block]:
    written = _written(pair)
    rows = tuple(_row(task, form) for task, form in written)
    caption = f"Written answers: {wording.pair_name(pair.base, pair.tuned)}"
    said = tuple(f"{task.suite} / {task.task}: {text}" for task, form in written if (text := _losses(form)))
    return [Table(caption, _COLUMNS, rows), *([Bullets(said)] if said else [])]


def _row(task: TaskFacts, form: FormFacts) -> Row:
    return Row(
        (
            Cell(task.task, task.suite),
            Cell(f"{task.n:,}"),
            _both(form.base.empty, form.tuned.empty),
            _both(form.base.truncated, form.tuned.truncated),
            _both(form.base.unparsed, form.tuned.unparsed),
            wording.DASH if form.parsed is None else wording.difference_cell("rate", form.parsed, True),
        )
    )


def _both(base: float | None, tuned: float | None) -> Cell:
    if base is None and tuned is None:
        return wording.DASH
    return Cell(f"{wording.known(base, wording.percent)} → {wording.known(tuned, wording.percent)}")


def _losses(form: FormFacts) -> str:
    """What was lost with the lost answers, in a sentence; empty where no task could tell."""
    if form.no_losses is not None:
        return f"What was lost with lost answers cannot be told: {form.no_losses}."
    if form.losses is None:
        return ""
    lost = form.losses.format + form.losses.ability + form.losses.both
    if not lost:
        return "No answer was lost by writing."
    return f"Of {lost:,} answer{'s' * (lost != 1)} lost by writing, {_kinds(form.losses)}."


def _kinds(counts: LossCounts) -> str:
    verb = "is" if counts.format == 1 else "are"
    return (
        f"{counts.format:,} {verb} format (the likelihood still picks the right one), "
        f"{counts.ability:,} ability, {counts.both:,} both"
    )
