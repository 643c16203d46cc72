"""Does the engine give a model's own numbers? Asked once, when a model is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from harness.scoring.budget import Budget
from harness.scoring.engine import score
from harness.scoring.forest import SHORTEST_STEM, Shape, plant
from harness.scoring.halves import Halves
from harness.scoring.tree import Scored

# Mean nats a token by which the tree may miss the plain path, or this many times the plain path's own
# noise. A wrong mask misses by several nats. On random tokens Gemma 3 270M in bf16 is 0.1 away from
# float32 whichever path it takes; the tree was 0.06 away from the plain path.
TOLERANCE = {torch.float32: 1e-4}
TOLERANCE_16_BIT = 0.2
NOISE = 3.0
# Rows so short that the probe needs several, and a stem.
AFTER = 24
PROBE_SHAPE = Shape(row=24, longest=64)


def equals_plain(model: Any, budget: Budget, longest: int) -> bool:
    """Score a probe batch by tree and by the plain forward pass; False where they disagree.

    In 16 bits two runs of the plain pass disagree too, as soon as their shapes differ: sequences alone
    and in a batch, with tokens after them that a causal model cannot see, measure by how much.
    """
    sequences = _probe(model.config.get_text_config().vocab_size, longest)
    lengths = np.array([len(sequence.targets) for sequence in sequences])
    try:
        forest = plant(sequences, PROBE_SHAPE)
        answers = {
            answer.index: answer.loglikelihood
            for finished in score(Halves(model), forest, replace(budget))
            for answer in finished.answers
        }
        tree = np.array([answers[sequence.index] for sequence in sequences])
        plain = _plain_scores(model, sequences, 0)
        alone = np.concatenate([_plain_scores(model, [sequence], AFTER) for sequence in sequences])
    except torch.OutOfMemoryError:
        raise
    except Exception:  # whatever an architecture raises that takes no tree mask or has no decoder of its own
        return False
    noise = float(np.mean(np.abs(alone - plain) / lengths))
    tolerance = TOLERANCE.get(model.dtype, TOLERANCE_16_BIT)
    return float(np.mean(np.abs(tree - plain) / lengths)) <= max(tolerance, NOISE * noise)


def _probe(vocabulary: int, longest: int) -> list[Scored]:
    """Branches of a stem, twigs of a branch, and a sequence of its own."""
    generator = np.random.default_rng(0)
    stem = generator.integers(5, min(vocabulary, 1000), min(SHORTEST_STEM + 8, longest // 2))
    sequences = [Scored(0, stem[::-1].copy(), stem[:4].copy())]
    for branch in range(4):
        twig = generator.integers(5, min(vocabulary, 1000), 8 + branch)
        for targets in (2, 5):
            sequences.append(Scored(len(sequences), np.concatenate([stem, twig[:-1]]), twig[-targets:]))
    return sequences


@torch.inference_mode()
def _plain_scores(model: Any, sequences: list[Scored], after: int) -> np.ndarray[Any, Any]:
    """Log-likelihoods with `after` tokens appended, in one padded pass: no tree and no mask of ours."""
    longest = max(len(sequence.tokens) for sequence in sequences) + after
    tokens = np.full((len(sequences), longest), 5)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence.tokens)] = sequence.tokens
    logits = model(input_ids=torch.from_numpy(tokens).to(model.device), use_cache=False).logits
    totals = []
    for row, sequence in zip(logits, sequences, strict=True):
        scored = torch.log_softmax(row[sequence.first : len(sequence.tokens)].float(), dim=-1)
        targets = torch.from_numpy(sequence.targets).to(model.device)
        totals.append(float(scored.gather(1, targets[:, None]).sum()))
    return np.array(totals)
