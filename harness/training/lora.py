"""LoRA adapters: PEFT's, with its own names, on a plain or a quantised base."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from harness.errors import UsageError
from harness.models.adapters import CONFIGURATION, WEIGHTS
from harness.models.loading import Loaded
from harness.training.job import Job, Prepared
from harness.training.weights import trainable


def prepare_adapter(job: Job, loaded: Loaded) -> Prepared:
    """`lora` and `qlora`. Raises UsageError where the LoRA settings do not fit the model."""
    try:
        config = LoraConfig(**{"task_type": "CAUSAL_LM", **job.recipe.lora})
        model = get_peft_model(loaded.model, config)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{job.table} does not fit this model: {error}") from error
    for parameter in trainable(model).values():
        parameter.data = parameter.data.float()  # PEFT leaves modules_to_save in the base's precision

    @contextlib.contextmanager
    def switched_off() -> Iterator[Any]:
        with model.disable_adapter():
            yield model.get_base_model()

    return Prepared(model, partial(_save, job, model), switched_off if job.recipe.kl else None)


def _save(job: Job, model: PeftModel, folder: Path) -> Path:
    """Adapter files with the source's name as their base, in an order that does not depend on the run."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = job.base.model
        config.revision = job.base.revision
    # "auto" would ask the hub for the base's vocabulary.
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / CONFIGURATION
    declared = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(declared.get("target_modules"), list):
        declared["target_modules"].sort()  # PEFT keeps them in a set
    path.write_text(json.dumps(declared, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder / WEIGHTS
