"""What each metric means. A metric owns its name, direction, unit and how items combine."""

from __future__ import annotations

from typing import Literal

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
    Metric(name="macro_f1", title="macro-F1", aggregate="macro_f1"),
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
    "multiple_choice": ("accuracy", "accuracy_norm", "probability"),
    "classification": ("accuracy", "macro_f1", "probability"),
    "qa": ("token_f1", "exact_match"),
    "perplexity": ("bits_per_byte", "perplexity", "word_perplexity"),
}
