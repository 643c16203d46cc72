"""Which configurations are beaten on both sides of the trade-off, as far as intervals can tell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from harness.report.tradeoff import PlanePoint


def dominates(one: PlanePoint, other: PlanePoint) -> bool:
    """Better in both, with 90 % intervals that do not touch.

    There is no paired interval between two tuned configurations. Intervals that stand apart are enough
    without one: the error of a difference is never greater than the sum of both errors.
    """
    return one.x.low > other.x.high and one.y.low > other.y.high


def separated(one: PlanePoint, other: PlanePoint) -> bool:
    """Whether the intervals stand apart in both directions, whoever is better in which."""
    return all(
        mine.low > theirs.high or theirs.low > mine.high
        for mine, theirs in ((one.x, other.x), (one.y, other.y))
    )


def pareto_sentences(points: Sequence[PlanePoint]) -> str:
    """The Pareto set of points with the same base, who is dominated by whom, and what is left open."""
    beaten = {point.label: [other.label for other in points if dominates(other, point)] for point in points}
    front = [label for label, by in beaten.items() if not by]
    words = f"Pareto set, as far as the intervals can tell: {', '.join(front)}."
    for label, by in beaten.items():
        if by:
            words += f" {label} is dominated by {', '.join(by)}: worse in both, with 90 % intervals apart."
    couples = list(combinations(points, 2))
    unsure = sum(not separated(*couple) for couple in couples)
    if unsure:
        words += (
            f" Taken two by two, {unsure} of {len(couples)} are not separated: their intervals overlap in "
            "the gain or in the general average, so neither is said to dominate."
        )
    return words
