"""`harness compare`: the paired differences of the last run, or of two folders of lm-eval's own results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.cli.gate import as_text
from harness.cli.lm_eval_results import Asked, compared, policy_of
from harness.cli.places import experiment_argument, for_each, open_store, store_option
from harness.comparison.facts import Comparison, MetricFacts
from harness.errors import EXIT_NO_VERDICT, EXIT_PASS, UsageError
from harness.experiment.load import load_experiments
from harness.experiment.schema import Gate, LoadedExperiment
from harness.gate.formats import as_json
from harness.gate.judge import gate, judge
from harness.gate.policy import unfit
from harness.gate.stored import stored_comparisons, stored_run
from harness.report.inert import visible

# In a pipe rich takes 80 columns, which cuts names and intervals.
PIPE_WIDTH = 160


@click.command("compare")
@experiment_argument
@click.argument("tuned", type=click.Path(path_type=Path, exists=True), required=False)
@store_option
@click.option("--domain", multiple=True, metavar="TASK", help="What must gain, a name or a glob. Repeatable.")
@click.option("--primary", metavar="METRIC", help="Decides in every task that has it, as acc_norm.")
@click.option("--cluster", metavar="FIELD", help="Documents with the same value are one independent draw.")
@click.option("--other-prompts", is_flag=True, help="Prompts and tokenizers may differ: join by document.")
@click.option("--json", is_flag=True, help="As `harness gate --format json`.")
def command(
    experiment: Path, tuned: Path | None, overrides: tuple[str, ...], store: Path | None, **options: Any
) -> int:
    """Print the paired differences of an experiment's last run. Facts only; `harness gate` judges.

    Or of two runs of lm-eval: harness compare BASE TUNED, two folders that
    `lm_eval … --output_path FOLDER --log_samples` wrote. The options but --store are for these.
    With --domain the pair is judged too, under `--set gate.max_drop_task=0.03` and the like, and the
    exit code is that of `harness gate`.
    """
    if tuned is not None:
        policy, as_document = policy_of(overrides), options.pop("json")
        asked = Asked(**options)
        return _judged(compared(experiment, tuned, asked), policy, as_document, bool(asked.domain))
    given = [name.replace("_", "-") for name, value in options.items() if value]
    if given:
        raise UsageError(f"--{given[0]} is for two folders of lm-eval's results: harness compare BASE TUNED")
    return _of_experiment(experiment, overrides, store)


def _of_experiment(experiment: Path, overrides: tuple[str, ...], store: Path | None) -> int:
    experiments = load_experiments(experiment, overrides, judging=True)
    console = _console()

    def show(loaded: LoadedExperiment) -> None:
        opened = open_store(loaded, store)
        record = stored_run(loaded, opened)
        if len(experiments) > 1:
            console.rule(loaded.experiment.name, align="left")
        for comparison in stored_comparisons(record, opened, loaded.experiment.gate):
            _show(comparison, console)

    return for_each(experiments, show)


def _judged(comparison: Comparison, policy: Gate, as_document: bool, has_domain: bool) -> int:
    useless = unfit(policy, comparison)
    if useless:
        raise UsageError(f"--set: {useless[0]}")
    result = gate([judge(comparison, policy)], policy)
    if as_document:
        click.echo(as_json(result), nl=False)
        return result.exit_code
    _show(comparison, _console())
    if not has_domain:
        print("For a verdict name what must gain: --domain TASK. All other tasks must not lose.")
        return EXIT_NO_VERDICT if comparison.problems else EXIT_PASS
    click.echo(visible(as_text(result)), nl=False)
    return result.exit_code


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def _show(comparison: Comparison, console: Console) -> None:
    console.print(_table(comparison))
    for problem in comparison.problems:
        console.print(visible(f"⊘ not comparable: {problem}"), markup=False)


def _table(comparison: Comparison) -> Table:
    title = escape(f"{comparison.tuned} against {comparison.base}")
    table = Table(title=title, title_justify="left")
    for name, justify in (("task", "left"), ("metric", "left"), ("n", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in (comparison.base, comparison.tuned, "difference", "95 % interval", "wins / losses"):
        table.add_column(escape(name), justify="right")
    for task in comparison.tasks:
        place = escape(visible(f"{task.suite}/{task.task}"))
        for problem in task.problems:
            table.add_row(place, escape(visible(f"⊘ {problem}")))
        for name, facts in task.metrics.items():
            flips = f"{task.wins} / {task.losses}" if name == task.primary and task.wins is not None else ""
            table.add_row(
                place if name == task.primary else "",
                escape(f"{facts.metric.title} {'↑' if facts.metric.higher_is_better else '↓'}"),
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
