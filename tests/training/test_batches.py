"""One step's rows as forward passes, and rows that share a sequence without seeing each other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.training.batches import best_fit, micro_batches

IGNORED = -100


def padded(lengths: list[int]) -> dict[str, torch.Tensor]:
    """Rows whose tokens are numbered through, from 1."""
    width = max(lengths)
    ids = torch.zeros((len(lengths), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    token = 1
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.arange(token, token + length)
        mask[row, :length] = 1
        token += length
    labels = torch.where(mask.bool(), ids, torch.full_like(ids, IGNORED))
    labels[:, 0] = IGNORED
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def rows_of(part: dict[str, torch.Tensor]) -> list[list[int]]:
    return [
        ids[mask.bool()].tolist() for ids, mask in zip(part["input_ids"], part["attention_mask"], strict=True)
    ]


def test_a_batch_that_fits_is_one_pass() -> None:
    inputs = padded([3, 5, 2])

    (part,) = micro_batches(inputs, 4, None)

    assert all(part[name] is inputs[name] for name in inputs)


def test_smaller_passes_hold_all_rows_once_with_rows_of_like_length_together() -> None:
    inputs = padded([3, 9, 2, 8, 4])

    parts = micro_batches(inputs, 2, None)

    assert [part["input_ids"].shape for part in parts] == [(2, 9), (2, 4), (1, 2)]
    seen = sorted(row for part in parts for row in rows_of(part))
    assert seen == sorted(rows_of(inputs))


def test_packed_rows_share_sequences_and_positions_begin_again_with_each() -> None:
    inputs = padded([3, 5, 2])

    (part,) = micro_batches(inputs, 3, 8)

    assert "attention_mask" not in part
    assert part["input_ids"].tolist() == [[4, 5, 6, 7, 8], [1, 2, 3, 9, 10]]
    assert part["position_ids"].tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 0, 1]]
    assert part["labels"].tolist() == [[IGNORED, 5, 6, 7, 8], [IGNORED, 2, 3, IGNORED, 10]]


def test_the_first_token_of_a_packed_row_is_never_predicted_from_its_neighbour() -> None:
    inputs = padded([3, 3])
    inputs["labels"] = inputs["input_ids"].clone()

    (part,) = micro_batches(inputs, 2, 6)

    assert part["labels"].tolist() == [[IGNORED, 2, 3, IGNORED, 5, 6]]


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=24),
    st.integers(20, 60),
)
def test_every_row_is_in_one_sequence_and_no_sequence_is_too_long(lengths: list[int], capacity: int) -> None:
    bins = best_fit(lengths, capacity)

    assert sorted(row for each in bins for row in each) == list(range(len(lengths)))
    used = [sum(lengths[row] for row in each) for each in bins]
    assert max(used) <= capacity
    # No two sequences that could be one.
    assert all(one + other > capacity for at, one in enumerate(used) for other in used[:at])


def test_sequences_are_filled_evenly_because_the_longest_decides_the_width() -> None:
    bins = best_fit([100] * 16, 512)

    assert [len(each) for each in bins] == [4, 4, 4, 4]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_packing_in_smaller_passes_holds_all_rows_too(size: int) -> None:
    inputs = padded([3, 9, 2, 8, 4])

    parts = micro_batches(inputs, size, 10)

    tokens = sorted(token for part in parts for token in part["input_ids"].flatten().tolist() if token)
    assert tokens == list(range(1, 27))
    assert len(parts) == -(-5 // size)
