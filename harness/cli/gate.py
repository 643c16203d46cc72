"""`harness gate`: the verdict from stored results, as an exit code."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.places import experiment_argument, open_store, store_option
from harness.errors import NothingMeasured
from harness.experiment.load import load_experiments
from harness.experiment.schema import LoadedExperiment
from harness.gate.formats import as_json, several_as_json
from harness.gate.judge import gate, worst
from harness.gate.stored import judged, stored_run
from harness.gate.verdict import Endpoint, EndpointStatus, GateResult
from harness.gate.wording import place
from harness.report.inert import visible

MARKS = {
    EndpointStatus.IMPROVED: "▲",
    EndpointStatus.RETAINED: "●",
    EndpointStatus.REGRESSED: "▼",
    EndpointStatus.INCONCLUSIVE: "◐",
}


@click.command("gate")
@experiment_argument
@store_option
@click.option("--format", "form", type=click.Choice(["human", "json"]), default="human", show_default=True)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
def command(experiment: Path, overrides: tuple[str, ...], store: Path | None, form: str) -> int:
    """Judge stored results. Reads no weights, and of data only whether it is still what was measured.

    0 pass · 1 quality regressed · 4 inconclusive, not comparable or nothing measured · 2 usage ·
    3 a damaged store · 70 a bug. The worst of several experiments decides.
    """
    experiments = load_experiments(experiment, overrides, judging=True)
    if len(experiments) == 1:
        result = _judged(experiments[0], store)
        click.echo(as_json(result) if form == "json" else visible(as_text(result)), nl=False)
        return result.exit_code
    results = {loaded.experiment.name: _judged_if_measured(loaded, store) for loaded in experiments}
    if form == "json":
        click.echo(several_as_json(results), nl=False)
    else:
        texts = (f"{name}: {as_text(result)}" for name, result in results.items())
        click.echo(visible("\n".join(texts)), nl=False)
    return worst(list(results.values())).exit_code


def _judged(loaded: LoadedExperiment, store: Path | None) -> GateResult:
    opened = open_store(loaded, store)
    record = stored_run(loaded, opened)
    return judged(record, opened, loaded.experiment.gate)


def _judged_if_measured(loaded: LoadedExperiment, store: Path | None) -> GateResult:
    """One cell that is not measured yet must not hide what another one lost."""
    try:
        return _judged(loaded, store)
    except NothingMeasured:
        return gate((), loaded.experiment.gate)


def as_text(result: GateResult) -> str:
    lines = [result.sentence, ""]
    for judgement in result.judgements:
        lines.append(f"{judgement.tuned} against {judgement.base}: {judgement.verdict.value}")
        for endpoint in (*judgement.endpoints, *judgement.slices):
            scale, unit = (100, "pp") if endpoint.unit == "rate" else (100, "%")
            lines.append(
                f"  {MARKS[endpoint.status]} {endpoint.status.value:<12} {endpoint.rule:<28} "
                f"{endpoint.suite}/{endpoint.task:<14} {endpoint.value * scale:+6.2f} {unit} "
                f"[{endpoint.low * scale:+.2f} … {endpoint.high * scale:+.2f}], "
                f"limit {endpoint.limit * scale:+.2f}" + _beside(endpoint)
            )
        lines += [f"  ⊘ {reason}" for reason in judgement.reasons]
    return "\n".join(lines) + "\n"


def _beside(endpoint: Endpoint) -> str:
    """What is said only where it is not as everywhere."""
    tier = "" if endpoint.tier == "critical" else f", {endpoint.tier}"
    return tier if endpoint.slice is None else f"{tier}, {place(endpoint)}"
