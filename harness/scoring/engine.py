"""Runs a forest through a model: every node once, logits only where they are read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from harness.scoring.budget import Budget
from harness.scoring.forest import Forest, Grove
from harness.scoring.halves import Halves, StemCache, tree_masks
from harness.scoring.reading import Base, Positions, positions_of, read_at, to_device
from harness.scoring.tree import IntArray, Read, Row, build_row, shared_by

# Rows are padded to a multiple of this: a GPU's kernels want it, and each new length is planned for anew.
ALIGNED = {"cpu": 8, "cuda": 64}
Off = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Answer:
    """A scored sequence: Σ log p of its targets in nats, and whether each is the most probable token.

    divergence: Σ KL(base ‖ tuned) over its positions, where that was asked for
    """

    index: int
    loglikelihood: float
    greedy: bool
    positions: int
    divergence: float | None


@dataclass(frozen=True)
class Finished:
    """What one pass gave. `nodes` and `scored` say how much of the forest's work it was."""

    answers: tuple[Answer, ...]
    nodes: int
    scored: int


@dataclass(frozen=True)
class Asked:
    """How a forest is run.

    wanted: indices of the sequences that are still needed; passes without one are left out. None: all
    off:    within it the model is the base from which the divergence of texts is taken; None: not asked
    """

    wanted: frozenset[int] | None = None
    off: Off | None = None

    def wants(self, rows: Sequence[Row]) -> bool:
        sequences = (sequence for row in rows for sequence in row.sequences)
        return self.wanted is None or any(sequence.index in self.wanted for sequence in sequences)

    def beside(self, rows: Sequence[Row]) -> Off | None:
        """`off` where there is a text to be held against the base."""
        return self.off if any(sequence.is_text for row in rows for sequence in row.sequences) else None

    def work(self, rows: Sequence[Row]) -> tuple[int, int]:
        """Nodes that a pass of the rows runs, and positions that it reads, those of the base included."""
        nodes, scored = sum(len(row.tokens) for row in rows), sum(row.positions for row in rows)
        if self.beside(rows) is None:
            return nodes, scored
        texts = (read for row in rows for read in row.reads if read.sequence.is_text)
        return 2 * nodes, scored + sum(len(read.nodes) for read in texts)


EVERYTHING = Asked()


@dataclass(frozen=True)
class _Pending:
    """A pass whose numbers are still on the device: reading them at once would make it wait.

    reads, numbers: in the same order, each read with as many columns as it has targets
    """

    reads: Sequence[Read]
    numbers: torch.Tensor
    nodes: int
    scored: int
    diverged: bool


def score(halves: Halves, forest: Forest, budget: Budget, asked: Asked = EVERYTHING) -> Iterator[Finished]:
    """Answers of every sequence, pass by pass. Raises RunFailed where not one fits into memory.

    What a pass holds depends on forest and budget alone, not on what is wanted: numbers do not change
    with what an earlier run has done.
    """
    with halves.fused():
        for grove in forest.groves:
            yield from _score_grove(halves, grove, budget, asked)


@torch.inference_mode()
def stem_cache(halves: Halves, tokens: IntArray, budget: Budget) -> StemCache | None:
    """Keys and values of a stem, None for an empty one."""
    if not len(tokens):
        return None
    whole = to_device(tokens, halves.device)[None]
    while True:
        try:
            cache = DynamicCache(config=halves.config)
            for piece in torch.split(whole, budget.nodes, dim=1):
                halves.hidden(piece, past_key_values=cache)
            return StemCache(cache, len(tokens))
        except torch.OutOfMemoryError as error:
            cache = None
            budget.shrink(error)


def expected(forest: Forest, budget: Budget, asked: Asked = EVERYTHING) -> tuple[int, int]:
    """Nodes that `score` will run and positions that it will read."""
    nodes, scored = 0, 0
    for grove in forest.groves:
        passes = [asked.work(rows) for rows in _passes(grove.rows, budget) if asked.wants(rows)]
        nodes += sum(each[0] for each in passes) + (len(grove.stem) if passes else 0)
        scored += sum(each[1] for each in passes)
    return nodes, scored


def _score_grove(halves: Halves, grove: Grove, budget: Budget, asked: Asked) -> Iterator[Finished]:
    waiting = _mixed(_passes(grove.rows, budget))
    stem: StemCache | None = None
    unread = len(grove.stem)
    pending: _Pending | None = None
    while waiting:
        rows = waiting.pop()
        if not asked.wants(rows):
            continue
        if len(rows) > 1 and len(rows) * len(rows[0].tokens) > budget.nodes:  # it has shrunk since
            waiting += reversed(_passes(rows, budget))
            continue
        if stem is None:
            stem = stem_cache(halves, grove.stem, budget)
        try:
            launched = _launch(halves, rows, stem, budget, asked)
        except torch.OutOfMemoryError as error:
            budget.shrink(error)
            waiting += reversed(_passes(_smaller(rows, len(grove.stem)), budget))
            continue
        if pending is not None:
            yield _read_back(pending)
        # The stem's own pass counts with the first one that hangs on it.
        pending, unread = replace(launched, nodes=launched.nodes + unread), 0
    if pending is not None:
        yield _read_back(pending)


def _passes(rows: Sequence[Row], budget: Budget) -> list[list[Row]]:
    """Neighbours of one kind together, padded to the longest, which is the first, within the budget."""
    passes: list[list[Row]] = []
    for row in rows:
        last = passes[-1] if passes else []
        fits = last and (len(last) + 1) * max(len(last[0].tokens), len(row.tokens)) <= budget.nodes
        if fits and row.is_chain == last[0].is_chain:
            last.append(row)
        else:
            passes.append([row])
    return passes


