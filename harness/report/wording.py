"""How numbers and verdicts are said. HTML, Markdown and pictures all take their words from here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from harness.experiment.metrics import Metric, Unit
from harness.gate.questions import FORM
from harness.gate.verdict import Endpoint, EndpointStatus, Verdict
from harness.report.document import Cell, Tone
from harness.statistics.estimates import Estimate, Interval

_T = TypeVar("_T")

MINUS = "−"
NONE = "–"
DASH = Cell(NONE)
_LEVEL_DIGITS: dict[Unit, int] = {"rate": 3, "bits": 4, "perplexity": 2, "score": 3}
# A difference may also be a fraction of the base's value.
ChangeUnit = Unit | Literal["relative"]
_CHANGE_DIGITS: dict[ChangeUnit, int] = {"rate": 1, "relative": 2, "bits": 4, "perplexity": 2, "score": 3}
_SUFFIX: dict[ChangeUnit, str] = {
    "rate": " pp",
    "relative": " % of the base",
    "bits": " bits",
    "perplexity": "",
    "score": "",
}
_METHODS = {
    "tango": "Tango",
    "t": "paired t",
    "cluster_t": "cluster-robust t",
    "ratio": "ratio estimator",
    "bootstrap": "paired bootstrap",
    "normal": "normal",
    "wilson": "Wilson",
    "crossed": "items × seeds",
}
# What a pair asks about, by its `differs_in`.
WHAT_DIFFERS = {
    "adapter": "the adapter",
    "weights": "the trained weights",
    "model": "the model",
    "prompt": "the prompt",
    "quantization": "the quantisation",
}
VERDICTS: dict[Verdict, tuple[str, Tone]] = {
    Verdict.PASS: ("✔", "better"),
    Verdict.FAIL: ("✘", "worse"),
    Verdict.INCONCLUSIVE: ("◐", "unsure"),
    Verdict.NOT_COMPARABLE: ("⊘", "void"),
}
STATUSES: dict[EndpointStatus, tuple[str, Tone]] = {
    EndpointStatus.REGRESSED: ("▼", "worse"),
    EndpointStatus.INCONCLUSIVE: ("◐", "unsure"),
    EndpointStatus.RETAINED: ("●", "plain"),
    EndpointStatus.IMPROVED: ("▲", "better"),
}


def number(value: float, digits: int, signed: bool = False) -> str:
    """A number with fixed digits and a real minus sign; a rounded zero has no sign."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "+∞" if value > 0 else f"{MINUS}∞"
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def small(value: float) -> str:
    """Three significant digits, for noise floors and the like."""
    return "0" if value == 0 else f"{value:.3g}".replace("-", MINUS)


def small_span(interval: Interval) -> str:
    """An interval in three significant digits."""
    return f"{small(interval.low)} … {small(interval.high)}"


def small_change(unit: ChangeUnit, value: float) -> str:
    """A difference that may be far smaller than those that `change` has digits for."""
    return small(value * change_scale(unit)) + _SUFFIX[unit]


def p_value(value: float) -> str:
    """Digits below one in ten thousand say nothing that anyone could use."""
    return small(value) if value >= 0.0001 else "< 0.0001"


def level(metric: Metric, value: float) -> str:
    """A metric's value for one configuration: rates as a fraction."""
    return number(value, _LEVEL_DIGITS[metric.unit])


def change_scale(unit: ChangeUnit) -> float:
    """Differences of rates are shown in percentage points, relative ones in per cent of the base."""
    return 100.0 if unit in ("rate", "relative") else 1.0


def change(unit: ChangeUnit, value: float, signed: bool = True) -> str:
    """A difference with its unit: rates as percentage points."""
    return number(value * change_scale(unit), _CHANGE_DIGITS[unit], signed) + _SUFFIX[unit]


def span(unit: ChangeUnit, low: float, high: float) -> str:
    """An interval of a difference."""
    scale, digits = change_scale(unit), _CHANGE_DIGITS[unit]
    return f"{number(low * scale, digits, True)} … {number(high * scale, digits, True)}"


