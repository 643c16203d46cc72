"""How often the statistics are wrong, by simulation: false passes at the margin, and coverage.

    python -m tests.benchmarks.calibration [--simulations N] [--json FILE]

Each line is a world with a known truth: a tuned configuration that loses exactly the margin, so that every
PASS is false, or one that changes nothing. `false pass` is the share of worlds in which the loss is called
smaller than the margin (asked: at most 5 %, 5.5 % with the simulation's error). `coverage` is the share of
90 % intervals that hold the truth (asked: at least 88.5 %); `refused` the share in which the method gives no
interval, `warned` the share in which it calls it approximate. A setting that is beyond its bound is drawn again
with ten times as many simulations and another seed, and that result counts: of 175 some are beyond it by chance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.statistics.estimates import Estimate, NoEstimate, negated
from harness.statistics.evidence import p_above
from harness.statistics.linear import singletons
from harness.statistics.means import mean_change, mean_difference
from harness.statistics.ratio import ratio_difference
from harness.statistics.seeds import over_seeds
from harness.statistics.tango import tango_difference

ALPHA = 0.05
MOST_FALSE, LEAST_COVERAGE = 0.055, 0.885
MARGIN = 0.05
ITEMS = (30, 100, 300, 1000, 3000, 10_000)
DISCORDANCE = (0.005, 0.02, 0.05, 0.1, 0.3)
CLUSTERS = (8, 15, 30, 100, 300)
IN_A_CLUSTER = 6
AGAIN = 10
CORRELATION = 0.3
SEEDS = (3, 5, 10)

Found = Estimate | NoEstimate
World = Callable[[np.random.Generator], Found]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """A world that can be drawn. `truth`: its difference; `margin`: of which a smaller loss is claimed."""

    name: str
    n: int
    discordance: float | None
    truth: float
    margin: float
    draw: World


@dataclass(frozen=True)
class Outcome:
    name: str
    n: int
    discordance: float | None
    truth: float
    false_pass: float | None
    coverage: float | None
    refused: float
    warned: float

    @property
    def holds(self) -> bool:
        if self.warned > 0.5:  # the method says itself that it is approximate
            return True
        covered = self.coverage is None or self.coverage >= LEAST_COVERAGE
        return covered and (self.false_pass is None or self.false_pass <= MOST_FALSE)


def settings() -> Iterator[Setting]:
    yield from _binary()
    yield from _clustered()
    yield from _fractional()
    yield from _text()
    yield from _seeds()


def _binary() -> Iterator[Setting]:
    """Independent items: wins, losses and ties are one trinomial draw."""
    for n in ITEMS:
        for truth in (0.0, -MARGIN):
            for both in sorted({max(discordance, abs(truth)) for discordance in DISCORDANCE}):
                rates = ((both + truth) / 2, (both - truth) / 2)

                def draw(generator: np.random.Generator, n: int = n, rates: Any = rates) -> Found:
                    wins, losses, _ = generator.multinomial(n, [*rates, 1 - sum(rates)])
                    return _tango(int(wins), int(losses), n)

                yield Setting("binary", n, both, truth, MARGIN, draw)


@cache
def _tango(wins: int, losses: int, n: int) -> Estimate:
    return tango_difference(wins, losses, n)


def _clustered() -> Iterator[Setting]:
    """Items of a cluster flip together: each has rates of its own, Dirichlet with the given correlation."""
    for groups in CLUSTERS:
        for discordance in (0.02, 0.1, 0.3):
            for truth in (0.0, -MARGIN):
                both = max(discordance, abs(truth))
                rates = np.array([(both + truth) / 2, (both - truth) / 2, 1 - both])
                clusters = np.repeat(np.arange(groups), IN_A_CLUSTER)

                def draw(
                    generator: np.random.Generator, rates: Floats = rates, clusters: Any = clusters
                ) -> Found:
                    weights = np.maximum(rates, 1e-9) * (1 - CORRELATION) / CORRELATION
                    own = generator.dirichlet(weights, len(clusters) // IN_A_CLUSTER)
                    return _flipped(generator, own[clusters], clusters)

                yield Setting("binary in clusters of 6", len(clusters), both, truth, MARGIN, draw)


def _flipped(generator: np.random.Generator, rates: Floats, clusters: Any) -> Found:
    """Binary scores of both sides, from each item's rates of wins and losses."""
    thrown = generator.random(len(rates))
    win = thrown < rates[:, 0]
    loss = ~win & (thrown < rates[:, 0] + rates[:, 1])
    tie = (generator.random(len(rates)) < 0.5) & ~win & ~loss
    return mean_difference((loss | tie).astype(float), (win | tie).astype(float), clusters)


def _fractional() -> Iterator[Setting]:
    """Token F1: most items do not change, the others by anything."""
    for n in ITEMS:
        for truth in (0.0, -MARGIN):

            def draw(generator: np.random.Generator, n: int = n, truth: float = truth) -> Found:
                changed = generator.random(n) < 0.3
                change = np.where(changed, generator.normal(truth / 0.3, 0.25, n), 0.0)
                return mean_difference(np.zeros(n), change, singletons(n))

            yield Setting("fractional", n, 0.3, truth, MARGIN, draw)


