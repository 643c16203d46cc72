"""Small passes before a training, because two things cannot be read off a model: whether its head is
the one that the loss assumes, and whether packed rows see each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from harness.errors import RunFailed, UsageError
from harness.training.loss import causal_model, hidden_states, summed_losses
from harness.training.rendering import TokenRow

TOKENS = 16
# bfloat16 carries 8 bits, and the two ways to the loss round at different places.
LOSS_TOLERANCE = 0.02
# What a neighbour may change, against what a token of the row itself changes: rounding, no more.
LEAK_TOLERANCE = 0.05

Autocast = Callable[[], AbstractContextManager[Any]]


@torch.no_grad()
def prove_loss(model: Any, row: TokenRow, autocast: Autocast) -> None:
    """Raises RunFailed where the loss on a row's beginning is not that of the model's own logits."""
    ids = _tensor(model, row.input_ids[:TOKENS])[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    model.eval()
    with autocast():
        ours = summed_losses(model, {**inputs, "labels": ids}, None, 0.0).loss
        logits = model(**inputs, use_cache=False).logits[0, :-1].float()
    expected = F.cross_entropy(logits, ids[0, 1:], reduction="sum")
    if abs(float(ours - expected)) > LOSS_TOLERANCE * max(1.0, abs(float(expected))):
        raise RunFailed(
            f"{type(causal_model(model)).__name__} makes its logits in a way of its own: a row's loss is "
            f"{float(expected):.4g} by its logits and {float(ours):.4g} by its head; no training"
        )


@torch.no_grad()
def prove_packing(model: Any, rows: Sequence[TokenRow], table: str, autocast: Autocast) -> None:
    """Raises UsageError where a row in a packed sequence is not what it is alone."""
    first, second = (_tensor(model, row.input_ids[:TOKENS]) for row in rows[:2])
    vocabulary = model.config.get_text_config().vocab_size
    causal = causal_model(model).eval()

    def alone(ids: torch.Tensor) -> torch.Tensor:
        return hidden_states(causal, {"input_ids": ids[None]})[0].float()

    def packed(before: torch.Tensor) -> torch.Tensor:
        """Twice, because some attention kernels know packed rows in a batch of one only."""
        places = [torch.arange(len(each), device=each.device) for each in (before, second)]
        ids, positions = torch.cat([before, second]), torch.cat(places)
        inputs = {"input_ids": torch.stack([ids, ids]), "position_ids": torch.stack([positions, positions])}
        return hidden_states(causal, inputs)[1, len(before) :].float()

    with autocast():
        try:
            together = packed(first)
            leaked = max(
                _distance(together, alone(second)),
                _distance(together, packed((first + 1) % vocabulary)),
            )
        except TypeError:
            leaked = float("inf")  # it takes no positions
        changed = torch.cat([(second[:1] + 1) % vocabulary, second[1:]])
        seen = _distance(alone(second), alone(changed))
    if leaked > LEAK_TOLERANCE * seen:
        raise UsageError(
            f"{table}: packing = true, but {type(causal).__name__} does not keep rows that share a sequence "
            "apart, so each would be trained on its neighbours: set packing = false"
        )


def _tensor(model: Any, ids: Sequence[int]) -> torch.Tensor:
    return torch.tensor(ids, device=model.device)


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())
