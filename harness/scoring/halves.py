"""A causal language model in two halves: the decoder that runs tokens, and the head that reads them.

Apart, a long pass of the decoder needs no logits for positions that nobody reads, and the positions
that are read go through the head a few at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from transformers import DynamicCache
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions as Output

from harness.models.norms import one_kernel_norms

Projection = tuple[torch.Tensor, torch.Tensor | None]
Masks = torch.Tensor | dict[str, torch.Tensor]


class Halves:
    """The halves of a model as it is now: an adapter that is attached to it runs in both."""

    def __init__(self, model: Any) -> None:
        self.whole = model.get_base_model() if isinstance(model, PeftModel) else model
        self.decoder = self.whole.get_decoder()
        self.config = self.whole.config.get_text_config()
        self.device: torch.device = self.whole.device
        self.head = self.whole.get_output_embeddings()
        self.head_is_plain = type(self.head) is torch.nn.Linear
        self.vocabulary: int = self.config.vocab_size if not self.head_is_plain else self.head.out_features
        if self.decoder is self.whole:
            raise TypeError(f"{type(self.whole).__name__} has no decoder apart from its head")

    def fused(self) -> AbstractContextManager[None]:
        """Within it the model takes fewer kernels: on a GPU, where each is a trip through the memory."""
        return one_kernel_norms(self.whole) if self.device.type == "cuda" else contextlib.nullcontext()

    def hidden(self, tokens: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Last hidden states, shape (rows, length, hidden)."""
        use_cache = inputs.get("past_key_values") is not None
        return self.decoder(input_ids=tokens, use_cache=use_cache, **inputs).last_hidden_state  # type: ignore[no-any-return]

    def projection(self) -> Projection:
        """The head's weight and bias as they are now; of a plain head only."""
        bias = self.head.bias
        return self.head.weight.data, None if bias is None else bias.data

    def logits(
        self, hidden: torch.Tensor, start: int, stop: int, projection: Projection | None = None
    ) -> torch.Tensor:
        """The model's own logits of hidden states (n, hidden), soft caps and scales included.

        Those of the vocabulary's entries start … stop - 1: (n, stop - start). Only a plain head can be cut,
        or be given another projection than its own.
        """
        rows = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
        with contextlib.ExitStack() as patches:
            output = Output(last_hidden_state=hidden[None])
            patches.enter_context(_answering(self.decoder, lambda *_, **__: output))
            if self.head_is_plain:
                patches.enter_context(
                    _answering(self.head, partial(_part_of, projection or self.projection(), start, stop))
                )
            return self.whole(input_ids=rows, use_cache=False).logits[0]  # type: ignore[no-any-return]

    def masks(self, make: Callable[[int | None, int], torch.Tensor]) -> Masks:
        """Masks as the model takes them: one, or one for each kind of layer.

        make: (sliding window or None, a layer of that kind) → the mask
        """
        window = getattr(self.config, "sliding_window", None)
        types: Sequence[str] = getattr(self.config, "layer_types", None) or ()
        if not types:
            return make(window, 0)
        windows = {"full_attention": None, "sliding_attention": window}
        # An unknown kind of attention gets no mask, and the model fails where it looks for it.
        return {kind: make(windows[kind], types.index(kind)) for kind in set(types) if kind in windows}


def _part_of(projection: Projection, start: int, stop: int, hidden: torch.Tensor) -> torch.Tensor:
    weight, bias = projection
    return torch.nn.functional.linear(hidden, weight[start:stop], None if bias is None else bias[start:stop])


@contextlib.contextmanager
def _answering(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Within it the module answers so: where the decoder does, a call of the model is one of its head."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


class StemCache(Cache):  # type: ignore[misc]
    """Keys and values of a stem, seen by every row of a batch; what the rows add is forgotten.

    Layers with a sliding window hold its last window - 1 positions only, as in the model's own cache.
    """

    def __init__(self, filled: DynamicCache, length: int) -> None:
        super().__init__(layers=[])
        self.stem = [(layer.keys, layer.values) for layer in filled.layers]
        self.length = length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self.stem[layer_idx]
        rows = len(key_states)
        return (
            torch.cat([keys.expand(rows, -1, -1, -1), key_states], dim=-2),
            torch.cat([values.expand(rows, -1, -1, -1), value_states], dim=-2),
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length


def tree_masks(halves: Halves, depths: torch.Tensor, ends: torch.Tensor, stem: StemCache | None) -> Masks:
    """Additive masks of rows of trees, one for each kind of layer where there are several.

    depths, ends: shape (rows, N). Each mask: (rows, 1, N, stem + N).
    """
    dtype = halves.whole.dtype
    return halves.masks(lambda window, layer: _mask(depths, ends, window, _held(stem, layer), dtype))


def _held(stem: StemCache | None, layer: int) -> tuple[int, int]:
    """How many positions of the stem a layer holds, and how long the stem is."""
    # Trap: a cache without layers of its own is false.
    return (0, 0) if stem is None else (int(stem.stem[layer][0].shape[-2]), stem.length)


def _mask(
    depths: torch.Tensor,
    ends: torch.Tensor,
    window: int | None,
    stem: tuple[int, int],
    dtype: torch.dtype,
) -> torch.Tensor:
    rows, size = depths.shape
    at = torch.arange(size, device=depths.device)
    visible = (at[:, None] >= at[None, :])[None] & (at[None, :, None] < ends[:, None, :])
    held, length = stem
    visible = torch.cat([visible.new_ones(rows, size, held), visible], dim=-1)
    before = torch.arange(length - held, length, device=depths.device)
    keys = torch.cat([before.expand(rows, -1), depths], dim=-1)
    if window:
        visible &= depths[:, :, None] - keys[:, None, :] < window
    return additive(visible, dtype)[:, None]


def additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What attention adds to its logits: 0 where a key is visible, else the least number there is."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)
