"""Whether written answers kept the form that was asked for, and what was lost with a lost answer.

A fine-tune may have broken the form alone, with the knowledge still there (Harmon et al. 2025,
arXiv:2510.17776; statistics.md 2.7): items that are scored by likelihood too tell the two apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np

from harness.comparison.aggregates import Column, clusters_of, difference_of
from harness.comparison.facts import FormFacts, FormRates, Loss, LossCounts, Pair, TaskFacts
from harness.comparison.pairing import PairedTask
from harness.statistics.estimates import Estimate
from harness.statistics.linear import Codes
from harness.store.measurements import Item, Measurement, field_of, kept

PARSED = "parsed"
_RIGHT = "accuracy"
# Item → what was lost with its answer.
_Losses = Mapping[str, Loss]


def with_form(
    facts: TaskFacts, runs: Sequence[PairedTask], paired: Sequence[PairedTask], pair: Pair
) -> TaskFacts:
    """The task's facts with those about its written answers; as they are where nothing is written.

    Of a recipe: means over its runs; what a lost answer lost is each run's own.

    paired: all tasks of the pair, among them the one that scores the same items by likelihood
    """
    if facts.problems or not all(map(_is_written, runs)):
        return facts
    form = _form(runs)
    named = pair.likelihood.get((facts.suite, facts.task))
    if named is None or pair.runs:
        return facts.model_copy(update={"form": form})
    losses, why_not = _losses(runs[0], named, paired)
    if losses is None:
        return facts.model_copy(update={"form": form.model_copy(update={"no_losses": why_not})})
    counts = Counter(losses.values())
    counted = LossCounts(
        likelihood=named, format=counts["format"], ability=counts["ability"], both=counts["both"]
    )
    flips = facts.flips
    if facts.primary == _RIGHT:
        flips = tuple(flip.model_copy(update={"loss": losses.get(flip.item)}) for flip in flips)
    return facts.model_copy(update={"form": form.model_copy(update={"losses": counted}), "flips": flips})


def _form(runs: Sequence[PairedTask]) -> FormFacts:
    rates = [_rates(run.tuned) for run in runs]
    return FormFacts(
        base=_rates(runs[0].base),
        tuned=FormRates(
            empty=fmean(each.empty for each in rates),
            truncated=_mean([each.truncated for each in rates]),
            unparsed=_mean([each.unparsed for each in rates]),
        ),
        parsed=_parsed_difference(runs),
    )


def _is_written(task: PairedTask) -> bool:
    return _texts(task.base) is not None and _texts(task.tuned) is not None


@kept
def _rates(side: Measurement) -> FormRates:
    texts = _texts(side) or []
    return FormRates(
        empty=sum(not text.strip() for text in texts) / len(texts),
        truncated=_mean(map(_truncated, side.items)),
        unparsed=_mean(_unparsed(side)),
    )


def _mean(found: Iterable[float | None]) -> float | None:
    """Of flags the share that is set; None where one of them is not known."""
    known = _known(found)
    return sum(known) / len(known) if known else None


def _known(found: Iterable[float | None]) -> list[float] | None:
    """All of them; None, without looking further, where one is not known."""
    known: list[float] = []
    for each in found:
        if each is None:
            return None
        known.append(each)
    return known


@kept
def _texts(side: Measurement) -> list[str] | None:
    """What was written to each item; None where the model only read, or there are no items."""
    texts: list[str] = []
    for responses in field_of(side, "responses"):
        text = responses[0].get("text") if responses else None
        if not isinstance(text, str):
            return None
        texts.append(text)
    return texts or None


def _truncated(item: Item) -> bool | None:
    cut = item.responses[0].get("truncated")
    return cut if isinstance(cut, bool) else None


def _unparsed(side: Measurement) -> Iterator[bool | None]:
    """Whether no answer could be read: by the task's own metric, or by the primary metric's filter."""
    for item in side.items:
        yield item.scores[PARSED] == 0.0 if PARSED in item.scores else _unread(item, side.primary)


def _unread(item: Item, primary: str) -> bool | None:
    unread = item.responses[0].get("unread") or {}
    found = unread.get(primary.partition(",")[2]) if "," in primary else next(iter(unread.values()), None)
    return found if isinstance(found, bool) else None


def _parsed_difference(runs: Sequence[PairedTask]) -> Estimate | None:
    """Paired, tuned - base; None where it is not known of every item or has no interval."""
    base = _parsed(runs[0].base)
    tuned = [column for run in runs if (column := _parsed(run.tuned)) is not None]
    if base is None or len(tuned) < len(runs):
        return None
    difference = difference_of("mean", base, tuned)
    return difference if isinstance(difference, Estimate) else None


@kept
def _parsed(side: Measurement) -> Column | None:
    """1 for an answer that could be read, 0 for one that could not; None unless known of every item."""
    unparsed = _known(_unparsed(side))
    if unparsed is None:
        return None
    nothing: Codes = np.empty(0, dtype=np.int64)
    scores = 1.0 - np.array(unparsed, dtype=np.float64)
    return Column(scores, np.ones_like(scores), clusters_of(side), nothing, nothing)


def _losses(task: PairedTask, named: str, paired: Sequence[PairedTask]) -> tuple[_Losses | None, str | None]:
    """What each lost answer lost, or why that cannot be told."""
    place = f"{task.base.suite}/{named}"
    sibling = next(
        (each for each in paired if (each.base.suite, each.base.task) == (task.base.suite, named)), None
    )
    if sibling is None:
        return None, f"{place} is not measured"
    if sibling.problems:
        return None, f"{place} is not comparable: {sibling.problems[0]}"
    likely = {item.item: item.scores.get(_RIGHT) for item in sibling.tuned.items}
    lacking = [item.item for item in task.tuned.items if likely.get(item.item) is None]
    if lacking:
        return None, f"{place} has no {_RIGHT} for {len(lacking)} of these items (first: {lacking[0]})"
    unlabelled = [item.item for item in task.tuned.items if not {_RIGHT, PARSED} <= item.scores.keys()]
    if unlabelled:
        return None, f"{len(unlabelled)} of these items have no {_RIGHT} or no {PARSED} of their own"
    return {
        after.item: _loss(after, still_likely=likely[after.item] == 1.0)
        for before, after in zip(task.base.items, task.tuned.items, strict=True)
        if before.scores[_RIGHT] == 1.0 and after.scores[_RIGHT] == 0.0
    }, None


def _loss(after: Item, still_likely: bool) -> Loss:
    """An option that can be read, and is wrong, has lost no form."""
    if after.scores[PARSED] == 1.0:
        return "ability"
    return "format" if still_likely else "both"
