"""Facts made of literal flip counts, for judging without measurements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.comparison.compare import average_difference, average_noise
from harness.comparison.facts import Comparison, MetricFacts, TaskFacts
from harness.experiment.metrics import METRICS
from harness.statistics.estimates import Estimate
from harness.statistics.linear import t_interval
from harness.statistics.tango import tango_difference


def _task(name: str, wins: int = 0, losses: int = 0, n: int = 300, **fields: Any) -> TaskFacts:
    """A binary task with so many flips; general unless told otherwise."""
    difference = tango_difference(wins, losses, n)
    facts = MetricFacts(
        metric=METRICS["accuracy"], base=0.5, tuned=0.5 + difference.value, difference=difference
    )
    return TaskFacts(
        **{
            "suite": "suite",
            "task": name,
            "role": "general",
            "kind": "multiple_choice",
            "primary": "accuracy",
            "metrics": {"accuracy": facts},
            "n": n,
            "wins": wins,
            "losses": losses,
            **fields,
        }
    )


def _text(name: str, rise: float, error: float, base: float = 1.25, **fields: Any) -> TaskFacts:
    """A perplexity task whose bits per byte rose by `rise` (in bits) ± `error`."""
    difference = Estimate(
        value=rise,
        interval90=t_interval(rise, error, 59, 0.90),
        interval95=t_interval(rise, error, 59, 0.95),
        method="ratio",
        n=60,
        standard_error=error,
        degrees_of_freedom=59,
    )
    facts = MetricFacts(metric=METRICS["bits_per_byte"], base=base, tuned=base + rise, difference=difference)
    return TaskFacts(
        **{
            "suite": "suite",
            "task": name,
            "role": "general",
            "kind": "perplexity",
            "primary": "bits_per_byte",
            "metrics": {"bits_per_byte": facts},
            "n": 60,
            **fields,
        }
    )


def _compared(*tasks: TaskFacts, **fields: Any) -> Comparison:
    general = [task for task in tasks if task.role == "general"]
    return Comparison(
        **{
            "base": "base",
            "tuned": "lora",
            "differs_in": "adapter",
            "tasks": tasks,
            "general_average": average_difference(general),
            "general_noise": average_noise(general),
            **fields,
        }
    )


@pytest.fixture(scope="session")
def task() -> Callable[..., TaskFacts]:
    return _task


@pytest.fixture(scope="session")
def text() -> Callable[..., TaskFacts]:
    return _text


@pytest.fixture(scope="session")
def compared() -> Callable[..., Comparison]:
    return _compared
