"""How often the gate as a whole is wrong, by simulation: worlds through `compare` and `judge`.

    python -m tests.benchmarks.gate_calibration [--simulations N] [--json FILE]

Each line is a world with a known truth: a base against itself in another packing, a tuned configuration that
loses exactly a limit, or one that gains and loses nothing. Every world has one domain task, three general
tasks and a text. `wrong` are the verdicts that this truth forbids; each may come in at most 5 % of the draws
(6.5 % at 2,000 draws, with three times the error of the simulation).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from harness.comparison.compare import compare
from harness.comparison.facts import Pair
from harness.experiment.metrics import METRICS
from harness.experiment.schema import Gate
from harness.gate.judge import judge
from harness.gate.verdict import Verdict
from harness.store.measurements import Item, Measurement
from tests.benchmarks.calibration import concluded

ALPHA = 0.05
ITEMS = 100, 1000
GENERAL = ("facts", "words", "sums")
PAIR = Pair(
    base="base", tuned="lora", differs_in="adapter", roles={"medical": "domain", "general": "general"}
)
# Rates of wins and losses.
UNCHANGED = (0.05, 0.05)
GAIN = (0.2, 0.05)
POLICY = Gate()

Sides = tuple[list[Measurement], list[Measurement]]
Rates = tuple[float, float]


@dataclass(frozen=True)
class Setting:
    """A world that can be drawn: both sides' measurements of `PAIR`, and the verdicts that would be wrong."""

    name: str
    items: int
    wrong: tuple[Verdict, ...]
    draw: Callable[[np.random.Generator], Sides]
    policy: Gate = POLICY
    most: float = ALPHA


@dataclass(frozen=True)
class Outcome:
    name: str
    items: int
    wrong: tuple[Verdict, ...]
    most: float
    simulations: int
    verdicts: Mapping[Verdict, float]

    @property
    def holds(self) -> bool:
        slack = 3 * math.sqrt(self.most * (1 - self.most) / self.simulations)
        return all(self.verdicts[verdict] <= self.most + slack for verdict in self.wrong)


@dataclass(frozen=True)
class World:
    """Rates of wins and losses by task, and the rise of the text's bits per byte (base: 1)."""

    items: int
    domain: Rates = GAIN
    general: Mapping[str, Rates] = field(default_factory=dict)
    rise: float = 0.0
    spread: float = 0.02

    def draw(self, generator: np.random.Generator) -> Sides:
        rates = {name: self.general.get(name, UNCHANGED) for name in GENERAL}
        tasks = [_task("medical", "codes", self.items, self.domain, generator)]
        tasks += [_task("general", name, self.items, both, generator) for name, both in rates.items()]
        tasks.append(_text(self.items, self.rise, self.spread, generator))
        return [base for base, _ in tasks], [tuned for _, tuned in tasks]


@cache
def _possible(items: int) -> tuple[tuple[Item, Item], ...]:
    """Every item answered wrongly and rightly."""
    return tuple((_item(place, {"accuracy": 0.0}), _item(place, {"accuracy": 1.0})) for place in range(items))


def _item(place: int, scores: Mapping[str, float], **weights: float) -> Item:
    return Item(item=f"item{place}", prompt_hash=f"p{place}", prompt="", scores=scores, weights=weights)


def _task(
    suite: str, task: str, n: int, rates: Rates, generator: np.random.Generator
) -> tuple[Measurement, Measurement]:
    """Independent items: wins, losses and ties are one trinomial draw."""
    thrown = generator.random(n)
    win, loss = thrown < rates[0], (thrown >= rates[0]) & (thrown < sum(rates))
    tie = (generator.random(n) < 0.6) & ~win & ~loss
    sides = []
    for name, right in (("base", loss | tie), ("lora", win | tie)):
        items = tuple(both[int(one)] for both, one in zip(_possible(n), right.tolist(), strict=True))
        sides.append(_measurement(name, suite, task, "accuracy", items))
    return sides[0], sides[1]


