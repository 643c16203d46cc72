"""Training the base's own weights: all of them, its last layers, or parameters by name."""

from __future__ import annotations

import difflib
import fnmatch
from functools import partial as bound
from pathlib import Path
from typing import Any

import torch

from harness.errors import UsageError
from harness.experiment.schema import Partial
from harness.models.loading import DTYPES, Loaded
from harness.training.job import Job, Prepared, frozen_copy
from harness.training.weights import Dtypes, save_trained, trainable


def prepare_unfrozen(job: Job, loaded: Loaded) -> Prepared:
    """`full` and `partial`, on the loaded model itself. Raises UsageError where they do not fit it.

    bfloat16 weights lose every update that is smaller than 1/256 of them, so unless the recipe says
    otherwise what is trained is held in float32.
    """
    model, recipe = loaded.model, job.recipe
    if getattr(model, "is_quantized", False):
        raise UsageError(
            f'{job.table}: method = "{recipe.method}" trains the weights themselves, and quantised weights '
            'cannot be trained: take `quantization` away, or use method = "qlora"'
        )
    if recipe.weights_dtype == "bfloat16" and job.base.dtype != "bfloat16":
        raise UsageError(
            f'{job.table}: weights_dtype = "bfloat16" trains the weights as they are loaded, and '
            f'base.dtype is "{job.base.dtype}": set it to "bfloat16", or weights_dtype to "float32"'
        )
    wanted = _chosen(model, recipe.partial, job.table) if recipe.method == "partial" else None
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(wanted is None or name in wanted)
    reference = frozen_copy(model) if recipe.kl else None
    dtypes = {name: parameter.dtype for name, parameter in trainable(model).items()}
    for parameter in trainable(model).values():
        parameter.data = parameter.data.to(DTYPES[recipe.weights_dtype])
    return Prepared(model, bound(_save, job, model, dtypes), reference)


def _save(job: Job, model: Any, dtypes: Dtypes, folder: Path) -> Path:
    declared = {"method": job.recipe.method, "base": job.base.model, "revision": job.base.revision}
    return save_trained(model, folder, dtypes, declared)


def _chosen(model: Any, partial: Partial | None, table: str) -> frozenset[str]:
    """Names of the parameters that `partial` trains, tied ones by the first of their names."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    every = {name: first[id(each)] for name, each in model.named_parameters(remove_duplicate=False)}
    chosen: set[str] = set()
    if partial is not None and partial.top_layers is not None:
        chosen |= {every[name] for name in _of_top_layers(model, partial.top_layers, table)}
    for pattern in partial.modules if partial is not None else ():
        matched = fnmatch.filter(every, pattern)
        if not matched:
            near = difflib.get_close_matches(pattern, every, n=3, cutoff=0.3)
            raise UsageError(
                f"{table}: no parameter of this model matches {pattern!r} in partial.modules; "
                f"near it are {', '.join(near) or 'none'} (`*` stands for any part of a name)"
            )
        chosen |= {every[name] for name in matched}
    if not chosen:
        raise UsageError(f"{table}: `partial` trains nothing; give it top_layers or modules")
    return frozenset(chosen)


def _of_top_layers(model: Any, count: int, table: str) -> list[str]:
    """Names of the parameters of the last `count` transformer layers."""
    prefix, layers = _layers(model, table)
    if count > len(layers):
        raise UsageError(
            f"{table}: partial.top_layers is {count}, and this model has {len(layers)} layers; "
            'to train all of them and the embeddings use method = "full"'
        )
    wanted = tuple(f"{prefix}.{number}." for number in range(len(layers) - count, len(layers)))
    return [name for name, _ in model.named_parameters(remove_duplicate=False) if name.startswith(wanted)]


def _layers(model: Any, table: str) -> tuple[str, torch.nn.ModuleList]:
    """The decoder's list of layers and its name: the list that is as long as the configuration says."""
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return name, module
    raise UsageError(
        f"{table}: this model's layers were not found, so partial.top_layers has no meaning for it; "
        "name the parameters in partial.modules"
    )
