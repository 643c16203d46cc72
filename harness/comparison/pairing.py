"""Base and tuned brought together item by item, and everything that forbids comparing them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from harness.comparison.aggregates import column_of
from harness.comparison.facts import DiffersIn, Pair
from harness.store.measurements import Item, Measurement, TaskKey, field_of, kept

# Which recorded conditions may differ in a pair of each kind.
_MAY_DIFFER: Mapping[DiffersIn, frozenset[str]] = {
    "adapter": frozenset({"adapter"}),
    "weights": frozenset({"weights"}),
    "model": frozenset({"model", "tokenizer", "chat template"}),
    "prompt": frozenset({"prompt"}),
    "quantization": frozenset({"quantization"}),
}
# Pairs whose items are asked in another way on purpose; they are joined by document and target.
_OTHER_PROMPTS = ("model", "prompt")


@dataclass(frozen=True)
class PairedTask:
    """Both measurements of one task, tuned's items in base's order.

    With `problems` the items must not be compared. `alarms` are findings about the tuned side that
    fail a gate whatever its margins.
    """

    base: Measurement
    tuned: Measurement
    problems: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()


def pair_problems(base: Sequence[Measurement], tuned: Sequence[Measurement], pair: Pair) -> tuple[str, ...]:
    """What forbids comparing the pair as a whole; empty when it may be compared task by task."""
    problems = list(pair.problems)
    sides = ((pair.base, base), (pair.tuned, tuned))
    for name, measurements in sides:
        if not measurements:
            problems.append(f"nothing is measured for {name}")
        for key, count in Counter(map(_key, measurements)).items():
            if count > 1:
                problems.append(f"{'/'.join(key)} is measured {count} times for {name}")
    if {m.configuration for m in base} & {m.configuration for m in tuned}:
        problems.append("both sides hold measurements of the same configuration")
    if pair.differs_in == "prompt" and _asked(base) == _asked(tuned):
        problems.append("the prompt is not live: every item is asked exactly as it is asked of the base")
    measured = {m.suite for m in (*base, *tuned)}
    problems += [f"suite {suite} has no role" for suite in sorted(measured - set(pair.roles))]
    if measured:
        problems += [f"no task of suite {suite} is measured" for suite in pair.roles if suite not in measured]
    return tuple(problems)


def _asked(measurements: Sequence[Measurement]) -> set[tuple[str, str, str]]:
    return {(*_key(m), prompt) for m in measurements for prompt in field_of(m, "prompt_hash")}


def pair_tasks(
    base: Sequence[Measurement], tuned: Sequence[Measurement], pair: Pair
) -> tuple[PairedTask, ...]:
    """Every task of either side, in base's order."""
    before, after = {_key(m): m for m in base}, {_key(m): m for m in tuned}
    return tuple(_paired(before.get(key), after.get(key), pair) for key in {**before, **after})


def _paired(base: Measurement | None, tuned: Measurement | None, pair: Pair) -> PairedTask:
    if base is None or tuned is None:
        present = base or tuned
        if present is None:
            raise ValueError("a task without any measurement")
        absent = pair.base if base is None else pair.tuned
        return PairedTask(present, present, (f"not measured for {absent}",))
    problems = (*_term_problems(base, tuned, pair), *_item_problems(base, tuned, pair))
    if problems:
        return PairedTask(base, tuned, problems)
    ordered = _ordered(tuned, base)
    broken = _not_finite(ordered)
    if broken:
        alarm = f"{pair.tuned} has scores that are not finite on {_several(broken)}"
        return PairedTask(base, ordered, (alarm,), (alarm,))
    silent = _only_empty(ordered) and not _only_empty(base)
    alarms = (f"{pair.tuned} generated nothing but empty answers",) if silent else ()
    return PairedTask(base, ordered, alarms=alarms)


def _ordered(tuned: Measurement, base: Measurement) -> Measurement:
    """The same items as base's, in base's order."""
    wanted = field_of(base, "item")
    if wanted == field_of(tuned, "item"):
        return tuned
    by_item = _by_item(tuned)
    return replace(tuned, items=tuple(by_item[name] for name in wanted))


@kept
def _names(side: Measurement) -> frozenset[str]:
    return frozenset(field_of(side, "item"))


@kept
def _by_item(measurement: Measurement) -> dict[str, Item]:
    return dict(zip(field_of(measurement, "item"), measurement.items, strict=True))


