"""The strength is chosen on validation items by one rule."""

from __future__ import annotations

from typing import Any

import pytest

from harness.experiment.schema import Gate
from harness.gate.strength import StrengthPoint, excess, strength_curve

POLICY = Gate(max_drop_task=0.065, max_drop_average=0.025, max_bits_per_byte_increase=0.02)


@pytest.fixture
def point(task: Any, text: Any, compared: Any) -> Any:
    """A strength with so many wins on 300 domain items and losses on 300 general ones, on validation items."""

    def make(strength: float, wins: int, losses: int, rise: float = 0.0) -> StrengthPoint:
        tasks = [
            task("chapter", wins=wins, role="domain"),
            task("world", losses=losses),
            text("prose", rise=rise, error=0.001),
        ]
        facts = compared(*tasks)
        return StrengthPoint(strength=strength, tuned=f"lora@{strength:g}", validation=facts, test=facts)

    return make


def chosen(points: list[StrengthPoint]) -> tuple[float, str]:
    curve = strength_curve("lora", 0, points, POLICY)
    return curve.chosen, curve.reason


def test_the_greatest_gain_within_the_limits_is_chosen(point: Any) -> None:
    points = [point(1.0, 90, 30), point(0.5, 60, 6), point(0.25, 30, 0), point(0.0, 0, 0)]

    strength, reason = chosen(points)

    assert strength == 0.5, "at 1 it loses 10 points on a general task, more than the 6.5 that are allowed"
    assert "+20.0 pp" in reason
    assert "the 2 of 3 that keep" in reason


def test_of_two_that_gain_the_same_the_weaker_is_chosen(point: Any) -> None:
    assert chosen([point(1.0, 60, 0), point(0.75, 60, 0)])[0] == 0.75


def test_the_guard_on_text_counts_as_a_limit(point: Any) -> None:
    """1.25 bits per byte rising by 0.05 is 4 %, twice what is allowed."""
    assert chosen([point(1.0, 90, 0, rise=0.05), point(0.5, 60, 0, rise=0.01)])[0] == 0.5


def test_where_all_lose_too_much_the_least_excess_is_chosen_and_said(point: Any) -> None:
    strength, reason = chosen([point(1.0, 90, 60), point(0.5, 60, 40)])

    assert strength == 0.5
    assert "no strength keeps general ability within the limits" in reason


def test_the_base_itself_is_never_chosen(point: Any) -> None:
    assert chosen([point(0.0, 0, 0), point(0.5, 1, 60)])[0] == 0.5


def test_without_validation_items_the_strongest_is_taken_and_said(point: Any, compared: Any) -> None:
    nothing = compared()
    points = [
        StrengthPoint(strength=strength, tuned=f"lora@{strength}", validation=nothing, test=nothing)
        for strength in (0.5, 1.0)
    ]

    strength, reason = chosen(points)

    assert strength == 1.0
    assert "no validation items" in reason


def test_points_come_weakest_first(point: Any) -> None:
    curve = strength_curve("lora", 0, [point(1.0, 1, 0), point(0.25, 1, 0)], POLICY)

    assert [each.strength for each in curve.points] == [0.25, 1.0]


def test_an_unchanged_model_is_within_every_limit(point: Any) -> None:
    assert excess(point(0.0, 0, 0).validation, POLICY) == -1.0
