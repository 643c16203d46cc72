"""SQuAD token F1 and exact match as an `evaluate` module that needs no network.

Computed by torchmetrics' SQuAD (lowercase, no punctuation, no articles; the best of several
references; statistics.md 2.2), returned as fractions of 1.
"""

from typing import Any

import datasets
import evaluate
from torchmetrics.functional.text import squad


class TokenF1(evaluate.Metric):  # type: ignore[misc]
    """predictions: strings; references: lists of accepted strings. Returns {"token_f1", "exact_match"}."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description=self.__doc__,
            features=datasets.Features(
                {
                    "predictions": datasets.Value("string"),
                    "references": datasets.Sequence(datasets.Value("string")),
                }
            ),
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, Any]:
        return token_f1(predictions, references)


def token_f1(predictions: list[str], references: list[list[str]]) -> dict[str, Any]:
    """Mean token F1 and exact match over pairs, in [0, 1]."""
    answers = [
        {"prediction_text": prediction, "id": str(index)} for index, prediction in enumerate(predictions)
    ]
    targets = [
        {"answers": {"answer_start": [0] * len(golds), "text": list(golds)}, "id": str(index)}
        for index, golds in enumerate(references)
    ]
    scores = squad(answers, targets)
    return {"token_f1": float(scores["f1"]) / 100, "exact_match": float(scores["exact_match"]) / 100}
