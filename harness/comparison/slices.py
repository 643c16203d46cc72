"""The primary metric's difference on parts of a task: where a loss lies, if it lies anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.comparison.aggregates import AGGREGATIONS, column_of
from harness.comparison.facts import SlicedField, SliceFacts
from harness.comparison.pairing import PairedTask
from harness.statistics.estimates import Estimate, NoEstimate
from harness.statistics.evidence import p_above, p_below
from harness.statistics.multiplicity import benjamini_hochberg
from harness.store.measurements import Measurement

# Of one field: a field with more values than this is an identifier rather than a property.
MOST_VALUES = 50


def slice_facts(task: PairedTask) -> tuple[SlicedField, ...]:
    """Every field that the items name, each with its most frequent values.

    Adjusted p-values are over all slices of the task together: a table of many is looked through for finds.
    """
    fields = list(dict.fromkeys(field for item in task.base.items for field in item.slices))
    return _adjusted([_sliced(task, field) for field in fields])


def _sliced(task: PairedTask, field: str) -> SlicedField:
    places: dict[str, list[int]] = {}
    for place, item in enumerate(task.base.items):
        if field in item.slices:
            places.setdefault(item.slices[field], []).append(place)
    ordered = sorted(places.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    left_out = ordered[MOST_VALUES:]
    return SlicedField(
        field=field,
        values=tuple(_facts(task, value, within) for value, within in ordered[:MOST_VALUES]),
        left_out_values=len(left_out),
        left_out_items=sum(len(within) for _, within in left_out),
    )


def _facts(task: PairedTask, value: str, places: Sequence[int]) -> SliceFacts:
    name = task.base.primary
    aggregation = AGGREGATIONS[task.base.metrics[name].aggregate]
    base, tuned = (column_of(_only(side, places), name) for side in (task.base, task.tuned))
    difference = aggregation.difference(base, tuned)
    return SliceFacts(
        value=value,
        n=len(places),
        base=aggregation.value(base),
        tuned=aggregation.value(tuned),
        difference=difference if isinstance(difference, Estimate) else None,
        reason=difference.reason if isinstance(difference, NoEstimate) else None,
        **_flips(task, places),
    )


def _only(side: Measurement, places: Sequence[int]) -> Measurement:
    return replace(side, items=tuple(side.items[place] for place in places))


def _flips(task: PairedTask, places: Sequence[int]) -> Mapping[str, int]:
    """Items whose binary primary score changed; nothing where it is not binary."""
    primary = task.base.primary
    pairs = [
        (task.base.items[place].scores.get(primary), task.tuned.items[place].scores.get(primary))
        for place in places
    ]
    if any(score not in (0.0, 1.0) for both in pairs for score in both):
        return {}
    return {"wins": pairs.count((0.0, 1.0)), "losses": pairs.count((1.0, 0.0))}


def _adjusted(fields: Sequence[SlicedField]) -> tuple[SlicedField, ...]:
    known = [each.difference for sliced in fields for each in sliced.values if each.difference is not None]
    adjusted = iter(benjamini_hochberg([_p_changed(difference) for difference in known]))
    return tuple(
        sliced.model_copy(
            update={
                "values": tuple(
                    each.model_copy(update={"p_adjusted": next(adjusted)}) if each.difference else each
                    for each in sliced.values
                )
            }
        )
        for sliced in fields
    )


def _p_changed(difference: Estimate) -> float:
    """Two-sided: did the slice change in either direction?"""
    return min(1.0, 2.0 * min(p_above(difference, 0.0), p_below(difference, 0.0)))
