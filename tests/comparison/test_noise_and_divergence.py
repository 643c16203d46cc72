"""What numerics alone change, and how far the tuned side moved from the base."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from harness.comparison.compare import compare
from harness.comparison.facts import Comparison
from harness.experiment.metrics import METRICS
from harness.store.measurements import Divergence, Noise

N = 400
BASE = [1.0] * 200 + [0.0] * 200
TUNED = [0.0] * 20 + [1.0] * 180 + [1.0] * 12 + [0.0] * 188  # 20 lost, 12 won
NOISE = Noise(items=200, to_wrong=4, to_right=2, deviation=0.16)


def sides(measured, noise=None, **fields):
    base = measured(BASE, noise=noise, **fields)
    return [base], [measured(TUNED, configuration="lora", **fields)]


def only(comparison):
    (task,) = comparison.tasks
    return task


def test_flips_beyond_the_noise_are_the_rates_less_the_floors(measured, pair):
    task = only(compare(*sides(measured, NOISE), pair))
    assert (task.losses, task.wins) == (20, 12)
    assert (task.noise.items, task.noise.to_wrong, task.noise.to_right) == (200, 0.02, 0.01)
    assert task.losses_excess == pytest.approx(20 / 400 - 4 / 200)
    assert task.wins_excess == pytest.approx(12 / 400 - 2 / 200)


def test_the_noise_of_the_difference_is_that_of_an_item_over_the_root_of_the_items(measured, pair):
    task = only(compare(*sides(measured, NOISE), pair))
    assert task.noise.deviation == pytest.approx(0.16 / math.sqrt(N))


def test_an_excess_below_zero_keeps_its_sign(measured, pair):
    loud = Noise(items=100, to_wrong=30, to_right=0, deviation=0.5)
    task = only(compare(*sides(measured, loud), pair))
    assert task.losses_excess == pytest.approx(0.05 - 0.30)
    assert task.wins_excess == pytest.approx(0.03)


def test_without_noise_there_is_no_floor_and_no_excess_and_zero_noise_is_a_floor_of_zero(measured, pair):
    silent = only(compare(*sides(measured), pair))
    assert (silent.noise, silent.wins_excess, silent.losses_excess) == (None, None, None)
    quiet = only(compare(*sides(measured, Noise(200, 0, 0, 0.0)), pair))
    assert (quiet.noise.deviation, quiet.losses_excess) == (0.0, 0.05)
    nothing = only(compare(*sides(measured, Noise(0, 0, 0, math.nan)), pair))
    assert nothing.noise is None, "no item was scored twice"


def test_only_the_noise_of_the_base_counts(measured, pair):
    base, tuned = sides(measured, NOISE)
    forth, back = only(compare(base, tuned, pair)), only(compare(tuned, base, pair))
    assert forth.noise is not None
    assert (back.noise, back.wins_excess, back.losses_excess) == (None, None, None)
    assert (forth.wins, forth.losses) == (back.losses, back.wins)


def test_noise_says_nothing_about_a_task_that_is_not_comparable(measured, pair):
    base, tuned = sides(measured, NOISE)
    short = [replace(tuned[0], items=tuned[0].items[:-1])]
    task = only(compare(base, short, pair))
    assert task.problems
    assert task.noise is None


def texts(measured, base, tuned, sizes, metric="bits_per_byte", noise=None):
    def weights(index):
        return {"weights": {metric: float(sizes[index])}, "gold": None, "predicted": None}

    shared = {"metric": metric, "per_item": weights, "kind": "perplexity"}
    return [measured(base, noise=noise, **shared)], [measured(tuned, configuration="lora", **shared)]


def test_long_documents_carry_more_of_the_noise_of_a_ratio(measured, pair):
    sizes = np.array([100, 900, 200, 400, 50, 300, 800, 700, 650, 120], dtype=float)
    generator = np.random.default_rng(5)
    base = generator.uniform(1, 2, 10)
    task = only(
        compare(*texts(measured, base, base + 0.01 * sizes, sizes, noise=Noise(10, 0, 0, 0.03)), pair)
    )
    draws = generator.normal(0, 0.03, (200_000, 10)) @ sizes / sizes.sum()
    assert task.noise.deviation == pytest.approx(draws.std(), rel=0.01)
    assert (task.noise.to_wrong, task.noise.to_right, task.losses_excess) == (None, None, None)
    equal = only(compare(*texts(measured, base, base, [7] * 10, noise=Noise(10, 0, 0, 0.03)), pair))
    assert equal.noise.deviation == pytest.approx(0.03 / math.sqrt(10))


def test_the_noise_of_perplexity_is_in_perplexity(measured, pair):
    base = np.linspace(2.0, 3.0, 20)
    noise = Noise(20, 0, 0, 0.001)
    task = only(compare(*texts(measured, base, base + 0.1, [10] * 20, "perplexity", noise), pair))
    generator = np.random.default_rng(2)
    again = np.exp((base + generator.normal(0, 0.001, (100_000, 20))).mean(axis=1))
    assert task.noise.deviation == pytest.approx(again.std(), rel=0.02)


def test_a_metric_without_item_scores_and_a_noise_without_deviation_have_no_deviation(measured, pair):
    macro = {name: METRICS[name] for name in ("macro_f1", "accuracy")}
    labels = only(compare(*sides(measured, NOISE, metrics=macro, primary="macro_f1"), pair))
    assert (labels.noise.items, labels.noise.deviation) == (200, None)
    once = only(compare(*sides(measured, Noise(1, 0, 0, math.nan)), pair))
    assert once.noise.deviation is None


def test_the_noise_of_the_average_is_known_where_that_of_every_task_is(measured, pair):
    def comparison(*noises, **update):
        base = [measured(BASE, task=f"t{k}", noise=noise) for k, noise in enumerate(noises)]
        tuned = [measured(TUNED, task=f"t{k}", configuration="lora") for k in range(len(noises))]
        return compare(base, tuned, pair.model_copy(update=update))

    louder = replace(NOISE, deviation=0.12)
    assert comparison(NOISE, louder).general_noise == pytest.approx(0.2 / 2 / math.sqrt(N))
    assert comparison(NOISE, None).general_noise is None
    assert comparison(None, None).general_noise is None
    assert comparison(NOISE, None, ungated=frozenset({("general", "t1")})).general_noise == pytest.approx(
        0.008
    )
    assert comparison(NOISE, roles={"general": "domain"}).general_noise is None


def diverged(measured, nats, tokens, **fields):
    """Base and tuned texts; the tuned documents have these divergences (None: not measured)."""

    def of(index):
        kl = nats[index]
        return {
            "divergence": None if kl is None else Divergence(nats=kl, tokens=tokens[index]),
            "weights": {"bits_per_byte": 100.0},
            "gold": None,
            "predicted": None,
            **fields,
        }

    shared = {"metric": "bits_per_byte", "kind": "perplexity"}
    scores = np.linspace(1.0, 2.0, len(nats))
    base = measured(scores, per_item=lambda index: {**of(index), "divergence": None}, **shared)
    tuned = measured(scores + 0.01 * scores**2, per_item=of, configuration="lora", **shared)
    return [base], [tuned]


NATS = [4.0, 9.5, 2.0, 30.0, 1.0, 6.0, 12.5, 3.0, 8.0, 5.5]
TOKENS = [40, 100, 25, 200, 12, 70, 120, 45, 60, 66]


def test_the_divergence_is_nats_over_tokens_with_the_error_of_a_ratio(measured, pair):
    facts = only(compare(*diverged(measured, NATS, TOKENS), pair)).divergence
    assert (facts.documents, facts.tokens) == (10, sum(TOKENS))
    assert facts.nats_per_token == pytest.approx(sum(NATS) / sum(TOKENS))
    tokens = np.array(TOKENS, dtype=float)
    fit = sm.WLS(np.array(NATS) / tokens, np.ones(10), weights=tokens).fit(cov_type="HC1", use_t=True)
    low, high = fit.conf_int(0.05)[0]
    assert (facts.interval95.low, facts.interval95.high) == pytest.approx((low, high))


def test_documents_of_one_cluster_are_one_draw(measured, pair):
    nats, tokens = NATS * 4, TOKENS * 4
    alone = only(compare(*diverged(measured, nats, tokens), pair)).divergence
    base, tuned = diverged(measured, nats, tokens)
    in_tens = [
        [replace(side, items=tuple(replace(e, cluster=str(k % 10)) for k, e in enumerate(side.items)))]
        for side in (base[0], tuned[0])
    ]
    together = only(compare(*in_tens, pair)).divergence
    assert together.nats_per_token == alone.nats_per_token
    assert together.interval95.low < alone.interval95.low


def test_an_unchanged_model_has_a_divergence_of_zero(measured, pair):
    facts = only(compare(*diverged(measured, [0.0] * 10, TOKENS), pair)).divergence
    assert (facts.nats_per_token, facts.interval95) == (0.0, None)


def test_the_interval_of_a_divergence_does_not_reach_below_zero(measured, pair):
    facts = only(compare(*diverged(measured, [*[0.0] * 9, 50.0], TOKENS), pair)).divergence
    assert facts.interval95.low == 0.0
    assert facts.interval95.high > facts.nats_per_token


def test_too_few_documents_have_a_divergence_without_an_interval(measured, pair):
    facts = only(compare(*diverged(measured, NATS[:7], TOKENS[:7]), pair)).divergence
    assert facts.nats_per_token == pytest.approx(sum(NATS[:7]) / sum(TOKENS[:7]))
    assert facts.interval95 is None


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (None, "the divergence is missing on 1 of 10 documents"),
        (math.nan, "the divergence is not finite on 1 of 10 documents"),
        (math.inf, "the divergence is not finite on 1 of 10 documents"),
    ],
)
def test_one_document_without_a_divergence_leaves_no_number_and_spoils_nothing_else(
    measured, pair, spoilt, reason
):
    task = only(compare(*diverged(measured, [*NATS[:-1], spoilt], TOKENS), pair))
    assert (task.divergence, task.no_divergence) == (None, reason)
    assert task.problems == ()
    assert task.metrics["bits_per_byte"].difference is not None


def test_a_divergence_belongs_to_the_tuned_side(measured, pair):
    base, tuned = diverged(measured, NATS, TOKENS)
    swapped = only(compare(tuned, base, pair))
    assert (swapped.divergence, swapped.no_divergence) == (None, None)


def test_noise_and_divergence_survive_being_stored_and_older_facts_have_neither(measured, pair):
    base, tuned = diverged(measured, NATS, TOKENS)
    comparison = compare([replace(base[0], noise=Noise(10, 0, 0, 0.03))], tuned, pair)
    assert only(comparison).noise is not None
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison
    older = compare(*sides(measured), pair).model_dump(mode="json")
    del older["general_noise"]
    for name in ("noise", "wins_excess", "losses_excess", "divergence", "no_divergence"):
        del older["tasks"][0][name]
    assert Comparison.model_validate(older) == compare(*sides(measured), pair)
