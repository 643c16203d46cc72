"""Pictures of gain against cost: the learning–forgetting plane, and both by strength."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from harness.report.inert import visible
from harness.report.pictures import (
    BETTER,
    INK,
    PAPER,
    PLAIN,
    TONE_COLOURS,
    TONE_SHAPES,
    UNSURE,
    by_tone,
    to_svg,
)
from harness.statistics.estimates import Estimate

_LINE_HEIGHT = 15
_LABEL_LENGTH = 24


@dataclass(frozen=True)
class Change:
    """A difference in the unit of its axis, with the bounds of its 90 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PlanePoint:
    """One configuration: what it changed in general ability (x) and in the domain (y)."""

    label: str
    x: Change
    y: Change
    tone: str


@dataclass(frozen=True)
class StrengthMark:
    """What one strength changed on test items and on validation items."""

    strength: float
    test: Change
    validation: Change


@dataclass(frozen=True)
class StrengthPanel:
    """`limit` is where the gate draws its line."""

    title: str
    marks: tuple[StrengthMark, ...]
    limit: float | None = None


def change_of(estimate: Estimate, scale: float = 100.0) -> Change:
    """The estimate on its axis: a rate in percentage points."""
    bounds = estimate.interval90
    return Change(scale * estimate.value, scale * bounds.low, scale * bounds.high)


def at_origin(base: str) -> PlanePoint:
    """The base: what it changes against itself is known exactly."""
    nothing = Change(0.0, 0.0, 0.0)
    return PlanePoint(base, nothing, nothing, "base")


def _domain(ends: Iterable[float]) -> tuple[float, float]:
    """The finite extent with zero in it and some air."""
    finite = [0.0, *(end for end in ends if math.isfinite(end))]
    low, high = min(finite), max(finite)
    air = 0.06 * (high - low) or 1.0
    return low - air, high + air


def _ends(change: Change) -> tuple[float, float, float]:
    return change.low, change.value, change.high


def _drawn(name: str, change: Change, domain: tuple[float, float]) -> dict[str, float]:
    """The change as columns for Vega; an endless interval ends at the edge of the picture."""
    low, value, high = (min(max(end, domain[0]), domain[1]) for end in _ends(change))
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def spread(wanted: Sequence[float], room: float) -> list[float]:
    """Places for labels, as near to `wanted` as can be: a line apart, in the same order, within 0 … room.

    Labels that would overlap become a block around the middle of where they want to be.
    """
    gap = min(_LINE_HEIGHT, room / max(len(wanted) - 1, 1))
    blocks: list[tuple[float, list[int]]] = []  # where the first label of the block stands, and its labels
    for index in sorted(range(len(wanted)), key=lambda index: wanted[index]):
        first, block = wanted[index], [index]
        while blocks and first < blocks[-1][0] + gap * len(blocks[-1][1]):
            block = [*blocks.pop()[1], *block]
            first = sum(wanted[each] - gap * rank for rank, each in enumerate(block)) / len(block)
        blocks.append((first, block))
    places = [0.0] * len(wanted)
    rank, last = 0, len(wanted) - 1
    for first, block in blocks:
        for offset, index in enumerate(block):
            place = first + gap * offset
            places[index] = min(max(place, gap * rank), room - gap * (last - rank))
            rank += 1
    return places


def _short(label: str) -> str:
    return visible(label if len(label) <= _LABEL_LENGTH else f"{label[: _LABEL_LENGTH - 1]}…")


def _plane_rows(
    points: Sequence[PlanePoint], x: tuple[float, float], y: tuple[float, float], height: float
) -> list[dict[str, Any]]:
    """Points for Vega, each with the height at which its label stands."""
    scale = height / (y[1] - y[0])
    places = spread([(y[1] - point.y.value) * scale for point in points], height)
    return [
        {
            "label": _short(point.label),
            "tone": point.tone,
            "label_y": y[1] - place / scale,
            **_drawn("x", point.x, x),
            **_drawn("y", point.y, y),
        }
        for point, place in zip(points, places, strict=True)
    ]