def _text(
    n: int, rise: float, spread: float, generator: np.random.Generator
) -> tuple[Measurement, Measurement]:
    """A third as many documents as items, each of another length and difficulty."""
    sizes = np.ceil(generator.lognormal(7, 0.8, n // 3)).tolist()
    base = generator.normal(1.0, 0.1, n // 3)
    tuned = base + rise + generator.normal(0, spread, n // 3)
    sides = [
        _measurement(
            name,
            "general",
            "text",
            "bits_per_byte",
            tuple(
                _item(place, {"bits_per_byte": bits}, bits_per_byte=size)
                for place, (bits, size) in enumerate(zip(column.tolist(), sizes, strict=True))
            ),
        )
        for name, column in (("base", base), ("lora", tuned))
    ]
    return sides[0], sides[1]


def _measurement(name: str, suite: str, task: str, metric: str, items: Sequence[Item]) -> Measurement:
    return Measurement(
        configuration=name,
        suite=suite,
        task=task,
        kind="perplexity" if metric == "bits_per_byte" else "multiple_choice",
        primary=metric,
        metrics={metric: METRICS[metric]},
        conditions={"adapter": name},
        items=tuple(items),
    )


def settings() -> Iterator[Setting]:
    for items in ITEMS:
        yield from _against_itself(items)
        yield from _at_a_limit(items)
        lossless = World(items)
        yield Setting("gains, nothing lost", items, (Verdict.FAIL,), lossless.draw)


def _against_itself(items: int) -> Iterator[Setting]:
    both = Verdict.PASS, Verdict.FAIL
    for flips in (0.0, 0.002, 0.02):
        rates = flips / 2, flips / 2
        world = World(items, rates, dict.fromkeys(GENERAL, rates), spread=flips / 10)
        name = "identical scores" if flips == 0 else f"other packing, {flips:.1%} flip"
        yield Setting(name, items, both, world.draw, most=ALPHA if flips else 0.0)


def _at_a_limit(items: int) -> Iterator[Setting]:
    passes = (Verdict.PASS,)
    drop, average = POLICY.max_drop_task, POLICY.max_drop_average
    # A limit of the average that is as wide leaves the decision to the task.
    wide = POLICY.model_copy(update={"max_drop_average": drop})
    one = World(items, general={"facts": (0.02, 0.02 + drop)})
    yield Setting("one task loses the limit", items, passes, one.draw, wide)
    every = World(items, general=dict.fromkeys(GENERAL, (0.03, 0.03 + average)))
    yield Setting("the average loses the limit", items, passes, every.draw)
    text = World(items, rise=POLICY.max_bits_per_byte_increase)
    yield Setting("the text loses the limit", items, passes, text.draw)
    level = World(items, domain=(0.05, 0.05), general=dict.fromkeys(GENERAL, (0.01, 0.01)), spread=0.001)
    yield Setting("nothing gained", items, passes, level.draw)


def outcome(setting: Setting, simulations: int) -> Outcome:
    generator = np.random.default_rng([setting.items, *setting.name.encode()])
    drawn = Counter(
        judge(compare(*setting.draw(generator), PAIR), setting.policy).verdict for _ in range(simulations)
    )
    shares = {verdict: drawn[verdict] / simulations for verdict in Verdict}
    return Outcome(setting.name, setting.items, setting.wrong, setting.most, simulations, shares)


def line(found: Outcome) -> str:
    shares = " ".join(f"{found.verdicts[verdict]:>14.1%}" for verdict in Verdict)
    wrong = " or ".join(verdict.value for verdict in found.wrong)
    return f"{found.name:<28} {found.items:>6} {shares}  {wrong:<12} {'' if found.holds else ' ✗'}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=2000, help="of each setting")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = " ".join(f"{verdict.value:>14}" for verdict in Verdict)
    print(f"{'world':<28} {'items':>6} {names}  wrong")
    found = []
    for setting in settings():
        found.append(outcome(setting, options.simulations))
        print(line(found[-1]), flush=True)
    return concluded(found, options.json)


if __name__ == "__main__":
    sys.exit(main())
