"""What every command takes: the experiment's file, and where its store and reports are."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from harness.errors import EXIT_NO_VERDICT, EXIT_PASS, NothingMeasured
from harness.experiment.schema import LoadedExperiment
from harness.store.artifacts import Store


def experiment_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The file, and what `--set` changes in it."""
    return click.argument("experiment", type=click.Path(path_type=Path))(set_option(command))


def set_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a key for this time: tuned.lora.epochs=2; ~tuned.lora.kl takes one out. Repeatable.",
    )(command)


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--store",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="HARNESS_STORE",
        help="Where results are kept.  [default: .harness beside the project]",
    )(command)


def open_store(loaded: LoadedExperiment, store: Path | None) -> Store:
    return Store((store or loaded.root / ".harness").absolute())


def report_folder(loaded: LoadedExperiment) -> Path:
    return loaded.root / "reports" / loaded.experiment.name


def command_line(name: str, experiment: Path, overrides: Sequence[str]) -> str:
    """`harness gate FILE` with the same `--set` options, as it can be pasted into a shell."""
    options = [part for override in overrides for part in ("--set", override)]
    return shlex.join(["harness", name, str(experiment), *options])


def for_each(experiments: Sequence[LoadedExperiment], act: Callable[[LoadedExperiment], None]) -> int:
    """Acts on every cell. One that is not measured yet is said, and keeps the others from nothing.

    Raises NothingMeasured for the only experiment.
    """
    code = EXIT_PASS
    for loaded in experiments:
        try:
            act(loaded)
        except NothingMeasured as error:
            if len(experiments) == 1:
                raise
            print(f"{loaded.experiment.name}: {error}", file=sys.stderr)
            code = EXIT_NO_VERDICT
    return code
