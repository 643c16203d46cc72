"""What a number of items can certify, and how many more would settle a question (statistics.md 4.10)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.statistics.distributions import quantile
from harness.statistics.estimates import Estimate

POWER = 0.80


def certifiable_margin(standard_error: float, independent: int, alpha: float = 0.05) -> float:
    """The smallest drop that can be excluded with 80 % power when nothing changed.

    (z_alpha + z_power) · SE, for binary items 2.49·sqrt(q/n) with q the share that flipped; and
    never below the margin at which even zero flips among `independent` draws would not do.
    """
    return max(_separation(alpha) * standard_error, zero_flip_margin(independent, alpha))


def binary_margin(n: int, discordance: float, alpha: float = 0.05) -> float:
    """certifiable_margin of `n` independent binary items of which the share `discordance` flips."""
    return certifiable_margin(math.sqrt(discordance / n), n, alpha)


def zero_flip_margin(n: int, alpha: float = 0.05) -> float:
    """The smallest drop that `n` items exclude when not one of them flips."""
    return 1.0 - math.pow(alpha, 1.0 / n)


def zero_flip_items(margin: float, alpha: float = 0.05) -> int:
    """Items needed to exclude a drop of `margin` when not one of them flips: ln(alpha)/ln(1 - margin)."""
    return math.ceil(math.log(alpha) / math.log1p(-margin))


def items_to_settle(estimate: Estimate, threshold: float, alpha: float = 0.05) -> int | None:
    """Units (as counted by `estimate.n`) that would separate this value from `threshold` with 80 % power.

    Assumes that value and variance per unit stay as observed; None where no number would do, as where the
    training seeds alone spread the value too far.
    """
    parts = _variance(estimate)
    wanted = _wanted_variance(estimate, threshold, alpha)
    if parts is None or wanted <= parts.seeds:
        return None
    needed = math.ceil(estimate.n * (parts.items + parts.residual) / (wanted - parts.seeds))
    if estimate.wins is not None and 0.0 < abs(threshold) < 1.0:
        needed = max(needed, zero_flip_items(abs(threshold), alpha))
    return max(needed, estimate.n + 1) if needed < 10_000_000 else None


def seeds_to_settle(estimate: Estimate, threshold: float, alpha: float = 0.05) -> int | None:
    """Training seeds that would, on the same items; None where the items alone spread the value too far."""
    parts = _variance(estimate)
    wanted = _wanted_variance(estimate, threshold, alpha)
    if parts is None or estimate.seeds is None or wanted <= parts.items:
        return None
    seeds = len(estimate.seeds.values)
    needed = math.ceil(seeds * (parts.seeds + parts.residual) / (wanted - parts.items))
    return max(needed, seeds + 1) if needed < 1000 else None


@dataclass(frozen=True)
class _Variance:
    """The parts of an estimate's variance: items' falls with items, seeds' with seeds, the rest with both."""

    items: float
    seeds: float
    residual: float


def _variance(estimate: Estimate) -> _Variance | None:
    if estimate.standard_error is None:
        return None
    whole, parts = estimate.standard_error**2, estimate.seeds
    if parts is None:
        return _Variance(items=whole, seeds=0.0, residual=0.0)
    items = max(parts.items - parts.residual, 0.0)
    return _Variance(items, max(whole - items - parts.residual, 0.0), parts.residual)


def _wanted_variance(estimate: Estimate, threshold: float, alpha: float) -> float:
    return ((estimate.value - threshold) / _separation(alpha)) ** 2


def _separation(alpha: float) -> float:
    return quantile(1.0 - alpha) + quantile(POWER)
