"""What a training is remembered by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.machine import machine_name
from harness.models.loading import peak_memory
from harness.store.artifacts import file_digest
from harness.training.loss import causal_model
from harness.training.trainer import StepTrainer
from harness.training.weights import trainable


def record_of(trainer: StepTrainer, saved: Path) -> dict[str, Any]:
    """Curves are (step, value); losses and divergence per trained token; bytes are those of `saved`."""
    meter, history = trainer.meter, trainer.state.log_history
    return {
        "steps": trainer.state.global_step,
        "train_loss": _curve(history, "loss"),
        "validation_loss": _curve(history, "eval_loss"),
        "kl": _curve(history, "kl"),
        "validation_kl": _curve(history, "eval_kl"),
        "gradient_norm": _curve(history, "grad_norm"),
        "learning_rate": _curve(history, "learning_rate"),
        "rows": meter.rows,
        "tokens": meter.tokens,
        "trained_tokens": meter.trained_tokens,
        "tokens_per_second": meter.tokens / meter.step_seconds if meter.step_seconds else None,
        "seconds": meter.seconds,
        "micro_batch_size": meter.micro_batch_size,
        "packed": trainer.recipe.packing,
        "gradient_checkpointing": trainer.recipe.gradient_checkpointing,
        "peak_memory_bytes": peak_memory(),
        "trainable_parameters": sum(each.numel() for each in trainable(trainer.model).values()),
        "total_parameters": causal_model(trainer.model).num_parameters(),
        "weights_sha256": file_digest(saved),
        "adapter_bytes": saved.stat().st_size,
        "machine": machine_name(),
    }


def _curve(history: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(entry["step"], float(entry[name])) for entry in history if name in entry]
