"""The next token of each row: the most probable one, or one drawn as the task asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

# What a task may ask of the generation here. Anything else is left to `model.generate`.
KNOWN = frozenset({"do_sample", "temperature", "top_k", "top_p", "min_p"})
# Settings of a model's own generation_config that change even a greedy text.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (None, 1),
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None,),
    "sequence_bias": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "guidance_scale": (None, 1.0),
    "exponential_decay_length_penalty": (None,),
    "penalty_alpha": (None, 0.0),
    "watermarking_config": (None,),
}


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn; None: not restricted that way."""

    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None


def is_plain(config: GenerationConfig) -> bool:
    """Whether a greedy text is the argmax of the logits at every step."""
    return all(getattr(config, name, None) in allowed for name, allowed in _PLAIN.items())


def sampling_of(options: Mapping[str, Any], config: GenerationConfig) -> Sampling | None:
    """What `model.generate` would make of a task's options: its own generation_config fills the gaps."""
    if not options.get("do_sample"):
        return None

    def value(name: str) -> Any:
        return options.get(name, getattr(config, name, None))

    temperature = value("temperature")
    return Sampling(
        1.0 if temperature is None else float(temperature), value("top_k"), value("top_p"), value("min_p")
    )


def choose(
    logits: torch.Tensor, ways: Sequence[tuple[Sampling | None, torch.Generator | None]]
) -> torch.Tensor:
    """The next token of each row, shape (rows,). logits: (rows, vocabulary)."""
    chosen = logits.argmax(-1)
    for row, (sampling, generator) in enumerate(ways):
        if sampling is not None:
            scores = _warped(logits[row : row + 1].float(), sampling)
            chosen[row] = torch.multinomial(scores.softmax(-1), 1, generator=generator)[0, 0]
    return chosen


def _warped(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """In the order in which transformers applies them."""
    nothing = torch.empty(1, 0, dtype=torch.long, device=scores.device)
    warpers: list[Any] = []
    if sampling.temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(top_k=sampling.top_k))
    if sampling.top_p is not None and sampling.top_p < 1.0:
        warpers.append(TopPLogitsWarper(top_p=sampling.top_p))
    if sampling.min_p is not None:
        warpers.append(MinPLogitsWarper(min_p=sampling.min_p))
    for warper in warpers:
        scores = warper(nothing, scores)
    return scores
