"""What each general task forgot and what it kept: flips, what chance explains of them, retention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from harness.comparison.facts import ForgettingFacts, TaskFacts
from harness.report import wording
from harness.report.document import Block, Cell, Column, Row, Table, Text, Tone
from harness.report.sections.noise import beyond_noise

_READING = (
    "Retention is what the tuned model keeps of the base's score above chance, with its 90 % interval: 100 % "
    "is all of it, 0 % is guessing. It is not shown where the base itself is not surely above chance, for a "
    "ratio of noise is noise. Chance explains a share of the answers that changed: who does not know guesses "
    "and may guess right once and wrong the other time (Harmon et al. 2025). That takes both guesses for "
    "independent. Scoring here is deterministic, so a lightly tuned model repeats its guesses, and the "
    "correction then takes away too much: the true share beyond chance is rather higher than the one shown. "
    "None of this is gated."
)
_COLUMNS = (
    Column("Task"),
    Column("Forgotten: right → wrong", numeric=True),
    Column("Gained: wrong → right", numeric=True),
    Column("Chance explains", numeric=True),
    Column("Forgotten beyond chance", numeric=True),
    Column("Gained beyond chance", numeric=True),
    Column("Retention above chance", numeric=True),
)

_Told = tuple[TaskFacts, ForgettingFacts]


def forgetting_blocks(tasks: Sequence[TaskFacts]) -> list[Block]:
    """One pair: its general tasks, the least retained first, and their mean with the worst beside it."""
    told = [
        (task, task.forgetting)
        for task in tasks
        if task.role == "general" and task.forgetting is not None and not task.problems
    ]
    if not told:
        return []
    told.sort(key=lambda each: (each[1].retention is None, each[1].retention or 0.0))
    rows = [_row(*each) for each in told]
    gated = [each for each in told if each[0].gated]
    if len(gated) > 1:
        rows.append(_mean_row(gated))
    return [Table("What was forgotten, and what is retained", _COLUMNS, tuple(rows)), Text(_READING)]


def _row(task: TaskFacts, facts: ForgettingFacts) -> Row:
    return Row(
        (
            Cell(task.task, f"{task.suite} · {wording.titled(task.metrics[task.primary].metric)}"),
            _share(facts.forgetting, _noise(beyond_noise(task, "loss"))),
            _share(facts.transfer, _noise(beyond_noise(task, "win"))),
            _share(facts.by_chance, "of either"),
            _share(facts.forgetting_beyond_chance, _at_most(facts.most_forgetting)),
            _share(facts.transfer_beyond_chance, _at_most(facts.most_transfer)),
            _retention(facts),
        )
    )


def _share(value: float | None, note: str) -> Cell:
    return wording.DASH if value is None else Cell(wording.share(value), note)


def _noise(said: str) -> str:
    return f"{said} beyond the noise" if said else ""


def _at_most(most: float | None) -> str:
    return "" if most is None else f"of at most {wording.share(most)}"


def _retention(facts: ForgettingFacts) -> Cell:
    if facts.retention is None:
        return Cell("⊘ not shown", facts.note or "", "void")
    interval = facts.retention_interval90
    if interval is None:
        return Cell(wording.share(facts.retention), facts.note or "")
    # The 90 % interval, whose bounds the gate uses for its own rules.
    tone: Tone = "worse" if interval.high < 1.0 else "better" if interval.low > 1.0 else "plain"
    bounds = f"{wording.share(interval.low)} … {wording.share(interval.high)}"
    return Cell(wording.share(facts.retention), f"{bounds}; {facts.note}" if facts.note else bounds, tone)


def _mean_row(told: Sequence[_Told]) -> Row:
    """Unweighted means over the tasks that have the number, beside losses the worst task."""
    return Row(
        (
            Cell("mean", f"over {len(told)} tasks"),
            _mean(told, lambda facts: facts.forgetting, max),
            _mean(told, lambda facts: facts.transfer),
            _mean(told, lambda facts: facts.by_chance),
            _mean(told, lambda facts: facts.forgetting_beyond_chance, max),
            _mean(told, lambda facts: facts.transfer_beyond_chance),
            _mean(told, lambda facts: facts.retention, min),
        ),
        "total",
    )


def _mean(
    told: Sequence[_Told],
    say: Callable[[ForgettingFacts], float | None],
    worst: Callable[[Sequence[tuple[float, str]]], tuple[float, str]] | None = None,
) -> Cell:
    known = [(value, task.task) for task, facts in told if (value := say(facts)) is not None]
    if not known:
        return wording.DASH
    notes = [f"of {len(known)} of them"] if len(known) < len(told) else []
    if worst is not None:
        value, name = worst(known)
        notes.append(f"worst: {name}, {wording.share(value)}")
    return Cell(wording.share(fmean(value for value, _ in known)), "; ".join(notes))
