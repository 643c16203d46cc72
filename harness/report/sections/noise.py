"""What scoring the base twice changes: the floor under every difference (statistics.md 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.comparison.facts import Comparison, NoiseFacts, TaskFacts
from harness.gate.endpoints import NOISE_DEVIATIONS
from harness.report import wording
from harness.report.document import Block, Cell, Column, Row, Table, Text

_READING = (
    "The base was scored a second time with its batches packed in another way. The weights are the same, so "
    "whatever changes is the arithmetic of the machine, and that alone may change as much between base and "
    "tuned. The noise of a difference Δ is twice its standard deviation; a limit of the gate within it "
    "certifies nothing."
)
_COLUMNS = (
    Column("Task"),
    Column("Base"),
    Column("Items scored twice", numeric=True),
    Column("Right → wrong", numeric=True),
    Column("Wrong → right", numeric=True),
    Column("Noise of Δ", numeric=True),
    Column("What it means"),
)


def noise_blocks(pairs: Sequence[Comparison]) -> list[Block]:
    """Every base and task once, however many configurations are compared with it."""
    rows = {
        (pair.base, task.suite, task.task): _row(pair.base, task, task.noise)
        for pair in pairs
        if not pair.problems
        for task in pair.tasks
        if task.noise is not None and not task.problems
    }
    table = Table("The noise of scoring: each base against itself", _COLUMNS, tuple(rows.values()))
    return [table, Text(_READING)] if rows else []


def beyond_noise(task: TaskFacts, direction: Literal["loss", "win"]) -> str:
    """Answers that changed beyond what noise alone changes; empty where it was seen to change none."""
    share = task.losses_excess if direction == "loss" else task.wins_excess
    floor = task.noise is not None and (task.noise.to_wrong or task.noise.to_right)
    return wording.change("rate", share) if floor and share is not None else ""


def _row(base: str, task: TaskFacts, noise: NoiseFacts) -> Row:
    metric = task.metrics[task.primary].metric
    reach = None if noise.deviation is None else NOISE_DEVIATIONS * noise.deviation
    return Row(
        (
            Cell(task.task, f"{task.suite} · {wording.titled(metric)}"),
            Cell(base),
            Cell(f"{noise.items:,}", "" if noise.items >= task.n else f"of {task.n:,}"),
            _flips(noise.to_wrong, noise.items),
            _flips(noise.to_right, noise.items),
            wording.DASH if reach is None else Cell(f"±{wording.small_change(metric.unit, reach)}"),
            _meaning(task, noise, reach),
        )
    )


def _flips(share: float | None, items: int) -> Cell:
    if share is None:
        return wording.DASH
    return Cell(f"{round(share * items):,}", wording.percent(share) if share else "")


def _meaning(task: TaskFacts, noise: NoiseFacts, reach: float | None) -> Cell:
    if noise.to_wrong or noise.to_right or reach:
        unit = task.metrics[task.primary].metric.unit
        within = (
            f"a difference within ±{wording.small_change(unit, reach)} may be noise alone" if reach else ""
        )
        return Cell("◐ some noise", within, "unsure")
    if reach is None:
        return Cell("○ unknown", "there is no deviation of an item's score for this metric")
    return Cell("✔ none seen", "both scorings agree on every item that was scored twice", "better")
