"""Differences of a recipe: the same items under several training seeds (statistics.md 4.11).

Seeds and items are crossed: every seed is measured on the same items. So the uncertainty of the mean has a
part of the seeds, which more items do not lower, and a part of the items, which more seeds do not lower.
A two-way analysis of variance without replication tells them apart,

    Var(mean) = (MS_seed + MS_item - MS_res) / (S·n),   at least MS_res / (S·n),

with Satterthwaite's degrees of freedom. Metrics that are no means of items enter to first order, by what
each item adds to them, and clusters take the place of items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.statistics.distributions import two_sided
from harness.statistics.estimates import FEWEST_SEEDS, Estimate, Interval, NoEstimate, SeedParts
from harness.statistics.linear import (
    FEWEST_CHANGED,
    Change,
    Codes,
    cluster_count,
    cluster_sums,
    few_draws_warning,
    moment_skewness,
    moved,
    no_error,
    t_interval,
    too_few_draws,
)
from harness.statistics.tango import tango_interval

# With three or four the 90 % interval covered 86 to 90 % in simulation, where seeds spread more than items.
FEW_SEEDS = 5


def over_seeds(changes: Sequence[Change], clusters: Codes, binary: bool) -> Estimate | NoEstimate:
    """The recipe's difference: the mean over its seeds, one change each on the same items.

    binary: item scores are 0 and 1 and the changes are means of them. Where hardly any item moved under any
    seed there is no variance to speak of, and Tango over whole clusters stands in.
    """
    if len(changes) < FEWEST_SEEDS:
        return NoEstimate(reason=f"only {len(changes)} seeds; a recipe needs at least {FEWEST_SEEDS}")
    refusal = too_few_draws(clusters)
    if refusal:
        return refusal
    changed = cluster_count(clusters[np.any([change.moved for change in changes], axis=0)])
    if changed >= FEWEST_CHANGED:
        return _crossed(changes, clusters, binary)
    if binary:
        return _hardly_changed(changes, clusters)
    what = "clusters" if cluster_count(clusters) < clusters.size else "items"
    return NoEstimate(
        reason=f"only {changed} of {cluster_count(clusters)} {what} changed at all under any seed; "
        f"an interval needs at least {FEWEST_CHANGED} that do"
    )


def _crossed(changes: Sequence[Change], clusters: Codes, binary: bool) -> Estimate | NoEstimate:
    values = np.array([change.value for change in changes])
    sums = np.array([cluster_sums(change.influences, clusters) for change in changes])
    seeds, draws = sums.shape
    # Pseudo-values: one for each seed and draw, whose mean over the draws is the seed's value.
    own = draws * sums
    by_draw = own.mean(axis=0)
    residual = own - by_draw
    mean_square_item = seeds * float(np.sum(by_draw**2)) / (draws - 1)
    mean_square_residual = float(np.sum(residual**2)) / ((seeds - 1) * (draws - 1))
    parts = SeedParts(
        values=tuple(values.tolist()),
        items=mean_square_item / (seeds * draws),
        residual=mean_square_residual / (seeds * draws),
        draws=draws,
        binary=binary,
    )
    error, degrees = error_over_seeds([parts])
    value = float(values.mean())
    refusal = no_error(value, error)
    if refusal:
        return refusal
    skew = moment_skewness(by_draw) if parts.items > 0 else None
    return Estimate(
        value=value,
        interval90=t_interval(value, error, degrees, 0.90),
        interval95=t_interval(value, error, degrees, 0.95),
        method="crossed",
        n=clusters.size,
        clusters=draws if draws < clusters.size else None,
        standard_error=error,
        degrees_of_freedom=degrees,
        skewness=skew,
        seeds=parts,
        warning=few_draws_warning(draws, skew or 0.0) or _few_seeds_warning(seeds),
    )


def _few_seeds_warning(seeds: int) -> str | None:
    return f"only {seeds} seeds; the interval is approximate" if seeds < FEW_SEEDS else None


def mean_parts(tasks: Sequence[SeedParts]) -> SeedParts:
    """Of the unweighted mean over tasks that the same seeds were measured on."""
    count = len(tasks)
    return SeedParts(
        values=tuple(np.mean([parts.values for parts in tasks], axis=0).tolist()),
        items=sum(parts.items for parts in tasks) / count**2,
        residual=sum(parts.residual for parts in tasks) / count**2,
        draws=sum(parts.draws for parts in tasks),
        binary=all(parts.binary for parts in tasks),
    )


def error_over_seeds(tasks: Sequence[SeedParts]) -> tuple[float, float]:
    """Standard error of that mean, and its degrees of freedom.

    Items of two tasks are independent draws, a seed is one draw for all of them: a bad one loses everywhere.
    """
    mean, count = mean_parts(tasks), len(tasks)
    seeds = len(mean.values)
    among_seeds = float(np.var(mean.values, ddof=1)) / seeds
    variance = max(among_seeds + mean.items - mean.residual, mean.residual)
    spread = among_seeds**2 / (seeds - 1)
    for parts in tasks:
        squares = parts.items**2 + parts.residual**2 / (seeds - 1)
        spread += squares / count**4 / (parts.draws - 1)
    degrees = variance**2 / spread if spread > 0 else float(seeds - 1)
    return math.sqrt(variance), max(degrees, 1.0)


def _hardly_changed(changes: Sequence[Change], clusters: Codes) -> Estimate | NoEstimate:
    """Tango over whole clusters, counted both ways: a cluster that gained under some seeds alone has won, and
    has not; the interval holds both."""
    draws = cluster_count(clusters)
    gains = np.array(
        [cluster_sums(change.value / clusters.size + change.influences, clusters) for change in changes]
    )
    gains = np.where(moved(gains), gains, 0.0)
    always = int(np.sum(np.all(gains > 0, axis=0))), int(np.sum(np.all(gains < 0, axis=0)))
    ever = int(np.sum(np.any(gains > 0, axis=0))), int(np.sum(np.any(gains < 0, axis=0)))
    value = float(np.mean([change.value for change in changes]))
    bounds = {
        level: Interval(
            low=tango_interval(always[0], ever[1], draws, level).low,
            high=tango_interval(ever[0], always[1], draws, level).high,
            level=level,
        )
        for level in (0.90, 0.95)
    }
    error = max(value - bounds[0.90].low, bounds[0.90].high - value) / two_sided(0.90)
    return Estimate(
        value=value,
        interval90=bounds[0.90],
        interval95=bounds[0.95],
        method="tango",
        n=clusters.size,
        clusters=draws if draws < clusters.size else None,
        standard_error=error,
        seeds=SeedParts(
            values=tuple(change.value for change in changes),
            items=error**2,
            residual=0.0,
            draws=draws,
            binary=True,
        ),
        warning=f"hardly any of {draws} changed under any seed; the interval counts each both ways",
    )
