"""Macro-F1 and its paired bootstrap, on per-class counts instead of on items.

Macro-F1 is no mean of item scores, so it has no paired t. A resample is a vector of how often each
cluster was drawn; its per-class counts are sums over the clusters that count alike and one matrix
product, which makes ten thousand resamples of ten thousand items take a fraction of a second where
calling f1_score would take minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.statistics.estimates import Estimate, Interval, NoEstimate
from harness.statistics.linear import Change, Codes, Floats, cluster_count, t_interval, too_few_draws

Counts = npt.NDArray[np.float32]
Times = npt.NDArray[np.uint8]

DRAWS = 10_000
SEED = 0
FEW_ITEMS = 30
_BLOCK = 2000
_KEPT_BYTES = 100_000_000


def macro_f1(gold: Codes, predicted: Codes, classes: int) -> float:
    """Unweighted mean over all `classes` of 2TP/(2TP+FP+FN); a class nobody names counts as 0.

    Labels are codes from 0; a prediction of -1 (no valid label) is wrong for its gold class only.
    Equals sklearn's f1_score(average="macro", labels=range(classes), zero_division=0).
    """
    return float(_macro_f1(_class_counts(gold, predicted, classes).sum(axis=0)))


def _class_counts(gold: Codes, predicted: Codes, classes: int) -> Counts:
    """One row an item: its part in TP of every class, then in 2TP+FP+FN (= gold count + predicted count)."""
    every = np.arange(classes)
    is_gold, is_predicted = gold[:, None] == every, predicted[:, None] == every
    return np.hstack([is_gold & is_predicted, is_gold.astype(np.float32) + is_predicted])


def _macro_f1(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    hits, named = np.split(counts.astype(np.float64), 2, axis=-1)
    scores = np.divide(2.0 * hits, named, out=np.zeros_like(hits), where=named > 0)
    return np.asarray(scores.mean(axis=-1), float)


def macro_f1_draws(
    gold: Codes, answers: tuple[Codes, ...], classes: int, clusters: Codes, draws: int = DRAWS
) -> Floats:
    """Macro-F1 of every answer vector (columns) in `draws` resamples of whole clusters (rows).

    All columns see the same resamples: that is what makes the bootstrap paired. Same input, same draws.
    """
    shared = gold.tobytes(), clusters.tobytes(), classes, draws
    return np.stack([_drawn(answer.tobytes(), *shared) for answer in answers], axis=1)


@lru_cache(maxsize=32)
def _drawn(predicted: bytes, gold: bytes, clusters: bytes, classes: int, draws: int) -> Floats:
    """Kept, because an interval and a difference ask for the same, and twenty pairs for that of one base."""
    answers, golds, groups = (np.frombuffer(codes, np.int64) for codes in (predicted, gold, clusters))
    codes = np.unique(groups, return_inverse=True)[1]
    by_cluster = np.zeros((int(codes.max()) + 1, 2 * classes), np.float32)
    np.add.at(by_cluster, codes, _class_counts(golds, answers, classes))
    # Clusters that count alike are summed first: of single items there are few kinds.
    rows: dict[bytes, int] = {}
    kinds = np.array([rows.setdefault(row.tobytes(), len(rows)) for row in by_cluster])
    alike = [np.flatnonzero(kinds == kind) for kind in range(len(rows))]
    counts = by_cluster[[members[0] for members in alike]]
    found = []
    for times in _resamples(len(by_cluster), draws):
        summed = np.stack([times[members].sum(axis=0, dtype=np.uint32) for members in alike])
        found.append(_macro_f1(summed.T.astype(np.float32) @ counts))
    return np.concatenate(found)


def _resamples(groups: int, draws: int) -> Iterable[Times]:
    """How often each cluster (row) is drawn in each resample (column), so many resamples at a time.

    Equal numbers of clusters get equal resamples; those of up to ten thousand clusters are kept.
    """
    return _kept_resamples(groups, draws) if groups * draws <= _KEPT_BYTES else _resampled(groups, draws)


@lru_cache(maxsize=4)
def _kept_resamples(groups: int, draws: int) -> tuple[Times, ...]:
    return tuple(_resampled(groups, draws))


def _resampled(groups: int, draws: int) -> Iterator[Times]:
    generator = np.random.default_rng(SEED)
    for start in range(0, draws, _BLOCK):
        # One byte is enough: of more than 255 clusters none is ever drawn 256 times. One resample at a
        # time stays in the processor's cache.
        times = np.empty((min(_BLOCK, draws - start), groups), np.uint8)
        for row in times:
            row[:] = np.bincount(generator.integers(groups, size=groups), minlength=groups)
        yield np.ascontiguousarray(times.T)


def macro_f1_difference(
    gold: Codes, base: Codes, tuned: Codes, classes: int, clusters: Codes
) -> Estimate | NoEstimate:
    """Macro-F1 of tuned minus that of base, with a paired (cluster) bootstrap standard error.

    The interval is value ± z · SE, so that interval and p-value say the same. With 300 items in 22
    classes it covered 85 to 87 % instead of 90 % in simulation (percentiles: 84 to 88 %), because
    rare classes bias macro-F1 itself: hence the warning, and accuracy is the metric to gate on.
    """
    refusal = too_few_draws(clusters)
    if refusal:
        return refusal
    value = macro_f1(gold, tuned, classes) - macro_f1(gold, base, classes)
    drawn = macro_f1_draws(gold, (base, tuned), classes, clusters)
    error = float((drawn[:, 1] - drawn[:, 0]).std(ddof=1))
    if error == 0.0:
        return NoEstimate(reason="no predicted label changed, so the uncertainty cannot be estimated")
    independent = cluster_count(clusters)
    rarest = int(np.bincount(gold[gold >= 0], minlength=classes).min())
    rare = f"the rarest class has {rarest} items; the interval is approximate" if rarest < FEW_ITEMS else None
    return Estimate(
        value=value,
        interval90=t_interval(value, error, None, 0.90),
        interval95=t_interval(value, error, None, 0.95),
        method="bootstrap",
        n=gold.size,
        clusters=independent if independent < gold.size else None,
        standard_error=error,
        warning=rare,
    )


def macro_f1_change(gold: Codes, base: Codes, tuned: Codes, classes: int) -> Change:
    """The same difference, item by item to first order.

    The F1 of a class is 2TP/D; an item that adds t to TP and d to D adds (2t - F1·d)/D to it.
    """
    influences = [_influences(gold, answer, classes) for answer in (base, tuned)]
    value = macro_f1(gold, tuned, classes) - macro_f1(gold, base, classes)
    return Change(value, influences[1] - influences[0], base != tuned)


def _influences(gold: Codes, predicted: Codes, classes: int) -> Floats:
    hits, named = np.split(_class_counts(gold, predicted, classes).astype(np.float64), 2, axis=1)
    total = named.sum(axis=0)
    safe = np.where(total > 0, total, 1.0)
    scores = 2.0 * hits.sum(axis=0) / safe
    return np.asarray(((2.0 * hits - scores * named) / safe).mean(axis=1), float)


def macro_f1_interval(gold: Codes, predicted: Codes, classes: int, clusters: Codes) -> Interval | None:
    """95 % bootstrap interval of one configuration's macro-F1, kept inside [0, 1]."""
    if too_few_draws(clusters):
        return None
    value = macro_f1(gold, predicted, classes)
    error = float(macro_f1_draws(gold, (predicted,), classes, clusters).std(ddof=1))
    plain = t_interval(value, error, None, 0.95)
    return Interval(low=max(plain.low, 0.0), high=min(plain.high, 1.0), level=0.95)
