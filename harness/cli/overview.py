"""What the experiments of a matrix came to, in one table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from harness.gate.verdict import Endpoint, GateResult, Judgement
from harness.gate.wording import number


def overview(results: Mapping[str, GateResult]) -> Table:
    """A row for each tuned configuration of each experiment; a number with its 90 % interval."""
    table = Table(title="all experiments", title_justify="left")
    for name in ("experiment", "tuned", "verdict"):
        table.add_column(name, overflow="fold")
    for name in ("domain gain", "general average"):
        table.add_column(name, justify="right")
    for name, result in results.items():
        for judgement in result.judgements:
            gain, average = _least(judgement, "min_gain"), _least(judgement, "max_drop_average")
            table.add_row(name, judgement.tuned, judgement.verdict.value, gain, average)
    return table


def _least(judgement: Judgement, rule: str) -> str:
    """The least value under a rule: of several domain tasks the one that gained least."""
    found = [endpoint for endpoint in judgement.endpoints if endpoint.rule == rule]
    return _shown(min(found, key=lambda endpoint: endpoint.value)) if found else "–"


def _shown(endpoint: Endpoint) -> str:
    low = number(endpoint.unit, endpoint.low, suffix=False)
    high = number(endpoint.unit, endpoint.high, suffix=False)
    return f"{number(endpoint.unit, endpoint.value)} [{low} … {high}]"
