"""The loss at the trained positions, without ever holding all their logits.

TRL does so on a GPU, in Triton, and that kernel is used here. On a CPU TRL projects every position,
prompt and padding too: with a vocabulary of 262,144 that is nearly all of the time. And it has no
divergence from the base.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from peft import PeftModel
from trl.kernels import ChunkedLogProbFunction

from harness.training.rendering import IGNORED

# Float32 logits that are held at once: 128 MiB.
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
        logits: torch.Tensor = self.project(hidden).float()
        if self.scale != 1:
            logits = logits * self.scale
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


@dataclass(frozen=True)
class Sums:
    """Over the trained tokens: what is minimised, and its two parts. Only `objective` has gradients.

    loss:       Σ -log p(token)
    divergence: Σ KL(base ‖ tuned); 0 without a reference
    """

    objective: torch.Tensor
    loss: torch.Tensor
    divergence: torch.Tensor


def summed_losses(
    model: Any, inputs: dict[str, torch.Tensor], reference: Reference | None, weight: float
) -> Sums:
    """The loss, and `weight` times the divergence from the reference where there is one."""
    targets = inputs["labels"][:, 1:]
    trained = targets != IGNORED
    targets = targets[trained]
    causal = causal_model(model)
    hidden = hidden_states(causal, inputs)[:, :-1][trained]
    head = head_of(causal)
    if reference is None and hidden.is_cuda and type(head.project) is torch.nn.Linear:
        loss = _by_kernel(hidden, targets, head)
        return Sums(loss, loss.detach(), loss.new_zeros(()))
    held = max(1, LOGITS_HELD // causal.config.get_text_config().vocab_size)
    base_hidden = None if reference is None else _base_hidden(reference, inputs, trained)
    pieces = _Pieces(head, reference, weight, held, targets, base_hidden)
    learning = [each for each in head.project.parameters() if each.requires_grad]
    sums = _SummedInPieces.apply(pieces, hidden, *learning)  # type: ignore[no-untyped-call]
    return Sums(*sums)


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
class _Pieces:
    """Positions, `held` at a time: their hidden states, what follows them, and the base's hidden states."""

    head: Head
    reference: Reference | None
    weight: float
    held: int
    targets: torch.Tensor
    base_hidden: torch.Tensor | None

    def places(self) -> list[slice]:
        return [slice(at, at + self.held) for at in range(0, len(self.targets), self.held)]

    def sums(self, hidden: torch.Tensor, place: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Objective, loss and divergence of the positions at `place`."""
        tuned = F.log_softmax(self.head.logits(hidden), dim=-1)
        loss = F.nll_loss(tuned, self.targets[place], reduction="sum")
        if self.reference is None or self.base_hidden is None:
            return loss, loss, loss.new_zeros(())
        with torch.no_grad(), self.reference() as base:
            unchanged = F.log_softmax(head_of(base).logits(self.base_hidden[place]), dim=-1)
        # F.kl_div(input, target) is KL(target ‖ input): the tuned model's logarithms stand first.
        divergence = F.kl_div(tuned, unchanged, reduction="sum", log_target=True)
        return loss + self.weight * divergence, loss, divergence


class _SummedInPieces(torch.autograd.Function):
    """The sums over all positions, and on the way their gradients: no logits are kept or made twice."""

    @staticmethod
    def forward(
        ctx: Any, pieces: _Pieces, hidden: torch.Tensor, *learning: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        wanted = any(ctx.needs_input_grad)
        sums = hidden.new_zeros(3, dtype=torch.float32)
        gradient = torch.zeros_like(hidden)
        of_head = [torch.zeros_like(each, dtype=torch.float32) for each in learning] if wanted else []
        for place in pieces.places():
            with torch.set_grad_enabled(wanted):
                part = hidden[place].detach().requires_grad_(wanted)
                found = pieces.sums(part, place)
                if wanted:
                    gradient[place], *more = torch.autograd.grad(found[0], [part, *learning])
                    for total, each in zip(of_head, more, strict=True):
                        total += each
            sums += torch.stack(found).detach()
        ctx.save_for_backward(gradient, *of_head)
        objective, loss, divergence = sums.unbind()
        ctx.mark_non_differentiable(loss, divergence)
        return objective.clone(), loss, divergence

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        gradients = ctx.saved_tensors
        return None, *((upstream * each).to(each.dtype) for each in gradients)
