"""`harness plan`: the steps, and which are in the store."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.places import experiment_argument, for_each, open_store, store_option
from harness.experiment.load import load_experiments
from harness.experiment.schema import LoadedExperiment
from harness.plan import make_plan


@click.command("plan")
@experiment_argument
@store_option
def command(experiment: Path, overrides: tuple[str, ...], store: Path | None) -> int:
    """Print every step with its fingerprint. Loads no model and changes nothing."""
    return for_each(load_experiments(experiment, overrides), lambda loaded: _print(loaded, store))


def _print(loaded: LoadedExperiment, store: Path | None) -> None:
    opened = open_store(loaded, store)
    steps = list(make_plan(loaded).steps())
    present = [opened.has(step) for step in steps]
    for step, stored in zip(steps, present, strict=True):
        state = "stored" if stored else "to do "
        click.echo(f"{state}  {step.kind:<13} {step.fingerprint[:12]}  {step.name}")
    count = f"{len(steps)} steps, {sum(present)} in the store, {len(steps) - sum(present)} to do"
    click.echo(f"{loaded.experiment.name}: {count}")
