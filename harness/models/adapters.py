"""PEFT adapters: on a loaded base, unmerged, switched off and scaled without a trace."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from peft import PeftModel
from peft.helpers import rescale_adapter_scale

from harness.errors import RunFailed
from harness.experiment.lora_fields import unscaled
from harness.experiment.model_checks import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from harness.models.loading import Attached, Loaded
from harness.models.lora import added_in_place

WEIGHTS = ADAPTER_WEIGHTS
CONFIGURATION = ADAPTER_CONFIG


@contextlib.contextmanager
def attached_adapter(base: Loaded, folder: Path) -> Iterator[Attached]:
    """The base with the adapter in `folder` on it; the bare base again afterwards. Raises RunFailed.

    For measuring: the adapter gets no gradients.
    """
    declared = declared_configuration(folder)
    dtype = base.model.dtype
    if not (folder / WEIGHTS).is_file():
        raise RunFailed(f"{folder} holds no {WEIGHTS} (only safetensors adapters are read)")
    try:
        model = PeftModel.from_pretrained(
            base.model,
            str(folder),
            is_trainable=False,
            low_cpu_mem_usage=True,  # no random weights first: half of the time
        )
    except (ValueError, RuntimeError, KeyError) as error:
        raise RunFailed(
            f"the adapter in {folder} ({declared.get('peft_type')}) does not fit this base: {error}"
        ) from error
    if model.active_peft_config.is_prompt_learning:
        # The engine runs the model under PEFT's wrapper, and it is the wrapper that puts the prompt before.
        raise RunFailed(f"the adapter in {folder} learned a prompt: such adapters cannot be measured yet")
    model.eval()

    def scaled(strength: float) -> AbstractContextManager[None]:
        if strength == 1:
            return contextlib.nullcontext()
        return rescale_adapter_scale(model, strength)  # type: ignore[no-any-return]

    try:
        with added_in_place(model, dtype):
            yield Attached(
                Loaded(model, base.tokenizer, base.device), model.disable_adapter, scaled, _largest(model)
            )
    finally:
        model.unload()


def declared_configuration(folder: Path) -> dict[str, Any]:
    """What `adapter_config.json` says. Raises RunFailed where it is missing or damaged."""
    try:
        declared = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFailed(f"{folder / CONFIGURATION} cannot be read: {error}") from error
    if not isinstance(declared, dict):
        raise RunFailed(f"{folder / CONFIGURATION} is not a table")
    return declared


def why_not_scalable(declared: dict[str, Any]) -> str | None:
    """Why an adapter has no strength but its own; None for plain LoRA, whose B·A is scaled."""
    if declared.get("peft_type", "LORA") != "LORA":
        return f"{declared['peft_type']} adapters cannot be scaled, only LoRA"
    return next(iter(unscaled(declared)), None)


def _largest(model: Any) -> float:
    """Largest entry of the B matrices, which begin at zero; of all its weights for adapters without them."""
    named = [(name, weight.detach()) for name, weight in model.named_parameters()]
    of_adapter = [weight for name, weight in named if "lora_B" in name or "lora_embedding_B" in name]
    if not of_adapter:
        of_adapter = [weight for name, weight in named if f".{model.active_adapter}" in name]
    return max((float(weight.abs().max()) for weight in of_adapter), default=0.0)
