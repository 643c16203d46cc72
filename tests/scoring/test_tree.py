"""Trees hold every sequence whole; a forest runs each distinct prefix once, within its shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.forest import Forest, Shape, plant
from harness.scoring.tree import Row, Scored, build_row, in_order, shared_by

token_lists = st.lists(st.integers(0, 3), min_size=1, max_size=8)


def scored(index: int, tokens: list[int], targets: int) -> Scored:
    count = min(targets, len(tokens))
    return Scored(index, np.array(tokens), np.arange(count))


sequences = st.lists(st.tuples(token_lists, st.integers(1, 8)), min_size=1, max_size=20).map(
    lambda drawn: [scored(index, tokens, count) for index, (tokens, count) in enumerate(drawn)]
)
# Some begin with the same forty tokens, so that stems come up.
stemmed = st.lists(st.tuples(st.booleans(), token_lists, st.integers(1, 4)), min_size=1, max_size=30).map(
    lambda drawn: [
        scored(index, [7] * 40 * stem + tokens, min(count, len(tokens)))
        for index, (stem, tokens, count) in enumerate(drawn)
    ]
)
shapes = st.builds(lambda row, more: Shape(row, row + more), st.integers(1, 30), st.integers(0, 60))


def whole(given_sequences: list[Scored]) -> Row:
    ordered = in_order(given_sequences)
    return build_row(ordered, shared_by(ordered, 0))


def parents(row: Row) -> list[int]:
    """The last node before a node whose subtree it stands in."""
    found = []
    for node in range(len(row.tokens)):
        over = [j for j in range(node) if row.ends[j] > node]
        found.append(over[-1] if over else -1)
    return found


def path_of(row: Row, node: int) -> tuple[int, ...]:
    above, path = parents(row), []
    while node >= 0:
        path.append(int(row.tokens[node]))
        node = above[node]
    return tuple(reversed(path))


def rows(forest: Forest) -> Iterator[tuple[tuple[int, ...], Row]]:
    for grove in forest.groves:
        for row in grove.rows:
            yield tuple(grove.stem.tolist()), row


@given(sequences)
def test_one_row_holds_every_distinct_prefix_once(given_sequences: list[Scored]) -> None:
    row = whole(given_sequences)
    prefixes = {
        tuple(sequence.tokens[:length].tolist())
        for sequence in given_sequences
        for length in range(1, len(sequence.tokens) + 1)
    }
    assert len(row.tokens) == len(prefixes)
    assert {path_of(row, node) for node in range(len(row.tokens))} == prefixes


@given(sequences)
def test_a_node_stands_as_deep_as_it_has_ancestors(given_sequences: list[Scored]) -> None:
    row = whole(given_sequences)
    for node in range(len(row.tokens)):
        assert row.depths[node] == len(path_of(row, node)) - 1


@given(stemmed, shapes)
def test_every_sequence_is_read_once_where_its_own_tokens_lead(
    given_sequences: list[Scored], shape: Shape
) -> None:
    by_index = {sequence.index: sequence for sequence in given_sequences}
    seen = []
    for stem, row in rows(plant(given_sequences, shape)):
        for read in row.reads:
            sequence = read.sequence
            assert sequence is by_index[sequence.index]
            assert (*stem, *path_of(row, int(read.nodes[-1]))) == tuple(sequence.tokens.tolist())
            assert row.depths[read.nodes].tolist() == list(range(sequence.first, len(sequence.tokens)))
            seen.append(sequence.index)
    assert sorted(seen) == sorted(by_index)


@given(stemmed, shapes)
def test_a_row_is_longer_than_its_shape_only_for_one_sequence(
    given_sequences: list[Scored], shape: Shape
) -> None:
    for _, row in rows(plant(given_sequences, shape)):
        if len({tuple(sequence.tokens.tolist()) for sequence in row.sequences}) > 1:
            assert len(row.tokens) <= shape.longest


@given(stemmed)
def test_with_room_for_all_nothing_runs_twice(given_sequences: list[Scored]) -> None:
    forest = plant(given_sequences, Shape(10_000, 10_000))
    prefixes = {
        tuple(sequence.tokens[:length].tolist())
        for sequence in given_sequences
        for length in range(1, len(sequence.tokens) + 1)
    }
    assert forest.nodes == len(prefixes)


def test_a_long_beginning_that_many_share_runs_once_as_a_stem() -> None:
    shared = list(range(100))
    given_sequences = [
        scored(index, [*shared, index, index + choice], 1) for index in range(200, 300) for choice in range(3)
    ]
    forest = plant(given_sequences, Shape(64, 512))
    (grove,) = forest.groves
    assert grove.stem.tolist() == shared
    assert forest.nodes == 100 + 100 * 4


def test_a_stem_is_never_read() -> None:
    shared = list(range(100))
    given_sequences = [scored(index, [*shared, index], 50) for index in range(200, 400)]
    forest = plant(given_sequences, Shape(32, 64))
    assert {len(grove.stem) for grove in forest.groves} == {51}


def test_no_sequences_make_no_forest() -> None:
    assert plant([], Shape(16, 32)) == Forest((), 0, 0)


@given(sequences, shapes)
def test_a_forest_counts_each_position_that_is_read_once(given_sequences: list[Scored], shape: Shape) -> None:
    forest = plant(given_sequences, shape)

    read = {
        (number, int(node))
        for number, (_, row) in enumerate(rows(forest))
        for each in row.reads
        for node in each.nodes
    }

    assert forest.scored == len(read)


def test_a_text_never_hangs_on_a_stem() -> None:
    """Its base reads it too, and a stem's keys and values are those of one of the two."""
    windows = [Scored(k, np.array([7] * 60 + [k]), np.array([1]), is_text=True) for k in range(12)]

    assert all(stem == () for stem, _ in rows(plant(windows, Shape(16, 64))))
    choices = [replace(window, is_text=False) for window in windows]
    assert any(stem for stem, _ in rows(plant(choices, Shape(16, 64))))
