"""Token prefix trees: every distinct prefix of the sequences in a row becomes one node.

Nodes stand in depth-first order, so the subtree of a node is the interval from it to `ends`: node i
attends to j exactly where j <= i < ends[j]. No mask has to be built or stored, two comparisons give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Sequences that are compared in one step.
SIDE_BY_SIDE = 256
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """One sequence to score: run `tokens`, and read `targets` at its last len(targets) positions.

    is_text: it is read for its own sake, so a tuned model's divergence from its base is asked for there
    """

    index: int
    tokens: IntArray
    targets: IntArray
    is_text: bool = False

    @property
    def first(self) -> int:
        """Position of the token that predicts the first target."""
        return len(self.tokens) - len(self.targets)


@dataclass(frozen=True)
class Read:
    """Where one sequence is scored: the next token of each of `nodes` is one of its targets."""

    sequence: Scored
    nodes: IntArray


@dataclass(frozen=True)
class Row:
    """A forest of N nodes in one row of tokens.

    tokens, depths, ends: shape (N,); depth is the position in the sequence, ends one past the subtree
    """

    tokens: IntArray
    depths: IntArray
    ends: IntArray
    reads: tuple[Read, ...]

    @property
    def positions(self) -> int:
        """How many nodes are read: sequences share some, as all one-token labels of an item do."""
        return len(np.unique(np.concatenate([read.nodes for read in self.reads])))

    @property
    def sequences(self) -> list[Scored]:
        return [read.sequence for read in self.reads]

    @property
    def is_chain(self) -> bool:
        return len(self.reads) == 1


def in_order(sequences: Sequence[Scored]) -> list[Scored]:
    """Lexicographic order, which puts sequences with a common prefix side by side.

    Big-endian bytes compare as their numbers do, and a thousand tokens in one step.
    """
    return sorted(sequences, key=lambda sequence: sequence.tokens.astype(">i4").tobytes())


def shared_by(sequences: Sequence[Scored], below: int) -> list[int]:
    """How many first tokens each sequence, in order, shares with the one before it; the first: `below`."""
    found = [below]
    for start in range(0, len(sequences) - 1, SIDE_BY_SIDE):
        some = sequences[start : start + SIDE_BY_SIDE + 1]
        # Each row ends in a number that no token is, and differs from its neighbours' in every row.
        tokens = np.full((len(some), max(len(each.tokens) for each in some) + 1), -1)
        tokens[::2] = -2
        for row, each in zip(tokens, some, strict=True):
            row[: len(each.tokens)] = each.tokens
        found += (tokens[1:] != tokens[:-1]).argmax(axis=1).tolist()
    return found


def build_row(sequences: Sequence[Scored], shared: Sequence[int]) -> Row:
    """The tree of sequences in lexicographic order.

    shared: how many first tokens each shares with the one before it; of the first sequence, how many
            are left out, being shared by all
    """
    deepest = max(len(sequence.tokens) for sequence in sequences)
    node_at = np.zeros(deepest, dtype=np.int64)  # along the sequence last seen
    starts, reads, start = [], [], 0
    for sequence, prefix in zip(sequences, shared, strict=True):
        length = len(sequence.tokens)
        node_at[prefix:length] = np.arange(start, start + length - prefix)
        starts.append(start)
        start += length - prefix
        reads.append(Read(sequence, node_at[sequence.first : length].copy()))
    next_at = np.full(deepest, start)  # the next node that stands no deeper
    ends = np.empty(start, dtype=np.int64)
    for sequence, prefix, begin in zip(reversed(sequences), reversed(shared), reversed(starts), strict=True):
        length = len(sequence.tokens)
        ends[begin : begin + length - prefix] = next_at[prefix:length]
        next_at[prefix:] = begin
    pieces = list(zip(sequences, shared, strict=True))
    return Row(
        tokens=np.concatenate([sequence.tokens[prefix:] for sequence, prefix in pieces]),
        depths=np.concatenate([np.arange(prefix, len(sequence.tokens)) for sequence, prefix in pieces]),
        ends=ends,
        reads=tuple(reads),
    )
