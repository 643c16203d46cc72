"""A causal language model in two halves: the decoder that runs tokens, and the head that reads them.

Apart, a long pass of the decoder needs no logits for positions that nobody reads, and the positions
that are read go through the head a few at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import DynamicCache
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast

Masks = torch.Tensor | dict[str, torch.Tensor]


class Halves:
    """The halves of a model as it is now: an adapter that is attached to it runs in both."""

    def __init__(self, model: Any) -> None:
        self.whole = model.get_base_model() if isinstance(model, PeftModel) else model
        self.decoder = self.whole.get_decoder()
        self.config = self.whole.config.get_text_config()
        self.device: torch.device = self.whole.device
        if self.decoder is self.whole:
            raise TypeError(f"{type(self.whole).__name__} has no decoder apart from its head")

    def hidden(self, tokens: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Last hidden states, shape (rows, length, hidden)."""
        use_cache = inputs.get("past_key_values") is not None
        return self.decoder(input_ids=tokens, use_cache=use_cache, **inputs).last_hidden_state  # type: ignore[no-any-return]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The model's own logits of hidden states (n, hidden), soft caps and scales included: (n, vocabulary)."""
        rows = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
        with _answering(self.decoder, hidden[None]):
            return self.whole(input_ids=rows, use_cache=False).logits[0]  # type: ignore[no-any-return]

    def kinds(self) -> frozenset[str]:
        """Kinds of layers that want a mask of their own; empty where all take the same."""
        return frozenset(getattr(self.config, "layer_types", None) or ())


@contextlib.contextmanager
def _answering(decoder: Any, hidden: torch.Tensor) -> Iterator[None]:
    """Within it the decoder answers with `hidden`, so that a call of the whole model is a call of its head."""
    before = vars(decoder).get("forward")
    decoder.forward = lambda *_, **__: BaseModelOutputWithPast(last_hidden_state=hidden)
    try:
        yield
    finally:
        if before is None:
            del decoder.forward
        else:
            decoder.forward = before


class StemCache(Cache):
    """Keys and values of a stem, seen by every row of a batch; what the rows add is forgotten.

    Layers with a sliding window hold its last window - 1 positions only, as in the model's own cache.
    """

    def __init__(self, filled: DynamicCache, length: int) -> None:
        super().__init__(layers=[])
        self.stem = [(layer.keys, layer.values) for layer in filled.layers]
        self.length = length

    def held(self, layer: int) -> int:
        return int(self.stem[layer][0].shape[-2])

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


def tree_masks(
    halves: Halves, depths: torch.Tensor, ends: torch.Tensor, stem: StemCache | None
) -> Masks:
    """Additive masks of rows of trees, one for each kind of layer where there are several.

    depths, ends: shape (rows, N). Each mask: (rows, 1, N, stem + N).
    """
    window = getattr(halves.config, "sliding_window", None)
    dtype = halves.whole.dtype
    kinds = halves.kinds()
    if kinds:
        windows = {"full_attention": None, "sliding_attention": window}
        types: Sequence[str] = halves.config.layer_types
        # An unknown kind of attention gets no mask, and the model fails where it looks for it.
        return {
            kind: _mask(depths, ends, windows[kind], stem and (stem.held(types.index(kind)), stem.length), dtype)
            for kind in kinds
            if kind in windows
        }
    return _mask(depths, ends, window, stem and (stem.held(0), stem.length), dtype)


def _mask(
    depths: torch.Tensor,
    ends: torch.Tensor,
    window: int | None,
    stem: tuple[int, int] | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    rows, size = depths.shape
    at = torch.arange(size, device=depths.device)
    visible = (at[:, None] >= at[None, :])[None] & (at[None, :, None] < ends[:, None, :])
    keys = depths
    if stem is not None:
        held, length = stem
        visible = torch.cat([visible.new_ones(rows, size, held), visible], dim=-1)
        before = torch.arange(length - held, length, device=depths.device)
        keys = torch.cat([before.expand(rows, -1), depths], dim=-1)
    if window:
        visible &= depths[:, :, None] - keys[:, None, :] < window
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]
