"""Values, differences, flips and averages of comparable pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from sklearn.metrics import f1_score

from harness.comparison.aggregates import measured_interval95, measured_value
from harness.comparison.compare import compare
from harness.comparison.facts import Comparison
from harness.experiment.metrics import METRICS, Metric
from harness.statistics.rates import mcnemar, wilson
from harness.statistics.tango import tango_difference


def flipped(wins: int, losses: int, n: int) -> tuple[list[float], list[float]]:
    """Scores of base and tuned with so many flips; half of the other items are right."""
    rest = n - wins - losses
    same = [1.0] * (rest // 2) + [0.0] * (rest - rest // 2)
    return [0.0] * wins + [1.0] * losses + same, [1.0] * wins + [0.0] * losses + same


def compared(measured, pair, scores, **fields):
    base, tuned = scores
    sides = measured(base, **fields), measured(tuned, configuration="lora", **fields)
    (task,) = compare(sides[:1], sides[1:], pair).tasks
    return task


def test_independent_binary_items_are_compared_by_tango(measured, pair):
    task = compared(measured, pair, flipped(12, 30, 300))
    facts = task.metrics["accuracy"]
    assert facts.difference == tango_difference(12, 30, 300)
    assert facts.tuned - facts.base == pytest.approx(facts.difference.value)
    assert facts.base_interval95 == wilson(159, 300)
    assert (task.n, task.clusters, task.wins, task.losses) == (300, None, 12, 30)
    assert task.chance == 0.25
    assert task.certifiable_margin == pytest.approx(2.486 * facts.difference.standard_error, rel=1e-3)


def test_clustered_binary_items_are_compared_over_their_clusters(measured, pair):
    def country(index):
        return {"cluster": f"country{index % 40}"}

    task = compared(measured, pair, flipped(12, 30, 300), per_item=country)
    difference = task.metrics["accuracy"].difference
    assert (difference.method, difference.degrees_of_freedom, difference.n) == ("cluster_t", 39, 300)
    assert (task.clusters, task.wins, task.losses) == (40, 12, 30)
    assert task.metrics["accuracy"].base_interval95 != wilson(159, 300)


def test_items_without_a_cluster_stand_for_themselves_beside_clustered_ones(measured, pair):
    task = compared(
        measured, pair, flipped(12, 30, 300), per_item=lambda i: {"cluster": "c"} if i < 10 else {}
    )
    assert task.clusters == 291


def test_fractional_scores_are_compared_by_paired_t_and_have_no_flips(measured, pair):
    generator = np.random.default_rng(0)
    task = compared(
        measured, pair, (generator.random(50), generator.random(50)), metric="token_f1", kind="qa"
    )
    assert task.metrics["token_f1"].difference.method == "t"
    assert (task.wins, task.losses, task.flips) == (None, None, ())


def test_seven_clusters_have_a_reason_instead_of_a_difference(measured, pair):
    task = compared(measured, pair, flipped(20, 20, 300), per_item=lambda i: {"cluster": f"template{i % 7}"})
    facts = task.metrics["accuracy"]
    assert facts.difference is None
    assert facts.reason == "only 7 clusters; an interval needs at least 8"
    assert task.certifiable_margin is None
    assert task.problems == ()


def test_flips_carry_gold_and_both_answers(measured, pair):
    task = compared(measured, pair, flipped(1, 2, 30))
    assert [(flip.direction, flip.item) for flip in task.flips] == [
        ("win", "item0"),
        ("loss", "item1"),
        ("loss", "item2"),
    ]
    assert (task.flips[0].base_answer, task.flips[0].tuned_answer, task.flips[0].gold) == ("no", "yes", "yes")
    assert task.flips[1].prompt == "question 1"


def test_bits_per_byte_are_weighted_by_bytes(measured, pair):
    sizes = [100, 900, 200, 400, 50, 300, 800, 700, 650, 120]

    def weights(index):
        return {"weights": {"bits_per_byte": float(sizes[index])}, "gold": None, "predicted": None}

    base = np.linspace(1.0, 2.0, 10)
    tuned = base + np.linspace(-0.02, 0.05, 10)
    task = compared(
        measured, pair, (base, tuned), metric="bits_per_byte", per_item=weights, kind="perplexity"
    )
    facts = task.metrics["bits_per_byte"]
    assert facts.base == pytest.approx(float(np.average(base, weights=sizes)), abs=1e-12)
    assert facts.difference.value == pytest.approx(facts.tuned - facts.base, abs=1e-12)
    assert facts.difference.method == "ratio"
    assert facts.base_interval95.low < facts.base < facts.base_interval95.high


def test_perplexity_is_the_exponent_of_nats_per_token(measured, pair):
    def weights(index):
        return {"weights": {"perplexity": 10.0 + index}}

    base = np.linspace(2.0, 3.0, 20)
    task = compared(
        measured, pair, (base, base + np.linspace(0, 0.2, 20)), metric="perplexity", per_item=weights
    )
    facts = task.metrics["perplexity"]
    assert facts.base == pytest.approx(math.exp(np.average(base, weights=10.0 + np.arange(20))))
    assert facts.difference.value == pytest.approx(facts.tuned - facts.base)
    assert facts.base_interval95.low < facts.base < facts.base_interval95.high


def classified(measured, gold, predicted, **fields):
    return measured(
        [float(g == p) for g, p in zip(gold, predicted, strict=True)],
        per_item=lambda i: {
            "gold": gold[i],
            "predicted": predicted[i],
            "cluster": fields.get("clusters", {}).get(i),
        },
        kind="classification",
        metrics={name: METRICS[name] for name in ("accuracy", "macro_f1")},
        **{name: value for name, value in fields.items() if name != "clusters"},
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_macro_f1_of_one_configuration_is_scikit_learns_over_the_label_list(measured, seed):
    generator = np.random.default_rng(seed)
    labels = ("a", "b", "c", "never used")
    gold, predicted = (generator.choice(["a", "b", "c"], size=40).tolist() for _ in range(2))
    measurement = classified(measured, gold, predicted, labels=labels)
    expected = f1_score(gold, predicted, labels=labels, average="macro", zero_division=0)
    assert measured_value(measurement, "macro_f1") == pytest.approx(expected, abs=1e-12)


def test_macro_f1_has_a_bootstrap_difference_that_respects_clusters(measured, pair):
    generator = np.random.default_rng(4)
    gold = np.repeat(generator.choice(list("abcde"), size=60), 5).tolist()
    noise = np.repeat(generator.choice(list("abcde"), size=60), 5)
    base = np.where(np.repeat(generator.random(60), 5) < 0.3, gold, noise).tolist()
    tuned = np.where(np.repeat(generator.random(60), 5) < 0.6, gold, noise).tolist()
    groups = {index: f"category{index // 5}" for index in range(300)}

    def facts(clusters):
        sides = [
            classified(measured, gold, answers, clusters=clusters, configuration=name)
            for name, answers in (("base", base), ("lora", tuned))
        ]
        return compare(sides[:1], sides[1:], pair).tasks[0].metrics["macro_f1"]

    honest, careless = facts(groups), facts({})
    assert honest.difference.method == "bootstrap"
    assert honest.difference.value == pytest.approx(honest.tuned - honest.base, abs=1e-12)
    assert honest.difference.standard_error > 1.8 * careless.difference.standard_error
    assert honest.base_interval95.low < honest.base < honest.base_interval95.high


def test_an_answer_outside_the_label_list_is_wrong_and_breaks_nothing(measured):
    gold = ["a", "b"] * 10
    answers = ["a", "something else"] * 10
    measurement = classified(measured, gold, answers, labels=("a", "b"))
    assert measured_value(measurement, "macro_f1") == 0.5
    assert measured_interval95(measurement, "accuracy") == wilson(10, 20)


def tasks_of(measured, pair, *tables, **update) -> Comparison:
    """A general suite with one binary task for every (wins, losses, n)."""
    scores = [flipped(*table) for table in tables]
    base = [measured(both[0], task=f"t{k}") for k, both in enumerate(scores)]
    tuned = [measured(both[1], task=f"t{k}", configuration="lora") for k, both in enumerate(scores)]
    return compare(base, tuned, pair.model_copy(update=update))


def test_the_general_average_reproduces_its_oracle(measured, pair):
    """O26: HellaSwag, ARC-C and WinoGrande."""
    comparison = tasks_of(measured, pair, (70, 90, 2000), (55, 62, 1172), (60, 110, 1267))
    average = comparison.general_average
    assert average.value == pytest.approx(-0.01847866512584707, abs=1e-12)
    assert average.standard_error == pytest.approx(0.005054638538434064, abs=1e-12)
    expected = (-0.026792805658719027, -0.010164524592975113)
    assert (average.interval90.low, average.interval90.high) == pytest.approx(expected, abs=1e-9)
    assert comparison.suites[0].average == average
    assert comparison.suites[0].tasks == ("t0", "t1", "t2")


def test_the_average_of_unchanged_tasks_is_not_certain(measured, pair):
    average = tasks_of(measured, pair, (0, 0, 300), (0, 0, 300)).general_average
    assert average.value == 0.0
    assert average.interval90.low < -0.005


def test_advisory_tasks_and_domain_suites_stay_out_of_the_general_average(measured, pair):
    tables = (10, 20, 300), (90, 0, 300)
    comparison = tasks_of(measured, pair, *tables, ungated=frozenset({("general", "t1")}))
    assert comparison.general_average.value == pytest.approx(-10 / 300)
    assert [task.gated for task in comparison.tasks] == [True, False]
    domain = tasks_of(measured, pair, *tables, roles={"general": "domain"})
    assert domain.general_average is None
    assert domain.suites[0].average.value == pytest.approx(80 / 600)


def test_a_comparison_survives_being_stored(measured, pair):
    comparison = tasks_of(measured, pair, (10, 20, 300), (90, 0, 300))
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(100, 300))
def test_swapping_base_and_tuned_negates_every_difference(measured, pair, wins, losses, n):
    base, tuned = (measured(scores) for scores in flipped(wins, losses, n))
    sides = [base], [measured([i.scores["accuracy"] for i in tuned.items], configuration="lora")]
    forth, back = compare(*sides, pair).tasks[0], compare(*reversed(sides), pair).tasks[0]
    a, b = forth.metrics["accuracy"].difference, back.metrics["accuracy"].difference
    assert a.value == -b.value
    assert (a.interval95.low, a.interval95.high) == pytest.approx((-b.interval95.high, -b.interval95.low))
    assert (forth.wins, forth.losses) == (back.losses, back.wins)


def test_whether_anything_changed_is_exact_mcnemar_for_independent_binary_items(measured, pair):
    facts = compared(measured, pair, flipped(12, 30, 300)).metrics["accuracy"]
    assert facts.p_any == pytest.approx(mcnemar(12, 30), abs=1e-12)


def test_few_changed_fractional_scores_have_an_exact_p_though_no_interval(measured, pair):
    base = np.full(40, 0.5)
    tuned = base + np.where(np.arange(40) < 3, 0.25, 0.0)
    facts = compared(measured, pair, (base, tuned), metric="token_f1", kind="qa").metrics["token_f1"]
    assert facts.difference is None
    assert facts.p_any == 0.25


def test_many_changed_fractional_scores_have_the_p_of_their_t_test(measured, pair):
    generator = np.random.default_rng(0)
    scores = generator.random(50), generator.random(50)
    facts = compared(measured, pair, scores, metric="token_f1", kind="qa").metrics["token_f1"]
    assert facts.p_any == pytest.approx(ttest_rel(*scores).pvalue, abs=1e-9)


def test_swapping_the_sides_changes_no_p_of_any_difference(measured, pair):
    generator = np.random.default_rng(1)
    for scores, fields in (
        (flipped(9, 2, 60), {}),
        (flipped(9, 2, 60), {"per_item": lambda i: {"cluster": f"c{i % 20}"}}),
        ((generator.random(30), generator.random(30)), {"metric": "token_f1", "kind": "qa"}),
    ):
        forward, backward = (
            next(iter(compared(measured, pair, sides, **fields).metrics.values()))
            for sides in (scores, scores[::-1])
        )
        assert forward.p_any is not None
        assert forward.p_any == pytest.approx(backward.p_any, abs=1e-12)


def test_a_rate_of_which_less_is_better_enters_the_average_the_right_way_round(measured, pair):
    error = Metric(name="error", title="error rate", higher_is_better=False)
    sides = [
        measured(scores, configuration=name, metrics={"accuracy": error})
        for name, scores in (("base", [0.0] * 40), ("lora", [1.0] * 10 + [0.0] * 30))
    ]
    assert compare([sides[0]], [sides[1]], pair).general_average.value == pytest.approx(-0.25)
