"""What every command takes: the experiment's file, and where its store and reports are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.experiment.schema import LoadedExperiment
from harness.store.artifacts import Store


def experiment_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("experiment", type=click.Path(path_type=Path))(command)


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
