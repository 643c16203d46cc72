"""Item scores from elsewhere as a measurement: plain columns, one value an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import UsageError
from harness.experiment.metrics import METRICS, Metric
from harness.store.measurements import Item, Measurement


def columns(
    configuration: str,
    task: str,
    scores: Mapping[str, Sequence[float | None]],
    *,
    suite: str = "general",
    items: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
) -> Measurement:
    """A measurement of columns of equal length.

    scores:   metric → the score of each item; None where it could not be scored. The first metric is the one
              that is judged. One that is no mean of item scores (bits per byte, macro-F1) is refused
    items:    what each item is called, by which the two sides are joined; left out, its number
    clusters: items with the same value are one independent draw; left out, each is one

    Raises UsageError for columns of other lengths, names that occur twice, and metrics that are no means.
    """
    lengths = {name: len(column) for name, column in scores.items()}
    given = {"items": items, "clusters": clusters}
    lengths |= {name: len(column) for name, column in given.items() if column is not None}
    if len(set(lengths.values())) != 1 or not scores:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "there are none"
        raise UsageError(f"columns of {configuration}'s {task} must have one length: {told}")
    names = [str(name) for name in items or range(len(next(iter(scores.values()))))]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"item {twice} of {configuration}'s {task} stands there twice")
    metrics = {name: _metric(name, column) for name, column in scores.items()}
    return Measurement(
        configuration=configuration,
        suite=suite,
        task=task,
        kind="multiple_choice",
        primary=next(iter(metrics)),
        metrics=metrics,
        conditions={},
        items=tuple(
            Item(
                item=name,
                prompt_hash="",
                prompt="",
                scores={
                    metric: float(value)
                    for metric, column in scores.items()
                    if (value := column[place]) is not None
                },
                cluster=None if clusters is None else str(clusters[place]),
            )
            for place, name in enumerate(names)
        ),
    )


def _metric(name: str, column: Sequence[float | None]) -> Metric:
    known = METRICS.get(name)
    if known is not None and known.aggregate != "mean":
        raise UsageError(f"{known.title} is no mean of item scores, and cannot be given as a column")
    rate = all(value is None or 0 <= value <= 1 for value in column)
    return known or Metric(name=name, title=name, unit="rate" if rate else "score")
