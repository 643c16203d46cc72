"""From a pair's facts to its forest plot."""

from __future__ import annotations

from harness.comparison.facts import Comparison, TaskFacts
from harness.experiment.metrics import Metric
from harness.gate.verdict import Endpoint
from harness.report import wording
from harness.report.document import Block, Picture, Text
from harness.report.inert import cut, visible
from harness.report.pictures import ForestRow, Panel, file_name, forest
from harness.statistics.estimates import Estimate

MAX_ROWS = 30
_LABEL_LENGTH = 30
_RATE = Metric(name="average", title="average of rates")
# Only these limits lie on the axis of the difference itself.
_LIMIT_SIGNS = {"min_gain": 1, "max_drop_task": -1, "max_drop_average": -1}
_DESCRIPTION = (
    "Each row is a task: the mark is the difference tuned minus base, the thick line its 90 % interval, the "
    "thin line and the numbers in brackets its 95 % interval, the short upright bar the limit of the gate. "
    "The same numbers are in the table that follows."
)

Endpoints = dict[tuple[str, str], tuple[Endpoint, bool]]


def _row(label: str, metric: Metric, estimate: Estimate, endpoint: tuple[Endpoint, bool] | None) -> ForestRow:
    scale = wording.change_scale(metric.unit)
    narrow, wide = estimate.interval90, estimate.interval95
    cell = (
        wording.status_cell(*endpoint)
        if endpoint
        else wording.separation_cell(estimate, metric.higher_is_better)
    )
    interval = wording.span(metric.unit, wide.low, wide.high)
    sign = _LIMIT_SIGNS.get(endpoint[0].rule) if endpoint else None
    return ForestRow(
        label=visible(cut(label, _LABEL_LENGTH)),
        value=estimate.value * scale,
        low90=narrow.low * scale,
        high90=narrow.high * scale,
        low95=wide.low * scale,
        high95=wide.high * scale,
        limit=sign * abs(endpoint[0].limit) * scale if endpoint and sign else None,
        numbers=f"{wording.change(metric.unit, estimate.value)} [{interval}]",
        word=cell.text.partition(" ")[2],
        tone=cell.tone,
    )


def _axis(role: str, metric: Metric) -> tuple[str, str]:
    """The panel's title and which side is better: tasks with the same share an axis."""
    unit = {"rate": "percentage points", "bits": "bits per byte"}.get(metric.unit, metric.title)
    side = "right is better →" if metric.higher_is_better else "← left is better"
    return f"{role} · Δ in {unit}", side


def _panels(pair: Comparison, tasks: tuple[TaskFacts, ...], endpoints: Endpoints) -> tuple[Panel, ...]:
    panels: dict[tuple[str, str], list[ForestRow]] = {}
    for task in tasks:
        primary = task.metrics[task.primary]
        if primary.difference is not None:
            endpoint = endpoints.get((task.suite, task.task))
            if endpoint is not None and endpoint[0].metric != task.primary:
                endpoint = None
            row = _row(f"{task.suite} / {task.task}", primary.metric, primary.difference, endpoint)
            panels.setdefault(_axis(task.role, primary.metric), []).append(row)
    if pair.general_average is not None:
        row = _row("general average", _RATE, pair.general_average, endpoints.get(("max_drop_average", "")))
        panels.setdefault(_axis("general", _RATE), []).append(row)
    return tuple(Panel(*axis, tuple(rows)) for axis, rows in panels.items())


def forest_picture(pair: Comparison, tasks: tuple[TaskFacts, ...], endpoints: Endpoints) -> list[Block]:
    """The forest plot of one pair; a long one keeps the domain and the greatest losses."""
    shown = tasks[:MAX_ROWS]
    panels = _panels(pair, shown, endpoints)
    if not panels:
        return []
    picture = Picture(
        name=file_name(f"differences-{pair.tuned}-{pair.base}"),
        title=f"Paired differences: {wording.pair_name(pair.base, pair.tuned)}",
        description=_DESCRIPTION,
        wide=forest(panels),
        narrow=forest(panels, narrow=True),
    )
    if len(tasks) == len(shown):
        return [picture]
    note = f"The picture shows {len(shown)} of {len(tasks)} tasks: the domain, then the greatest losses."
    return [picture, Text(note)]
