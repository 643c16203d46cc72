"""Trained weights (full and partial fine-tuning): in the place of the base's own, and back.

Only the trained tensors are kept, so a partly trained model costs its part on disk and in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from harness.errors import RunFailed
from harness.models.loading import Attached, Loaded

TRAINED_WEIGHTS = "weights.safetensors"
Tensors = Mapping[str, torch.Tensor]


@contextlib.contextmanager
def attached_weights(base: Loaded, folder: Path) -> Iterator[Attached]:
    """The base with the trained tensors of `folder` in place of its own; the base again afterwards.

    Nothing is copied: a parameter's data is exchanged. A strength t between 0 and 1 is WiSE-FT's
    W₀ + t·(W - W₀) (arXiv:2109.01903), made in float32. Raises RunFailed where they do not fit.
    """
    parameters = dict(base.model.named_parameters())
    trained = _read(folder / TRAINED_WEIGHTS, base.device)
    own = {name: parameters[name].data for name in _fitting(trained, parameters, folder)}
    trained = {name: tensor.to(own[name].dtype) for name, tensor in trained.items()}

    def put(tensors: Tensors) -> None:
        for name, tensor in tensors.items():
            parameters[name].data = tensor

    @contextlib.contextmanager
    def with_tensors(tensors: Tensors) -> Iterator[None]:
        put(tensors)
        try:
            yield
        finally:
            put(trained)

    def scaled(strength: float) -> AbstractContextManager[None]:
        if strength == 1:
            return contextlib.nullcontext()
        if strength == 0:
            return with_tensors(own)
        return with_tensors({name: _between(own[name], trained[name], strength) for name in own})

    put(trained)
    try:
        yield Attached(base, lambda: with_tensors(own), scaled, _largest_change(own, trained))
    finally:
        put(own)


def _read(file: Path, device: torch.device) -> dict[str, torch.Tensor]:
    try:
        return load_file(file, device=str(device))
    except (OSError, SafetensorError) as error:
        raise RunFailed(f"{file} cannot be read: {error}. Delete its folder and run again") from error


def _fitting(trained: Tensors, parameters: Mapping[str, Any], folder: Path) -> list[str]:
    for name, tensor in trained.items():
        if name not in parameters:
            raise RunFailed(f"the weights in {folder} do not fit this base: it has no parameter {name}")
        if tensor.shape != parameters[name].shape:
            shapes = f"{tuple(tensor.shape)} against {tuple(parameters[name].shape)}"
            raise RunFailed(f"the weights in {folder} do not fit this base: {name} is {shapes}")
    return list(trained)


def _between(own: torch.Tensor, trained: torch.Tensor, strength: float) -> torch.Tensor:
    return torch.lerp(own.float(), trained.float(), strength).to(own.dtype)


def _largest_change(own: Tensors, trained: Tensors) -> float:
    return max((float((trained[name].float() - own[name].float()).abs().max()) for name in own), default=0.0)
