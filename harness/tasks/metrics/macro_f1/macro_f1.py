"""Macro-F1 over a fixed label list as an `evaluate` module that needs no network (scikit-learn)."""

from typing import Any

import datasets
import evaluate
from sklearn.metrics import f1_score


class MacroF1(evaluate.Metric):  # type: ignore[misc]
    """predictions, references: labels. `labels` is the fixed list; without it, those of the references."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description=self.__doc__,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self, predictions: list[str], references: list[str], labels: list[str] | None = None
    ) -> dict[str, Any]:
        return macro_f1(predictions, references, labels)


def macro_f1(predictions: list[str], references: list[str], labels: list[str] | None) -> dict[str, Any]:
    """Macro-F1 in [0, 1]; a class that is never right counts as 0 (statistics.md 2.3)."""
    fixed = labels if labels is not None else sorted(set(references))
    score = f1_score(references, predictions, labels=fixed, average="macro", zero_division=0)
    return {"macro_f1": float(score)}