def plane(
    points: Sequence[PlanePoint],
    lines: Sequence[Sequence[tuple[float, float]]],
    titles: tuple[str, str],
    narrow: bool = False,
) -> str:
    """Each configuration as a mark with its 90 % cross, the base at the origin, strengths as thin lines.

    Labels stand in the margin with a leader: configurations that learn and forget alike lie on each other.
    """
    shown = (*points, at_origin("base"))
    width = 210 if narrow else 560
    height = max(260 if narrow else 380, _LINE_HEIGHT * len(shown))
    dots = [
        {"line": number, "order": order, "x": x, "y": y}
        for number, line in enumerate(lines)
        for order, (x, y) in enumerate(line)
    ]
    x_domain = _domain((*(end for p in shown for end in _ends(p.x)), *(dot["x"] for dot in dots)))
    y_domain = _domain((*(end for p in shown for end in _ends(p.y)), *(dot["y"] for dot in dots)))
    rows = _plane_rows(shown, x_domain, y_domain, height)
    layers = alt.layer(*_plane_layers(x_domain, y_domain, titles), *_plane_marks(width, narrow))
    specification = layers.properties(width=width, height=height).to_dict(validate=False)
    return to_svg(specification, {"points": rows, "dots": dots, "zero": [{"zero": 0}]}, 8)


def _plane_layers(
    x: tuple[float, float], y: tuple[float, float], titles: tuple[str, str]
) -> tuple[alt.Chart, ...]:
    """The axes through the base, and the lines through the strengths of one training run."""
    axis = {"tickCount": 6, "grid": True, "domain": False, "ticks": False}
    across = alt.X("x:Q", scale=alt.Scale(domain=list(x), nice=False), axis=alt.Axis(title=titles[0], **axis))
    upward = alt.Y("y:Q", scale=alt.Scale(domain=list(y), nice=False), axis=alt.Axis(title=titles[1], **axis))
    zero, dots = alt.Chart(alt.NamedData("zero")), alt.Chart(alt.NamedData("dots"))
    placed = dots.encode(across, upward, alt.Detail("line:N"))
    return (
        zero.mark_rule(color=INK).encode(alt.X("zero:Q")),
        zero.mark_rule(color=INK).encode(alt.Y("zero:Q")),
        placed.mark_line(color=PLAIN, strokeWidth=1.2).encode(alt.Order("order:Q")),
        placed.mark_point(filled=True, fill=PAPER, stroke=PLAIN, strokeWidth=1.2, size=26, opacity=1),
    )


def _plane_marks(width: int, narrow: bool) -> tuple[alt.Chart, ...]:
    colour = by_tone(alt.Color, TONE_COLOURS)
    chart = alt.Chart(alt.NamedData("points"))
    tuned = chart.transform_filter("datum.tone != 'base'")
    margin = width + (10 if narrow else 16)
    point = tuned.mark_point(filled=True, size=110, opacity=1, stroke=PAPER, strokeWidth=1.2)
    square = chart.transform_filter("datum.tone == 'base'").mark_point(
        shape="square", filled=True, size=90, opacity=1, color=INK, stroke=PAPER, strokeWidth=1.2
    )
    return (
        tuned.mark_rule(strokeWidth=1, strokeDash=[1, 2]).encode(
            alt.X("x:Q"), alt.Y("y:Q"), alt.Y2("label_y:Q"), colour, alt.X2Value(margin - 4)
        ),
        tuned.mark_rule(strokeWidth=1.6).encode(alt.X("x_low:Q"), alt.X2("x_high:Q"), alt.Y("y:Q"), colour),
        tuned.mark_rule(strokeWidth=1.6).encode(alt.X("x:Q"), alt.Y("y_low:Q"), alt.Y2("y_high:Q"), colour),
        point.encode(alt.X("x:Q"), alt.Y("y:Q"), colour, by_tone(alt.Shape, TONE_SHAPES)),
        square.encode(alt.X("x:Q"), alt.Y("y:Q")),
        chart.mark_text(align="left", color=INK, fontSize=12).encode(
            alt.Y("label_y:Q"), alt.Text("label:N"), alt.XValue(margin)
        ),
    )


