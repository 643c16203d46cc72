"""Keys and values of the sequences that are being generated, each in a slot of its own."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache

from harness.scoring.halves import Halves, Masks, StemCache, additive

# Widths of attention are rounded up to this, so that few shapes occur.
WIDTH_STEP = 64


class SlotCache(Cache):  # type: ignore[misc]
    """Buffers of shape (slots, heads, capacity, head size), one pair a layer, made when a layer first writes.

    A sequence stands at the columns that are its positions. One step of the first `rows` slots writes
    at their `positions` and sees the first `width` columns.
    """

    def __init__(self, slots: int, capacity: int) -> None:
        super().__init__(layers=[])
        self.slots, self.capacity = slots, capacity
        self.buffers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.positions = torch.empty(0, dtype=torch.long)
        self.width = 0

    def at(self, positions: torch.Tensor, width: int) -> None:
        """Where the next step writes, shape (rows,), and how far it sees."""
        self.positions, self.width = positions, width

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.arange(len(key_states), device=key_states.device)
        keys, values = self.buffers[layer_idx]
        keys[rows, :, self.positions] = key_states[:, :, 0]
        values[rows, :, self.positions] = value_states[:, :, 0]
        return keys[: len(rows), :, : self.width], values[: len(rows), :, : self.width]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.width

    def store(self, layer: int, slot: int, start: int, states: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Put keys and values (heads, n, head size) into a slot, from column `start`."""
        if layer == len(self.buffers):
            shape = (self.slots, len(states[0]), self.capacity)
            # Zeros, not what was in memory: a masked column is multiplied by 0, and 0 · NaN is NaN.
            self.buffers.append(
                (
                    states[0].new_zeros(*shape, states[0].shape[-1]),
                    states[1].new_zeros(*shape, states[1].shape[-1]),
                )
            )
        for buffer, new in zip(self.buffers[layer], states, strict=True):
            buffer[slot, :, start : start + new.shape[1]] = new

    def resize(self, slots: int, capacity: int, rows: int) -> None:
        """Other slots with what the first `rows` hold. Layer by layer: two whole caches may be too much."""
        columns = min(capacity, self.capacity)
        for layer, pair in enumerate(self.buffers):
            fresh = []
            for old in pair:
                new = old.new_zeros(slots, old.shape[1], capacity, old.shape[3])
                new[:rows, :, :columns] = old[:rows, :, :columns]
                fresh.append(new)
            self.buffers[layer] = (fresh[0], fresh[1])
        self.slots, self.capacity = slots, capacity

    def move(self, source: int, target: int) -> None:
        for keys, values in self.buffers:
            keys[target].copy_(keys[source])
            values[target].copy_(values[source])


class FillingCache(Cache):  # type: ignore[misc]
    """Passes keys and values of prompts on to the model and into their slots; under a stem, after its own."""

    def __init__(self, into: SlotCache, slots: list[int], lengths: list[int], stem: StemCache | None) -> None:
        super().__init__(layers=[])
        self.into, self.slots, self.lengths, self.stem = into, slots, lengths, stem

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start = 0 if self.stem is None else self.stem.length
        for row, (slot, length) in enumerate(zip(self.slots, self.lengths, strict=True)):
            if self.stem is not None:
                keys, values = self.stem.stem[layer_idx]
                self.into.store(layer_idx, slot, start - keys.shape[-2], (keys[0], values[0]))
            new = key_states[row, :, :length], value_states[row, :, :length]
            self.into.store(layer_idx, slot, start, new)
        if self.stem is None:
            return key_states, value_states
        return self.stem.update(key_states, value_states, layer_idx)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0 if self.stem is None else self.stem.length


def step_masks(halves: Halves, positions: torch.Tensor, width: int) -> Masks:
    """Additive masks of one new token a row, at `positions` (rows,), over `width` columns."""
    columns = torch.arange(width, device=positions.device)
    behind = positions[:, None] - columns

    def mask(window: int | None, layer: int) -> torch.Tensor:
        visible = behind >= 0 if not window else (behind >= 0) & (behind < window)
        return additive(visible, halves.whole.dtype)[:, None, None]

    return halves.masks(mask)
