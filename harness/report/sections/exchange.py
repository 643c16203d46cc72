"""What a gain cost: percentage points gained for one lost in general ability (statistics.md 3.9)."""

from __future__ import annotations

from collections.abc import Sequence

from harness.comparison.facts import Comparison
from harness.report import wording
from harness.report.document import Block, Text
from harness.report.sections.tuning import Measure, difference
from harness.statistics.estimates import oriented
from harness.statistics.forgetting import exchange_rate


def exchange(pair: Comparison, measure: Measure) -> float | None:
    """Points gained by this measure for one of the general average lost; None unless both are certain."""
    gain, average = difference(pair, measure), pair.general_average
    if measure.metric.unit != "rate" or gain is None or average is None:
        return None
    return exchange_rate(oriented(gain, measure.metric.higher_is_better), average)


def exchange_blocks(pairs: Sequence[Comparison], measure: Measure) -> list[Block]:
    """Every pair of which it is certain that it gained by this measure and lost in the average."""
    rates = [(pair.tuned, rate) for pair in pairs if (rate := exchange(pair, measure)) is not None]
    if not rates:
        return []
    said = ", ".join(f"{name} {wording.change('rate', rate / 100)}" for name, rate in rates)
    return [
        Text(
            f"Gained on {measure.title} for each 1.0 pp of the general average lost, where 90 % intervals "
            f"show both a gain and a loss: {said}."
        )
    ]
