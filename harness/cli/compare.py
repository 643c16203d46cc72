"""`harness compare`: the stored paired differences as a table."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from harness.cli.places import experiment_argument, for_each, open_store, store_option
from harness.comparison.facts import Comparison, MetricFacts
from harness.experiment.load import load_experiments
from harness.experiment.schema import LoadedExperiment
from harness.gate.stored import stored_comparisons, stored_run

# In a pipe rich takes 80 columns, which cuts names and intervals.
PIPE_WIDTH = 160


@click.command("compare")
@experiment_argument
@store_option
def command(experiment: Path, overrides: tuple[str, ...], store: Path | None) -> int:
    """Print the paired differences of the last run. Facts only; `harness gate` judges."""
    experiments = load_experiments(experiment, overrides, judging=True)
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)

    def show(loaded: LoadedExperiment) -> None:
        opened = open_store(loaded, store)
        record = stored_run(loaded, opened)
        if len(experiments) > 1:
            console.rule(loaded.experiment.name, align="left")
        for comparison in stored_comparisons(record, opened):
            console.print(_table(comparison))
            for problem in comparison.problems:
                console.print(f"⊘ not comparable: {problem}", markup=False)

    return for_each(experiments, show)


def _table(comparison: Comparison) -> Table:
    table = Table(title=f"{comparison.tuned} against {comparison.base}", title_justify="left")
    for name, justify in (("task", "left"), ("metric", "left"), ("n", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in (comparison.base, comparison.tuned, "difference", "95 % interval", "wins / losses"):
        table.add_column(name, justify="right")
    for task in comparison.tasks:
        for problem in task.problems:
            table.add_row(f"{task.suite}/{task.task}", f"⊘ {problem}")
        for name, facts in task.metrics.items():
            flips = f"{task.wins} / {task.losses}" if name == task.primary and task.wins is not None else ""
            table.add_row(
                f"{task.suite}/{task.task}" if name == task.primary else "",
                f"{facts.metric.title} {'↑' if facts.metric.higher_is_better else '↓'}",
                str(task.n),
                *_numbers(facts),
                flips,
            )
    return table


def _numbers(facts: MetricFacts) -> tuple[str, str, str, str]:
    shown = f"{facts.base:.3f}", f"{facts.tuned:.3f}"
    if facts.difference is None:
        return (*shown, "–", facts.reason or "")
    scale, unit = (100, " pp") if facts.metric.unit == "rate" else (1, "")
    digits = 1 if scale == 100 else 4
    low, high = facts.difference.interval95.low, facts.difference.interval95.high
    return (
        *shown,
        f"{facts.difference.value * scale:+.{digits}f}{unit}",
        f"{low * scale:+.{digits}f} … {high * scale:+.{digits}f}",
    )
