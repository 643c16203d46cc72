"""What the head says at the positions that are read, a slice of the vocabulary at a time.

The divergence is KL(base ‖ tuned) over the full vocabulary (Kalajdzievski 2024, arXiv:2401.05605; RL's
Razor, arXiv:2509.04259; statistics.md 3.6): both models read the same text, and both heads are read here.

The logits of a slice are still in the processor's cache when they are summed up, and no tensor as
wide as the vocabulary is ever held: for Gemma's 262,144 entries that is most of a plain pass's time
and memory. Sums are those of log_softmax in float32, as lm-eval takes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from harness.scoring.halves import Halves, Projection
from harness.scoring.tree import IntArray

# Entries of the vocabulary at a time: on a CPU the logits of a slice should stay in its cache.
SLICE_OF_DEVICE = {"cpu": 4096, "cuda": 1 << 16}


@dataclass(frozen=True)
class Positions:
    """Where hidden states are read, in the order of `kept`.

    kept:            distinct positions (rows flattened): sequences share some, as all one-token labels of
                     an item are read at the same one
    row_of, targets: for each target its place in `kept` and its token
    order:           brings the scores back into the order that was asked for
    """

    kept: IntArray
    row_of: IntArray
    targets: IntArray
    order: IntArray


def positions_of(positions: IntArray, targets: IntArray) -> Positions:
    kept, row_of = np.unique(positions, return_inverse=True)
    order = np.argsort(row_of, kind="stable")
    return Positions(kept, row_of[order], targets[order], np.argsort(order, kind="stable"))


class Softmax:
    """Σ exp over slices of the vocabulary that come one after the other, and the first largest logit.

    largest, total, best: shape (n,): max, Σ exp(logit - max), and the index of the max
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.largest = torch.full((rows,), -torch.inf, device=device)
        self.total = torch.zeros(rows, device=device)
        self.best = torch.zeros(rows, dtype=torch.long, device=device)

    def add(self, logits: torch.Tensor, start: int) -> torch.Tensor:
        """Logits (n, width) in float32 of the entries from `start`. Returns exp(logit - max so far)."""
        largest = logits.amax(-1)
        risen = largest > self.largest
        if risen.device.type == "cpu":  # argmax is slow there, and few rows have a new largest
            risen_rows = risen.nonzero()[:, 0]
            self.best[risen_rows] = logits[risen_rows].argmax(-1) + start
        else:
            self.best = torch.where(risen, logits.argmax(-1) + start, self.best)
        now = torch.maximum(largest, self.largest)
        powers = (logits - now[:, None]).exp_()
        self.total = self.total * (self.largest - now).exp() + powers.sum(-1)
        self.largest = now
        return powers

    def log_total(self) -> torch.Tensor:
        return self.largest + self.total.log()


def slice_of(device: str) -> int:
    """Entries of the vocabulary that are read at a time there."""
    return SLICE_OF_DEVICE.get(device, SLICE_OF_DEVICE["cpu"])


def slices(halves: Halves) -> list[tuple[int, int]]:
    """Where the vocabulary is cut; one slice where the head is none that can be cut."""
    width = halves.vocabulary
    if not halves.head_is_plain:
        return [(0, width)]
    step = slice_of(halves.device.type)
    return [(start, min(start + step, width)) for start in range(0, width, step)]


@dataclass(frozen=True)
class Base:
    """The base of a tuned model at the same positions: its hidden states, and its head's weight and bias."""

    hidden: torch.Tensor
    projection: Projection


def read_at(
    halves: Halves, hidden: torch.Tensor, where: Positions, at_a_time: int, base: Base | None = None
) -> torch.Tensor:
    """Of each target: log-probability, whether it is the argmax, and KL from the base (0 without one).

    hidden: (positions, hidden size). at_a_time: positions read together. Float32 on the device: (3, targets).
    """
    kept, row_of, targets, order = (
        to_device(array, halves.device) for array in (where.kept, where.row_of, where.targets, where.order)
    )
    parts = []
    for start in range(0, len(where.kept), at_a_time):
        stop = min(start + at_a_time, len(where.kept))
        low, high = np.searchsorted(where.row_of, [start, stop]).tolist()
        rows, some = row_of[low:high] - start, targets[low:high]
        here = hidden[kept[start:stop]]
        if base is None:
            parts.append(_read(halves, here, rows, some))
        else:
            there = Base(base.hidden[kept[start:stop]], base.projection)
            parts.append(_read_both(halves, here, there, rows, some))
    return torch.cat(parts, dim=1)[:, order] if parts else torch.empty(3, 0, device=halves.device)


def _read(halves: Halves, hidden: torch.Tensor, row_of: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    softmax = Softmax(len(hidden), hidden.device)
    chosen = torch.zeros(len(targets), device=hidden.device)
    for start, stop in slices(halves):
        logits = halves.logits(hidden, start, stop).float()
        chosen = _pick(chosen, logits, row_of, targets, start)
        softmax.add(logits, start)
    return _scores(softmax, chosen, row_of, targets, torch.zeros_like(softmax.total))


def _read_both(
    halves: Halves, hidden: torch.Tensor, base: Base, row_of: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """KL(p ‖ q) of base p and tuned q is E_p[log p̃ - log q̃] - log Z_p + log Z_q for logits log p̃, log q̃."""
    q, p = (Softmax(len(hidden), hidden.device) for _ in range(2))
    chosen = torch.zeros(len(targets), device=hidden.device)
    distance = torch.zeros(len(hidden), dtype=torch.float64, device=hidden.device)
    for start, stop in slices(halves):
        tuned = halves.logits(hidden, start, stop).float()
        of_base = halves.logits(base.hidden, start, stop, base.projection).float()
        chosen = _pick(chosen, tuned, row_of, targets, start)
        q.add(tuned, start)
        before = p.largest
        powers = p.add(of_base, start)
        distance = distance * (before - p.largest).exp() + (powers * (of_base - tuned)).sum(-1)
    nats = distance / p.total - p.log_total().double() + q.log_total().double()
    return _scores(q, chosen, row_of, targets, nats.float())


def _pick(
    chosen: torch.Tensor, logits: torch.Tensor, row_of: torch.Tensor, targets: torch.Tensor, start: int
) -> torch.Tensor:
    """The logits of those targets that stand in this slice, in the places of the others what was there."""
    width = logits.shape[1]
    here = (targets >= start) & (targets < start + width)
    return torch.where(here, logits[row_of, (targets - start).clamp(0, width - 1)], chosen)


def _scores(
    softmax: Softmax, chosen: torch.Tensor, row_of: torch.Tensor, targets: torch.Tensor, nats: torch.Tensor
) -> torch.Tensor:
    # In this order log_softmax subtracts too; largest + log total would lose digits first.
    scores = chosen - softmax.largest[row_of] - softmax.total.log()[row_of]
    return torch.stack([scores, (softmax.best[row_of] == targets).float(), nats[row_of]])


def to_device(array: IntArray, device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    # From pinned memory a copy does not wait for the passes before it.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
