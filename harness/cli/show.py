"""`harness show`: the resolved experiment, and where each of its values comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import click

from harness.cli.places import set_option
from harness.errors import UsageError
from harness.experiment.document import KeyPath, key_name
from harness.experiment.json_schema import Kind, schema_text
from harness.experiment.load import Cell, load_cells
from harness.experiment.resolved import resolved, resolved_toml
from harness.experiment.validate import suggestion, value_at
from harness.report.inert import visible

SCHEMA = "harness.show/1"


@click.command("show")
@click.argument("experiment", required=False, type=click.Path(path_type=Path))
@set_option
@click.option("--cell", metavar="NAME", help="The one experiment of a matrix that is shown.")
@click.option("--json", "as_json", is_flag=True, help="All experiments with their suites and origins.")
@click.option("--schema", type=click.Choice(get_args(Kind)), help="Print the JSON Schema of a file instead.")
def command(
    experiment: Path | None, overrides: tuple[str, ...], cell: str | None, as_json: bool, schema: Kind | None
) -> int:
    """Print the experiment as it will be run: valid TOML, each value with its origin behind it."""
    if schema is not None:
        click.echo(schema_text(schema), nl=False)
        return 0
    if experiment is None:
        raise UsageError("name an experiment: harness show experiments/….toml")
    cells = load_cells(experiment, overrides)
    if cell is not None:
        cells = _chosen(cells, cell)
    if as_json:
        document = {"schema": SCHEMA, "experiments": [_document(one) for one in cells]}
        click.echo(json.dumps(document, indent=2, allow_nan=False))
        return 0
    if len(cells) > 1:
        names = "\n".join(f"  --cell {one.loaded.experiment.name}" for one in cells)
        raise UsageError(
            f"the matrix makes {len(cells)} experiments; choose one, or --json for all:\n{names}"
        )
    click.echo(resolved_toml(cells[0].loaded, lambda path: visible(_origin(cells[0], path))), nl=False)
    return 0


def _chosen(cells: tuple[Cell, ...], name: str) -> tuple[Cell, ...]:
    chosen = tuple(one for one in cells if one.loaded.experiment.name == name)
    if not chosen:
        names = [one.loaded.experiment.name for one in cells]
        raise UsageError(f"there is no experiment `{name}`; {suggestion(name, names)}")
    return chosen


def _origin(cell: Cell, path: KeyPath) -> str:
    written = cell.located.origins.get(path)
    return "default" if written is None else written.in_words(cell.loaded.root.absolute())


def _document(cell: Cell) -> dict[str, Any]:
    """One experiment. A key that is not among the origins has its default."""
    keys = [path for path in cell.located.origins if path and isinstance(path[-1], str)]
    origins = {
        key_name(path): _origin(cell, path)
        for path in keys
        if not isinstance(value_at(cell.located.table, path), dict)
    }
    return {"name": cell.loaded.experiment.name, **resolved(cell.loaded), "origins": origins}