def _text() -> Iterator[Setting]:
    """Bits per byte: documents of very different length, the longer ones with the smaller spread."""
    for n in (10, 30, 100, 300, 1000):
        for truth in (0.0, 0.02):

            def draw(generator: np.random.Generator, n: int = n, truth: float = truth) -> Found:
                lengths = generator.lognormal(7, 0.8, n)
                change = truth + generator.normal(0, 1, n) / np.sqrt(lengths)
                return ratio_difference(np.ones(n), 1 + change, lengths, singletons(n))

            yield Setting("bits per byte", n, None, truth, 0.02, draw)


def _seeds() -> Iterator[Setting]:
    """A recipe: each seed gains or loses by itself (standard deviation 0, 1 or 2 points); of the items half
    flip alike under all seeds, half anew under each."""
    for seeds in SEEDS:
        for n in (30, 100, 300, 1000, 10_000):
            for truth, both, spread in (
                (0.0, 0.02, 0.0),
                (0.0, 0.1, 0.01),
                (-MARGIN, MARGIN, 0.0),
                (-MARGIN, 0.1, 0.01),
                (-MARGIN, 0.3, 0.02),
            ):
                yield _recipe(seeds, n, truth, both, spread)


def _recipe(seeds: int, n: int, truth: float, both: float, spread: float) -> Setting:
    def draw(generator: np.random.Generator) -> Found:
        own = generator.normal(0, spread, (seeds, 1)) if spread else np.zeros((seeds, 1))
        winning = np.clip((both + truth + own) / 2, 0, 1)
        losing = np.clip((both - truth - own) / 2, 0, 1)
        alike = generator.random(n) < 0.5
        thrown = np.where(alike, generator.random(n), generator.random((seeds, n)))
        wins = thrown < winning
        losses = ~wins & (thrown < winning + losing)
        changes = [mean_change(np.zeros(n), row) for row in wins.astype(float) - losses]
        return over_seeds(changes, singletons(n), binary=True)

    return Setting(f"{seeds} seeds, spread {100 * spread:g} pp", n, both, truth, MARGIN, draw)


def outcome(setting: Setting, simulations: int) -> Outcome:
    seed = [setting.n, round(1000 * abs(setting.truth)), len(setting.name), simulations]
    generator = np.random.default_rng(seed)
    found = [setting.draw(generator) for _ in range(simulations)]
    known = [each for each in found if isinstance(each, Estimate)]
    covered = [each.interval90.low <= setting.truth <= each.interval90.high for each in known]
    false = None
    if setting.truth:
        false = sum(_claimed(each, setting) for each in known) / simulations
    return Outcome(
        name=setting.name,
        n=setting.n,
        discordance=setting.discordance,
        truth=setting.truth,
        false_pass=false,
        coverage=sum(covered) / len(known) if known else None,
        refused=1 - len(known) / simulations,
        warned=sum(each.warning is not None for each in known) / simulations,
    )


def _claimed(estimate: Estimate, setting: Setting) -> bool:
    """Whether the gate would say that less than the margin is lost."""
    if setting.truth > 0:  # more bits are worse
        return p_above(negated(estimate), -setting.margin) < ALPHA
    return _p(estimate, -setting.margin) < ALPHA


def _p(estimate: Estimate, threshold: float) -> float:
    if estimate.wins is None or estimate.losses is None:
        return p_above(estimate, threshold)
    return _p_of_counts(estimate.wins, estimate.losses, estimate.n, threshold)


@cache
def _p_of_counts(wins: int, losses: int, n: int, threshold: float) -> float:
    return p_above(tango_difference(wins, losses, n), threshold)


def line(found: Outcome) -> str:
    def share(value: float | None) -> str:
        return "" if value is None else f"{value:.1%}"

    flips = "" if found.discordance is None else f"{found.discordance:.1%}"
    return (
        f"{found.name:<24} {found.n:>6} {flips:>7} {found.truth:>+7.3f} {share(found.false_pass):>10} "
        f"{share(found.coverage):>9} {found.refused:>8.1%} {found.warned:>7.1%}{'' if found.holds else '  ✗'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=4000, help="of each setting")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(
        f"{'world':<24} {'n':>6} {'flips':>7} {'truth':>7} {'false pass':>10} {'coverage':>9} {'refused':>8} {'warned':>7}"
    )
    found = []
    for setting in settings():
        result = outcome(setting, options.simulations)
        print(line(result), flush=True)
        if not result.holds:
            result = outcome(setting, AGAIN * options.simulations)
            print(f"{line(result)}  ({AGAIN} times as many)", flush=True)
        found.append(result)
        _tango.cache_clear()
        _p_of_counts.cache_clear()
    return concluded(found, options.json)


def concluded(found: Sequence[Any], file: Path | None) -> int:
    """Says how many outcomes hold and writes them; the exit code."""
    failed = sum(not each.holds for each in found)
    print(f"{len(found) - failed} of {len(found)} settings hold")
    if file:
        file.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
