"""How the adapters were made and what everything took."""

from __future__ import annotations

from harness.report import wording
from harness.report.document import Block, Cell, Column, Fold, Picture, Row, Section, Table, Text
from harness.report.facts import Cost, Curve, ReportFacts, Training
from harness.report.pictures import curve, file_name

MAX_POINTS = 240
MAX_CURVE_ROWS = 40


def thinned(points: Curve, most: int) -> Curve:
    """At most `most` points, evenly spaced, always with the first and the last."""
    if len(points) <= most:
        return points
    last = len(points) - 1
    return tuple(points[round(place * last / (most - 1))] for place in range(most))


def _ends(points: Curve) -> Cell:
    if not points:
        return Cell(wording.NONE)
    return Cell(f"{wording.number(points[0][1], 3)} → {wording.number(points[-1][1], 3)}")


def _row(training: Training) -> Row:
    rate, seconds = training.tokens_per_second, training.seconds
    memory, parameters = training.peak_memory_bytes, training.trainable_parameters
    adapter = training.adapter_bytes
    texts = (
        training.name,
        str(training.seed),
        f"{training.steps:,}",
        wording.NONE if rate is None else f"{rate:,.0f}",
        wording.NONE if seconds is None else wording.duration(seconds),
        wording.NONE if memory is None else wording.size(memory),
        wording.NONE if parameters is None else f"{parameters:,}",
        wording.NONE if adapter is None else wording.size(adapter),
    )
    cells = [Cell(text) for text in texts]
    return Row((*cells[:3], _ends(training.train_loss), _ends(training.validation_loss), *cells[3:]))


def _curve_blocks(training: Training) -> list[Block]:
    if len(training.train_loss) < 2:
        return []
    name = f"{training.name}, seed {training.seed}"
    train, validation = (
        thinned(training.train_loss, MAX_POINTS),
        thinned(training.validation_loss, MAX_POINTS),
    )
    picture = Picture(
        name=file_name(f"training-{training.name}-{training.seed}"),
        title=f"Training curve: {name}",
        description="Mean loss per token by step. Solid: training. Dashed, with points: validation.",
        wide=curve(train, validation),
        narrow=curve(train, validation, narrow=True),
    )
    validated = dict(training.validation_loss)
    rows_of = thinned(training.train_loss, MAX_CURVE_ROWS)
    steps = sorted(
        {step for step, _ in rows_of} | {step for step, _ in thinned(training.validation_loss, 20)}
    )
    trained = dict(training.train_loss)
    rows = tuple(
        Row((Cell(f"{step:,}"), *(_loss(losses.get(step)) for losses in (trained, validated))))
        for step in steps
    )
    columns = (Column("Step", True), Column("Training loss", True), Column("Validation loss", True))
    table = Table(f"Loss by step: {name}", columns, rows)
    points = max(len(training.train_loss), len(training.validation_loss))
    notes: tuple[Block, ...] = ()
    if points > len(rows):
        notes = (Text(f"Showing {len(rows)} of {points:,} points, evenly spaced."),)
    return [picture, Fold(f"The numbers of this curve: {name}", (*notes, table))]


def _loss(value: float | None) -> Cell:
    return Cell(wording.NONE if value is None else wording.number(value, 3))


def training_section(facts: ReportFacts) -> Section | None:
    """Loss curves, speed, memory and size of every adapter."""
    if not facts.trainings:
        return None
    titles = (
        "Seed",
        "Steps",
        "Training loss",
        "Validation loss",
        "Tokens per second",
        "Time",
        "Peak memory",
        "Trainable parameters",
        "Adapter",
    )
    columns = (Column("Name"), *(Column(title, numeric=True) for title in titles))
    table = Table("Training", columns, tuple(_row(training) for training in facts.trainings))
    curves = [block for training in facts.trainings for block in _curve_blocks(training)]
    return Section("training", "Training", (table, *curves))


def _cost_row(cost: Cost) -> Row:
    rate = cost.tokens / cost.seconds if cost.tokens is not None and cost.seconds > 0 else None
    return Row(
        (
            Cell(cost.step, "reused from the store" if cost.reused else ""),
            Cell(wording.duration(cost.seconds)),
            Cell(wording.NONE if cost.tokens is None else f"{cost.tokens:,}"),
            Cell(wording.NONE if rate is None else f"{rate:,.0f}"),
            Cell(wording.NONE if cost.peak_memory_bytes is None else wording.size(cost.peak_memory_bytes)),
        )
    )


def cost_section(facts: ReportFacts) -> Section | None:
    """Time, tokens and memory of every step, as they were when it ran."""
    if not facts.costs:
        return None
    titles = ("Time", "Tokens", "Tokens per second", "Peak memory")
    columns = (Column("Step"), *(Column(title, numeric=True) for title in titles))
    total = Row(
        (
            Cell("all steps"),
            Cell(wording.duration(sum(cost.seconds for cost in facts.costs))),
            *(Cell(wording.NONE) for _ in range(3)),
        ),
        "total",
    )
    rows = (*(_cost_row(cost) for cost in facts.costs), total)
    return Section("cost", "Cost", (Table("What each step took when it ran", columns, rows),))
