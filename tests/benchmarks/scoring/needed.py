"""The operations that a task needs at least, and how many the device does in a second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from tests.benchmarks.scoring.requests import Asked

# Context and continuation of one pass, in tokens.
Tokens = tuple[list[int], list[int]]
SIDE_OF_DEVICE = {"cpu": 2048, "cuda": 8192}
PRODUCTS = 10


@dataclass(frozen=True)
class Needed:
    """Every distinct prefix of tokens read once, the output head where a token is scored and nowhere else.

    nodes:      distinct prefixes
    scored:     those after which some token is scored
    plain:      tokens that are read when every request is read by itself
    operations: floating-point operations of all that
    """

    nodes: int
    scored: int
    plain: int
    operations: float

    def times(self, count: int) -> Needed:
        return Needed(count * self.nodes, count * self.scored, count * self.plain, count * self.operations)


def token_requests(lm: Any, asked: Asked, answers: Sequence[Any]) -> list[list[Tokens]]:
    """What each request reads, as lm-eval's HFLM encodes it; a rolling one reads several windows.

    A generated answer is read like a continuation: a pass for each of its tokens.
    """
    kind = asked.kind
    if kind == "loglikelihood":
        return [[lm._encode_pair(*instance.args)] for instance in asked.instances]
    if kind == "loglikelihood_rolling":
        return [_windows(lm, instance.args[0]) for instance in asked.instances]
    return [
        [(lm.tok_encode(instance.args[0]), lm.tok_encode(answer, add_special_tokens=False))]
        for instance, answer in zip(asked.instances, answers, strict=True)
    ]


def _windows(lm: Any, text: str) -> list[Tokens]:
    windows = get_rolling_token_windows(lm.tok_encode(text), lm.prefix_token_id, lm.max_length, 1)
    return [make_disjoint_window(window) for window in windows]


def needed(requests: Iterable[Tokens], model: Any, max_length: int) -> Needed:
    read = []
    for context, continuation in requests:
        whole = (context + continuation)[-(max_length + 1) :]
        if continuation:
            read.append((whole[:-1], max(0, len(whole) - 1 - len(continuation))))
    at_depth = np.zeros(max_length, dtype=np.int64)  # how many distinct prefixes are so long
    scored: set[int] = set()
    nodes = 0
    before = path = np.zeros(0, dtype=np.int64)
    for tokens, first in sorted(read):
        here = np.asarray(tokens)
        shared = _shared(before, here)
        fresh = len(here) - shared
        path = np.concatenate([path[:shared], np.arange(nodes, nodes + fresh)])
        nodes += fresh
        at_depth[shared : len(here)] += 1
        scored.update(path[first:].tolist())
        before = here
    return Needed(
        nodes,
        len(scored),
        sum(len(tokens) for tokens, _ in read),
        2.0 * _body(model) * nodes + _head(model) * len(scored) + _attention(model, at_depth),
    )


def _shared(one: np.ndarray, other: np.ndarray) -> int:
    """The length of the common prefix."""
    size = min(len(one), len(other))
    different = np.nonzero(one[:size] != other[:size])[0]
    return int(different[0]) if len(different) else size


def _body(model: Any) -> int:
    """Weights that every token passes through: all but the embedding and the output head."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    outside = {id(weight) for end in ends if end is not None for weight in end.parameters()}
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in outside)


def _head(model: Any) -> float:
    config = model.config.get_text_config()
    return float(2 * config.hidden_size * config.vocab_size)


def _attention(model: Any, at_depth: np.ndarray) -> float:
    """4 · heads · head size for each position that a token sees, in each layer: its products QK and PV."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    window = getattr(config, "sliding_window", None) or len(at_depth)
    every = "sliding_attention" if hasattr(config, "sliding_window") else "full_attention"
    kinds = getattr(config, "layer_types", None) or [every] * config.num_hidden_layers
    seen = np.arange(1, len(at_depth) + 1)
    reach = {
        "full_attention": float(at_depth @ seen),
        "sliding_attention": float(at_depth @ np.minimum(seen, window)),
    }
    return float(4 * heads * size) * sum(reach.get(kind, 0.0) for kind in kinds)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large square matrix product of random numbers: the median of several."""
    side = SIDE_OF_DEVICE[device.type]
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(3 + PRODUCTS):
        synchronize(device)
        started = time.perf_counter()
        torch.matmul(one, other)
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 2.0 * side**3 / statistics.median(seconds[3:])


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
