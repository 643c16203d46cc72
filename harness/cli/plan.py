"""`harness plan`: what a run will make, read, take and hold, before it starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.places import experiment_argument, open_store, store_option
from harness.estimate.estimate import Estimate, Group, PlannedExperiment, estimate, largest
from harness.estimate.memory import Memory
from harness.estimate.quantities import Quantity, total
from harness.experiment.load import load_experiments
from harness.gate.lint import ASSUMED_FLIPS, chance_to_pass
from harness.gate.wording import size
from harness.report.inert import visible

SCHEMA = "harness.plan/1"
# In a pipe rich takes 80 columns, which cuts names.
PIPE_WIDTH = 160
NOTHING = "–"


@click.command("plan")
@experiment_argument
@store_option
@click.option("--steps", is_flag=True, help="List every step with its fingerprint.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, its numbers with their source.")
def command(
    experiment: Path, overrides: tuple[str, ...], store: Path | None, steps: bool, as_json: bool
) -> int:
    """Print what is in the store, and the tokens, time and memory of the rest. Loads no model.

    ≈ is an estimate, ≥ leaves out what is unknown; the notes say which and why.
    """
    experiments = load_experiments(experiment, overrides)
    found = estimate(experiments, open_store(experiments[0], store))
    if as_json:
        click.echo(json.dumps(_document(found), indent=1, ensure_ascii=False, allow_nan=False))
    elif steps:
        for line in _steps(found):
            click.echo(visible(line))
    else:
        _print(found, Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False))
    return 0


def _steps(found: Estimate) -> Iterator[str]:
    for experiment in found.experiments:
        for group in experiment.groups:
            for step in group.steps:
                state = "stored" if step.stored else "to do "
                yield f"{state}  {step.kind:<13} {step.fingerprint[:12]}  {step.name}"
        yield f"{experiment.name}: {_counted(experiment.groups)}"
    if len(found.experiments) > 1:
        yield f"in all: {_counted(found.groups())}"


def _counted(groups: Iterable[Group]) -> str:
    stored = [step.stored for group in groups for step in group.steps]
    return f"{len(stored)} steps, {sum(stored)} in the store, {len(stored) - sum(stored)} to do"


def _print(found: Estimate, console: Console) -> None:
    for experiment in found.experiments:
        console.print(_table(experiment))
    if len(found.experiments) > 1:
        console.print(_table(PlannedExperiment("in all", "", ()), found.groups()))
    for line, style in _lines(found):
        console.print(Text(visible(line), style=style), soft_wrap=True)


def _lines(found: Estimate) -> Iterator[tuple[str, str]]:
    """What stands below the tables, with its style."""
    for experiment in found.experiments:
        yield from _power(experiment, len(found.experiments) > 1)
    for name, memory in _by_parts(found.groups()).items():
        parts = " + ".join(f"{part} {_gigabytes(value)}" for part, value in memory.parts.items())
        yield f"memory of {name}: ≈ {_gigabytes(memory.value or 0)} = {parts}", ""
    for warning in found.warnings:
        yield f"⚠ {warning}", "bold red"
    for note in found.notes:
        yield f"· {note}", ""


def _power(experiment: PlannedExperiment, named: bool) -> Iterator[tuple[str, str]]:
    """What the gate can certify with these items, and what it cannot."""
    prefix = f"{experiment.name}: " if named else ""
    for each in experiment.prospects:
        if each.impossible:
            yield f"⚠ {prefix}the gate cannot be passed: {each.place}: {each.impossible}", "bold red"
        elif each.certifies is not None:
            told = f"certifies drops above {size('rate', each.certifies)}, limit "
            limit = size("rate", each.limit)
            style = "" if each.certifies <= each.limit else "yellow"
            beside = "" if each.tier == "critical" else f", {each.tier}"
            yield f"{prefix}{each.place}: {each.items:,} items, {told}{limit}{beside}", style
        if each.caution:
            yield f"· {prefix}{each.place}: {each.caution}", ""
    if any(each.passes is not None for each in experiment.prospects):
        chance = f"{chance_to_pass(experiment.prospects):.0%}"
        assumed = f"{ASSUMED_FLIPS:.0%} of answers flipping, as many to right as to wrong"
        yield (
            f"{prefix}a tuned model that loses nothing keeps all general limits with ≈ {chance}: {assumed}",
            "",
        )


def _table(experiment: PlannedExperiment, totals: Sequence[Group] | None = None) -> Table:
    """A row for each group and their total; the total alone where the groups are shown elsewhere."""
    totals = experiment.groups if totals is None else totals
    table = Table(title=experiment.name, title_justify="left")
    table.add_column("configuration", overflow="fold")
    table.add_column("method")
    for name in ("tokens to train", "tokens to score", "time", "memory", "in the store"):
        table.add_column(name, justify="right")
    for group in experiment.groups:
        table.add_row(_name(group), group.method, *_cells([group]))
    table.add_section()
    table.add_row("total", "", *_cells(totals), style="bold")
    return table


def _name(group: Group) -> str:
    several = [
        f"{count} {what}"
        for count, what in ((group.seeds, "seeds"), (group.strengths, "strengths"))
        if count > 1
    ]
    return f"{group.name} ({', '.join(several)})" if several else group.name


def _cells(groups: Sequence[Group]) -> tuple[str, ...]:
    stored = [step.stored for group in groups for step in group.steps]
    memory = largest(group.memory for group in groups)
    return (
        _tokens(total(group.train_tokens for group in groups)),
        _tokens(total(group.score_tokens for group in groups)),
        _time(total(group.seconds for group in groups)),
        NOTHING if memory is None else _memory(memory),
        f"{sum(stored)} of {len(stored)}" if stored else "as above",
    )


def _tokens(quantity: Quantity) -> str:
    exact = quantity.source == "stored"
    return _said(quantity, lambda value: f"{value if exact else _rounded(value):,.0f}")


def _time(quantity: Quantity) -> str:
    return _said(quantity, _duration)


def _said(quantity: Quantity, say: Callable[[float], str]) -> str:
    """≥ where parts of a sum are unknown, ≈ where it is estimated."""
    if quantity.value is None:
        return "unknown"
    if not quantity.value and not quantity.missing:
        return NOTHING
    sign = "≥ " if quantity.missing else "≈ " if quantity.source == "estimated" else ""
    return f"{sign}{say(quantity.value)}"


def _rounded(value: float) -> float:
    """To three digits: no estimate is better than that."""
    return float(f"{value:.2e}")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _memory(memory: Memory) -> str:
    if memory.value is None:
        return "unknown"
    return f"{'≈ ' if memory.source == 'estimated' else ''}{_gigabytes(memory.value)}"


def _gigabytes(value: float) -> str:
    """Decimal, as the memory of graphics cards is sold; a rank-8 adapter is a hundredth of one."""
    return f"{value / 1e9:.1f} GB" if value >= 1e8 else f"{value / 1e6:.0f} MB"


def _by_parts(groups: Iterable[Group]) -> dict[str, Memory]:
    """The largest estimate of each way to train, and of measuring: sixty adapters need no line each."""
    found: dict[tuple[str, ...], Group] = {}
    for group in groups:
        if group.memory is None or not group.memory.parts:
            continue
        key = (group.method if "gradients" in group.memory.parts else "", *group.memory.parts)
        if key not in found or _bytes(found[key]) < _bytes(group):
            found[key] = group
    return {group.name: group.memory for group in found.values() if group.memory is not None}


def _bytes(group: Group) -> int:
    return (group.memory.value or 0) if group.memory else 0


def _document(found: Estimate) -> dict[str, Any]:
    """What `--json` prints."""
    return {"schema": SCHEMA, **asdict(found), "total": _total(found.groups())}


def _total(groups: Sequence[Group]) -> dict[str, Any]:
    stored = [step.stored for group in groups for step in group.steps]
    memory = largest(group.memory for group in groups)
    return {
        "steps": len(stored),
        "stored": sum(stored),
        "train_tokens": asdict(total(group.train_tokens for group in groups)),
        "score_tokens": asdict(total(group.score_tokens for group in groups)),
        "seconds": asdict(total(group.seconds for group in groups)),
        "memory": None if memory is None else asdict(memory),
    }
