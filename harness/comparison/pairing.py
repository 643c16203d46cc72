"""Base and tuned brought together item by item, and everything that forbids comparing them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.comparison.facts import DiffersIn, Pair
from harness.store.measurements import Item, Measurement, TaskKey

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
    return {(*_key(m), item.prompt_hash) for m in measurements for item in m.items}


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
    by_item = {item.item: item for item in tuned.items}
    ordered = replace(tuned, items=tuple(by_item[item.item] for item in base.items))
    broken = _not_finite(ordered.items)
    if broken:
        alarm = f"{pair.tuned} has scores that are not finite on {_several(broken)}"
        return PairedTask(base, ordered, (alarm,), (alarm,))
    silent = _only_empty(ordered.items) and not _only_empty(base.items)
    alarms = (f"{pair.tuned} generated nothing but empty answers",) if silent else ()
    return PairedTask(base, ordered, alarms=alarms)


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
        yield from _side_problems(name, side)
    before, after = ({item.item: item for item in side.items} for side in (base, tuned))
    for name, lacking in ((pair.tuned, before.keys() - after), (pair.base, after.keys() - before)):
        if lacking:
            yield f"{name} has no {_several(sorted(lacking))}"
    common = [key for key in before if key in after]
    asked = () if pair.differs_in in _OTHER_PROMPTS else ("prompt_hash",)
    for what in (*asked, "gold", "cluster", "slices", "chance", "weights"):
        unequal = [key for key in common if getattr(before[key], what) != getattr(after[key], what)]
        if unequal:
            yield f"{what} differs on {_several(unequal)}"
    broken = _not_finite(base.items)
    if broken:
        yield f"{pair.base} has scores that are not finite on {_several(broken)}"


def _side_problems(name: str, side: Measurement) -> Iterator[str]:
    if not side.items:
        yield f"no items are measured for {name}"
    twice = [key for key, count in Counter(item.item for item in side.items).items() if count > 1]
    if twice:
        yield f"{name} has {_several(twice)} more than once"
    missing = [item for item in side.items if item.missing is not None]
    if missing:
        yield f"{name} could not score {_several([i.item for i in missing])}: {missing[0].missing}"
    for name_of_metric, metric in side.metrics.items():
        by_label = metric.aggregate == "macro_f1"
        scored = [item for item in side.items if item.missing is None]
        without = [i.item for i in scored if (i.gold is None if by_label else name_of_metric not in i.scores)]
        if without:
            yield f"{name} has no {metric.title} on {_several(without)}"


def _not_finite(items: Sequence[Item]) -> list[str]:
    def finite(numbers: Mapping[str, float]) -> bool:
        return all(math.isfinite(number) for number in numbers.values())

    return [item.item for item in items if not (finite(item.scores) and finite(item.weights))]


def _only_empty(items: Sequence[Item]) -> bool:
    """Whether there are answers and all are blank. Items without answers (perplexity) do not count."""
    answers = [item.predicted for item in items if item.predicted is not None]
    return bool(answers) and not any(answer.strip() for answer in answers)


def _several(names: Sequence[str]) -> str:
    return f"item {names[0]}" if len(names) == 1 else f"{len(names)} items (first: {names[0]})"


def _key(measurement: Measurement) -> TaskKey:
    return measurement.suite, measurement.task
