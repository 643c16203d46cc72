"""lm-eval's HFLM at several batch sizes against the engine, by turns, on the same requests."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from harness.models.loading import FORGET_THE_PEAK, Loaded, peak_memory
from harness.models.quiet import quiet_lm_eval
from harness.scoring.language_model import TreeLM
from tests.benchmarks.scoring.needed import Tokens, synchronize, token_requests
from tests.benchmarks.scoring.requests import Asked

ENGINE = "engine"
WARM_UP = 4  # documents
TOO_LARGE = "HFLM has no memory for any of the batch sizes: give smaller --batch-sizes"


@dataclass(frozen=True)
class Run:
    """One timed call. `peak` is in bytes, with the model in it."""

    seconds: float
    peak: int
    answers: Any


@dataclass(frozen=True)
class Side:
    """One way of doing the work, over all its runs: medians, the answers of the first."""

    runs: tuple[Run, ...]

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def peak(self) -> float:
        return statistics.median(run.peak for run in self.runs)

    @property
    def answers(self) -> Any:
        return self.runs[0].answers


@dataclass(frozen=True)
class Contest:
    """HFLM by batch size, and the engine. A batch size that did not fit into memory is left out."""

    theirs: Mapping[Any, Side]
    ours: Side

    @property
    def best(self) -> int:
        return int(min(self.theirs, key=lambda size: self.theirs[size].seconds))


def contest(asked: Asked, loaded: Loaded, options: argparse.Namespace) -> Contest:
    """Each batch size once, the engine and the best of them `options.repeats` times."""
    ours = engine(loaded, options.max_length)
    theirs = {size: plain(loaded, size, options.max_length) for size in options.batch_sizes}
    calls: dict[Any, Callable[[Asked], Any]] = {size: responder(lm) for size, lm in theirs.items()}
    calls[ENGINE] = responder(ours)
    first: dict[Any, Run] = {}
    for name, call in calls.items():
        try:
            call(warm_up(asked))
            first[name] = timed(partial(call, asked), loaded.device)
        except torch.OutOfMemoryError:
            if name == ENGINE:
                raise
            print(f"  HFLM has no memory for batches of {name}", flush=True)
    if set(first) == {ENGINE}:
        raise SystemExit(TOO_LARGE)
    best = min((name for name in first if name != ENGINE), key=lambda size: first[size].seconds)
    more = by_turns(
        {name: partial(calls[name], asked) for name in (best, ENGINE)},
        options.repeats - 1,
        loaded.device,
    )
    sides: dict[Any, Side] = {name: Side((run, *more.get(name, ()))) for name, run in first.items()}
    return Contest({name: side for name, side in sides.items() if name != ENGINE}, sides[ENGINE])


def by_turns(
    calls: Mapping[Any, Callable[[], Any]], repeats: int, device: torch.device
) -> dict[Any, tuple[Run, ...]]:
    """Each call so often, in alternating order."""
    runs: dict[Any, list[Run]] = {name: [] for name in calls}
    for repeat in range(repeats):
        for name in list(calls) if repeat % 2 else list(calls)[::-1]:
            runs[name].append(timed(calls[name], device))
    return {name: tuple(found) for name, found in runs.items()}


def warm_up(asked: Asked) -> Asked:
    """A few of the documents: of whole articles not half of them."""
    return asked.first(max(1, min(WARM_UP, len(asked.documents) // 8)))


def engine(loaded: Loaded, max_length: int, path: str | None = None) -> TreeLM:
    """`path`: what the base's self-check has found, for its adapters."""
    lm = TreeLM(loaded.model, loaded.tokenizer, path)
    lm._max_length = max_length
    return lm


def plain(loaded: Loaded, size: int, max_length: int) -> HFLM:
    with quiet_lm_eval():
        return HFLM(
            pretrained=loaded.model,
            tokenizer=loaded.tokenizer,
            backend="causal",
            batch_size=size,
            max_length=max_length,
        )


def responder(lm: Any) -> Callable[[Asked], Any]:
    return lambda asked: getattr(lm, asked.kind)(asked.instances, disable_tqdm=True)


def timed(call: Callable[[], Any], device: torch.device) -> Run:
    """Seconds by the clock and the most memory held meanwhile."""
    forget_peak(device)
    started = time.perf_counter()
    answers = call()
    synchronize(device)
    return Run(time.perf_counter() - started, peak_memory(), answers)


def forget_peak(device: torch.device) -> None:
    """As the product's `release`, but glibc goes on as in a process of lm-eval's own."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text(FORGET_THE_PEAK, encoding="ascii")


@dataclass(frozen=True)
class Difference:
    """Between two sides' answers to the same requests; None where the kind of request has no such thing.

    per_token: largest |difference of the log-likelihood| by the number of scored tokens, in nats
    greedy:    requests of which only one side says that the continuation is the greedy one
    texts:     generated answers that differ
    """

    per_token: float | None = None
    greedy: int | None = None
    texts: int | None = None


def difference(
    kind: str, ours: Sequence[Any], theirs: Sequence[Any], read: Sequence[list[Tokens]]
) -> Difference:
    pairs = list(zip(ours, theirs, strict=True))
    if kind == "generate_until":
        return Difference(texts=sum(one != other for one, other in pairs))
    scored = [max(1, sum(len(continuation) for _, continuation in windows)) for windows in read]
    if kind == "loglikelihood_rolling":
        return Difference(max(abs(one - other) / n for (one, other), n in zip(pairs, scored, strict=True)))
    return Difference(
        max(abs(one[0] - other[0]) / n for (one, other), n in zip(pairs, scored, strict=True)),
        sum(one[1] != other[1] for one, other in pairs),
    )


def best_size(asked: Asked, loaded: Loaded, options: argparse.Namespace) -> int:
    """The batch size at which HFLM is fastest on these requests."""
    seconds = {}
    for size in options.batch_sizes:
        call = responder(plain(loaded, size, options.max_length))
        with contextlib.suppress(torch.OutOfMemoryError):
            call(warm_up(asked))
            seconds[size] = timed(partial(call, asked), loaded.device).seconds
    if not seconds:
        raise SystemExit(TOO_LARGE)
    return int(min(seconds, key=lambda size: seconds[size]))


def read_tokens(asked: Asked, answers: Sequence[Any], loaded: Loaded, max_length: int) -> list[list[Tokens]]:
    return token_requests(plain(loaded, 1, max_length), asked, answers)
