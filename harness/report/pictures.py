"""Pictures as static SVG: the forest plot of a pair and the training curve. Same input, same bytes."""

from __future__ import annotations

import html
import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import altair as alt
import vl_convert

Curve = tuple[tuple[int, float], ...]

# The browser and vl-convert must measure text alike or labels are cut; these have one set of widths.
FONT = "Arial, Liberation Sans, Helvetica, sans-serif"
PAPER, INK, GRID = "#fefefe", "#1f2328", "#d8dee4"
BETTER, WORSE, UNSURE, VOID, PLAIN = "#0072b2", "#d55e00", "#7a5a00", "#6b4fa0", "#6e7681"
# Inside the page the same picture follows light, dark and print.
_PAGE_COLOURS = {
    PAPER: "var(--paper)",
    INK: "currentColor",
    GRID: "var(--grid)",
    BETTER: "var(--better)",
    WORSE: "var(--worse)",
    UNSURE: "var(--unsure)",
    VOID: "var(--void)",
    PLAIN: "var(--plain)",
}
TONES = ("better", "worse", "plain", "unsure", "void")
TONE_COLOURS = (BETTER, WORSE, PLAIN, UNSURE, VOID)
TONE_SHAPES = ("triangle-up", "triangle-down", "circle", "diamond", "cross")
_WIDE, _NARROW = 400, 366
_NOISE = re.compile(
    r' (?:role|class|aria-[a-z]+|pointer-events|version|xmlns(?::xlink)?|opacity)="[^"]*"'
    r'|<path(?: [a-z-]+="[^"]*")* d="(?:M0,0h0v0h0Z)?"(?: [a-z-]+="[^"]*")*/>'
)


@dataclass(frozen=True)
class ForestRow:
    """One difference in the unit of its axis; `limit` is where the gate draws its line."""

    label: str
    value: float
    low90: float
    high90: float
    low95: float
    high95: float
    limit: float | None
    numbers: str
    word: str
    tone: str


@dataclass(frozen=True)
class Panel:
    """Rows that share an axis; `side` says which side is better."""

    title: str
    side: str
    rows: tuple[ForestRow, ...]


