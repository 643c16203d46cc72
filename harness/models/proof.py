"""The proof that a tuned model is not its base, taken before anything is measured with it.

A comparison is worthless when the adapter was never applied, and several tools report exactly that
as "no regression". So: what was trained is not zero, its logits differ from the base's by more than
the engine's own noise, and switched off (or at strength 0) it is the base, bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from harness.models.loading import Attached, Loaded

# A difference counts as alive when it exceeds this many times the noise of the engine.
NOISE_FACTOR = 1.0


@dataclass(frozen=True)
class Proof:
    """What was seen on probe prompts. None: it does not apply to this kind of tuning.

    largest_b:        largest |entry| of what was trained (LoRA's B, or W - W₀)
    logit_change:     largest |logit difference| between tuned and base
    engine_noise:     the same between the base alone and the base in a padded batch
    off_equals_base:  switched off it gives the base's logits exactly
    zero_equals_base: so it does at strength 0
    """

    largest_b: float | None
    logit_change: float | None
    engine_noise: float
    off_equals_base: bool | None
    zero_equals_base: bool | None

    @property
    def problems(self) -> tuple[str, ...]:
        """Why its results may not be compared; empty when it is alive and switches cleanly."""
        found = []
        if self.largest_b == 0.0:
            found.append("it is not live: every B matrix is zero or no weight changed, so it is the base")
        elif self.logit_change is not None and self.logit_change <= NOISE_FACTOR * self.engine_noise:
            found.append(
                f"it is not live: it changes logits by at most {self.logit_change:.3g}, "
                f"no more than {NOISE_FACTOR:g} times the engine's own noise ({self.engine_noise:.3g})"
            )
        if self.off_equals_base is False:
            found.append("switched off, it does not give the base's logits")
        if self.zero_equals_base is False:
            found.append("at strength 0, it does not give the base's logits")
        return tuple(found)

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "problems": list(self.problems)}


@dataclass(frozen=True)
class Probe:
    """Logits of the bare base at the last token of each prompt, taken before anything is put on it."""

    prompts: tuple[str, ...]
    logits: torch.Tensor
    noise: float


def probe(base: Loaded, prompts: Sequence[str]) -> Probe:
    """Run the prompts on the bare base, alone and in one padded batch; the gap is the engine's noise."""
    alone = _last_logits(base, prompts)
    batched = _batched_logits(base, prompts)
    return Probe(tuple(prompts), alone, float((alone - batched).abs().max()))


def is_bare(base: Loaded, reference: Probe) -> bool:
    """Whether the base gives the logits that it gave before anything was put on it."""
    return torch.equal(_last_logits(base, reference.prompts), reference.logits)


def prove(tuned: Attached, reference: Probe, scales: bool) -> Proof:
    """The evidence for an adapter or trained weights on their base; `scales`: strength 0 is asked for too."""
    on = _last_logits(tuned.loaded, reference.prompts)
    with tuned.off():
        off = _last_logits(tuned.loaded, reference.prompts)
    zero = None
    if scales:
        with tuned.scaled(0.0):
            zero = torch.equal(_last_logits(tuned.loaded, reference.prompts), reference.logits)
    return Proof(
        largest_b=tuned.largest,
        logit_change=float((on - reference.logits).abs().max()),
        engine_noise=reference.noise,
        off_equals_base=torch.equal(off, reference.logits),
        zero_equals_base=zero,
    )


def prove_model(other: Loaded, reference: Probe) -> Proof:
    """The evidence for a checkpoint of its own: nothing can be switched off."""
    logits = _last_logits(other, reference.prompts)
    same_shape = logits.shape == reference.logits.shape  # otherwise its vocabulary is told as a problem
    return Proof(
        largest_b=None,
        logit_change=float((logits - reference.logits).abs().max()) if same_shape else None,
        engine_noise=reference.noise,
        off_equals_base=None,
        zero_equals_base=None,
    )


@torch.inference_mode()
def _last_logits(loaded: Loaded, prompts: Sequence[str]) -> torch.Tensor:
    """Shape (prompts, vocabulary), float32 on the CPU: one prompt a pass, so no padding is involved."""
    rows = []
    for prompt in prompts:
        tokens = loaded.tokenizer(prompt, return_tensors="pt").input_ids.to(loaded.device)
        rows.append(loaded.model(input_ids=tokens, logits_to_keep=1, use_cache=False).logits[0, -1])
    return torch.stack(rows).float().cpu()


@torch.inference_mode()
def _batched_logits(loaded: Loaded, prompts: Sequence[str]) -> torch.Tensor:
    side = loaded.tokenizer.padding_side
    loaded.tokenizer.padding_side = "left"
    batch = loaded.tokenizer(list(prompts), return_tensors="pt", padding=True).to(loaded.device)
    loaded.tokenizer.padding_side = side
    logits: torch.Tensor = loaded.model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, logits_to_keep=1, use_cache=False
    ).logits
    return logits[:, -1].float().cpu()
