"""Item values against the reference numbers O13 and O15 of statistics.md."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.metrics import brier_score
from lm_eval.utils import softmax
from sklearn.metrics import brier_score_loss

from harness.experiment.metrics import METRICS, METRICS_OF_KIND, brier, item_score, lm_eval_metric
from harness.tasks.results import answer_results, choice_results

PROBABILITIES = [
    (0.72, 0.18, 0.10),
    (0.10, 0.83, 0.07),
    (0.30, 0.45, 0.25),
    (0.20, 0.17, 0.63),
    (0.52, 0.28, 0.20),
    (0.05, 0.05, 0.90),
]
GOLDS = [0, 1, 0, 2, 1, 2]
ROWS = list(zip(GOLDS, PROBABILITIES, strict=True))


def chosen(loglikelihoods: list[float], gold: int) -> dict[str, Any]:
    """The values of one item of which the model gave these log-likelihoods to the choices a, b, c …"""
    options = ["abcdefghij"[place] for place in range(len(loglikelihoods))]
    process = choice_results(lambda document: options, lambda document: gold)
    return process({}, [(loglikelihood, False) for loglikelihood in loglikelihoods])


def test_brier_accuracy_and_likelihood_reproduce_their_oracles(oracles: dict[str, Any]) -> None:
    # Log-likelihoods of a model are not normalised over the choices.
    items = [chosen([math.log(p) - 7.5 for p in row], gold) for gold, row in ROWS]

    o15 = oracles["O15_cal"]
    assert fmean(item["brier"] for item in items) == pytest.approx(o15["brier_lmeval"], abs=1e-12)
    assert fmean(item["accuracy"] for item in items) == pytest.approx(o15["acc"], abs=1e-12)
    assert fmean(-math.log(item["probability"]) for item in items) == pytest.approx(o15["nll"], abs=1e-12)


def test_brier_is_sklearns_and_lm_evals() -> None:
    ours = fmean(brier(row, gold) for gold, row in ROWS)

    assert ours == pytest.approx(brier_score_loss(GOLDS, PROBABILITIES, scale_by_half=False), abs=1e-12)
    assert ours == pytest.approx(brier_score(ROWS), abs=1e-12)


@given(st.lists(st.floats(-200, 0), min_size=2, max_size=8), st.data())
def test_brier_lies_between_zero_and_two(loglikelihoods: list[float], data: st.DataObject) -> None:
    gold = data.draw(st.integers(0, len(loglikelihoods) - 1))

    value = chosen(loglikelihoods, gold)["brier"]

    assert 0.0 <= value <= 2.0 + 1e-12


@pytest.mark.parametrize("broken", [[math.nan, -1.0], [-1.0, math.nan], [-math.inf, -1.0]])
def test_a_broken_model_has_no_brier_score(broken: list[float]) -> None:
    assert math.isnan(chosen(broken, 0)["brier"])


def test_both_kinds_of_choice_measure_brier_and_less_of_it_is_better() -> None:
    assert "brier" in METRICS_OF_KIND["multiple_choice"]
    assert "brier" in METRICS_OF_KIND["classification"]
    assert (METRICS["brier"].unit, METRICS["brier"].higher_is_better) == ("score", False)


@pytest.mark.parametrize("key", ["brier_score", "brier_score,none"])
def test_the_pair_that_lm_eval_gives_for_its_brier_score_becomes_the_items_own(
    key: str, oracles: dict[str, Any]
) -> None:
    metric = lm_eval_metric("brier_score", key, higher_is_better=False)
    found = [item_score(metric, (gold, softmax(np.log(row)))) for gold, row in ROWS]

    assert metric.name == key
    assert fmean(each[0] for each in found if each) == pytest.approx(oracles["O15_cal"]["brier_lmeval"])


@pytest.mark.parametrize("value", ["(0, [0.2 0.8])", [0, "[0.2 0.8]"], [0, None], None])
def test_what_is_neither_a_number_nor_such_a_pair_is_missing_and_not_zero(value: Any) -> None:
    assert item_score(lm_eval_metric("brier_score", "brier_score", False), value) is None


@pytest.mark.parametrize(
    ("oracle", "answer", "golds"),
    [
        ("a", "The black cat, sat.", ["a black cat"]),
        ("b", "Paris", ["paris!", "Lyon"]),
        ("c", "New York City", ["New York"]),
        ("d", "", ["x"]),
    ],
)
def test_token_f1_and_exact_match_reproduce_their_oracles(
    oracle: str, answer: str, golds: list[str], oracles: dict[str, Any]
) -> None:
    values = answer_results(lambda document: golds)({}, [answer])

    expected = oracles["O13_squad"][oracle]
    assert 100 * values["token_f1"] == pytest.approx(expected["f1"])
    assert 100 * values["exact_match"] == pytest.approx(expected["exact_match"])
