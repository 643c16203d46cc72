"""The primary metric's difference on parts of a task: where a loss lies, if it lies anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from harness.comparison.aggregates import AGGREGATIONS, Column, column_of, difference_of
from harness.comparison.facts import SlicedField, SliceFacts
from harness.comparison.pairing import PairedTask
from harness.statistics.estimates import Estimate, NoEstimate
from harness.statistics.evidence import p_any
from harness.statistics.means import is_binary
from harness.statistics.multiplicity import benjamini_hochberg
from harness.store.measurements import Measurement, field_of, kept

# Of one field: a field with more values than this is an identifier rather than a property.
MOST_VALUES = 50


def slice_facts(runs: Sequence[PairedTask]) -> tuple[SlicedField, ...]:
    """Every field that the items name, each with its most frequent values; of a recipe over its runs.

    Adjusted p-values are over all slices of the task together: a table of many is looked through for finds.
    """
    return _adjusted([_sliced(runs, field) for field in _fields(runs[0].base)])


@kept
def _fields(base: Measurement) -> list[str]:
    return list(dict.fromkeys(field for named in field_of(base, "slices") for field in named))


def _sliced(runs: Sequence[PairedTask], field: str) -> SlicedField:
    places: dict[str, list[int]] = {}
    for place, item in enumerate(runs[0].base.items):
        if field in item.slices:
            places.setdefault(item.slices[field], []).append(place)
    ordered = sorted(places.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    left_out = ordered[MOST_VALUES:]
    return SlicedField(
        field=field,
        values=tuple(_facts(runs, value, within) for value, within in ordered[:MOST_VALUES]),
        left_out_values=len(left_out),
        left_out_items=sum(len(within) for _, within in left_out),
    )


def _facts(runs: Sequence[PairedTask], value: str, places: Sequence[int]) -> SliceFacts:
    name = runs[0].base.primary
    aggregate = runs[0].base.metrics[name].aggregate
    base = column_of(_only(runs[0].base, places), name)
    tuned = [column_of(_only(run.tuned, places), name) for run in runs]
    difference = difference_of(aggregate, base, tuned)
    value_of = AGGREGATIONS[aggregate].value
    return SliceFacts(
        value=value,
        n=len(places),
        base=value_of(base),
        tuned=fmean(map(value_of, tuned)),
        difference=difference if isinstance(difference, Estimate) else None,
        reason=difference.reason if isinstance(difference, NoEstimate) else None,
        **(_flips(base, tuned[0]) if len(runs) == 1 else {}),
    )


def _only(side: Measurement, places: Sequence[int]) -> Measurement:
    items = tuple(side.items[place] for place in places)
    # A label that is nowhere gold would count as a class of F1 0.
    golds = {item.gold for item in items}
    return replace(side, items=items, labels=tuple(label for label in side.labels if label in golds))


def _flips(base: Column, tuned: Column) -> Mapping[str, int]:
    """Items whose binary primary score changed; nothing where it is not binary or there is none."""
    if not base.scores.size or not (is_binary(base.scores) and is_binary(tuned.scores)):
        return {}
    return {
        "wins": int(np.sum(tuned.scores > base.scores)),
        "losses": int(np.sum(tuned.scores < base.scores)),
    }


def _adjusted(fields: Sequence[SlicedField]) -> tuple[SlicedField, ...]:
    known = [each.difference for sliced in fields for each in sliced.values if each.difference is not None]
    adjusted = iter(benjamini_hochberg([p_any(difference) for difference in known]))
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
