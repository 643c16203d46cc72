"""All sequences of a suite as one token tree, cut into rows that a model can run side by side.

Where many sequences share a long beginning (few-shot examples, a long passage) it becomes a stem: it
runs once, and the rows below it attend to its keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.scoring.tree import IntArray, Row, Scored, build_row, in_order, shared_by

# A shared beginning shorter than this is cheaper run again in every row than kept as keys and values.
SHORTEST_STEM = 32
# … and so is one shorter than a row that fewer nodes than this many rows hang on.
ROWS_ON_A_STEM = 3


@dataclass(frozen=True)
class Shape:
    """How long rows are. `row`: small trees are put together up to it, because attention costs its square;
    `longest`: no tree is longer than it, but for a single sequence, which can be run in pieces."""

    row: int
    longest: int


@dataclass(frozen=True)
class Grove:
    """Rows that hang on one stem (which may be empty), the longest first."""

    stem: IntArray
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Forest:
    """Rows of all sequences. nodes: how many tokens run; scored: at how many the head is read."""

    groves: tuple[Grove, ...]
    nodes: int
    scored: int


@dataclass(frozen=True)
class _Sorted:
    """Sequences in order, with what they share. shared[k] is common to k - 1 and k; shared[0] is 0."""

    sequences: Sequence[Scored]
    shared: IntArray
    lengths: IntArray
    first: IntArray
    added: IntArray  # nodes that the sequences up to k add

    def common(self, low: int, high: int) -> int:
        return int(self.shared[low + 1 : high].min()) if high - low > 1 else int(self.lengths[low])

    def nodes(self, low: int, high: int, below: int) -> int:
        """Nodes of the tree of low … high - 1 that stand at depth `below` or deeper."""
        return int(self.lengths[low]) - below + int(self.added[high - 1] - self.added[low])


def plant(sequences: Sequence[Scored], shape: Shape) -> Forest:
    """Every distinct prefix once, but for short beginnings that rows share and the ends of full rows."""
    if not sequences:
        return Forest((), 0, 0)
    ordered = _sorted(sequences)
    units: dict[tuple[int, bytes], list[tuple[int, int]]] = {}
    for low, high, below in _units(ordered, shape):
        stem = ordered.sequences[low].tokens[:below].tobytes()
        units.setdefault((below, stem), []).append((low, high))
    groves = tuple(
        Grove(ordered.sequences[members[0][0]].tokens[:below], _rows(ordered, members, below, shape))
        for (below, _), members in units.items()
    )
    return Forest(
        groves=groves,
        nodes=sum(len(grove.stem) + sum(len(row.tokens) for row in grove.rows) for grove in groves),
        scored=sum(row.positions for grove in groves for row in grove.rows),
    )


def _sorted(sequences: Sequence[Scored]) -> _Sorted:
    ordered = in_order(sequences)
    shared = np.array(shared_by(ordered, 0))
    lengths = np.array([len(sequence.tokens) for sequence in ordered])
    # A text never hangs on a stem, even where its last window begins with much context: under a tuned model
    # the stem's keys and values are the tuned ones, and its base would read them too.
    first = np.array([0 if sequence.is_text else sequence.first for sequence in ordered])
    return _Sorted(ordered, shared, lengths, first, np.cumsum(lengths - shared))


def _units(ordered: _Sorted, shape: Shape) -> Iterator[tuple[int, int, int]]:
    """Trees that stay whole: sequences low … high - 1, below a stem of that many tokens."""
    waiting = [(0, len(ordered.sequences), 0)]
    while waiting:
        low, high, below = waiting.pop()
        nodes = ordered.nodes(low, high, below)
        if high - low == 1 or nodes <= shape.row:
            yield low, high, below
            continue
        common = ordered.common(low, high)
        # What is scored must run in a row: a stem is never read.
        depth = min(common, int(ordered.first[low:high].min()))
        hanging = ordered.nodes(low, high, depth)
        long = max(SHORTEST_STEM, shape.row if hanging < ROWS_ON_A_STEM * shape.row else 0)
        pays = depth - below >= long and hanging > shape.row
        if not pays and hanging <= shape.row:
            # Mostly beginning: one row, or where that would be too long a stem and a row.
            yield low, high, below if nodes <= shape.longest else depth
            continue
        if pays:
            below = depth
        cuts = low + 1 + np.flatnonzero(ordered.shared[low + 1 : high] == common)
        edges = [low, *cuts.tolist(), high]
        waiting += [(start, stop, below) for start, stop in pairwise(edges)]


def _row(ordered: _Sorted, members: Sequence[tuple[int, int]], below: int) -> Row:
    """The trees `members`, of which neighbours may share a beginning."""
    shared: list[int] = []
    for number, (low, high) in enumerate(members):
        between = below
        if number:
            between = int(ordered.shared[members[number - 1][1] : low + 1].min())
        shared += [between, *ordered.shared[low + 1 : high].tolist()]
    return build_row([ordered.sequences[k] for low, high in members for k in range(low, high)], shared)


def _rows(ordered: _Sorted, units: Sequence[tuple[int, int]], below: int, shape: Shape) -> tuple[Row, ...]:
    """First fit decreasing: small trees together in rows, long ones and long sequences by themselves."""
    sizes = {unit: ordered.nodes(*unit, below) for unit in units}
    by_size = sorted(units, key=lambda unit: -sizes[unit])
    filled: list[list[tuple[int, int]]] = []
    room = np.zeros(len(units), dtype=np.int64)
    for unit in by_size:
        size = sizes[unit]
        fits = np.flatnonzero(room[: len(filled)] >= size)
        if len(fits) and size <= shape.row // 2:
            place = int(fits[0])
        else:
            place = len(filled)
            filled.append([])
            room[place] = max(shape.row, size)
        filled[place].append(unit)
        room[place] -= size
    rows = [_row(ordered, sorted(members), below) for members in filled]
    return tuple(sorted(rows, key=lambda row: -len(row.tokens)))