def level_span(metric: Metric, interval: Interval) -> str:
    """An interval of one configuration's value."""
    return f"{level(metric, interval.low)} … {level(metric, interval.high)}"


def titled(metric: Metric) -> str:
    """The metric with the direction that is better."""
    return f"{metric.title}\u00a0{'↑' if metric.higher_is_better else '↓'}"


def method(estimate: Estimate) -> str:
    return _METHODS[estimate.method]


def status_cell(endpoint: Endpoint, advisory: bool) -> Cell:
    """The gate's word for one rule, with its mark."""
    mark, tone = STATUSES[endpoint.status]
    notes = []
    if endpoint.measurable_drop:
        notes.append("the loss itself is measurable")
    if endpoint.within_noise is not None:
        notes.append("the limit lies within the noise of scoring")
    if endpoint.items_needed is not None:
        notes.append(f"about {endpoint.items_needed:,} items would decide it")
    elif endpoint.seeds_needed is not None:
        notes.append(f"about {endpoint.seeds_needed:,} training seeds would decide it")
    if endpoint.rule == FORM and endpoint.status is EndpointStatus.INCONCLUSIVE:
        notes.append("a tripwire: only a sure drop counts")
    if advisory:
        notes.append("advisory: not part of the verdict")
    elif endpoint.tier == "supporting":
        notes.append("supporting: only a shown loss counts")
    return Cell(f"{mark} {endpoint.status.value}", "; ".join(notes), tone)


def separated(estimate: Estimate) -> bool:
    """Whether the 90 % interval, whose bounds the gate uses, excludes zero."""
    return estimate.interval90.low > 0 or estimate.interval90.high < 0


def separation_cell(estimate: Estimate, higher_is_better: bool) -> Cell:
    """What the interval alone says, where no rule of the gate judges."""
    if not separated(estimate):
        return Cell("○ not separated")
    gained = (estimate.value > 0) == higher_is_better
    return Cell("△ better", tone="better") if gained else Cell("▽ worse", tone="worse")


def difference_cell(unit: ChangeUnit, estimate: Estimate, higher_is_better: bool, of: str = "") -> Cell:
    """Mark and value; below them what it is of, where that has to be said, and the 90 % interval."""
    read = separation_cell(estimate, higher_is_better)
    # Where a column is relative, its title says to what.
    value = change(unit, estimate.value).removesuffix(" of the base")
    interval = span(unit, estimate.interval90.low, estimate.interval90.high).replace(" ", "\u00a0")
    return Cell(f"{read.text[0]} {value}", f"{of}, {interval}" if of else interval, read.tone)


def listed(names: Sequence[str]) -> str:
    """As a sentence lists them: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def known(value: _T | None, say: Callable[[_T], str]) -> str:
    """The value in words, or a dash where it was not measured."""
    return NONE if value is None else say(value)


def count(value: float) -> str:
    return f"{value:,.0f}"


def percent(fraction: float) -> str:
    """Two digits where they say something: 0.35 %, 1.4 %, 83 %."""
    digits = 0 if fraction >= 0.1 else 1 if fraction >= 0.01 else 2
    return f"{100 * fraction:.{digits}f}\u00a0%"


def share(fraction: float) -> str:
    """A fraction that is set beside others, and may be negative: 97.4 %."""
    return f"{number(100 * fraction, 1)}\u00a0%"


def short_count(value: int) -> str:
    """Rounded, as a reader says it: 3.8 M."""
    for unit, word in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if value >= unit:
            return f"{value / unit:.1f}{word}" if value < 100 * unit else f"{value / unit:.0f}{word}"
    return f"{value:,}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: int) -> str:
    """Bytes in binary units."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.2f} GiB"


def pair_name(base: str, tuned: str) -> str:
    return f"{tuned} against {base}" if base else tuned
