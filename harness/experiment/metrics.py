"""What each metric means. A metric owns its name, direction, unit and how items combine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Unit = Literal["rate", "bits", "perplexity", "score"]
Aggregate = Literal["mean", "ratio", "exp_ratio", "macro_f1"]


class Metric(BaseModel):
    """One metric.

    `aggregate` says how item scores v with weights w become one number:
    `mean` = mean v, `ratio` = Σwv/Σw, `exp_ratio` = exp(Σwv/Σw), and `macro_f1` is computed
    from gold and predicted labels (items hold no score for it).
    `rate` lies in [0, 1] and is shown in percentage points.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    higher_is_better: bool = True
    unit: Unit = "rate"
    aggregate: Aggregate = "mean"


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS: dict[str, Metric] = _table(
    Metric(name="accuracy", title="accuracy"),
    Metric(name="accuracy_norm", title="accuracy, length-normalised"),
    Metric(name="probability", title="probability of the right answer"),
    Metric(name="brier", title="Brier score", higher_is_better=False, unit="score"),
    Metric(name="macro_f1", title="macro-F1", aggregate="macro_f1"),
    Metric(name="parsed", title="answers in the asked form"),
    Metric(name="token_f1", title="token F1"),
    Metric(name="exact_match", title="exact match"),
    Metric(
        name="bits_per_byte",
        title="bits per byte",
        higher_is_better=False,
        unit="bits",
        aggregate="ratio",
    ),
    Metric(
        name="perplexity",
        title="perplexity (per token)",
        higher_is_better=False,
        unit="perplexity",
        aggregate="exp_ratio",
    ),
    Metric(
        name="word_perplexity",
        title="perplexity (per word)",
        higher_is_better=False,
        unit="perplexity",
        aggregate="exp_ratio",
    ),
)

# The first metric of a kind is its primary one unless the suite says otherwise.
METRICS_OF_KIND: dict[str, tuple[str, ...]] = {
    "multiple_choice": ("accuracy", "accuracy_norm", "probability", "brier"),
    "classification": ("accuracy", "macro_f1", "probability", "brier"),
    "generated_choice": ("accuracy", "parsed", "macro_f1"),
    "qa": ("token_f1", "exact_match"),
    "perplexity": ("bits_per_byte", "perplexity", "word_perplexity"),
}

# Kinds whose answers the model writes.
WRITTEN = ("generated_choice", "qa")

# lm-eval metrics that are not means of item scores, by their own names.
_RATIOS = {
    "bits_per_byte": METRICS["bits_per_byte"],
    "byte_perplexity": Metric(
        name="byte_perplexity",
        title="perplexity (per byte)",
        higher_is_better=False,
        unit="perplexity",
        aggregate="exp_ratio",
    ),
    "word_perplexity": METRICS["word_perplexity"],
    # Of a loglikelihood task such as lambada: exp of the mean negative log-likelihood of a target.
    "perplexity": Metric(
        name="perplexity",
        title="perplexity (per target)",
        higher_is_better=False,
        unit="perplexity",
        aggregate="exp_ratio",
    ),
}
# Of an item it says (gold, probabilities of all choices); its mean is METRICS["brier"]'s.
_LM_EVAL_BRIER = "brier_score"
# Those known to lie in [0, 1].
_RATES = {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "pass@1"}


def lm_eval_metric(name: str, key: str, higher_is_better: bool) -> Metric:
    """lm-eval's metric `name`, here called `key`: a ratio, a rate, or a score never averaged with rates."""
    if name in _RATIOS:
        return _RATIOS[name].model_copy(update={"name": key})
    if name == _LM_EVAL_BRIER:
        return METRICS["brier"].model_copy(update={"name": key})
    unit: Unit = "rate" if name in _RATES or name.endswith("_acc") else "score"
    return Metric(name=key, title=key, higher_is_better=higher_is_better, unit=unit)


def item_score(metric: Metric, value: Any) -> tuple[float, float | None] | None:
    """Score and weight of one item, from what lm-eval's `process_results` says of it; None for no number.

    Of a pair (log-likelihood, units) the score is nats (bits) per unit and the weight the number of units.
    """
    if metric.aggregate in ("ratio", "exp_ratio") and isinstance(value, tuple | list):
        if len(value) != 2 or not all(isinstance(part, Real) for part in value):
            return None
        loglikelihood, units = value
        scale = math.log(2) if metric.unit == "bits" else 1.0
        return (-float(loglikelihood) / (units * scale), float(units)) if units else None
    if not isinstance(value, Real):
        return _brier_of(value) if metric.name.partition(",")[0] == _LM_EVAL_BRIER else None
    # lm-eval's perplexity of one item is its log-likelihood.
    return -float(value) if metric.aggregate == "exp_ratio" else float(value), None


def brier(probabilities: Sequence[float], gold: int) -> float:
    """Multiclass Brier score Σ(p_c - y_c)² of one item, 0 … 2; lower is better (statistics.md 2.5)."""
    return math.fsum((p - (choice == gold)) ** 2 for choice, p in enumerate(probabilities))


def _brier_of(value: Any) -> tuple[float, None] | None:
    """Of lm-eval's pair; None for what is no such pair, as the text that its own files hold."""
    if not isinstance(value, tuple | list) or len(value) != 2 or isinstance(value[1], str):
        return None
    gold, probabilities = value
    try:
        return brier([float(p) for p in probabilities], int(gold)), None
    except (TypeError, ValueError):
        return None
