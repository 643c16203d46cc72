"""LoRA adapters: PEFT's, with its own names, on a plain or a quantised base."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer

from harness.errors import UsageError
from harness.models.adapters import CONFIGURATION, WEIGHTS
from harness.models.loading import Loaded
from harness.training.initialisations import (
    look_at_rows_after,
    look_at_rows_before,
    refuse_what_cannot_be_kept,
    rewrites_base,
)
from harness.training.job import Job, Prepared, frozen_copy
from harness.training.loss import Reference
from harness.training.rendering import TokenRow
from harness.training.weights import trainable

INITIAL = "initial"


def prepare_adapter(job: Job, loaded: Loaded, rows: Sequence[TokenRow], kept: Path) -> Prepared:
    """`lora` and `qlora`. Raises UsageError where the LoRA settings do not fit the model.

    rows: for initialisations that look at data
    kept: where the first state of an adapter lies until the training is finished, if it is needed
    """
    try:
        config = LoraConfig(**{"task_type": "CAUSAL_LM", **job.recipe.lora})
        refuse_what_cannot_be_kept(config, getattr(loaded.model, "is_quantized", False), job.table)
        reference = _copied(job, loaded, config)
        look_at_rows_before(loaded.model, config, rows)
        model = get_peft_model(loaded.model, config)
        look_at_rows_after(model, config, rows, job.table)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{job.table} does not fit this model: {error}") from error
    if isinstance(model.get_output_embeddings(), BaseTunerLayer):
        raise UsageError(
            f"{job.table}: TRL does not train an adapter on the head: take it out of lora.target_modules, or "
            "name it in lora.modules_to_save"
        )
    for parameter in trainable(model).values():
        parameter.data = parameter.data.float()  # PEFT leaves modules_to_save in the base's precision
    initial = kept / INITIAL if rewrites_base(config) else None
    if initial is not None and not (initial / WEIGHTS).exists():
        model.save_pretrained(str(initial), save_embedding_layers=False)
    if job.recipe.kl and reference is None:
        reference = _switched_off(model)
    return Prepared(model, partial(_save, job, model, initial), reference)


def _copied(job: Job, loaded: Loaded, config: LoraConfig) -> Reference | None:
    """For the divergence, where switching the adapter off leaves something else than the base."""
    if not job.recipe.kl or not rewrites_base(config):
        return None
    loaded.model.requires_grad_(True)  # what is frozen is shared with the copy, and rewritten in both
    return frozen_copy(loaded.model)


def _switched_off(model: PeftModel) -> Reference:
    @contextlib.contextmanager
    def reference() -> Iterator[Any]:
        with model.disable_adapter():
            yield model.get_base_model()

    return reference


def _save(job: Job, model: PeftModel, initial: Path | None, folder: Path) -> Path:
    """Adapter files with the source's name as their base, in an order that does not depend on the run.

    initial: the adapter as it began, where it took that out of the base
    """
    for config in model.peft_config.values():
        config.base_model_name_or_path = job.base.model
        config.revision = job.base.revision
    model.save_pretrained(
        str(folder),
        safe_serialization=True,
        save_embedding_layers=False,  # "auto" would ask the hub for the base's vocabulary
        path_initial_model_for_weight_conversion=str(initial) if initial else None,
    )
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / CONFIGURATION
    declared = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(declared.get("target_modules"), list):
        declared["target_modules"].sort()  # PEFT keeps them in a set
    path.write_text(json.dumps(declared, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder / WEIGHTS
