"""The trained tensors of a model: in checkpoints as they are held, at the end as the base would hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from harness.errors import RunFailed
from harness.models.weights import TRAINED_WEIGHTS

DECLARED = "weights.json"
Dtypes = Mapping[str, torch.dtype]


def trainable(model: Any) -> dict[str, torch.nn.Parameter]:
    """The parameters that training changes, by name; tied ones once."""
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def write_weights(model: Any, path: Path) -> None:
    """As they are held, complete or not at all: a kill leaves no half file under this name."""
    partial = path.with_name(path.name + ".partial")
    save_file({name: each.detach().contiguous() for name, each in trainable(model).items()}, partial)
    partial.replace(path)


def read_weights(model: Any, path: Path) -> None:
    """Into the parameters of the same names. Raises RunFailed where the file is of another training."""
    stored = load_file(path)
    wanted = trainable(model)
    if stored.keys() != wanted.keys():
        raise RunFailed(f"{path} holds the weights of another training; delete its folder and run again")
    with torch.no_grad():
        for name, tensor in stored.items():
            wanted[name].copy_(tensor)


def save_trained(model: Any, folder: Path, dtypes: Dtypes, declared: Mapping[str, Any]) -> Path:
    """`weights.safetensors`: what was trained, by the base's names and in its precision.

    Beside it `weights.json` says what it is. Returns the former.
    """
    path = folder / TRAINED_WEIGHTS
    tensors = {name: each.detach().to(dtypes[name]).contiguous() for name, each in trainable(model).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    text = json.dumps({**declared, "tensors": len(tensors)}, indent=2, sort_keys=True)
    (folder / DECLARED).write_text(text + "\n", encoding="utf-8")
    return path
