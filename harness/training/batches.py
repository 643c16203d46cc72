"""The rows of one optimiser step as forward passes: parts of like length, or packed sequences.

A packed pass holds the same rows as an unpacked one, only less padding: several rows share one
sequence, each with positions from 0, and transformers gives every row an attention of its own.
So `batch_size` and `micro_batch_size` count rows with and without packing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from harness.training.rendering import IGNORED

Inputs = Mapping[str, torch.Tensor]


def micro_batches(inputs: Inputs, size: int, packed_length: int | None) -> list[dict[str, torch.Tensor]]:
    """The padded rows of one step as forward passes of at most `size` rows, the longest rows first.

    inputs: `input_ids`, `labels` and `attention_mask`, each (rows, tokens), padded on the right
    packed_length: longest sequence that several rows may share; None packs nothing
    """
    rows = len(inputs["input_ids"])
    if packed_length is None and size >= rows:
        return [dict(inputs)]
    lengths = inputs["attention_mask"].sum(dim=1).tolist()
    order = sorted(range(rows), key=lambda row: -lengths[row])
    parts = [order[at : at + size] for at in range(0, rows, size)]
    if packed_length is not None:
        return [_packed(inputs, part, lengths, packed_length) for part in parts]
    return [
        {name: tensor[part, : max(lengths[row] for row in part)] for name, tensor in inputs.items()}
        for part in parts
    ]


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows by number, in as few sequences of at most `capacity` tokens as best-fit decreasing finds.

    The same number of sequences is then filled as evenly as it goes: the longest one decides how
    wide the pass is, and what the others fall short of it is padding.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    bins: list[list[int]] = []
    used: list[int] = []
    for row in order:
        fitting = [at for at in range(len(bins)) if used[at] + lengths[row] <= capacity]
        if fitting:
            fullest = max(fitting, key=used.__getitem__)
            bins[fullest].append(row)
            used[fullest] += lengths[row]
        else:
            bins.append([row])
            used.append(lengths[row])
    even = _evened(order, lengths, len(bins))
    return even if max(sum(lengths[row] for row in each) for each in even) <= max(used) else bins


def _evened(order: Sequence[int], lengths: Sequence[int], count: int) -> list[list[int]]:
    """Each row, longest first, into the emptiest of `count` sequences."""
    bins: list[list[int]] = [[] for _ in range(count)]
    used = [0] * count
    for row in order:
        emptiest = min(range(count), key=used.__getitem__)
        bins[emptiest].append(row)
        used[emptiest] += lengths[row]
    return bins


def _packed(
    inputs: Inputs, part: Sequence[int], lengths: Sequence[int], capacity: int
) -> dict[str, torch.Tensor]:
    """One pass of packed sequences: positions start again with every row, and there is no mask.

    transformers finds the rows from the positions, and only where no mask is given. Padding has
    position 0 throughout, so that each padding token is a row of its own that nothing sees.
    """
    bins = best_fit([lengths[row] for row in part], capacity)
    width = max(sum(lengths[part[at]] for at in each) for each in bins)
    like = inputs["input_ids"]
    packed = {
        "input_ids": like.new_zeros((len(bins), width)),
        "labels": like.new_full((len(bins), width), IGNORED),
        "position_ids": like.new_zeros((len(bins), width)),
    }
    positions = torch.arange(width, device=like.device)
    for number, each in enumerate(bins):
        start = 0
        for row in (part[at] for at in each):
            end = start + lengths[row]
            packed["input_ids"][number, start:end] = inputs["input_ids"][row, : lengths[row]]
            # The first token of a row is never predicted: what stands before it is another row.
            packed["labels"][number, start + 1 : end] = inputs["labels"][row, 1 : lengths[row]]
            packed["position_ids"][number, start:end] = positions[: lengths[row]]
            start = end
    return packed
