"""One more token for every running slot; on a GPU recorded once and replayed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.scoring.halves import Halves
from harness.scoring.sampling import Sampling, choose
from harness.scoring.slots import WIDTH_STEP, SlotCache, step_masks

Way = tuple[Sampling | None, torch.Generator | None]
# Rows of a recorded step are rounded up to this: every shape is recorded anew.
ROWS_STEP = 16


class Steps:
    """The last token and the next position of each slot, on the device.

    rows: how many slots run, from the first on
    """

    def __init__(self, halves: Halves, cache: SlotCache) -> None:
        self.halves, self.cache, self.rows = halves, cache, 0
        self.tokens, self.positions = self._zeros(), self._zeros()
        self.reached = [0] * cache.slots  # the positions again, where the host can see them
        self.records = halves.device.type == "cuda"
        self.recorded: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}

    def _zeros(self) -> torch.Tensor:
        return torch.zeros(self.cache.slots, dtype=torch.long, device=self.halves.device)

    def resize(self, slots: int, capacity: int) -> None:
        """Other slots with the same texts under way."""
        tokens, positions, rows = self.tokens, self.positions, self.rows
        self.recorded.clear()  # they write into the buffers that go
        self.cache.resize(slots, capacity, rows)
        self.tokens, self.positions = self._zeros(), self._zeros()
        self.tokens[:rows], self.positions[:rows] = tokens[:rows], positions[:rows]
        self.reached = [*self.reached[:rows], *[0] * (slots - rows)]

    def begin(self, first: int, tokens: torch.Tensor, positions: Sequence[int]) -> None:
        """Slots from `first` on: their first new tokens, and where these will stand."""
        stop = first + len(positions)
        self.tokens[first:stop] = tokens
        self.positions[first:stop] = torch.tensor(positions, device=self.halves.device)
        self.reached[first:stop] = positions

    def move(self, source: int, target: int) -> None:
        self.cache.move(source, target)
        self.tokens[target] = self.tokens[source]
        self.positions[target] = self.positions[source]
        self.reached[target] = self.reached[source]

    def step(self, ways: Sequence[Way]) -> torch.Tensor:
        """The next token of every running slot, shape (rows,)."""
        rows = self.rows
        width = -(-(max(self.reached[:rows]) + 1) // WIDTH_STEP) * WIDTH_STEP
        logits = self._logits(rows, width)
        chosen = choose(logits, ways)
        self.tokens[:rows] = chosen
        self.positions[:rows] += 1
        self.reached[:rows] = [position + 1 for position in self.reached[:rows]]
        return chosen

    def _logits(self, rows: int, width: int) -> torch.Tensor:
        if not self.records:
            return self._run(rows, width)
        # Slots beyond the running ones write where nobody looks.
        shape = min(-(-rows // ROWS_STEP) * ROWS_STEP, self.cache.slots), width
        if shape not in self.recorded:
            try:
                self.recorded[shape] = self._record(*shape)
            except RuntimeError as error:  # a kernel that cannot be recorded
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self.records = False
                return self._run(rows, width)
        graph, logits = self.recorded[shape]
        graph.replay()
        return logits[:rows]

    def _run(self, rows: int, width: int) -> torch.Tensor:
        positions = self.positions[:rows]
        self.cache.at(positions, width)
        hidden = self.halves.hidden(
            self.tokens[:rows, None],
            position_ids=positions[:, None],
            attention_mask=step_masks(self.halves, positions, width),
            past_key_values=self.cache,
        )
        return self.halves.logits(hidden[:, 0], 0, self.halves.vocabulary)

    def _record(self, rows: int, width: int) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        """The launches of one step as one: for a model of 32 layers launching takes longer than computing."""
        self._run(rows, width)  # what is made at a first call must not be made within a recording
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self._run(rows, width)
        return graph, logits
