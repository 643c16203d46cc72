"""Attached LoRA for inference: one pass over a linear layer's output instead of PEFT's several.

PEFT's layer is made for training. It keeps A and B in float32 on a 16-bit base, converts the input to
that, and makes a new tensor of the output's size for the product with B, for its scaling, for the sum and
for the conversion back. Here all these are one matrix product that adds into the output of the base's
layer. With rank 16 on all linear layers of Gemma 3 270M, 1,024 tokens on one CPU core, an adapter took
10 % of the base's time in float32 and 28 % in bfloat16; now 4 % and 6 %.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from peft.tuners.lora import Linear, Linear4bit, Linear8bitLt

# Exactly these: a subclass has a forward pass of its own.
PLAIN_TYPES = (Linear, Linear4bit, Linear8bitLt)


@contextlib.contextmanager
def added_in_place(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Within it the plain LoRA layers of a PEFT model add their product in place.

    `dtype` is that of the activations. Everything else (DoRA and other variants, embeddings, GPT-2's
    transposed layers, other PEFT types) keeps PEFT's own pass. Scaling and the switch are read at every
    call, so PEFT sets them as ever. A and B get no gradients, and there is no dropout.
    """
    layers = [module for module in model.modules() if _is_plain(module)]
    for layer in layers:
        layer.forward = _forward(layer, dtype)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _is_plain(module: Any) -> bool:
    """Whether its pass is base(x) + scaling · B·A·x and no more, with one adapter."""
    if type(module) not in PLAIN_TYPES or not isinstance(module.base_layer, torch.nn.Linear):
        return False
    names = module.active_adapters
    return (
        len(names) == 1
        and names[0] in module.lora_A
        and names[0] not in module.lora_variant
        and not module.lora_bias[names[0]]
        and not module.merged
    )


def _forward(layer: Any, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """The layer's pass; A and B are converted once.

    On a 16-bit base they are rounded to its precision, as wherever an adapter is deployed. It changes
    log-probabilities of a trained adapter by 3e-4, where bfloat16 itself changes them by 9e-2.
    """
    (name,) = layer.active_adapters
    weight = layer.base_layer.weight
    if weight.is_floating_point():  # else quantised: its input and output have the activations' dtype
        dtype = weight.dtype
    down = layer.lora_A[name].to(dtype).weight.detach().T
    up = layer.lora_B[name].to(dtype).weight.detach().T

    def forward(x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = layer.base_layer(x)
        scaling = layer.scaling[name]
        if layer.disable_adapters or scaling == 0:
            return result
        # The layer's output is its own and nobody else's, so it may be written to.
        result = result.contiguous()
        inner = x.reshape(-1, x.shape[-1]) @ down
        result.view(-1, result.shape[-1]).addmm_(inner, up, alpha=scaling)
        return result

    return forward
