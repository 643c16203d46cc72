"""Attaching an adapter to a loaded base, and the proof that it does something.

A comparison is worthless when the adapter was never applied, and several tools report exactly
that as "no regression". So before a tuned configuration is measured: its B matrices are not zero,
its logits differ from the base's by more than the engine's own noise, and switched off it is the
base, bit by bit.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from harness.errors import RunFailed
from harness.models.loading import Loaded
from harness.store.artifacts import file_digest

WEIGHTS = "adapter_model.safetensors"
# A difference counts as alive when it exceeds this many times the noise of the engine.
NOISE_FACTOR = 1.0


@dataclass(frozen=True)
class Proof:
    """What was seen when the adapter was switched on and off, on probe prompts.

    largest_b:       largest |entry| of any lora_B (or other adapter) matrix
    logit_change:    largest |logit difference| between adapter on and the base
    engine_noise:    the same between the base alone and the base in a padded batch
    off_equals_base: adapter switched off gives the base's logits exactly
    """

    largest_b: float
    logit_change: float
    engine_noise: float
    off_equals_base: bool
    adapter_sha256: str

    @property
    def problems(self) -> tuple[str, ...]:
        """Why this adapter's results may not be compared; empty when it is alive and switches cleanly."""
        found = []
        if self.largest_b == 0.0:
            found.append("the adapter is not live: every B matrix is zero, so it is the base")
        elif self.logit_change <= NOISE_FACTOR * self.engine_noise:
            found.append(
                f"the adapter is not live: it changes logits by at most {self.logit_change:.3g}, "
                f"no more than {NOISE_FACTOR:g} times the engine's own noise ({self.engine_noise:.3g})"
            )
        if not self.off_equals_base:
            found.append("switched off, the adapter does not give the base's logits")
        return tuple(found)

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "problems": list(self.problems)}


@contextlib.contextmanager
def attached(base: Loaded, folder: Path) -> Iterator[Loaded]:
    """The base with the adapter in `folder` on it, unmerged; the bare base again afterwards."""
    declared = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    if not (folder / WEIGHTS).is_file():
        raise RunFailed(f"{folder} holds no {WEIGHTS} (only safetensors adapters are read)")
    try:
        model = PeftModel.from_pretrained(base.model, str(folder), is_trainable=False)
    except (ValueError, RuntimeError, KeyError) as error:
        raise RunFailed(
            f"the adapter in {folder} ({declared.get('peft_type')}) does not fit this base: {error}"
        ) from error
    model.eval()
    try:
        yield Loaded(model, base.tokenizer, base.device)
    finally:
        model.unload()


@dataclass(frozen=True)
class Probe:
    """Logits of the bare base at the last token of each prompt, taken before any adapter is attached."""

    prompts: tuple[str, ...]
    logits: torch.Tensor
    noise: float


def probe(base: Loaded, prompts: Sequence[str]) -> Probe:
    """Run the prompts on the bare base, alone and in one padded batch; the gap is the engine's noise."""
    alone = _last_logits(base, prompts)
    batched = _batched_logits(base, prompts)
    return Probe(tuple(prompts), alone, float((alone - batched).abs().max()))


def is_bare(base: Loaded, reference: Probe) -> bool:
    """Whether the base gives the logits that it gave before any adapter was attached."""
    return torch.equal(_last_logits(base, reference.prompts), reference.logits)


def prove(tuned: Loaded, reference: Probe, folder: Path) -> Proof:
    """The evidence that the attached adapter is live and switches off without a trace."""
    on = _last_logits(tuned, reference.prompts)
    with tuned.model.disable_adapter():
        off = _last_logits(tuned, reference.prompts)
    return Proof(
        largest_b=_largest_b(tuned.model),
        logit_change=float((on - reference.logits).abs().max()),
        engine_noise=reference.noise,
        off_equals_base=bool(torch.equal(off, reference.logits)),
        adapter_sha256=file_digest(folder / WEIGHTS),
    )


def _largest_b(model: Any) -> float:
    matrices = [
        parameter
        for name, parameter in model.named_parameters()
        if "lora_B" in name or "lora_embedding_B" in name
    ]
    return max((float(matrix.detach().abs().max()) for matrix in matrices), default=0.0)


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
