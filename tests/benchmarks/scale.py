"""Twenty tuned configurations, ten tasks, ten thousand items each: two million pairs, compared and judged.

    python -m tests.benchmarks.scale [--configurations N] [--items N] [--json FILE]

One configuration at a time is written to a store, read from there (`read s`: JSON lines to items) and compared
with the base (`compare s`: pairing, every difference, interval, test and flip; asked: at most 10 s for all of
them, and 2 GiB of memory; `cpu s` is the time that its threads were given, on a machine that others use too). `gate s` is what `harness gate` does then: read the stored comparisons and judge.
Writing the store's lines is the benchmark's own work and not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.comparison.compare import compare
from harness.comparison.facts import Comparison, Pair, Role
from harness.experiment.metrics import METRICS, METRICS_OF_KIND
from harness.experiment.schema import Gate
from harness.gate.stored import judged
from harness.store.artifacts import Step, Store, step
from harness.store.measurements import ITEMS_FILE, Measurement, Noise, measurement_record, read_measurement
from harness.store.runs import RecordedConfiguration, RecordedPair, RunRecord

MOST_SECONDS, MOST_BYTES = 10.0, 2 * 2**30
LABELS = tuple(f"chapter {number}" for number in range(20))
PROMPT = "The following question has four answers, of which one is right. " * 5
TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 10
CHANGED = 0.05

Fields = list[dict[str, Any]]
Draw = Callable[[np.random.Generator, np.random.Generator | None, int], Fields]


@dataclass(frozen=True)
class Shape:
    """One task: how its items are drawn, and into how many clusters they fall (None: each is one)."""

    name: str
    suite: str
    kind: str
    draw: Draw
    clusters: int | None = None


def _choice(world: np.random.Generator, tuning: np.random.Generator | None, items: int) -> Fields:
    right, sure = world.random(items) < 0.6, world.random(items)
    if tuning is not None:
        right ^= tuning.random(items) < CHANGED
        sure = np.clip(sure + tuning.normal(0, 0.05, items), 0, 1)
    return [
        {
            "scores": {
                "accuracy": float(one),
                "accuracy_norm": float(one),
                "probability": likely,
                "brier": 2 * (1 - likely) ** 2,
            },
            "gold": "B",
            "predicted": "B" if one else "D",
            "chance": 0.25,
            "responses": [{"loglikelihood": -likely, "greedy": False} for _ in range(4)],
        }
        for one, likely in zip(right.tolist(), sure.tolist(), strict=True)
    ]


def _answer(world: np.random.Generator, tuning: np.random.Generator | None, items: int) -> Fields:
    overlap = world.integers(0, 6, items) / 5
    if tuning is not None:
        overlap = np.where(tuning.random(items) < 0.3, tuning.integers(0, 6, items) / 5, overlap)
    return [
        {
            "scores": {"token_f1": score, "exact_match": float(score == 1.0)},
            "gold": "the capital of the country",
            "predicted": f"the capital {score}",
            "responses": [{"text": "the capital, which is what was asked for"}],
        }
        for score in overlap.tolist()
    ]


def _label(world: np.random.Generator, tuning: np.random.Generator | None, items: int) -> Fields:
    gold = world.integers(0, len(LABELS), items)
    predicted = np.where(world.random(items) < 0.7, gold, world.integers(0, len(LABELS), items))
    sure = world.random(items)
    if tuning is not None:
        moved = tuning.random(items) < 0.15
        predicted = np.where(moved, tuning.integers(0, len(LABELS), items), predicted)
    return [
        {
            "scores": {
                "accuracy": float(right == said),
                "probability": likely,
                "brier": 2 * (1 - likely) ** 2,
            },
            "gold": LABELS[right],
            "predicted": LABELS[said],
            "chance": 1 / len(LABELS),
            "responses": [{"loglikelihood": -likely, "greedy": False} for _ in LABELS],
        }
        for right, said, likely in zip(gold.tolist(), predicted.tolist(), sure.tolist(), strict=True)
    ]


def _text(world: np.random.Generator, tuning: np.random.Generator | None, items: int) -> Fields:
    sizes = np.ceil(world.lognormal(7, 0.8, items))
    bits = world.normal(1.0, 0.1, items)
    if tuning is not None:
        bits += tuning.normal(0.002, 1, items) / np.sqrt(sizes)
    return [
        {
            "scores": {"bits_per_byte": each, "perplexity": 3 * each, "word_perplexity": 4 * each},
            "weights": {"bits_per_byte": size, "perplexity": size / 4, "word_perplexity": size / 5},
            "responses": [{"loglikelihood": -each * size}],
            "divergence": None if tuning is None else {"nats": 0.001 * size, "tokens": int(size / 4) + 1},
        }
        for each, size in zip(bits.tolist(), sizes.tolist(), strict=True)
    ]


SHAPES = (
    Shape("chapters", "domain", "classification", _label),
    Shape("answers", "domain", "qa", _answer, 2000),
    Shape("free answers", "general", "qa", _answer),
    *(Shape(f"choices {number}", "general", "multiple_choice", _choice) for number in range(3)),
    *(Shape(f"clustered {number}", "general", "multiple_choice", _choice, 2000) for number in range(2)),
    *(Shape(f"text {number}", "general", "perplexity", _text) for number in range(2)),
)


def write(shape: Shape, configuration: str, items: int, store: Store) -> Step:
    """One measurement as a step of the store, in the lines that a run writes."""
    place = SHAPES.index(shape)
    tuning = None if configuration == "base" else np.random.default_rng([place, int(configuration[4:])])
    drawn = shape.draw(np.random.default_rng(place), tuning, items)
    step_ = step("measurements", f"{configuration} on {shape.name}", {"of": [configuration, shape.name]})
    text = TEXT if shape.kind == "perplexity" else PROMPT
    empty: dict[str, Any] = {
        "weights": {},
        "gold": None,
        "predicted": None,
        "chance": 0.0,
        "divergence": None,
    }
    with open(store.begin(step_) / ITEMS_FILE, "w", encoding="utf-8") as stream:
        for number, fields in enumerate(drawn):
            cluster = None if shape.clusters is None else f"cluster {number % shape.clusters}"
            common = {
                "item": f"{place:08d}{number:08d}",
                "prompt_hash": f"{number:016d}",
                "prompt": f"{number} {text}",
                "cluster": cluster,
                "missing": None,
            }
            stream.write(json.dumps({**empty, **common, **fields}) + "\n")
    noise = Noise(items=200, to_wrong=1, to_right=1, deviation=0.001) if tuning is None else None
    metrics = METRICS_OF_KIND[shape.kind]
    measurement = Measurement(
        configuration=configuration,
        suite=shape.suite,
        task=shape.name,
        kind=shape.kind,
        primary=metrics[0],
        metrics={name: METRICS[name] for name in metrics},
        conditions={"dtype": "bfloat16", "adapter": configuration},
        items=(),
        labels=LABELS if shape.kind == "classification" else (),
        noise=noise,
    )
    store.finish(step_, {**measurement_record(measurement), "items": items})
    return step_


@dataclass
class Clock:
    """Seconds by what they were spent on."""

    read: float = 0.0
    compare: float = 0.0
    gate: float = 0.0
    compare_cpu: float = 0.0

    def timed(self, what: str, work: Callable[[], Any]) -> Any:
        started, busy = time.perf_counter(), time.process_time()
        done = work()
        setattr(self, what, getattr(self, what) + time.perf_counter() - started)
        self.compare_cpu += time.process_time() - busy if what == "compare" else 0.0
        return done


def measured(configuration: str, items: int, store: Store, clock: Clock) -> list[Measurement]:
    """Written, read and deleted again: the store holds one configuration at a time."""
    steps = [write(shape, configuration, items, store) for shape in SHAPES]
    found: list[Measurement] = clock.timed("read", lambda: [read_measurement(store, each) for each in steps])
    for each in steps:
        (store.folder(each) / ITEMS_FILE).unlink()
    return found


def stored(facts: Comparison, store: Store) -> RecordedPair:
    comparison = step("comparisons", facts.tuned, {"tuned": facts.tuned})
    store.begin(comparison)
    store.finish(comparison, {"comparison": facts.model_dump(mode="json")})
    return RecordedPair(
        base=facts.base,
        tuned=facts.tuned,
        runs=(),
        differs_in="adapter",
        comparison=comparison.fingerprint,
        validation=None,
    )


def configuration(name: str) -> RecordedConfiguration:
    return RecordedConfiguration(
        name=name,
        description="",
        dtype="float32",
        quantization=None,
        base="base",
        family=name,
        method="lora",
        seed=0,
        strength=1.0,
        change=None,
        proof=None,
        generation=None,
        measurements=(),
    )


def compared(base: list[Measurement], name: str, items: int, store: Store, clock: Clock) -> Comparison:
    tuned = measured(name, items, store, clock)
    roles: Mapping[str, Role] = {"domain": "domain", "general": "general"}
    pair = Pair(base="base", tuned=name, differs_in="adapter", roles=roles)
    facts: Comparison = clock.timed("compare", lambda: compare(base, tuned, pair))
    if facts.problems or any(task.problems for task in facts.tasks):
        raise SystemExit(f"the benchmark's own world is not comparable: {facts.problems}")
    return facts


def figures(configurations: int, items: int, store: Store) -> Mapping[str, float]:
    clock, pairs = Clock(), []
    base = measured("base", items, store, clock)
    for number in range(configurations):
        facts = compared(base, f"lora{number}", items, store, clock)
        pairs.append(stored(facts, store))
    record = RunRecord(
        name="scale",
        command="",
        resolved="",
        data={},
        configurations=tuple(configuration(pair.tuned) for pair in pairs),
        pairs=tuple(pairs),
        provenance=(),
        versions=(),
    )
    result = clock.timed("gate", lambda: judged(record, store, Gate()))
    print(f"{result.verdict.value}; {len(result.judgements)} judged")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"pairs": configurations * len(SHAPES) * items, **asdict(clock), "peak_bytes": peak}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configurations", type=int, default=20)
    parser.add_argument("--items", type=int, default=10_000, help="of each of the ten tasks")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = figures(options.configurations, options.items, Store(Path(folder)))
    holds = found["compare"] <= MOST_SECONDS and found["peak_bytes"] <= MOST_BYTES
    print(
        f"{'pairs of items':>14} {'read s':>8} {'compare s':>10} {'cpu s':>7} {'gate s':>7} {'peak GiB':>9}"
    )
    print(
        f"{found['pairs']:>14,} {found['read']:>8.2f} {found['compare']:>10.2f} {found['compare_cpu']:>7.2f} "
        f"{found['gate']:>7.2f} "
        f"{found['peak_bytes'] / 2**30:>9.2f}{'' if holds else '  ✗'}"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
