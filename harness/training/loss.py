"""The loss at the trained positions, without ever holding all their logits.

TRL does so on a GPU, in Triton, and that kernel is used here. On a CPU TRL projects every position,
prompt and padding too: with a vocabulary of 262,144 that is nearly all of the time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from peft import PeftModel
from torch.utils.checkpoint import checkpoint
from trl.kernels import ChunkedLogProbFunction

from harness.training.rendering import IGNORED

# Float32 logits that are held at once (128 MiB); more are recomputed in the backward pass.
LOGITS_HELD = 1 << 25
VOCABULARY_TILE = 32_768  # of TRL's kernel, as its own trainer sets it

# A model that stands for the base while another is trained: itself with the adapter off, or a copy.
Reference = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Head:
    """The projection to the vocabulary, with the scale and the cap that some models put on their logits."""

    project: Any
    scale: float
    cap: float | None

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Float32, shape (positions, vocabulary)."""
        logits: torch.Tensor = self.project(hidden).float() * self.scale
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits


def head_of(model: Any) -> Head:
    """The head of a causal model. The scale has another name in each family, as in TRL's fused head."""
    config = model.config.get_text_config()
    named = ("logit_scale", "output_multiplier", "lm_head_multiplier")
    scale = next((value for name in named if (value := getattr(config, name, None)) is not None), 1.0)
    division = getattr(config, "logits_scaling", None)
    if division is not None:
        scale = division if config.model_type == "hyperclovax" else 1 / division
    return Head(model.get_output_embeddings(), scale, getattr(config, "final_logit_softcapping", None))


def causal_model(model: Any) -> Any:
    """The transformers model under a PEFT wrapper, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def hidden_states(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the head would project, shape (rows, tokens, width)."""
    given = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    hidden: torch.Tensor = model.base_model(**given, use_cache=False).last_hidden_state
    return hidden


def summed_losses(
    model: Any, inputs: dict[str, torch.Tensor], reference: Reference | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Σ -log p(token) and Σ KL(base ‖ tuned) over the trained tokens; the second is 0 without a reference."""
    targets = inputs["labels"][:, 1:]
    trained = targets != IGNORED
    causal = causal_model(model)
    hidden = hidden_states(causal, inputs)[:, :-1][trained]
    head = head_of(causal)
    vocabulary = causal.config.get_text_config().vocab_size
    if reference is not None:
        base_hidden = _base_hidden(reference, inputs, trained)
        return _in_pieces(_Divergence(head, reference), (hidden, targets[trained], base_hidden), vocabulary)
    if hidden.is_cuda and type(head.project) is torch.nn.Linear:
        return _by_kernel(hidden, targets[trained], head), hidden.new_zeros(())
    return _in_pieces(_Likelihood(head), (hidden, targets[trained]), vocabulary)


@torch.no_grad()
def _base_hidden(
    reference: Reference, inputs: dict[str, torch.Tensor], trained: torch.Tensor
) -> torch.Tensor:
    with reference() as base:
        training = base.training
        base.eval()  # a dropout of the base's own would be noise in the divergence
        hidden = hidden_states(base, inputs)[:, :-1][trained]
        base.train(training)
    return hidden


def _by_kernel(hidden: torch.Tensor, targets: torch.Tensor, head: Head) -> torch.Tensor:
    linear = head.project
    settings = (1.0, VOCABULARY_TILE, head.cap, head.scale, ())
    log_probabilities = ChunkedLogProbFunction.apply(hidden, linear.weight, linear.bias, targets, *settings)
    loss: torch.Tensor = -log_probabilities[0].sum()
    return loss


@dataclass(frozen=True)
class _Likelihood:
    head: Head

    def __call__(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(self.head.logits(hidden), targets, reduction="sum")
        return torch.stack([loss, loss.new_zeros(())])


@dataclass(frozen=True)
class _Divergence:
    head: Head
    reference: Reference

    def __call__(
        self, hidden: torch.Tensor, targets: torch.Tensor, base_hidden: torch.Tensor
    ) -> torch.Tensor:
        tuned = F.log_softmax(self.head.logits(hidden), dim=-1)
        with torch.no_grad(), self.reference() as base:
            unchanged = F.log_softmax(head_of(base).logits(base_hidden), dim=-1)
        loss = F.nll_loss(tuned, targets, reduction="sum")
        # F.kl_div(input, target) is KL(target ‖ input): the tuned model's logarithms stand first.
        return torch.stack([loss, F.kl_div(tuned, unchanged, reduction="sum", log_target=True)])


def _in_pieces(
    piece: Callable[..., torch.Tensor], tensors: tuple[torch.Tensor, ...], vocabulary: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sums over all positions, some at a time; recomputed in the backward pass when there are several."""
    held = max(1, LOGITS_HELD // vocabulary)
    if len(tensors[0]) <= held:
        sums = piece(*tensors)
    else:
        parts = zip(*(torch.split(tensor, held) for tensor in tensors), strict=True)
        sums = torch.stack([checkpoint(piece, *part, use_reentrant=False) for part in parts]).sum(dim=0)
    return sums[0], sums[1]