def _mixed(passes: Sequence[list[Row]]) -> list[list[Row]]:
    """To be popped: first the longest row, which is the likeliest to be too much for the memory; long and
    short rows take turns after it, so that an estimate of time holds from early on."""
    rest = list(passes[1:])
    random.Random(0).shuffle(rest)
    return [*rest, *passes[:1]]


def _smaller(rows: Sequence[Row], below: int) -> list[Row]:
    """The same sequences again in two parts, where they were more than one."""
    if len(rows) > 1:
        return list(rows)
    sequences = rows[0].sequences
    if len(sequences) == 1:
        return list(rows)
    half = len(sequences) // 2
    return [build_row(part, shared_by(part, below)) for part in (sequences[:half], sequences[half:])]


@torch.inference_mode()
def _launch(
    halves: Halves, rows: Sequence[Row], stem: StemCache | None, budget: Budget, asked: Asked
) -> _Pending:
    off, (nodes, scored) = asked.beside(rows), asked.work(rows)
    if stem is None and len(rows) == 1 and rows[0].is_chain and len(rows[0].tokens) > budget.nodes:
        chain = _long_chain(halves, rows[0], budget, off)
        return _Pending(rows[0].reads, chain, nodes, scored, off is not None)
    step = ALIGNED.get(halves.device.type, ALIGNED["cpu"])
    longest = -(-max(len(row.tokens) for row in rows) // step) * step
    tokens, inputs = _inputs(halves, rows, stem, longest)
    hidden = halves.hidden(tokens, **inputs).flatten(0, 1)
    base = None
    if off is not None:
        with off():
            base = Base(halves.hidden(tokens, **inputs).flatten(0, 1), halves.projection())
    placed = [(place * longest + read.nodes, read) for place, row in enumerate(rows) for read in row.reads]
    # Texts are read beside their base, all else without it.
    texts = [each for each in placed if each[1].sequence.is_text] if base is not None else []
    others = [each for each in placed if base is None or not each[1].sequence.is_text]
    groups = [(_positions(group), beside) for group, beside in ((texts, base), (others, None)) if group]
    numbers = [read_at(halves, hidden, where, budget.logits, beside) for where, beside in groups]
    reads = [read for _, read in (*texts, *others)]
    return _Pending(reads, torch.cat(numbers, dim=1), nodes, scored, off is not None)


def _positions(placed: Sequence[tuple[IntArray, Read]]) -> Positions:
    nodes = np.concatenate([nodes for nodes, _ in placed])
    return positions_of(nodes, np.concatenate([read.sequence.targets for _, read in placed]))


def _inputs(
    halves: Halves, rows: Sequence[Row], stem: StemCache | None, longest: int
) -> tuple[torch.Tensor, dict[str, Any]]:
    tokens = to_device(padded([row.tokens for row in rows], longest, 0), halves.device)
    if stem is None and all(row.is_chain for row in rows):
        return tokens, {}  # causal as it is, and the fastest kernels know it
    below = 0 if stem is None else stem.length
    depths = to_device(padded([row.depths for row in rows], longest, below), halves.device)
    ends = to_device(padded([row.ends for row in rows], longest, None), halves.device)
    masks = tree_masks(halves, depths, ends, stem)
    return tokens, {"attention_mask": masks, "position_ids": depths, "past_key_values": stem}


def _long_chain(halves: Halves, row: Row, budget: Budget, off: Off | None) -> torch.Tensor:
    """One sequence in pieces, each after the keys and values of those before it."""
    cache, of_base = DynamicCache(config=halves.config), DynamicCache(config=halves.config)
    (read,) = row.reads
    parts = []
    for start in range(0, len(row.tokens), budget.nodes):
        tokens = to_device(row.tokens[None, start : start + budget.nodes], halves.device)
        hidden, base = halves.hidden(tokens, past_key_values=cache)[0], None
        if off is not None:
            with off():
                base = Base(halves.hidden(tokens, past_key_values=of_base)[0], halves.projection())
        here = (read.nodes >= start) & (read.nodes < start + len(hidden))
        where = positions_of(read.nodes[here] - start, read.sequence.targets[here])
        parts.append(read_at(halves, hidden, where, budget.logits, base))
    return torch.cat(parts, dim=1)


def padded(arrays: Sequence[IntArray], length: int, filler: int | None) -> IntArray:
    """Shape (rows, length), filled up with `filler`, or (None) each position with the one after it."""
    padded = np.arange(1, length + 1) if filler is None else np.full(length, filler)
    whole = np.tile(padded, (len(arrays), 1))
    for row, array in zip(whole, arrays, strict=True):
        row[: len(array)] = array
    return whole


def _read_back(pending: _Pending) -> Finished:
    numbers = pending.numbers.cpu().numpy()
    edges = np.cumsum([len(read.nodes) for read in pending.reads])
    answers = tuple(
        Answer(
            index=read.sequence.index,
            loglikelihood=float(part[0].sum(dtype=np.float32)),
            greedy=bool(part[1].all()),
            positions=part.shape[1],
            divergence=float(part[2].sum()) if pending.diverged and read.sequence.is_text else None,
        )
        for read, part in zip(pending.reads, np.split(numbers, edges[:-1], axis=1), strict=True)
    )
    return Finished(answers, pending.nodes, pending.scored)
