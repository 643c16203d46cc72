"""A validation part of the test rows that depends on content alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from harness.data.identity import item_id
from harness.data.rows import Row
from harness.errors import ConfigurationError, Problem
from harness.experiment.templates import render


def split_by_hash(
    rows: Sequence[Row], fraction: float, cluster: str | None = None
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(test, validation): about `fraction` of the clusters, or of the rows, are validation.

    Rows of one cluster stay together, and so do identical rows. Neither the order of the rows nor
    the other rows matter. Raises ConfigurationError where one of the two parts would be empty.
    """
    test: list[Row] = []
    validation: list[Row] = []
    for row in rows:
        key = item_id(row.values) if cluster is None else str(render(cluster, row.values))
        (validation if _unit(key) < fraction else test).append(row)
    if not test or not validation:
        empty = "test" if not test else "validation"
        units = "rows" if cluster is None else f"rows by `{cluster}`"
        message = f"splitting {len(rows):,} {units} at {fraction} leaves no {empty} rows"
        help = "give the task validation rows of its own, more rows, or another validation_fraction"
        raise ConfigurationError([Problem(message, rows[0].file if rows else None, help=help)])
    return tuple(test), tuple(validation)


def _unit(key: str) -> float:
    """A number in [0, 1) from the key's hash."""
    digest = hashlib.sha256(f"validation:{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64
