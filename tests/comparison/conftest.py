"""Measurements made of literal scores. `measured(scores)` is one task of one configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from harness.comparison.facts import Pair
from harness.experiment.metrics import METRICS
from harness.store.measurements import Item, Measurement


def _measured(
    scores: Sequence[float],
    metric: str = "accuracy",
    per_item: Callable[[int], dict[str, Any]] = lambda index: {},
    **fields: Any,
) -> Measurement:
    items = tuple(
        Item(
            **{
                "item": f"item{index}",
                "prompt_hash": f"prompt{index}",
                "prompt": f"question {index}",
                "scores": {metric: float(score)},
                "gold": "yes",
                "predicted": "yes" if score == 1 else "no",
                "chance": 0.25,
                **per_item(index),
            }
        )
        for index, score in enumerate(scores)
    )
    return Measurement(
        **{
            "configuration": "base",
            "suite": "general",
            "task": "facts",
            "kind": "multiple_choice",
            "primary": metric,
            "metrics": {metric: METRICS[metric]},
            "conditions": {"dtype": "bfloat16", "adapter": "none"},
            "items": items,
            **fields,
        }
    )


@pytest.fixture(scope="session")
def measured() -> Callable[..., Measurement]:
    return _measured


@pytest.fixture(scope="session")
def pair() -> Pair:
    return Pair(base="base", tuned="lora", differs_in="adapter", roles={"general": "general"})
