"""What must hold of every comparison and every verdict, whatever the scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.comparison.compare import compare
from harness.comparison.facts import MetricFacts, Pair, TaskFacts
from harness.experiment.schema import Gate
from harness.gate.judge import judge
from harness.gate.verdict import Verdict
from harness.statistics.estimates import Estimate
from harness.store.measurements import Measurement

LABELS = ("a", "b", "c")
KINDS = ("accuracy", "token_f1", "bits_per_byte", "perplexity", "macro_f1")
BOTH = Pair(
    base="base", tuned="lora", differs_in="adapter", roles={"medical": "domain", "general": "general"}
)

Sides = tuple[Measurement, Measurement]
worlds = st.tuples(st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(2, 60), st.sampled_from((1, 3)))
few = settings(max_examples=40, deadline=None)


def sides(measured: Callable[..., Measurement], world: tuple[str, int, int, int], copies: int = 1) -> Sides:
    """Both sides of a task of so many clusters of so many items, each item there `copies` times."""
    metric, seed, groups, within = world
    generator = np.random.default_rng(seed)
    n = groups * within
    gold, base, tuned = (generator.choice(LABELS, n) for _ in range(3))
    tuned = np.where(generator.random(n) < generator.random(), tuned, base)
    sizes = generator.integers(1, 900, n).astype(float)
    wander = generator.normal(0, 0.1, n) * (base != tuned)
    columns = {
        "accuracy": (base == gold, tuned == gold),
        "macro_f1": (base == gold, tuned == gold),
        "token_f1": (generator.integers(0, 5, n) / 5, generator.integers(0, 6, n) / 5),
        "bits_per_byte": (1 + wander, np.ones(n)),
        "perplexity": (2 + wander, 2 * np.ones(n)),
    }

    def side(name: str, scores: Any, answers: Any) -> Measurement:
        def fields(place: int) -> dict[str, Any]:
            origin = place % n
            return {
                "gold": str(gold[origin]),
                "predicted": str(answers[origin]),
                "cluster": None if within == 1 and copies == 1 else f"cluster{origin // within}",
                "weights": {metric: float(sizes[origin])}
                if metric in ("bits_per_byte", "perplexity")
                else {},
                "scores": {} if world[0] == "macro_f1" else {metric: float(scores[origin])},
            }

        every = [float(score) for score in scores] * copies
        return measured(every, metric=metric, per_item=fields, configuration=name, labels=LABELS)

    before, after = columns[metric]
    return side("base", before, base), side("lora", after, tuned)


def of(base: Measurement, tuned: Measurement, pair: Pair) -> tuple[TaskFacts, MetricFacts]:
    (task,) = compare([base], [tuned], pair).tasks
    assert task.problems == ()
    return task, task.metrics[task.primary]


def numbers(estimate: Estimate, sign: int = 1) -> Any:
    """Value, both intervals and the standard error, of one side's point of view."""
    bounds = []
    for interval in (estimate.interval90, estimate.interval95):
        bounds += sorted((sign * interval.low, sign * interval.high))
    return pytest.approx([sign * estimate.value, *bounds, estimate.standard_error], rel=1e-6, abs=1e-9)


def plain(estimate: Estimate) -> list[float]:
    bounds = [bound for one in (estimate.interval90, estimate.interval95) for bound in (one.low, one.high)]
    assert estimate.standard_error is not None
    return [estimate.value, *bounds, estimate.standard_error]


@few
@given(worlds)
def test_swapping_the_sides_negates_every_estimate_and_exchanges_wins_and_losses(measured, pair, world):
    base, tuned = sides(measured, world)
    task, facts = of(base, tuned, pair)
    back, turned = of(tuned, base, pair)

    assert (facts.difference is None) == (turned.difference is None)
    assert (task.wins, task.losses) == (back.losses, back.wins)
    assert {flip.direction for flip in task.flips if flip.direction == "win"} == (
        {"win"} if back.losses else set()
    )
    if facts.difference and turned.difference:
        assert plain(facts.difference) == numbers(turned.difference, sign=-1)


