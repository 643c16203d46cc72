"""What is measured of each task, and the table's line of it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.models.loading import Loaded
from harness.statistics.rates import wilson
from tests.benchmarks.scoring.configurations import (
    TASK,
    Adapters,
    by_engine,
    by_lm_eval,
    write_random_adapters,
)
from tests.benchmarks.scoring.contest import (
    WARM_UP,
    Difference,
    Side,
    best_size,
    by_turns,
    contest,
    difference,
    read_tokens,
)
from tests.benchmarks.scoring.needed import Needed, needed
from tests.benchmarks.scoring.requests import REQUESTS, Asked, values

# The ratio that is asked for, on a CPU and on a GPU.
FLOORS = {
    "arc_easy": {"cpu": 4.5, "cuda": 3.4},
    "arc_easy_5shot_random": {"cpu": 7.0, "cuda": 2.7},
    "arc_easy_5shot_fixed": {"cpu": 20.0, "cuda": 12.0},
    "configurations": {"cpu": 4.5, "cuda": 5.0},
    "wikitext": {"cpu": 1.2, "cuda": 1.0},
    "generation": {"cpu": 1.5, "cuda": 1.5},
}
MOST_TIME, MOST_MEMORY = 6.2, 1.1  # of the base and four adapters, over the base alone
# Of Gemma 3 270M, by its model card: unquantised weights, its own prompts.
PUBLISHED = {"arc_easy": 0.577, "piqa": 0.677}
SAMPLE = 64  # documents on which HFLM's best batch size is found


@dataclass(frozen=True)
class Spent:
    """Median seconds, all of them, and the median peak of memory in bytes, with the model in it."""

    seconds: float
    runs: tuple[float, ...]
    peak: float


@dataclass(frozen=True)
class Result:
    """One task. `theirs` is HFLM at its best batch size; for `adapters` the base alone, by the engine.

    ratio, floor: of the times, and what is asked of it
    rate:         floating-point operations a second of a large matrix product
    of_limit:     needed operations over the engine's time, over that rate
    notes:        printed below the line
    """

    task: str
    documents: int
    requests: int
    needed: Needed
    batch_size: int | None
    sizes: dict[str, float]
    theirs: Spent
    ours: Spent
    ratio: float
    floor: str
    difference: Difference
    of_limit: float
    notes: tuple[str, ...]


def scoring(task: str, loaded: Loaded, options: argparse.Namespace, rate: float) -> Result:
    asked = REQUESTS[task](options.data, options.limit)
    sides = contest(asked, loaded, options)
    best, ours = sides.theirs[sides.best], sides.ours
    read = read_tokens(asked, best.answers, loaded, options.max_length)
    least = needed((each for windows in read for each in windows), loaded.model, options.max_length)
    return Result(
        task=task,
        documents=len(asked.documents),
        requests=len(asked.instances),
        needed=least,
        batch_size=sides.best,
        sizes={str(size): side.seconds for size, side in sides.theirs.items()},
        theirs=spent(best),
        ours=spent(ours),
        ratio=best.seconds / ours.seconds,
        floor=floor(task, options),
        difference=difference(asked.kind, ours.answers, best.answers, read),
        of_limit=least.operations / ours.seconds / rate,
        notes=notes(task, asked, best.answers, ours.answers),
    )


def spent(side: Side) -> Spent:
    return Spent(side.seconds, tuple(run.seconds for run in side.runs), side.peak)


def floor(task: str, options: argparse.Namespace) -> str:
    return f"≥ {FLOORS[task][options.device]:g}" if task in FLOORS else ""


def notes(task: str, asked: Asked, theirs: Sequence[Any], ours: Sequence[Any]) -> tuple[str, ...]:
    """The scores themselves, where the task has some."""
    if asked.kind == "loglikelihood_rolling":
        bits = math.log(2) * sum(len(instance.args[0].encode()) for instance in asked.instances)
        return (f"bits per byte: HFLM {-sum(theirs) / bits:.6f}, engine {-sum(ours) / bits:.6f}",)
    if task not in PUBLISHED:
        return ()
    found = values(asked, ours)
    return tuple(
        f"engine's {title}: {rate_of([each[metric] for each in found])}; Gemma 3 270M's card {PUBLISHED[task]:.1%}"
        for metric, title in (("accuracy", "accuracy"), ("accuracy_norm", "accuracy by length"))
    )


def rate_of(right: Sequence[float]) -> str:
    around = wilson(int(sum(right)), len(right))
    return f"{np.mean(right):.1%} (95 % interval {around.low:.1%} to {around.high:.1%})"


def configurations(loaded: Loaded, options: argparse.Namespace, rate: float, folder: Path) -> Result:
    """The base and its adapters from one load against as many runs of lm-eval, in wall time."""
    every: Adapters = [None, *write_random_adapters(loaded, folder / "configurations")]
    asked = REQUESTS[TASK](options.data, options.limit)
    size = best_size(asked.first(SAMPLE), loaded, options)
    few = limited(options)
    by_engine(loaded, every[:2], few)
    by_lm_eval(loaded, every[:2], few, size)
    runs = by_turns(
        {
            "lm-eval": lambda: by_lm_eval(loaded, every, options, size),
            "engine": lambda: by_engine(loaded, every, options),
        },
        options.repeats,
        loaded.device,
    )
    theirs, ours = Side(runs["lm-eval"]), Side(runs["engine"])
    read = read_tokens(asked, [], loaded, options.max_length)
    differences = [
        difference(asked.kind, one, other, read)
        for one, other in zip(ours.answers, theirs.answers, strict=True)
    ]
    least = for_each(every, asked, loaded, options)
    return Result(
        task="configurations",
        documents=len(asked.documents),
        requests=len(asked.instances),
        needed=least,
        batch_size=size,
        sizes={},
        theirs=spent(theirs),
        ours=spent(ours),
        ratio=theirs.seconds / ours.seconds,
        floor=floor("configurations", options),
        difference=Difference(
            max(each.per_token or 0.0 for each in differences),
            sum(each.greedy or 0 for each in differences),
        ),
        of_limit=least.operations / ours.seconds / rate,
        notes=(),
    )


def adapters(loaded: Loaded, options: argparse.Namespace, rate: float, folder: Path) -> Result:
    """What four adapters more cost the engine over the base alone."""
    every: Adapters = [None, *write_random_adapters(loaded, folder / "adapters")]
    asked = REQUESTS[TASK](options.data, options.limit)
    by_engine(loaded, every[:2], limited(options))
    runs = by_turns(
        {
            "alone": lambda: by_engine(loaded, every[:1], options),
            "with adapters": lambda: by_engine(loaded, every, options),
        },
        options.repeats,
        loaded.device,
    )
    alone, together = Side(runs["alone"]), Side(runs["with adapters"])
    least = for_each(every, asked, loaded, options)
    return Result(
        task="adapters",
        documents=len(asked.documents),
        requests=len(asked.instances),
        needed=least,
        batch_size=None,
        sizes={},
        theirs=spent(alone),
        ours=spent(together),
        ratio=together.seconds / alone.seconds,
        floor=f"≤ {MOST_TIME:g}",
        difference=Difference(),
        of_limit=least.operations / together.seconds / rate,
        notes=(f"memory {together.peak / alone.peak:.3f} of the base alone, asked ≤ {MOST_MEMORY:g}",),
    )


def limited(options: argparse.Namespace) -> argparse.Namespace:
    """The same for a few documents: to warm up on."""
    return argparse.Namespace(**{**vars(options), "limit": WARM_UP})


def for_each(every: Adapters, asked: Asked, loaded: Loaded, options: argparse.Namespace) -> Needed:
    """What the base needs, once for each configuration: that of the adapters themselves is not counted."""
    read = read_tokens(asked, (), loaded, options.max_length)
    one = needed((each for windows in read for each in windows), loaded.model, options.max_length)
    return one.times(len(every))


COLUMNS = (
    f"{'task':<22} {'requests':>8} {'nodes':>9} {'HFLM s':>8} {'batch':>5} {'engine s':>8} {'ratio':>6} {'asked':>6} "
    f"{'worst/token':>11} {'greedy':>6} {'texts':>5} {'HFLM GB':>8} {'engine GB':>9} {'of limit':>8}"
)


def line(result: Result) -> str:
    """One line of the table, with its notes below it."""
    other = result.difference
    cells = (
        f"{result.task:<22} {result.requests:>8} {result.needed.nodes:>9} {result.theirs.seconds:>8.2f} "
        f"{shown(result.batch_size, 'd'):>5} {result.ours.seconds:>8.2f} {result.ratio:>6.2f} {result.floor:>6} "
        f"{shown(other.per_token, '.1e'):>11} {shown(other.greedy, 'd'):>6} {shown(other.texts, 'd'):>5} "
        f"{result.theirs.peak / 1e9:>8.2f} {result.ours.peak / 1e9:>9.2f} {result.of_limit:>8.1%}"
    )
    return "\n".join([cells, *(f"  {note}" for note in result.notes)])


def shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
