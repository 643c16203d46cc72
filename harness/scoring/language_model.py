"""The scoring engine behind lm-eval's `LM` interface.

Everything but the forward pass is lm-eval's own HFLM: tokenisation of context and continuation,
truncation, rolling windows, generation. Only `_loglikelihood_tokens` is ours: it runs a prefix
tree per batch and computes logits only where they are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM

from harness.models.quiet import quiet_lm_eval
from harness.scoring.tree import Pack, Scored, packs

TokenRequest = tuple[Any, list[int], list[int]]

# Nodes in one forward pass: attention over a pack is quadratic, so a CPU wants it short.
NODES_OF_DEVICE = {"cpu": 1024, "cuda": 8192}
# Scored positions in one forward pass: each costs a row of vocabulary-sized logits.
SCORED_OF_DEVICE = {"cpu": 256, "cuda": 1024}
LOGIT_ROWS = 128
BATCH_SIZE = 32
# The probe: mean nats a token by which the tree may miss the plain path, or this many times the
# plain path's own noise. A wrong mask misses by several nats; bf16 noise on a CPU is 0.03 to 0.07.
PROBE_TOLERANCE = {torch.float32: 1e-4}
PROBE_TOLERANCE_16_BIT = 0.05
PROBE_NOISE = 3.0


class TreeLM(HFLM):  # type: ignore[misc]
    """lm-eval's HFLM with prefix-tree scoring.

    `engine` says which path produced the numbers: "tree", or "hflm" where the model's attention
    cannot take a tree mask. Left out, it is found out on a probe batch; adapters of one base are
    given the base's, so that both sides of a pair are scored the same way. `tokens` counts what was
    read and written so far, as a plain pass over every request would read it.
    """

    def __init__(self, model: Any, tokenizer: Any, engine: str | None = None) -> None:
        self.tokens = 0
        with quiet_lm_eval():  # it warns about every pre-loaded model
            super().__init__(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=BATCH_SIZE)
        self.engine = engine or ("tree" if self._tree_equals_plain() else "hflm")

    def _loglikelihood_tokens(
        self,
        requests: list[TokenRequest],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        self.tokens += sum(len(context) + len(continuation) for _, context, continuation in requests)
        if self.engine != "tree":
            return super()._loglikelihood_tokens(  # type: ignore[no-any-return]
                requests, disable_tqdm=True, override_bs=override_bs
            )
        return self._score(requests)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        texts = [request.args[0] + answer for request, answer in zip(requests, answers, strict=True)]
        self.tokens += sum(len(tokens) for tokens in self.tokenizer(texts).input_ids) if texts else 0
        return answers

    def _score(self, requests: Sequence[TokenRequest]) -> list[tuple[float, bool]]:
        sequences = [
            _sequence(index, context, continuation, self.max_length)
            for index, (_, context, continuation) in enumerate(requests)
        ]
        device = self.device.type
        results: list[tuple[float, bool] | None] = [None] * len(requests)
        limits = NODES_OF_DEVICE.get(device, 1024), SCORED_OF_DEVICE.get(device, 256)
        for pack in packs(sequences, *limits):
            for index, answer in self._run(pack):
                results[index] = answer
        return [answer for answer in results if answer is not None]

    @torch.inference_mode()
    def _run(self, pack: Pack) -> list[tuple[int, tuple[float, bool]]]:
        nodes = np.concatenate([nodes for _, nodes, _ in pack.sequences])
        targets = np.concatenate([targets for _, _, targets in pack.sequences])
        # Sequences share nodes (all one-token labels of an item are read at the same one).
        kept, row_of = np.unique(nodes, return_inverse=True)
        logits = self._forward(pack, torch.from_numpy(kept).to(self.device))
        scores, greedy = _read(
            logits, torch.from_numpy(row_of).to(self.device), torch.from_numpy(targets).to(self.device)
        )
        answers = []
        start = 0
        for index, nodes, _ in pack.sequences:
            stop = start + len(nodes)
            answers.append((index, (float(scores[start:stop].sum()), bool(greedy[start:stop].all()))))
            start = stop
        return answers

    def _forward(self, pack: Pack, kept: torch.Tensor) -> torch.Tensor:
        """Logits at the nodes `kept`, shape (len(kept), vocabulary)."""
        output = self.model(
            input_ids=torch.from_numpy(pack.tokens)[None].to(self.device),
            position_ids=torch.from_numpy(pack.depths)[None].to(self.device),
            attention_mask=tree_mask(pack, self.config, self.model.dtype, self.device),
            logits_to_keep=kept,
            use_cache=False,
        )
        return output.logits[0]  # type: ignore[no-any-return]

    def _tree_equals_plain(self) -> bool:
        """Score a probe batch by tree and by the plain forward pass; False where they disagree.

        In 16 bits two runs of the plain pass disagree too, as soon as their shapes differ: the
        same sequences with tokens after them, which a causal model cannot see, measure by how much.
        """
        vocabulary = min(self.model.config.get_text_config().vocab_size, 1000)
        generator = np.random.default_rng(0)
        stem = generator.integers(5, vocabulary, 12).tolist()
        requests: list[TokenRequest] = []
        for branch in range(8):
            continuation = generator.integers(5, vocabulary, 3 + branch).tolist()
            requests += [
                (("", f"{branch} long"), stem, continuation),
                (("", f"{branch} short"), stem[:5], continuation),
            ]
        lengths = np.array([len(continuation) for _, _, continuation in requests])
        try:
            tree = np.array([answer[0] for answer in self._score(requests)])
            plain = np.array([self._plain_score(request, []) for request in requests])
            again = np.array([self._plain_score(request, stem) for request in requests])
        except torch.OutOfMemoryError:
            raise
        except Exception:  # whatever an architecture raises that takes no tree mask or no logits_to_keep
            return False
        noise = float(np.mean(np.abs(again - plain) / lengths))
        tolerance = PROBE_TOLERANCE.get(self.model.dtype, PROBE_TOLERANCE_16_BIT)
        return float(np.mean(np.abs(tree - plain) / lengths)) <= max(tolerance, PROBE_NOISE * noise)

    @torch.inference_mode()
    def _plain_score(self, request: TokenRequest, after: list[int]) -> float:
        """Log-likelihood of one request, with tokens after it: no tree, no mask, no padding."""
        sequence = _sequence(0, request[1], request[2], self.max_length)
        tokens = torch.tensor([[*sequence.tokens, *after]], device=self.device)
        targets = torch.tensor(sequence.targets, device=self.device)
        scored = torch.arange(len(sequence.tokens) - len(targets), len(sequence.tokens), device=self.device)
        logits = self.model(input_ids=tokens, logits_to_keep=scored, use_cache=False).logits[0]
        return float(_read(logits, torch.arange(len(targets), device=self.device), targets)[0].sum())


def _sequence(index: int, context: list[int], continuation: list[int], max_length: int) -> Scored:
    """As HFLM truncates: the last max_length + 1 tokens, of which the last is only a target."""
    whole = (context + continuation)[-(max_length + 1) :]
    return Scored(index, tuple(whole[:-1]), tuple(continuation[-(len(whole) - 1) :]))


def tree_mask(
    pack: Pack, config: Any, dtype: torch.dtype, device: torch.device
) -> torch.Tensor | dict[str, torch.Tensor]:
    """The additive mask of a pack, shape (1, 1, N, N); one for each kind of layer where there are several."""
    visible = torch.from_numpy(pack.ancestry()).to(device)
    depths = torch.from_numpy(pack.depths).to(device)
    config = config.get_text_config()
    window = getattr(config, "sliding_window", None)
    near = visible if not window else visible & (depths[:, None] - depths[None, :] < window)
    layer_types = set(getattr(config, "layer_types", None) or ())
    if layer_types:
        masks = {"full_attention": visible, "sliding_attention": near}
        return {kind: _additive(masks[kind], dtype) for kind in layer_types if kind in masks}
    return _additive(near, dtype)


def _additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[None, None]


def _read(
    logits: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target and whether it is the argmax.

    `rows` (sorted or not) names the row of `logits` that predicts each target. log_softmax in
    float32, as HFLM takes it (logsumexp differs from it by 2e-5 a token on a CPU), a few rows at a
    time: a float32 copy of all logits would be the largest tensor of the whole run.
    """
    scores = torch.empty(len(targets), dtype=torch.float32, device=logits.device)
    greedy = torch.empty(len(targets), dtype=torch.bool, device=logits.device)
    for start in range(0, len(logits), LOGIT_ROWS):
        chunk = torch.log_softmax(logits[start : start + LOGIT_ROWS].float(), dim=-1)
        here = ((rows >= start) & (rows < start + LOGIT_ROWS)).nonzero()[:, 0]
        row, target = rows[here] - start, targets[here]
        scores[here] = chunk[row, target]
        greedy[here] = chunk.argmax(-1)[row] == target
    return scores.cpu(), greedy.cpu()
