"""`harness report`: the report again, from stored results."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.places import experiment_argument, for_each, open_store, report_folder, store_option
from harness.experiment.load import load_experiments
from harness.experiment.schema import LoadedExperiment
from harness.gate.stored import judged, stored_run
from harness.report.collect import collect
from harness.report.render import render_report


@click.command("report")
@experiment_argument
@store_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the report."
)
def command(experiment: Path, overrides: tuple[str, ...], store: Path | None, output: Path | None) -> int:
    """Write report.html and report.md from stored results. Several experiments get a folder each."""
    experiments = load_experiments(experiment, overrides, judging=True)

    def write(loaded: LoadedExperiment) -> None:
        opened = open_store(loaded, store)
        record = stored_run(loaded, opened)
        policy = loaded.experiment.gate
        result = judged(record, opened, policy)
        facts = collect(record, opened, policy, result)
        folder = report_folder(loaded)
        if output is not None:
            folder = output / loaded.experiment.name if len(experiments) > 1 else output
        click.echo(render_report(facts, folder))

    return for_each(experiments, write)
