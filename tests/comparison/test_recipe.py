"""Several training runs of one recipe against the base, through `compare`."""

from __future__ import annotations

import numpy as np
import pytest

from harness.comparison.compare import compare
from harness.comparison.facts import Pair
from harness.experiment.schema import Gate
from harness.gate.judge import judge
from harness.gate.verdict import Verdict

RUNS = ("lora-seed0", "lora-seed1", "lora-seed2")


@pytest.fixture
def recipe(pair: Pair) -> Pair:
    return pair.model_copy(update={"runs": RUNS})


def answers(rate: float, seed: int, n: int = 400) -> list[float]:
    return (np.random.default_rng(seed).random(n) < rate).astype(float).tolist()


def test_the_value_of_a_recipe_is_the_mean_over_its_runs(measured, recipe):
    base = measured(answers(0.6, 0))
    runs = [measured(answers(0.5 + 0.05 * i, i + 1), configuration=name) for i, name in enumerate(RUNS)]
    facts = compare([base], runs, recipe)
    assert facts.problems == ()
    assert facts.runs == RUNS
    (task,) = facts.tasks
    values = [np.mean([item.scores["accuracy"] for item in run.items]) for run in runs]
    assert task.metrics["accuracy"].tuned == pytest.approx(np.mean(values))
    difference = task.metrics["accuracy"].difference
    assert difference.method == "crossed"
    assert difference.seeds.values == pytest.approx([v - task.metrics["accuracy"].base for v in values])
    assert task.wins is None
    assert facts.general_average.standard_error == pytest.approx(difference.standard_error)


def test_seeds_widen_what_one_run_seemed_to_prove(measured, recipe, pair):
    base = measured(answers(0.6, 0))
    runs = [measured(answers(0.45 + 0.1 * i, 0), configuration=name) for i, name in enumerate(RUNS)]
    one = compare([base], [runs[0]], pair).tasks[0].metrics["accuracy"].difference
    all_of_them = compare([base], runs, recipe).tasks[0].metrics["accuracy"].difference
    width = one.interval90.high - one.interval90.low
    assert all_of_them.interval90.high - all_of_them.interval90.low > 3 * width


def test_a_run_that_was_not_measured_forbids_the_recipe(measured, recipe):
    base = measured(answers(0.6, 0))
    runs = [measured(answers(0.6, 1), configuration=name) for name in RUNS[:2]]
    facts = compare([base], runs, recipe)
    assert "nothing is measured for lora-seed2" in facts.problems
    assert facts.tasks == ()


def test_an_item_that_one_run_lacks_forbids_the_task_and_names_the_run(measured, recipe):
    base = measured(answers(0.6, 0))
    runs = [measured(answers(0.6, 1), configuration=name) for name in RUNS[:2]]
    short = measured(answers(0.6, 1)[:-1], configuration=RUNS[2])
    (task,) = compare([base], [*runs, short], recipe).tasks
    assert task.problems == ("lora-seed2 has no item item399",)
    assert task.metrics == {}


def test_one_broken_run_fails_the_recipe(measured, recipe):
    base = measured(answers(0.6, 0), suite="general")
    runs = [measured(answers(0.6, 1), configuration=name) for name in RUNS[:2]]
    broken = measured([float("nan"), *answers(0.6, 1)[1:]], configuration=RUNS[2])
    verdict = judge(compare([base], [*runs, broken], recipe), Gate())
    assert verdict.verdict is Verdict.FAIL
    assert "lora-seed2 has scores that are not finite" in verdict.sentence


def test_an_open_recipe_says_how_many_seeds_would_settle_it(measured, recipe):
    """The runs lose 0, 3 and 6 points of 4,000 items: more items cannot tell what another seed would lose."""
    right, half = [1.0] * 4000, [float(i % 2) for i in range(4000)]
    base = [measured(right), measured(half, suite="domain", task="gain")]
    runs = []
    for k, name in enumerate(RUNS):
        lost = [0.0] * (120 * k) + right[120 * k :]
        runs.append(measured(lost, configuration=name))
        runs.append(measured(right, suite="domain", task="gain", configuration=name))
    both = recipe.model_copy(update={"roles": {"general": "general", "domain": "domain"}})
    verdict = judge(compare(base, runs, both), Gate(max_drop_task=0.05, max_drop_average=0.05))
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "too few training seeds to tell whether lora keeps general/facts" in verdict.sentence
    assert "no number of items would settle it, about 15 training seeds would" in verdict.sentence


def test_the_slices_of_a_recipe_are_over_its_runs_too(measured, recipe):
    def sliced(index: int) -> dict[str, object]:
        return {"slices": {"half": "first" if index < 200 else "second"}}

    base = measured([1.0] * 400, per_item=sliced)
    runs = [
        measured([0.0] * (40 + 5 * k) + [1.0] * (360 - 5 * k), configuration=name, per_item=sliced)
        for k, name in enumerate(RUNS)
    ]
    ((field,),) = [task.slices for task in compare([base], runs, recipe).tasks]
    first, second = field.values
    assert (first.value, second.value) == ("first", "second")
    assert first.tuned == pytest.approx(1 - 45 / 200)
    assert first.difference.method == "crossed"
    assert second.tuned == 1.0
