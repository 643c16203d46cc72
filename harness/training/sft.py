"""Supervised fine-tuning: what is trained, how, and what is left of it."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import PrinterCallback, TrainerState, set_seed
from trl import SFTConfig

from harness.errors import RunFailed, UsageError
from harness.models.loading import Loaded
from harness.training.job import Job as Job
from harness.training.job import Prepared
from harness.training.lora import prepare_adapter
from harness.training.meter import Meter
from harness.training.record import record_of
from harness.training.rendering import IGNORED, Rendered, render
from harness.training.stopping import best_file, standing
from harness.training.trainer import StepTrainer
from harness.training.trial import prove_loss, prove_packing
from harness.training.unfrozen import prepare_unfrozen
from harness.training.watch import Progress, Watch, validation_losses
from harness.training.weights import read_weights

CHECKPOINTS = "checkpoints"
STATE = "trainer_state.json"
OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}


def train(job: Job, loaded: Loaded, folder: Path, progress: Progress) -> dict[str, Any]:
    """Train in `folder`, going on from its last whole checkpoint, and leave there what was trained.

    That is a PEFT adapter, or `weights.safetensors` (harness.models.weights) for `full` and `partial`.
    The loaded model is changed by it: load it again to measure.

    Returns the training's record. Raises RunFailed (a loss that is no number, memory) and UsageError
    (a setting that does not fit the model or its data).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries'; what matters to us is an error
            return _trained(job, loaded, folder, progress)
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"training {job.name} ran out of GPU memory outside of its passes, so smaller ones would not "
            'help: set optimizer = "paged_adamw_8bit" or weights_dtype = "bfloat16", or train less (lora)'
        ) from error


def _trained(job: Job, loaded: Loaded, folder: Path, progress: Progress) -> dict[str, Any]:
    if job.base.dtype == "float16" and loaded.device.type == "cpu":
        raise UsageError(
            f'{job.table}: base.dtype = "float16" needs loss scaling to be trained, which a CPU has not: '
            'set it to "bfloat16" or "float32"'
        )
    rows, validation = _rendered(job, loaded)
    checkpoint = last_checkpoint(folder / CHECKPOINTS)
    set_seed(job.seed)
    prepared = _prepared(job, loaded, rows, folder / CHECKPOINTS)
    trainer = _trainer(job, loaded, prepared, (rows, validation), folder / CHECKPOINTS)
    trainer.add_callback(
        Watch(progress, trainer.meter, job.recipe, bool(validation.rows), folder / CHECKPOINTS)
    )
    _prove(job, trainer, rows)
    _train_from(checkpoint, trainer)
    stopped = _take_best(job, trainer, folder / CHECKPOINTS)
    saved = prepared.save(folder)
    return {
        "name": job.name,
        "method": job.recipe.method,
        "seed": job.seed,
        "counts": asdict(rows.counts),
        "resumed_from": _step_of(checkpoint),
        **stopped,
        **record_of(trainer, saved),
    }


def _prepared(job: Job, loaded: Loaded, rows: Rendered, folder: Path) -> Prepared:
    if job.recipe.method in ("lora", "qlora"):
        return prepare_adapter(job, loaded, rows.rows, folder)
    return prepare_unfrozen(job, loaded)


def _prove(job: Job, trainer: StepTrainer, rows: Rendered) -> None:
    prove_loss(trainer.model, rows.rows[0], trainer.accelerator.autocast)
    if job.recipe.packing and len(rows.rows) > 1:
        prove_packing(trainer.model, rows.rows, job.table, trainer.accelerator.autocast)


def _train_from(checkpoint: Path | None, trainer: StepTrainer) -> None:
    if checkpoint is None:
        trainer.train()
        return
    state = TrainerState.load_from_json(str(checkpoint / STATE))
    if state.global_step < state.max_steps:
        trainer.train(resume_from_checkpoint=str(checkpoint))
    else:  # transformers would take a step too many when the end is not that of an epoch
        trainer.state = state
        trainer.restore(checkpoint)


def _take_best(job: Job, trainer: StepTrainer, folder: Path) -> dict[str, int | None]:
    """The best weights, with early stopping; where it stopped, if before the end, and where they are from."""
    state = trainer.state
    if job.recipe.early_stopping is None:
        return {"stopped_at": None, "best_step": None}
    best = standing(validation_losses(state.log_history), job.recipe.early_stopping).best_step
    if best != state.global_step:
        read_weights(trainer.model, best_file(folder, best))
    return {
        "stopped_at": state.global_step if state.global_step < state.max_steps else None,
        "best_step": best,
    }


def discard_checkpoints(folder: Path) -> None:
    """Once the training is recorded as finished, and not before: a kill in between would cost it."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that a kill did not cut short: its state file is written last."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step_of, reverse=True):
        try:
            json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
            continue
        return checkpoint
    return None


def _step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


def _rendered(job: Job, loaded: Loaded) -> tuple[Rendered, Rendered]:
    try:
        length = job.recipe.max_length
        rows, validation = (render(each, loaded.tokenizer, length) for each in (job.train, job.validation))
    except UsageError as error:
        raise UsageError(f"{job.table}: {error}") from error
    if not rows.rows:
        raise UsageError(f"{job.table}: there are no rows to train on")
    if job.recipe.early_stopping is not None and not validation.rows:
        raise UsageError(
            f"{job.table}: early_stopping needs validation rows; give the file a [data.validation]"
        )
    return rows, validation


def _trainer(
    job: Job, loaded: Loaded, prepared: Prepared, rows: tuple[Rendered, Rendered], folder: Path
) -> StepTrainer:
    recipe = job.recipe
    micro = recipe.batch_size if recipe.micro_batch_size == "auto" else recipe.micro_batch_size
    trainer = StepTrainer(
        prepared,
        recipe,
        Meter(min(micro, recipe.batch_size)),
        args=_arguments(job, len(rows[0].rows), folder),
        train_dataset=_dataset(rows[0]),
        eval_dataset=_dataset(rows[1]) if rows[1].rows else None,
        processing_class=loaded.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _dataset(rendered: Rendered) -> datasets.Dataset:
    """The first token of a row has no loss: nothing predicts it, though in a packed sequence it seems so."""
    return datasets.Dataset.from_dict(
        {
            "input_ids": [list(row.input_ids) for row in rendered.rows],
            "labels": [[IGNORED, *row.labels[1:]] for row in rendered.rows],
        }
    )


def _arguments(job: Job, rows: int, folder: Path) -> SFTConfig:
    recipe, on_gpu = job.recipe, torch.cuda.is_available()
    steps = recipe.max_steps or math.ceil(math.ceil(rows / recipe.batch_size) * recipe.epochs)
    return SFTConfig(
        output_dir=str(folder),
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        per_device_train_batch_size=recipe.batch_size,  # split by the trainer, not by accumulation
        per_device_eval_batch_size=recipe.batch_size,
        dataset_kwargs={"skip_prepare_dataset": True},
        optim=OPTIMIZERS[recipe.optimizer],
        warmup_steps=math.ceil(recipe.warmup_ratio * steps),
        lr_scheduler_type=recipe.scheduler,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        seed=job.seed,
        data_seed=job.seed,
        bf16=job.base.dtype == "bfloat16",
        fp16=job.base.dtype == "float16" and on_gpu,
        use_cpu=not on_gpu,
        activation_checkpointing=recipe.gradient_checkpointing,
        logging_strategy="no",  # Watch says when
        eval_strategy="no",
        save_steps=recipe.checkpoint_steps,
        save_total_limit=2,  # the newest may be cut short by a kill
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
    )