def _term_problems(base: Measurement, tuned: Measurement, pair: Pair) -> Iterator[str]:
    """Differences in what was asked and under which conditions."""
    for what in ("kind", "primary", "metrics", "labels"):
        if getattr(base, what) != getattr(tuned, what):
            yield f"{what} differs between {pair.base} and {pair.tuned}"
    for name in sorted({*base.conditions, *tuned.conditions} - _MAY_DIFFER[pair.differs_in]):
        before, after = (side.conditions.get(name, "not recorded") for side in (base, tuned))
        if before != after:
            yield f"{name} is {before} for {pair.base} but {after} for {pair.tuned}"


def _item_problems(base: Measurement, tuned: Measurement, pair: Pair) -> Iterator[str]:
    """Missing, unmatched and unequal items. Missing is not zero: one of them is enough."""
    for name, side in ((pair.base, base), (pair.tuned, tuned)):
        yield from _side_problems(side, name)
    before, after = _names(base), _names(tuned)
    for name, lacking in ((pair.tuned, before - after), (pair.base, after - before)):
        if lacking:
            yield f"{name} has no {_several(sorted(lacking))}"
    asked = () if pair.differs_in in _OTHER_PROMPTS else ("prompt_hash",)
    in_order = field_of(base, "item") == field_of(tuned, "item")
    for what in (*asked, "gold", "cluster", "slices", "chance", "weights"):
        # Whole columns first: as a rule they are equal.
        if in_order and field_of(base, what) == field_of(tuned, what):
            continue
        unequal = _unequal(base, tuned, what)
        if unequal:
            yield f"{what} differs on {_several(unequal)}"
    broken = _not_finite(base)
    if broken:
        yield f"{pair.base} has scores that are not finite on {_several(broken)}"


def _unequal(base: Measurement, tuned: Measurement, what: str) -> list[str]:
    """The common items that differ in it."""
    before, after = _by_item(base), _by_item(tuned)
    common = [key for key in before if key in after]
    return [key for key in common if getattr(before[key], what) != getattr(after[key], what)]


@kept
def _side_problems(side: Measurement, name: str) -> tuple[str, ...]:
    items, missing = field_of(side, "item"), field_of(side, "missing")
    problems = [] if items else [f"no items are measured for {name}"]
    if len(_names(side)) < len(items):
        twice = [key for key, count in Counter(items).items() if count > 1]
        problems.append(f"{name} has {_several(twice)} more than once")
    unscored = {}
    if missing.count(None) < len(missing):
        unscored = {item: why for item, why in zip(items, missing, strict=True) if why is not None}
        problems.append(f"{name} could not score {_several(list(unscored))}: {next(iter(unscored.values()))}")
    for key, metric in side.metrics.items():
        without = [item for item in _without(side, key) if item not in unscored]
        if without:
            problems.append(f"{name} has no {metric.title} on {_several(without)}")
    return tuple(problems)


def _without(side: Measurement, metric: str) -> list[str]:
    """Items that have nothing to compute this metric of."""
    items = field_of(side, "item")
    if side.metrics[metric].aggregate == "macro_f1":
        return [item for item, gold in zip(items, field_of(side, "gold"), strict=True) if gold is None]
    try:
        column_of(side, metric)  # quicker than to look, and asked for later
    except KeyError:
        scores = field_of(side, "scores")
        return [item for item, held in zip(items, scores, strict=True) if metric not in held]
    return []


@kept
def _not_finite(side: Measurement) -> list[str]:
    with suppress(KeyError):  # an item without a score is a problem of its own
        columns = [column_of(side, metric) for metric in side.metrics]
        if all(np.isfinite(column.scores).all() and np.isfinite(column.weights).all() for column in columns):
            return []
    numbers = field_of(side, "scores"), field_of(side, "weights")
    return [
        item
        for item, *both in zip(field_of(side, "item"), *numbers, strict=True)
        if not all(math.isfinite(number) for each in both for number in each.values())
    ]


@kept
def _only_empty(side: Measurement) -> bool:
    """Whether there are answers and all are blank. Items without answers (perplexity) do not count."""
    answers = [answer for answer in field_of(side, "predicted") if answer is not None]
    return bool(answers) and not any(answer.strip() for answer in answers)


def _several(names: Sequence[str]) -> str:
    return f"item {names[0]}" if len(names) == 1 else f"{len(names)} items (first: {names[0]})"


def _key(measurement: Measurement) -> TaskKey:
    return measurement.suite, measurement.task
