"""What each step is made from: the inputs that its fingerprint covers, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness.data.fingerprint import source_fingerprint
from harness.experiment.model_source import ModelSource
from harness.experiment.schema import Data, LoadedExperiment, Quantization, Task, Tuned
from harness.store.artifacts import file_digest

Inputs = Mapping[str, Any]
SourceFingerprints = Callable[[str], Mapping[str, str]]

# Part of every measurement's fingerprint: raise it when scores may change at equal inputs.
ENGINE = "tree-5"
# Part of every trained step's fingerprint: raise it when equal inputs train other weights.
TRAINING = 2
# How the work is done, or how often: the same recipe gives the same weights.
_NOT_THE_RECIPE = {
    "seeds",
    "strengths",
    "quantization",
    "micro_batch_size",
    "checkpoint_steps",
    "gradient_checkpointing",
}


def model_inputs(loaded: LoadedExperiment, source: ModelSource, quantization: Quantization | None) -> Inputs:
    """A model as it is loaded, before anything is put on it."""
    base = loaded.experiment.base
    template = base.chat_template
    return {
        "model": dict(source.identity),
        "dtype": base.dtype,
        "trust_remote_code": base.trust_remote_code,
        "chat_template": None if template is None else file_digest(loaded.root / template),
        "quantization": None if quantization is None else quantization.model_dump(mode="json"),
    }


def measured_inputs(model: Inputs, loaded: LoadedExperiment, recipe: Tuned | None) -> dict[str, Any]:
    """What the model is asked, and how, while it is measured."""
    return {
        "engine": ENGINE,
        **model,
        "apply_chat_template": loaded.experiment.base.apply_chat_template,
        "prompt": recipe.prompt.model_dump(mode="json") if recipe and recipe.prompt else None,
    }


def source_fingerprints(root: Path) -> SourceFingerprints:
    """`source_fingerprint` that reads each source once, however many configurations name it."""
    return cache(partial(source_fingerprint, root=root))


def task_inputs(task: Task, sources: SourceFingerprints) -> dict[str, Any]:
    """The task's settings and data. Whether it is gated, and what it is held against, changes no score."""
    named = [] if task.data is None else [task.data.test, task.data.validation]
    return {
        "task": task.model_dump(
            mode="json", exclude={"gate", "likelihood", *(() if task.slices else ("slices",))}
        ),
        "data": [dict(sources(source)) for source in named if source],
    }


def training_inputs(
    model: Inputs, data: Data | None, recipe: Tuned, seed: int, sources: SourceFingerprints
) -> dict[str, Any]:
    """Recipe, seed and the bytes of all training data."""
    declared = [data.train, data.validation, recipe.replay] if data else [recipe.replay]
    return {
        "training": TRAINING,
        **model,
        "recipe": recipe.model_dump(mode="json", exclude=_NOT_THE_RECIPE),
        "seed": seed,
        "data": [
            {**entry.model_dump(mode="json"), "is": dict(sources(entry.source))}
            for entry in declared
            if entry is not None
        ],
    }