@few
@given(worlds, st.integers(0, 2**32))
def test_the_order_of_items_never_matters(measured, pair, world, seed):
    base, tuned = sides(measured, world)
    generator = np.random.default_rng(seed)
    shuffled = [
        replace(side, items=tuple(side.items[place] for place in generator.permutation(len(side.items))))
        for side in (base, tuned)
    ]
    task, facts = of(base, tuned, pair)
    other, same = of(*shuffled, pair)

    assert (task.wins, task.losses, task.clusters) == (other.wins, other.losses, other.clusters)
    assert {flip.item for flip in task.flips} == {flip.item for flip in other.flips}
    assert (facts.difference is None) == (same.difference is None)
    if facts.difference and same.difference:
        assert plain(facts.difference) == numbers(same.difference)


@few
@given(worlds.filter(lambda world: world[3] > 1))
def test_having_every_item_of_every_cluster_twice_changes_nothing(measured, pair, world):
    once, twice = (of(*sides(measured, world, copies), pair)[1].difference for copies in (1, 2))

    assert (once is None) == (twice is None)
    if once and twice:
        assert plain(once) == numbers(twice)


@few
@given(worlds, st.integers(2, 4))
def test_more_items_at_the_same_rates_never_widen_an_interval(measured, pair, world, times):
    base, tuned = sides(measured, world)
    longer = []
    for side in (base, tuned):
        again = [
            replace(item, item=f"{item.item} {time}", cluster=item.cluster and f"{item.cluster} {time}")
            for time in range(times)
            for item in side.items
        ]
        longer.append(replace(side, items=tuple(again)))
    before, after = of(base, tuned, pair)[1].difference, of(*longer, pair)[1].difference

    if before and after and before.method == after.method:
        # The bootstrap's own error is one part in a hundred and forty.
        slack = 1.05 if world[0] == "macro_f1" else 1.0 + 1e-9
        for one, other in ((before.interval90, after.interval90), (before.interval95, after.interval95)):
            assert other.high - other.low <= slack * (one.high - one.low)
    assert before is None or after is not None


@few
@given(worlds, st.integers(0, 2**32))
def test_an_adapter_that_changes_nothing_neither_passes_nor_fails(measured, world, seed):
    """Untrained, B is zero and every difference 0."""
    domain, _ = sides(measured, ("accuracy", seed, 300, 1))
    general, _ = sides(measured, world)
    base = [replace(domain, suite="medical"), general]
    tuned = [replace(side, configuration="lora") for side in base]

    assert judge(compare(base, tuned, BOTH), Gate()).verdict is Verdict.INCONCLUSIVE


def test_sides_that_are_exchanged_at_random_pass_at_most_at_the_level_of_the_test(measured):
    """A true gain of 15 points; item by item a coin says which side is which, so that nothing is left of it."""
    generator = np.random.default_rng(5)
    n, draws, policy = 120, 400, Gate()
    before = generator.random(n) < 0.4
    after = np.where(generator.random(n) < 0.25, True, before)
    domain = BOTH.model_copy(update={"roles": {"medical": "domain"}})

    def passed(exchanged: Any) -> bool:
        columns = np.where(exchanged, after, before), np.where(exchanged, before, after)
        base, tuned = (
            measured(column, configuration=name, suite="medical")
            for name, column in zip(("base", "lora"), columns, strict=True)
        )
        return judge(compare([base], [tuned], domain), policy).verdict is Verdict.PASS

    assert passed(np.zeros(n, dtype=bool)), "as it is it passes, so that the share below can be too high"
    share = sum(passed(generator.random(n) < 0.5) for _ in range(draws)) / draws
    assert share <= policy.alpha + 3 * (policy.alpha * (1 - policy.alpha) / draws) ** 0.5
