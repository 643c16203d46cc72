"""What a number of items can certify, and how many more would settle a question (statistics.md 4.10)."""

from __future__ import annotations

import math

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

    Assumes that value and variance per unit stay as observed; None where no number would do.
    """
    distance = abs(estimate.value - threshold)
    if distance == 0.0 or estimate.standard_error is None:
        return None
    needed = math.ceil(estimate.n * (_separation(alpha) * estimate.standard_error / distance) ** 2)
    if estimate.wins is not None and 0.0 < abs(threshold) < 1.0:
        needed = max(needed, zero_flip_items(abs(threshold), alpha))
    return max(needed, estimate.n + 1) if needed < 10_000_000 else None


def _separation(alpha: float) -> float:
    return quantile(1.0 - alpha) + quantile(POWER)
