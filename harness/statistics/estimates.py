"""What a statistical statement about a difference consists of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Method = Literal["tango", "t", "cluster_t", "ratio", "bootstrap", "normal", "wilson", "crossed"]


# With two seeds the seeds' own variance is a guess with one degree of freedom (statistics.md 4.11).
FEWEST_SEEDS = 3


class Interval(BaseModel):
    model_config = ConfigDict(frozen=True)

    low: float
    high: float
    level: float


class SeedParts(BaseModel):
    """What the uncertainty of a difference over several training seeds is made of (seeds.py).

    values:   the difference under each seed
    items:    MS_item / (S·n), the squared unit of the difference
    residual: MS_residual / (S·n), likewise
    draws:    independent items or clusters
    binary:   whether items are right or wrong
    """

    model_config = ConfigDict(frozen=True)

    values: tuple[float, ...]
    items: float
    residual: float
    draws: int
    binary: bool = False


class Estimate(BaseModel):
    """A paired difference (tuned - base) in the metric's own unit and direction.

    `wins` and `losses` (0→1, 1→0) are set for binary items and are all that Tango's method
    needs; the t family needs `standard_error` and `degrees_of_freedom`.
    `skewness` is that of the independent draws' contributions, which a t test takes for 0.
    `n` counts what `wins` and `losses` count: items, or clusters where `warning` says so.
    `seeds` is there when the difference is a mean over several training seeds.
    `warning` is a sentence when the method is at the edge of what it can do (few clusters).
    """

    model_config = ConfigDict(frozen=True)

    value: float
    interval90: Interval
    interval95: Interval
    method: Method
    n: int
    clusters: int | None = None
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    wins: int | None = None
    losses: int | None = None
    skewness: float | None = None
    seeds: SeedParts | None = None
    warning: str | None = None


class NoEstimate(BaseModel):
    """No honest statement is possible; `reason` is a sentence without a full stop."""

    model_config = ConfigDict(frozen=True)

    reason: str


def negated(estimate: Estimate) -> Estimate:
    """The same evidence with the sides exchanged: base - tuned instead of tuned - base."""
    return estimate.model_copy(
        update={
            "value": -estimate.value,
            "interval90": _mirrored(estimate.interval90),
            "interval95": _mirrored(estimate.interval95),
            "wins": estimate.losses,
            "losses": estimate.wins,
            "skewness": None if estimate.skewness is None else -estimate.skewness,
            "seeds": _seeds_scaled(estimate.seeds, -1.0),
        }
    )


def oriented(estimate: Estimate, higher_is_better: bool) -> Estimate:
    """The estimate in the direction in which more is better."""
    return estimate if higher_is_better else negated(estimate)


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate in another unit, one old unit being `factor` (> 0) new ones. Counts are dropped."""
    if factor <= 0:
        raise ValueError(f"a unit's factor is positive, not {factor}")
    error = estimate.standard_error
    return estimate.model_copy(
        update={
            "value": estimate.value * factor,
            "interval90": _stretched(estimate.interval90, factor),
            "interval95": _stretched(estimate.interval95, factor),
            "standard_error": None if error is None else error * factor,
            "wins": None,
            "losses": None,
            "seeds": _seeds_scaled(estimate.seeds, factor),
        }
    )


def _seeds_scaled(seeds: SeedParts | None, factor: float) -> SeedParts | None:
    if seeds is None:
        return None
    return SeedParts(
        values=tuple(value * factor for value in seeds.values),
        items=seeds.items * factor**2,
        residual=seeds.residual * factor**2,
        draws=seeds.draws,
        binary=seeds.binary,
    )


def _mirrored(interval: Interval) -> Interval:
    return Interval(low=-interval.high, high=-interval.low, level=interval.level)


def _stretched(interval: Interval, factor: float) -> Interval:
    return Interval(low=interval.low * factor, high=interval.high * factor, level=interval.level)
