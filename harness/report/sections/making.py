"""How what was tuned was made and what everything took."""

from __future__ import annotations

from harness.report import wording
from harness.report.document import Block, Cell, Column, Fold, Picture, Row, Section, Table, Text
from harness.report.facts import Cost, Curve, ReportFacts, Training
from harness.report.pictures import curve, file_name
from harness.report.sections.tuning import FEW

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
    how = (training.method, training.batch, "packed" if training.packed else "")
    norm = training.gradient_norm[-1][1] if training.gradient_norm else None
    return Row(
        (
            Cell(training.name, ", ".join(part for part in how if part)),
            Cell(str(training.seed)),
            Cell(wording.count(training.steps)),
            _ends(training.train_loss),
            _ends(training.validation_loss),
            Cell(wording.known(norm, wording.small)),
            Cell(wording.known(training.tokens_per_second, wording.count)),
            Cell(wording.known(training.seconds, wording.duration)),
            Cell(wording.known(training.peak_memory_bytes, wording.size)),
            Cell(wording.known(training.trainable_parameters, wording.count)),
            Cell(wording.known(training.adapter_bytes, wording.size)),
        )
    )


def _name(training: Training) -> str:
    return f"{training.name}, seed {training.seed}"


def _curve_picture(training: Training) -> list[Block]:
    if len(training.train_loss) < 2:
        return []
    train, validation = (
        thinned(training.train_loss, MAX_POINTS),
        thinned(training.validation_loss, MAX_POINTS),
    )
    picture = Picture(
        name=file_name(f"training-{training.name}-{training.seed}"),
        title=f"Training curve: {_name(training)}",
        description="Mean loss per token by step. Solid: training. Dashed, with points: validation.",
        wide=curve(train, validation),
        narrow=curve(train, validation, narrow=True),
    )
    return [picture]


def _curve_numbers(training: Training) -> tuple[Block, ...]:
    """Losses and gradient norm by step, thinned; nothing where there is no curve."""
    if len(training.train_loss) < 2:
        return ()
    curves = (training.train_loss, training.validation_loss, training.gradient_norm)
    shown = (thinned(training.train_loss, MAX_CURVE_ROWS), thinned(training.validation_loss, 20))
    steps = sorted({step for points in shown for step, _ in points})
    by_step = [dict(points) for points in curves]
    rows = tuple(
        Row(
            (
                Cell(wording.count(step)),
                *(Cell(wording.known(values.get(step), _three_digits)) for values in by_step),
            )
        )
        for step in steps
    )
    titles = ("Step", "Training loss", "Validation loss", "Gradient norm")
    table = Table(f"Loss by step: {_name(training)}", tuple(Column(title, True) for title in titles), rows)
    points = max(len(curve) for curve in curves)
    if points <= len(rows):
        return (table,)
    return (Text(f"Showing {len(rows)} of {points:,} points, evenly spaced."), table)


def _three_digits(value: float) -> str:
    return wording.number(value, 3)


def _curves(facts: ReportFacts) -> list[Block]:
    """Curve and reading, the numbers folded. Many are folded whole, each with its reading on the fold."""
    blocks: list[Block] = []
    for training in facts.trainings:
        picture, numbers = _curve_picture(training), _curve_numbers(training)
        reading = f"{_name(training)}: {training.reading}" if training.reading else ""
        if len(facts.trainings) > FEW:
            blocks.append(Fold(reading or _name(training), (*picture, *numbers)))
            continue
        blocks += picture
        if reading:
            blocks.append(Text(reading))
        if numbers:
            blocks.append(Fold(f"The numbers of this curve: {_name(training)}", numbers))
    return blocks


def training_section(facts: ReportFacts) -> Section | None:
    """Loss curves and their reading, speed, memory and size of every training run."""
    if not facts.trainings:
        return None
    titles = (
        "Seed",
        "Steps",
        "Training loss",
        "Validation loss",
        "Gradient norm",
        "Tokens per second",
        "Time",
        "Peak memory",
        "Trainable parameters",
        "Stored",
    )
    columns = (Column("Name"), *(Column(title, numeric=True) for title in titles))
    table = Table("Training", columns, tuple(_row(training) for training in facts.trainings))
    return Section("training", "Training", (table, *_curves(facts)))


def _cost_row(cost: Cost) -> Row:
    rate = cost.tokens / cost.seconds if cost.tokens is not None and cost.seconds > 0 else None
    return Row(
        (
            Cell(cost.step, "reused from the store" if cost.reused else ""),
            Cell(wording.duration(cost.seconds)),
            Cell(wording.known(cost.tokens, wording.count)),
            Cell(wording.known(rate, wording.count)),
            Cell(wording.known(cost.peak_memory_bytes, wording.size)),
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
