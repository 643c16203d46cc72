"""How large a model is, found out without loading it: from the headers of its files, or from its name."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.estimate.quantities import Note
from harness.experiment.model_source import ModelSource

# As a model name says it: "7B", "270m", "1.5b"; not the 4 of "Q4_K", the 3.2 of a version or an "8x7B".
_IN_A_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([mMbB])(?![A-Za-z0-9])")
_UNITS = {"m": 10**6, "b": 10**9}
# Bits a weight of the usual GGUF files, with their constants and the tensors that are kept larger.
_GGUF_BITS = {"q2": 3.4, "q3": 3.9, "q4": 4.9, "q5": 5.7, "q6": 6.6, "q8": 8.5, "f16": 16.0, "bf16": 16.0}
_MOST_HEADER_BYTES = 100_000_000  # safetensors' own limit


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model, and the shape of its layers.

    embedding: parameters of one vocabulary matrix; heads: how many there are (2 where they are not tied)
    tensors:   name → shape, where the files were read; empty where only the size is known
    note:      where the numbers are from, unless the files were read
    """

    parameters: int
    layers: int
    width: int
    vocabulary: int
    heads: int
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    note: Note | None = None

    @property
    def embedding(self) -> int:
        return self.vocabulary * self.width


def size_of_files(folder: Path) -> ModelSize | None:
    """From config.json and the headers of the safetensors files; None where they do not say."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        config = config.get("text_config", config)
        tensors = dict(_tensors(_weights(folder)))
        width = int(config.get("hidden_size") or config["n_embd"])
        layers = int(config.get("num_hidden_layers") or config["n_layer"])
        vocabulary = int(config["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not tensors:
        return None
    heads = sum(len(shape) == 2 and vocabulary <= shape[0] for shape in tensors.values())
    parameters = sum(map(math.prod, tensors.values()))
    return ModelSize(parameters, layers, width, vocabulary, max(1, heads), tensors)


def _weights(folder: Path) -> list[Path]:
    """The files that transformers would load: some folders also hold the weights in another layout."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_bytes())["weight_map"].values())
        return [folder / name for name in sorted(names)]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))


def _tensors(files: Iterable[Path]) -> Iterable[tuple[str, tuple[int, ...]]]:
    """Names and shapes: a safetensors file begins with the length of its header, and the header."""
    for file in files:
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > _MOST_HEADER_BYTES:
                raise ValueError(f"{file} is not a safetensors file")
            header: Mapping[str, Any] = json.loads(stream.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                yield name, tuple(int(side) for side in entry["shape"])


def size_of_source(source: ModelSource, converted: Path | None, trained: int | None) -> ModelSize | None:
    """The best that is known of a model.

    converted: where the store keeps a GGUF as safetensors; trained: parameters, if it was trained before
    """
    folders = [converted] if converted is not None else []
    folders += [Path(source.location)] if source.kind == "folder" else []
    folders += [_in_hub_cache(source)] if source.kind == "hub" else []
    for folder in folders:
        found = size_of_files(folder)
        if found is not None:
            return found
    if trained is not None:
        return usual_shape(trained, None)
    named = _IN_A_NAME.search(Path(source.location).name.replace("_", " "))
    if named:
        note = Note("the number in a model's name is taken for its size", f"{named[0]} of {source.location}")
        return usual_shape(round(float(named[1]) * _UNITS[named[2].lower()]), note)
    size = _bytes(source)
    if not size:
        return None
    about = f"{size / 1e6:,.0f} MB of {source.location}"
    note = Note("the size of a model is estimated from the bytes of its files", about)
    return usual_shape(round(size * 8 / _bits(source.location)), note)


def usual_shape(parameters: int, note: Note | None) -> ModelSize:
    """Layers and width of a usual decoder of this size: 12 · layers · width², with width = 128 · layers."""
    layers = max(1, round((parameters / (12 * 128**2)) ** (1 / 3)))
    width = round(math.sqrt(parameters / (12 * layers)))
    vocabulary = min(32_000, parameters // (4 * width))  # of a small model at most half is embedding
    return ModelSize(parameters, layers, width, vocabulary, 2, note=note)


def _in_hub_cache(source: ModelSource) -> Path:
    """The snapshot that huggingface_hub keeps; a folder that is not there, if it does not."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    model = cache / f"models--{source.location.replace('/', '--')}"
    revision = source.revision or "main"
    with contextlib.suppress(OSError):  # a commit has no file among the refs
        revision = (model / "refs" / revision).read_text(encoding="utf-8").strip()
    return model / "snapshots" / revision


def _bits(name: str) -> float:
    lowered = name.lower()
    return next((bits for tag, bits in _GGUF_BITS.items() if tag in lowered), _GGUF_BITS["q4"])


def _bytes(source: ModelSource) -> int:
    """Of a GGUF file, or of those that a package and its parts ship."""
    if source.kind == "gguf":
        return Path(source.location).stat().st_size if Path(source.location).is_file() else 0
    if source.kind != "package":
        return 0
    named = metadata.distribution(source.location.replace("_", "-"))
    parts = [re.split(r"[\s<>=!~;\[(]", required, maxsplit=1)[0] for required in named.requires or ()]
    return sum(_shipped(part) for part in [named.name, *parts])


def _shipped(distribution: str) -> int:
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return 0
    return sum(file.size or 0 for file in files if ".gguf" in file.name)
