"""`harness run`: everything from the file to the report."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from harness.cli.overview import overview
from harness.cli.places import command_line, experiment_argument, open_store, report_folder, store_option
from harness.cli.progress import progress_to, quiet_environment
from harness.experiment.cells import MOST_CONFIGURATIONS
from harness.experiment.limit import limited
from harness.experiment.load import load_cells
from harness.gate.verdict import Verdict
from harness.pipeline import Outcome, run
from harness.report.collect import collect
from harness.report.inert import visible
from harness.report.render import render_report

STYLE = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_COMPARABLE: "yellow",
}


@click.command("run")
@experiment_argument
@store_option
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Smoke run: at most N rows a task and 8 N to train on; no verdict.",
)
@click.option("--force", is_flag=True, help="Run also where no result could pass the gate.")
@click.option("--yes", is_flag=True, help=f"Run a matrix of more than {MOST_CONFIGURATIONS} configurations.")
def command(
    experiment: Path, overrides: tuple[str, ...], store: Path | None, limit: int | None, **agreed: bool
) -> int:
    """Train and measure what is missing, then compare, judge and report.

    Exits 0 when everything ran, whatever the verdict: `harness gate` is what CI blocks on.
    """
    quiet_environment()
    console = Console(stderr=True)
    cells = load_cells(experiment, overrides, None if agreed["yes"] else MOST_CONFIGURATIONS)
    experiments = [cell.loaded if limit is None else limited(cell.loaded, limit) for cell in cells]
    if len(experiments) > 1:
        names = ", ".join(loaded.experiment.name for loaded in experiments)
        console.print(f"{len(experiments)} experiments: {names}", markup=False, highlight=False)
    following = command_line("gate", experiment, overrides) if limit is None else ""
    results = {}
    for loaded in experiments:
        opened = open_store(loaded, store)
        with progress_to(console) as progress:
            outcome = run(loaded, opened, progress, force=agreed["force"] or limit is not None)
        facts = collect(outcome.record, opened, loaded.experiment.gate, outcome.result)
        report = render_report(facts, report_folder(loaded))
        _close(console, outcome, report, following)
        results[loaded.experiment.name] = outcome.result
    if len(experiments) > 1:
        console.print(overview(results))
    return 0


def _close(console: Console, outcome: Outcome, report: Path, following: str) -> None:
    verdict = outcome.result.verdict
    title = verdict.value if following else "smoke run, no verdict"
    made = len(outcome.made)
    work = f"{made} steps made" if made else "no step ran, every result was in the store"
    text = Text()
    text.append(f"{visible(outcome.result.sentence)}\n\n", style=STYLE[verdict])
    text.append(f"report  {_shown(report)}\n")
    text.append(f"        {work}, {outcome.seconds:.1f} s\n")
    text.append(
        f"next    {following}" if following else "smoke run: not a verdict; run without --limit", style="bold"
    )
    console.print(Panel(text, title=title, border_style=STYLE[verdict]))
    if following and not sys.stdout.isatty():
        print(visible(outcome.result.sentence))


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
