"""From raw responses to metric values: lm-eval's `process_results`, one function a kind.

lm-eval's own metric list turns a token F1 of 0.8 into 1.0 where an item has several golds, so
every local task computes its values here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.experiment.metrics import brier
from harness.tasks.metrics.macro_f1.macro_f1 import macro_f1
from harness.tasks.metrics.token_f1.token_f1 import token_f1

Document = Mapping[str, Any]
ProcessResults = Callable[[Document, Sequence[Any]], dict[str, Any]]


def choice_results(
    choices: Callable[[Document], list[str]], gold: Callable[[Document], int]
) -> ProcessResults:
    """accuracy, accuracy_norm (by characters), probability of the gold choice, brier, macro-F1's pair."""

    def process(document: Document, results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
        options = choices(document)
        answer = gold(document)
        loglikelihoods = np.array([loglikelihood for loglikelihood, _ in results])
        lengths = np.array([len(option) for option in options])
        weights = np.exp(loglikelihoods - loglikelihoods.max())
        probabilities = weights / weights.sum()
        best = int(loglikelihoods.argmax())
        # A model that is broken gives NaN, and NaN has an argmax: that would be a score.
        known = 1.0 if np.isfinite(loglikelihoods).all() else math.nan
        return {
            "accuracy": known * float(best == answer),
            "accuracy_norm": known * float(int((loglikelihoods / lengths).argmax()) == answer),
            "probability": float(probabilities[answer]),
            "brier": known * brier(probabilities, answer),
            "macro_f1": (options[answer], options[best]),
        }

    return process


def answer_results(golds: Callable[[Document], list[str]]) -> ProcessResults:
    """Token F1 and exact match of a generated answer, the best over the accepted golds."""

    def process(document: Document, results: Sequence[str]) -> dict[str, Any]:
        return token_f1([results[0].strip()], [golds(document)])

    return process


def written_choice_results(
    gold: Callable[[Document], str], read: Callable[[Document, str], str | None]
) -> ProcessResults:
    """Whether the option that was written is the right one, and whether any was; the pair for macro-F1."""

    def process(document: Document, results: Sequence[str]) -> dict[str, Any]:
        answer, right = read(document, results[0]), gold(document)
        return {
            "accuracy": float(answer == right),
            "parsed": float(answer is not None),
            "macro_f1": (right, answer or ""),
        }

    return process


def text_results(text: Callable[[Document], str], count_tokens: Callable[[str], int]) -> ProcessResults:
    """(log-likelihood, length) in bytes, tokens and words, as lm-eval's perplexity metrics take them."""

    def process(document: Document, results: Sequence[float]) -> dict[str, Any]:
        (loglikelihood,) = results
        content = text(document)
        return {
            "bits_per_byte": (loglikelihood, len(content.encode("utf-8"))),
            "perplexity": (loglikelihood, count_tokens(content)),
            "word_perplexity": (loglikelihood, len(re.split(r"\s+", content))),
        }

    return process


def bits_per_unit(pairs: Sequence[tuple[float, int]]) -> float:
    """Bits per unit of length: -ΣL / (ln 2 · Σlength)."""
    return -sum(pair[0] for pair in pairs) / (sum(pair[1] for pair in pairs) * math.log(2))


def exp_nats_per_unit(pairs: Sequence[tuple[float, int]]) -> float:
    """Perplexity per unit of length: exp(-ΣL / Σlength)."""
    return math.exp(-sum(pair[0] for pair in pairs) / sum(pair[1] for pair in pairs))


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def aggregations(labels: Sequence[str] | None) -> dict[str, Callable[[Sequence[Any]], float]]:
    """How lm-eval would combine each metric's values: what makes the compiled task complete on its own."""

    def over_labels(pairs: Sequence[tuple[str, str]]) -> float:
        golds, predictions = zip(*pairs, strict=True)
        score = macro_f1(list(predictions), list(golds), list(labels) if labels else None)["macro_f1"]
        return float(score)

    return {
        "accuracy": mean,
        "accuracy_norm": mean,
        "probability": mean,
        "parsed": mean,
        "brier": mean,
        "macro_f1": over_labels,
        "token_f1": mean,
        "exact_match": mean,
        "bits_per_byte": bits_per_unit,
        "perplexity": exp_nats_per_unit,
        "word_perplexity": exp_nats_per_unit,
    }
