"""Runs a forest through a model: every node once, logits only where they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache

from harness.scoring.budget import Budget
from harness.scoring.forest import Forest, Grove
from harness.scoring.halves import Halves, StemCache, tree_masks
from harness.scoring.reading import positions_of, read_at, to_device
from harness.scoring.tree import IntArray, Row, build_row, shared_by

# A kernel of attention wants the length of a row to be a multiple of this.
ALIGNED = 8


@dataclass(frozen=True)
class Answer:
    """A scored sequence: Σ log p of its targets in nats, and whether each is the most probable token."""

    index: int
    loglikelihood: float
    greedy: bool


@dataclass(frozen=True)
class Finished:
    """What one pass gave. `nodes` and `scored` say how much of the forest's work it was."""

    answers: tuple[Answer, ...]
    nodes: int
    scored: int


@dataclass(frozen=True)
class _Pending:
    """A pass whose numbers are still on the device: reading them at once would make it wait."""

    rows: Sequence[Row]
    scores: torch.Tensor
    greedy: torch.Tensor
    nodes: int


def score(halves: Halves, forest: Forest, budget: Budget) -> Iterator[Finished]:
    """Answers of every sequence, pass by pass. Raises RunFailed where not one fits into memory."""
    for grove in forest.groves:
        yield from _score_grove(halves, grove, budget)


@torch.inference_mode()
def stem_cache(halves: Halves, tokens: IntArray, budget: Budget) -> StemCache | None:
    """Keys and values of a stem, None for an empty one."""
    if not len(tokens):
        return None
    whole = torch.from_numpy(tokens)[None].to(halves.device)
    while True:
        try:
            cache = DynamicCache(config=halves.config)
            for piece in torch.split(whole, budget.nodes, dim=1):
                halves.hidden(piece, past_key_values=cache)
            return StemCache(cache, len(tokens))
        except torch.OutOfMemoryError as error:
            cache = None
            budget.shrink(error)


def _score_grove(halves: Halves, grove: Grove, budget: Budget) -> Iterator[Finished]:
    stem = stem_cache(halves, grove.stem, budget)
    waiting = list(reversed(grove.rows))
    pending: _Pending | None = None
    while waiting:
        rows = _next_batch(waiting, budget)
        try:
            launched = _launch(halves, rows, stem, budget)
        except torch.OutOfMemoryError as error:
            budget.shrink(error)
            waiting += reversed(_smaller(rows, len(grove.stem)))
            continue
        if pending is not None:
            yield _read_back(pending)
        pending = launched
    if pending is not None:
        yield _read_back(pending)


def _next_batch(waiting: list[Row], budget: Budget) -> list[Row]:
    """Rows from the end of `waiting`, of one kind, padded to the first and longest, within the budget."""
    first = waiting.pop()
    batch, longest = [first], len(first.tokens)
    while (
        waiting
        and waiting[-1].is_chain == first.is_chain
        and (len(batch) + 1) * max(longest, len(waiting[-1].tokens)) <= budget.nodes
    ):
        batch.append(waiting.pop())
        longest = max(longest, len(batch[-1].tokens))
    return batch


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
def _launch(halves: Halves, rows: Sequence[Row], stem: StemCache | None, budget: Budget) -> _Pending:
    nodes = sum(len(row.tokens) for row in rows)
    if stem is None and len(rows) == 1 and rows[0].is_chain and nodes > budget.nodes:
        return _Pending(rows, *_long_chain(halves, rows[0], budget), nodes)
    longest = -(-max(len(row.tokens) for row in rows) // ALIGNED) * ALIGNED
    reads = [
        (place * longest + read.nodes, read.targets) for place, row in enumerate(rows) for read in row.reads
    ]
    where = positions_of(*(np.concatenate(parts) for parts in zip(*reads, strict=True)))
    tokens = to_device(padded([row.tokens for row in rows], longest, 0), halves.device)
    if stem is None and all(row.is_chain for row in rows):
        hidden = halves.hidden(tokens)  # causal as it is, and the fastest kernels know it
    else:
        below = 0 if stem is None else stem.length
        depths = to_device(padded([row.depths for row in rows], longest, below), halves.device)
        ends = to_device(padded([row.ends for row in rows], longest, None), halves.device)
        masks = tree_masks(halves, depths, ends, stem)
        hidden = halves.hidden(tokens, attention_mask=masks, position_ids=depths, past_key_values=stem)
    scores, greedy = read_at(halves, hidden.flatten(0, 1), where, budget.logits)
    return _Pending(rows, scores, greedy, nodes)


def _long_chain(halves: Halves, row: Row, budget: Budget) -> tuple[torch.Tensor, torch.Tensor]:
    """One sequence in pieces, each after the keys and values of those before it."""
    cache = DynamicCache(config=halves.config)
    (read,) = row.reads
    parts = []
    for start in range(0, len(row.tokens), budget.nodes):
        tokens = row.tokens[start : start + budget.nodes]
        hidden = halves.hidden(to_device(tokens[None], halves.device), past_key_values=cache)[0]
        here = (read.nodes >= start) & (read.nodes < start + len(tokens))
        if here.any():
            where = positions_of(read.nodes[here] - start, read.targets[here])
            parts.append(read_at(halves, hidden, where, budget.logits))
    return torch.cat([scores for scores, _ in parts]), torch.cat([greedy for _, greedy in parts])


def padded(arrays: Sequence[IntArray], length: int, filler: int | None) -> IntArray:
    """Shape (rows, length), filled up with `filler`, or (None) each position with the one after it."""
    padded = np.arange(1, length + 1) if filler is None else np.full(length, filler)
    whole = np.tile(padded, (len(arrays), 1))
    for row, array in zip(whole, arrays, strict=True):
        row[: len(array)] = array
    return whole


def _read_back(pending: _Pending) -> Finished:
    numbers = torch.stack([pending.scores, pending.greedy.float()]).cpu().numpy()
    reads = [read for row in pending.rows for read in row.reads]
    edges = np.cumsum([len(read.nodes) for read in reads])[:-1]
    answers = tuple(
        Answer(read.index, float(scores.sum(dtype=np.float32)), bool(greedy.all()))
        for read, scores, greedy in zip(
            reads, np.split(numbers[0], edges), np.split(numbers[1], edges), strict=True
        )
    )
    return Finished(answers, pending.nodes, int(edges[-1]) if len(edges) else len(numbers[0]))
