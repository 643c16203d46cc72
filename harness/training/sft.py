"""Training one adapter with TRL's SFTTrainer and PEFT."""

from __future__ import annotations

import json
import math
import resource
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig

from harness.errors import RunFailed, UsageError
from harness.experiment.schema import Base, Tuned
from harness.models.adapters import WEIGHTS
from harness.models.loading import Loaded
from harness.store.artifacts import file_digest
from harness.training.trainer import CompletionTrainer

CHECKPOINTS = "checkpoints"
VALIDATIONS_PER_RUN = 4
LOG_POINTS = 60
Rows = Sequence[dict[str, Any]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """What one adapter is made from. `name` and `base_name` stand in the adapter's own files."""

    name: str
    base: Base
    recipe: Tuned
    seed: int
    train: Rows
    validation: Rows


def train(job: Job, loaded: Loaded, folder: Path, progress: Progress) -> dict[str, Any]:
    """Train in `folder`, going on from its last whole checkpoint, and leave the adapter there.

    Returns the training's record (loss points, tokens, seconds, memory, sizes).
    Raises RunFailed (non-finite loss, memory) and UsageError (a LoRA setting that does not fit the model).
    """
    checkpoint = last_checkpoint(folder / CHECKPOINTS)
    watch = _Watch(progress)
    started = time.monotonic()
    try:
        trainer = _trainer(job, loaded, folder / CHECKPOINTS, watch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"training {job.name} ran out of GPU memory at batch_size = {job.recipe.batch_size}; "
            "set micro_batch_size to half of it: the recipe stays the same"
        ) from error
    seconds = time.monotonic() - started
    _save(trainer.model, job, folder)
    return _record(trainer, job, folder, seconds, checkpoint)


def discard_checkpoints(folder: Path) -> None:
    """Once the adapter is recorded as finished, and not before: a kill in between would cost the training."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that a kill did not cut short: its state file is written last."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for checkpoint in found:
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
            continue
        return checkpoint
    return None


def _trainer(job: Job, loaded: Loaded, folder: Path, watch: _Watch) -> CompletionTrainer:
    recipe = job.recipe
    batch = recipe.batch_size
    steps = recipe.max_steps or max(1, math.ceil(len(job.train) / batch * recipe.epochs))
    try:
        arguments = SFTConfig(
            output_dir=str(folder),
            learning_rate=recipe.learning_rate,
            num_train_epochs=recipe.epochs,
            max_steps=recipe.max_steps or -1,
            per_device_train_batch_size=recipe.batch_size,
            per_device_eval_batch_size=recipe.batch_size,
            max_length=recipe.max_length,
            warmup_steps=math.ceil(recipe.warmup_ratio * steps),
            lr_scheduler_type=recipe.scheduler,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            seed=job.seed,
            data_seed=job.seed,
            bf16=job.base.dtype == "bfloat16",
            fp16=job.base.dtype == "float16" and loaded.device.type == "cuda",
            use_cpu=loaded.device.type == "cpu",
            activation_checkpointing=False,
            save_steps=recipe.checkpoint_steps,
            save_total_limit=2,  # the newest may be cut short by a kill
            logging_steps=max(1, steps // LOG_POINTS),
            logging_nan_inf_filter=False,  # by default a loss that is not a number is logged as a good one
            eval_strategy="steps" if job.validation else "no",
            eval_steps=max(1, steps // VALIDATIONS_PER_RUN),
            report_to=[],
            disable_tqdm=True,
            prediction_loss_only=True,
            dataloader_pin_memory=loaded.device.type == "cuda",
        )
        config = LoraConfig(**{"task_type": "CAUSAL_LM", **recipe.lora})
        trainer = CompletionTrainer(
            model=loaded.model,
            args=arguments,
            processing_class=loaded.tokenizer,
            train_dataset=datasets.Dataset.from_list(list(job.train)),
            eval_dataset=datasets.Dataset.from_list(list(job.validation)) if job.validation else None,
            peft_config=config,
            callbacks=[watch],
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"[tuned.{job.name}] does not fit this model or data: {error}") from error
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Reports progress, and stops a training whose loss is no longer a number."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress(state.global_step, state.max_steps)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise RunFailed(
                f"the training loss became {loss} at step {state.global_step}; "
                "lower learning_rate, or raise warmup_ratio"
            )


def _save(model: Any, job: Job, folder: Path) -> None:
    """Adapter files with the source's name as their base, in an order that does not depend on the run."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = job.base.model
        config.revision = job.base.revision
    # "auto" would ask the hub for the base's vocabulary.
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    declared = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(declared.get("target_modules"), list):
        declared["target_modules"].sort()  # PEFT keeps them in a set
    path.write_text(json.dumps(declared, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _record(
    trainer: CompletionTrainer, job: Job, folder: Path, seconds: float, checkpoint: Path | None
) -> dict[str, Any]:
    history = trainer.state.log_history
    steps = trainer.state.global_step
    first = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    tokens = _tokens_seen([int(entry["num_tokens"]) for entry in history if "num_tokens" in entry])
    trained_here = int(trainer._total_train_tokens)
    return {
        "name": job.name,
        "seed": job.seed,
        "steps": steps,
        "resumed_from": first,
        "rows": len(job.train),
        "train_loss": [[entry["step"], entry["loss"]] for entry in history if "loss" in entry],
        "validation_loss": [[entry["step"], entry["eval_loss"]] for entry in history if "eval_loss" in entry],
        "gradient_norm": [
            [entry["step"], float(entry["grad_norm"])] for entry in history if "grad_norm" in entry
        ],
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": trained_here / seconds if seconds else 0.0,
        "peak_memory_bytes": peak_memory(),
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "weights_sha256": file_digest(folder / WEIGHTS),
        "adapter_bytes": (folder / WEIGHTS).stat().st_size,
    }


def _tokens_seen(counts: Sequence[int]) -> int:
    """TRL counts from 0 again after a resume, so every fall of the count begins a new stretch."""
    total = 0
    for count, following in zip(counts, [*counts[1:], 0], strict=True):
        if following < count:
            total += count
    return total


def peak_memory() -> int:
    """Bytes: of the GPU where there is one, else of this process so far."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
