"""Token prefix trees: every distinct prefix of a batch of sequences becomes one node.

A pack is a forest in one row of tokens. A node attends to its ancestors and itself, so one forward
pass gives every sequence the hidden states it would have had alone, with shared prefixes run once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """One sequence to score: run `tokens`, and read `targets` at its last len(targets) positions."""

    index: int
    tokens: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Pack:
    """A forest of N nodes as flat arrays, and where each sequence's scored nodes stand.

    tokens, depths, parents: shape (N,); a root's parent is -1, its depth 0.
    sequences: (index of the request, nodes whose next token is scored, those next tokens).
    """

    tokens: IntArray
    depths: IntArray
    parents: IntArray
    sequences: tuple[tuple[int, IntArray, IntArray], ...]

    def ancestry(self) -> npt.NDArray[np.bool_]:
        """Shape (N, N): row i is True at i and at every ancestor of i."""
        size = len(self.tokens)
        visible = np.eye(size, dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:  # parents precede children, so the parent's row is complete
                visible[node] |= visible[parent]
        return visible


def packs(sequences: Sequence[Scored], max_nodes: int, max_scored: int) -> Iterator[Pack]:
    """Pack sequences into forests of at most `max_nodes` nodes and `max_scored` scored positions.

    Sequences are taken in lexicographic order, which puts those with a common prefix side by side.
    A sequence that alone exceeds a limit gets a pack of its own.
    """
    batch: list[Scored] = []
    nodes = scored = 0
    previous: tuple[int, ...] = ()
    for sequence in sorted(sequences, key=lambda entry: entry.tokens):
        new_nodes = len(sequence.tokens) - _common_prefix(previous, sequence.tokens)
        new_scored = len(sequence.targets)
        if batch and (nodes + new_nodes > max_nodes or scored + new_scored > max_scored):
            yield _pack(batch)
            batch, nodes, scored = [], 0, 0
            new_nodes = len(sequence.tokens)
        batch.append(sequence)
        nodes += new_nodes
        scored += new_scored
        previous = sequence.tokens
    if batch:
        yield _pack(batch)


def _common_prefix(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length


def _pack(batch: Sequence[Scored]) -> Pack:
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    path: list[int] = []  # node of each depth along the previous sequence
    previous: tuple[int, ...] = ()
    sequences = []
    for sequence in batch:
        shared = _common_prefix(previous, sequence.tokens)
        del path[shared:]
        for depth in range(shared, len(sequence.tokens)):
            parents.append(path[-1] if path else -1)
            depths.append(depth)
            path.append(len(tokens))
            tokens.append(sequence.tokens[depth])
        first = len(sequence.tokens) - len(sequence.targets)
        sequences.append(
            (
                sequence.index,
                np.asarray(path[first:], dtype=np.int64),
                np.asarray(sequence.targets, dtype=np.int64),
            )
        )
        previous = sequence.tokens
    return Pack(
        tokens=np.asarray(tokens, dtype=np.int64),
        depths=np.asarray(depths, dtype=np.int64),
        parents=np.asarray(parents, dtype=np.int64),
        sequences=tuple(sequences),
    )
