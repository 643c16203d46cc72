"""Several questions at once: "did any of these regress?" needs Holm, a table that is looked through for finds
Benjamini-Hochberg; "do all hold?" needs nothing (statistics.md 4.9)."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjusted p-values, in the order given.

    The same numbers as statsmodels' multipletests(method="holm"), whose import alone takes longer
    than a gate may; a test holds the two together.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Benjamini and Hochberg's step-up adjusted p-values, in the order given.

    Of what lies below q at most the share q is a false find, on average (1995, J. R. Stat. Soc. B
    57:289-300).
    The same numbers as scipy's false_discovery_control; a test holds the two together.
    """
    adjusted = [0.0] * len(p_values)
    smallest = 1.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__, reverse=True)):
        smallest = min(smallest, p_values[index] * len(p_values) / (len(p_values) - rank))
        adjusted[index] = smallest
    return tuple(adjusted)