def _strength_domain(panel: StrengthPanel) -> tuple[float, float]:
    changes = [change for mark in panel.marks for change in (mark.test, mark.validation)]
    limits = [] if panel.limit is None else [panel.limit]
    return _domain((*(end for change in changes for end in _ends(change)), *limits))


def _strength_panel(panel: StrengthPanel, name: str, size: tuple[int, int]) -> alt.LayerChart:
    """Test: filled, with thick intervals, joined. Validation: open, a little to the right."""
    bare = {"ticks": False, "domain": False}
    marks = sorted({mark.strength for mark in panel.marks})
    across = alt.X(
        "strength:Q",
        scale=alt.Scale(zero=True, nice=False, padding=16),
        axis=alt.Axis(title="strength", values=marks, grid=False, format=".3~g", **bare),
    )
    upward = alt.Y(
        "test:Q",
        scale=alt.Scale(domain=list(_strength_domain(panel)), nice=False),
        axis=alt.Axis(title=None, tickCount=5, **bare),
    )
    chart = alt.Chart(alt.NamedData(name)).encode(x=across)
    zero = alt.Chart(alt.NamedData("zero")).mark_rule(color=INK)
    chosen = alt.Chart(alt.NamedData("chosen")).mark_rule(color=UNSURE, strokeWidth=1.4)
    limits = alt.Chart(alt.NamedData(f"{name}-limit")).mark_rule(color=INK, strokeDash=[5, 3])
    dot = {"filled": True, "opacity": 1, "strokeWidth": 1.5}
    beside = {"xOffset": 9}
    layers = (
        zero.encode(alt.Y("zero:Q")),
        limits.encode(alt.Y("limit:Q")),
        chosen.encode(alt.X("chosen:Q")),
        chart.mark_line(color=BETTER, strokeWidth=1.2).encode(y=upward),
        chart.mark_rule(color=BETTER, strokeWidth=3.5).encode(alt.Y("test_low:Q"), alt.Y2("test_high:Q")),
        chart.mark_point(fill=BETTER, stroke=PAPER, size=85, **dot).encode(alt.Y("test:Q")),
        chart.mark_rule(color=PLAIN, **beside).encode(alt.Y("validation_low:Q"), alt.Y2("validation_high:Q")),
        chart.mark_point(fill=PAPER, stroke=PLAIN, size=50, **dot, **beside).encode(alt.Y("validation:Q")),
    )
    title = alt.TitleParams(panel.title, anchor="start", frame="group", fontSize=12, offset=6)
    return alt.layer(*layers).properties(width=size[0], height=size[1], title=title)


def by_strength(panels: Sequence[StrengthPanel], chosen: float, narrow: bool = False) -> str:
    """What grows with the strength, gain and cost, one panel each; an upright line marks the chosen one."""
    size = (300, 170) if narrow else (370, 210)
    datasets: dict[str, list[dict[str, Any]]] = {"zero": [{"zero": 0}], "chosen": [{"chosen": chosen}]}
    charts = []
    for place, panel in enumerate(panels):
        name, domain = f"panel-{place}", _strength_domain(panel)
        datasets[name] = [
            {
                "strength": mark.strength,
                **_drawn("test", mark.test, domain),
                **_drawn("validation", mark.validation, domain),
            }
            for mark in panel.marks
        ]
        datasets[f"{name}-limit"] = [] if panel.limit is None else [{"limit": panel.limit}]
        drawn = _strength_panel(panel, name, size)
        charts.append(drawn.to_dict(validate=False, context={"top_level": False}))
    specification = {
        "$schema": alt.SCHEMA_URL,
        "vconcat" if narrow else "hconcat": charts,
        # Flush: plots stand in line, whatever the width of their labels.
        "spacing": 84 if narrow else 56,
        "bounds": "flush",
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
    }
    return to_svg(specification, datasets, 8)