def file_name(text: str) -> str:
    """A name that is safe as a file on every system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def _domain(panel: Panel) -> tuple[float, float]:
    """The finite extent of everything drawn, with zero in it and some air."""
    ends = [0.0]
    for row in panel.rows:
        ends += [row.low95, row.high95, row.value, *([] if row.limit is None else [row.limit])]
    finite = [end for end in ends if math.isfinite(end)]
    low, high = min(finite), max(finite)
    air = 0.05 * (high - low) or 1.0
    return low - air, high + air


def _drawn(panel: Panel, narrow: bool) -> list[dict[str, Any]]:
    """Row values for Vega; an endless interval ends at the edge of the picture."""
    low, high = _domain(panel)
    drawn = []
    for place, row in enumerate(panel.rows):
        values: dict[str, Any] = {**asdict(row), "place": place}
        values["beside"] = row.numbers if narrow else f"{row.numbers} · {row.word}"
        for end in ("low90", "high90", "low95", "high95", "value"):
            values[end] = min(max(values[end], low), high)
        if not math.isnan(row.value):
            drawn.append(values)
    return drawn


def by_tone(channel: Any, values: tuple[str, ...]) -> Any:
    return channel("tone:N", scale=alt.Scale(domain=list(TONES), range=list(values)), legend=None)


def _panel(panel: Panel, name: str, narrow: bool) -> alt.LayerChart:
    """Wide: label, interval and numbers in columns. Narrow: label and numbers above the interval."""
    width, step = (_NARROW, 46) if narrow else (_WIDE, 26)
    lift, shift = (-14, 5) if narrow else (0, 0)
    places = (0, width) if narrow else (-14, width + 14)
    sides = ("left", "right") if narrow else ("right", "left")
    scale = alt.Scale(domain=list(_domain(panel)), nice=False, zero=False)
    axis = alt.Axis(title=panel.side, tickCount=6, grid=True, domain=False, ticks=False)
    rows = alt.Y("place:O", axis=None, sort=None, scale=alt.Scale(paddingInner=0, paddingOuter=0))
    colour, shape = by_tone(alt.Color, TONE_COLOURS), by_tone(alt.Shape, TONE_SHAPES)
    chart = alt.Chart(alt.NamedData(name)).encode(y=rows)
    text = {"color": INK, "fontSize": 12, "dy": lift}
    thin = chart.mark_rule(strokeWidth=1.4, yOffset=shift)
    thick = chart.mark_rule(strokeWidth=4.5, yOffset=shift)
    limit = chart.mark_tick(color=INK, thickness=2, size=18, yOffset=shift, orient="vertical")
    point = chart.mark_point(filled=True, size=110, opacity=1, stroke=PAPER, strokeWidth=1.2, yOffset=shift)
    # Narrow texts stand on the grid: a halo in the colour of the paper keeps them readable.
    halo = {**text, "color": PAPER, "stroke": PAPER, "strokeWidth": 4}
    layers = (
        alt.Chart(alt.NamedData("zero")).mark_rule(color=INK).encode(alt.X("zero:Q")),
        thin.encode(alt.X("low95:Q"), alt.X2("high95:Q"), color=colour),
        thick.encode(alt.X("low90:Q"), alt.X2("high90:Q"), color=colour),
        limit.transform_filter("datum.limit != null").encode(alt.X("limit:Q")),
        point.encode(x=alt.X("value:Q", scale=scale, axis=axis), color=colour, shape=shape),
        *(
            chart.mark_text(align=side, **style).encode(alt.XValue(place), alt.Text(field))
            for style in ((halo, text) if narrow else (text,))
            for side, place, field in zip(sides, places, ("label:N", "beside:N"), strict=True)
        ),
    )
    title = alt.TitleParams(panel.title, anchor="start", frame="group", fontSize=12, offset=6)
    return alt.layer(*layers).properties(width=width, height=alt.Step(step), title=title)


def to_svg(specification: dict[str, Any], datasets: dict[str, list[dict[str, Any]]], left: int) -> str:
    """The picture. Data and style join the finished specification: Altair would copy them again and again."""
    specification["datasets"] = datasets
    specification["background"] = PAPER
    specification["padding"] = {"left": left, "right": 24, "top": 8, "bottom": 8}
    specification["config"] = {
        "font": FONT,
        "axis": {
            "gridColor": GRID,
            "titleFontWeight": "normal",
            "labelColor": INK,
            "titleColor": INK,
            "labelFontSize": 11,
            "titleFontSize": 11,
        },
        "title": {"color": INK},
        "legend": {"labelColor": INK, "labelFontSize": 11},
        "view": {"stroke": None},
    }
    return f"{vl_convert.vegalite_to_svg(specification)}\n"


def forest(panels: tuple[Panel, ...], narrow: bool = False) -> str:
    """Paired differences with 90 % (thick) and 95 % (thin) intervals and the gate's limits.

    Panels do not share an axis: a domain gain of fifty points would flatten everything else.
    """
    names = [f"panel-{place}" for place in range(len(panels))]
    charts = [_panel(panel, name, narrow) for panel, name in zip(panels, names, strict=True)]
    # Flush: every panel starts at the same place, whatever the length of its labels.
    # Stacked by hand: Altair's vconcat copies every panel several times (half of the picture's time).
    stacked = {
        "$schema": alt.SCHEMA_URL,
        "vconcat": [chart.to_dict(validate=False, context={"top_level": False}) for chart in charts],
        "spacing": 74,
        "bounds": "flush",
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
    }
    datasets = {name: _drawn(panel, narrow) for panel, name in zip(panels, names, strict=True)}
    # Air for browsers whose font runs wider than the one that was measured.
    longest = max((len(row.label) for panel in panels for row in panel.rows), default=0)
    return to_svg(stacked, {**datasets, "zero": [{"zero": 0}]}, 8 if narrow else 8 + longest)


def curve(train: Curve, validation: Curve, narrow: bool = False) -> str:
    """Loss by step: training as a solid line, validation dashed with points."""
    series = [(name, points) for name, points in (("training", train), ("validation", validation)) if points]
    names = [name for name, _ in series]
    values = [
        {"series": name, "step": step, "loss": loss}
        for name, points in series
        for step, loss in points
        if math.isfinite(loss)
    ]
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolSize=300)
    colours = alt.Scale(domain=names, range=[BETTER, WORSE][: len(names)])
    dashes = alt.Scale(domain=names, range=[[1, 0], [5, 3]][: len(names)])
    base = alt.Chart(alt.NamedData("losses")).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(grid=False, tickCount=6, format="d")),
        y=alt.Y("loss:Q", title="loss per token", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5)),
        color=alt.Color("series:N", scale=colours, legend=legend),
    )
    dashed = alt.StrokeDash("series:N", scale=dashes, legend=legend)
    line = base.mark_line(strokeWidth=1.8).encode(strokeDash=dashed)
    points = base.transform_filter("datum.series == 'validation'").mark_point(filled=True, size=45, opacity=1)
    width, height = (290, 190) if narrow else (780, 220)
    drawn = alt.layer(line, points).properties(width=width, height=height)
    return to_svg(drawn.to_dict(validate=False), {"losses": values}, 8)


def inline(svg: str, title: str, description: str, anchor: str) -> str:
    """The picture as part of a page: page colours, a name for screen readers, no id that could clash."""
    body = _NOISE.sub("", svg.strip())
    for colour, replacement in _PAGE_COLOURS.items():
        body = body.replace(f'"{colour}"', f'"{replacement}"')
    names = (
        f'<title id="{anchor}-title">{html.escape(title)}</title>'
        f'<desc id="{anchor}-text">{html.escape(description)}</desc>'
    )
    start, rest = body.split(">", 1)
    return f'{start} role="img" aria-labelledby="{anchor}-title {anchor}-text">{names}{rest}'
