"""`harness init`: a project to begin with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from harness.errors import UsageError
from harness.experiment.project import root_of

STARTER = ("experiment.toml", "suite.toml", "data/train.jsonl", "data/test.jsonl")
_NEXT = """\
wrote {written}

next  harness plan {experiment}   # what would be made, without loading a model
      harness data {experiment}   # the training rows as the model sees them
      harness run {experiment}    # train, measure, compare, judge, report

Then put your own rows and your own base into {experiment}. `harness show {experiment}` lists every key.
"""


@click.command("init")
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
def command(folder: Path) -> int:
    """Write an experiment, a suite, ten rows to train on and twelve to measure on into FOLDER."""
    taken = [name for name in STARTER if (folder / name).exists()]
    if taken:
        raise UsageError(
            f"`{folder / taken[0]}` is there already, and nothing is overwritten; name another folder"
        )
    experiment = folder / STARTER[0]
    # Paths in the files start at the project's root, which may lie above the folder.
    below = folder.resolve().relative_to(root_of(experiment)).as_posix()
    prefix = "" if below == "." else f"{below}/"
    for name in STARTER:
        text = files("harness.cli").joinpath("starter", name).read_text(encoding="utf-8")
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace('"@', f'"{prefix}'), encoding="utf-8")
    written = ", ".join(str(folder / name) for name in STARTER)
    click.echo(_NEXT.format(written=written, experiment=experiment), nl=False)
    return 0
