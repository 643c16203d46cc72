"""Prefix trees hold every sequence whole, each distinct prefix once, within their budgets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.tree import Pack, Scored, packs

token_lists = st.lists(st.integers(0, 3), min_size=1, max_size=8)
sequences = st.lists(st.tuples(token_lists, st.integers(1, 8)), min_size=1, max_size=20).map(
    lambda drawn: [
        Scored(index, tuple(tokens), tuple(range(min(count, len(tokens)))))
        for index, (tokens, count) in enumerate(drawn)
    ]
)


def path_of(pack: Pack, node: int) -> tuple[int, ...]:
    path = []
    while node >= 0:
        path.append(int(pack.tokens[node]))
        node = int(pack.parents[node])
    return tuple(reversed(path))


@given(sequences)
def test_every_sequence_ends_in_a_node_whose_path_is_its_tokens(given_sequences: list[Scored]) -> None:
    by_index = {sequence.index: sequence for sequence in given_sequences}
    seen = []
    for pack in packs(given_sequences, 1000, 1000):
        for index, nodes, targets in pack.sequences:
            sequence = by_index[index]
            assert path_of(pack, int(nodes[-1])) == sequence.tokens
            assert tuple(targets) == sequence.targets
            assert len(nodes) == len(targets)
            seen.append(index)
    assert sorted(seen) == sorted(by_index)


@given(sequences)
def test_one_pack_holds_every_distinct_prefix_once(given_sequences: list[Scored]) -> None:
    (pack,) = packs(given_sequences, 10_000, 10_000)
    prefixes = {
        sequence.tokens[:length]
        for sequence in given_sequences
        for length in range(1, len(sequence.tokens) + 1)
    }
    assert len(pack.tokens) == len(prefixes)
    assert {path_of(pack, node) for node in range(len(pack.tokens))} == prefixes


@given(sequences, st.integers(1, 12), st.integers(1, 12))
def test_a_pack_exceeds_a_budget_only_for_a_sequence_that_does_so_alone(
    given_sequences: list[Scored], nodes: int, scored: int
) -> None:
    for pack in packs(given_sequences, nodes, scored):
        if len(pack.sequences) > 1:
            assert len(pack.tokens) <= nodes
            assert sum(len(targets) for _, _, targets in pack.sequences) <= scored


@given(sequences)
def test_a_node_sees_itself_and_its_ancestors_and_nothing_else(given_sequences: list[Scored]) -> None:
    for pack in packs(given_sequences, 16, 1000):
        visible = pack.ancestry()
        for node in range(len(pack.tokens)):
            ancestors = {node}
            parent = int(pack.parents[node])
            while parent >= 0:
                ancestors.add(parent)
                parent = int(pack.parents[parent])
            assert set(visible[node].nonzero()[0].tolist()) == ancestors
            assert pack.depths[node] == len(ancestors) - 1
