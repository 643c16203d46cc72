"""Whether written answers kept the form that was asked for, and what was lost with a lost answer.

A fine-tune may have broken the form alone, with the knowledge still there (Harmon et al. 2025,
arXiv:2510.17776; statistics.md 2.7): items that are scored by likelihood too tell the two apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from harness.comparison.aggregates import clusters_of
from harness.comparison.facts import FormFacts, FormRates, Loss, LossCounts, Pair, TaskFacts
from harness.comparison.pairing import PairedTask
from harness.statistics.estimates import Estimate
from harness.statistics.linear import Floats
from harness.statistics.means import mean_change, mean_difference
from harness.statistics.seeds import over_seeds
from harness.store.measurements import Item, Measurement, kept

PARSED = "parsed"
_RIGHT = "accuracy"
# Item → what was lost with its answer.
_Losses = Mapping[str, Loss]


def with_form(facts: TaskFacts, task: PairedTask, paired: Sequence[PairedTask], pair: Pair) -> TaskFacts:
    """The task's facts with those about its written answers; as they are where nothing is written.

    paired: all tasks of the pair, among them the one that scores the same items by likelihood
    """
    primary = task.base.primary
    if facts.problems or not _is_written(task):
        return facts
    form = FormFacts(
        base=_rates_of(task.base, primary),
        tuned=_rates_of(task.tuned, primary),
        parsed=_parsed_difference(task),
    )
    named = pair.likelihood.get((facts.suite, facts.task))
    if named is None:
        return facts.model_copy(update={"form": form})
    losses, why_not = _losses(task, named, paired)
    if losses is None:
        return facts.model_copy(update={"form": form.model_copy(update={"no_losses": why_not})})
    counts = Counter(losses.values())
    counted = LossCounts(
        likelihood=named, format=counts["format"], ability=counts["ability"], both=counts["both"]
    )
    flips = facts.flips
    if primary == _RIGHT:
        flips = tuple(flip.model_copy(update={"loss": losses.get(flip.item)}) for flip in flips)
    return facts.model_copy(update={"form": form.model_copy(update={"losses": counted}), "flips": flips})


def form_over_seeds(runs: Sequence[PairedTask]) -> FormFacts | None:
    """Of a recipe: means over its runs, and what reading the answers lost under them. Labels of single losses
    are each run's own."""
    if not all(_is_written(run) for run in runs):
        return None
    primary = runs[0].base.primary
    base, *tuned = (_parsed(side, primary) for side in (runs[0].base, *(run.tuned for run in runs)))
    found = None
    if base is not None and all(column is not None for column in tuned):
        changes = [mean_change(base, column) for column in tuned if column is not None]
        found = over_seeds(changes, clusters_of(runs[0].base), binary=True)
    return FormFacts(
        base=_rates_of(runs[0].base, primary),
        tuned=_rates([run.tuned for run in runs], primary),
        parsed=found if isinstance(found, Estimate) else None,
    )


def _is_written(task: PairedTask) -> bool:
    return _writes(task.base) and _writes(task.tuned)


@kept
def _texts(side: Measurement) -> list[str | None]:
    return [_text(item) for item in side.items]


@kept
def _writes(side: Measurement) -> bool:
    return bool(side.items) and _text(side.items[0]) is not None and None not in _texts(side)


@kept
def _rates_of(side: Measurement, primary: str) -> FormRates:
    return _rates([side], primary)


def _rates(sides: Sequence[Measurement], primary: str) -> FormRates:
    items = [item for side in sides for item in side.items]
    return FormRates(
        empty=sum(not (text or "").strip() for side in sides for text in _texts(side)) / len(items),
        truncated=_share([_truncated(item) for item in items]),
        unparsed=_share([each for side in sides for each in _unread(side, primary)]),
    )


@kept
def _unread(side: Measurement, primary: str) -> list[bool | None]:
    return [_unparsed(item, primary) for item in side.items]


def _share(found: Sequence[bool | None]) -> float | None:
    """Of all items; None where one of them is not known."""
    known = [each for each in found if each is not None]
    return sum(known) / len(known) if len(known) == len(found) else None


def _text(item: Item) -> str | None:
    """What was written; None where the model only read."""
    text = item.responses[0].get("text") if item.responses else None
    return text if isinstance(text, str) else None


def _truncated(item: Item) -> bool | None:
    cut = item.responses[0].get("truncated")
    return cut if isinstance(cut, bool) else None


def _unparsed(item: Item, primary: str) -> bool | None:
    """Whether no answer could be read: by the task's own metric, or by the primary metric's filter."""
    if PARSED in item.scores:
        return item.scores[PARSED] == 0.0
    unread = item.responses[0].get("unread") or {}
    found = unread.get(primary.partition(",")[2]) if "," in primary else next(iter(unread.values()), None)
    return found if isinstance(found, bool) else None


def _parsed_difference(task: PairedTask) -> Estimate | None:
    """Paired, tuned - base; None where it is not known of every item or has no interval."""
    base, tuned = (_parsed(side, task.base.primary) for side in (task.base, task.tuned))
    if base is None or tuned is None:
        return None
    difference = mean_difference(base, tuned, clusters_of(task.base))
    return difference if isinstance(difference, Estimate) else None


@kept
def _parsed(side: Measurement, primary: str) -> Floats | None:
    """1 for an answer that could be read, 0 for one that could not; None unless known of every item."""
    unparsed = _unread(side, primary)
    if any(each is None for each in unparsed):
        return None
    return np.array([not each for each in unparsed], dtype=np.float64)


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
    if still_likely:
        return "format"
    return "ability" if after.scores[PARSED] == 1.0 else "both"
