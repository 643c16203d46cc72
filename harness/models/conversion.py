"""GGUF → safetensors, once. transformers keeps a GGUF quantised and then cannot save it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from harness.errors import RunFailed
from harness.experiment.model_source import ModelSource
from harness.progress import Progress
from harness.store.artifacts import Step, Store, file_digest

MODEL_FOLDER = "model"


def loadable(source: ModelSource, step: Step | None, store: Store, progress: Progress) -> str:
    """The folder or hub id that the model loads from. `step` is its conversion, None where it needs none.

    A GGUF is converted at its first use. Raises RunFailed.
    """
    if step is None:
        return source.location
    if not store.has(step):
        progress.begin(f"convert {source.location} to safetensors", 0, 1)
        store.finish(step, convert(source, store.begin(step)))
        progress.advance(1)
        progress.end("kept for all later runs")
    return str(store.folder(step) / MODEL_FOLDER)


def convert(source: ModelSource, folder: Path) -> dict[str, Any]:
    """Dequantise `source` into `folder`/model as float32 safetensors with its tokenizer.

    Returns what is recorded: the digest of the GGUF and of the weights. Raises RunFailed.
    """
    file = folder / "source.gguf"
    if source.kind == "package":
        _from_package(source.location, file)
    else:
        file = Path(source.location)
    digest = file_digest(file)
    target = folder / MODEL_FOLDER
    try:
        with _read_once():
            model = AutoModelForCausalLM.from_pretrained(
                str(file.parent),
                gguf_file=file.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
            )
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise RunFailed(f"{source.location} could not be read as a GGUF model: {error}") from error
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    if source.kind == "package":
        file.unlink()  # it can be assembled again from the package
    return {
        "source": dict(source.identity),
        "gguf_sha256": digest,
        "weights_sha256": {path.name: file_digest(path) for path in sorted(target.glob("*.safetensors"))},
    }


@contextlib.contextmanager
def _read_once() -> Iterator[None]:
    """Within it a GGUF's metadata are read once.

    transformers reads them for the configuration, the weights and the tokenizer, and a vocabulary of
    262,144 pieces takes a dozen seconds each time.
    """
    before = gguf.GGUFReader
    gguf.GGUFReader = cache(before)
    try:
        yield
    finally:
        gguf.GGUFReader = before


def _from_package(name: str, target: Path) -> None:
    """A package ships its model as one .gguf file, or in parts with a function `assemble(path)`."""
    package = import_module(name)
    if hasattr(package, "assemble"):
        try:
            package.assemble(target, overwrite=True)
        except (OSError, ValueError) as error:
            raise RunFailed(f"package {name} could not assemble its model: {error}") from error
        return
    shipped = [entry for entry in resources.files(package).iterdir() if entry.name.endswith(".gguf")]
    if len(shipped) != 1:
        raise RunFailed(
            f"package {name} ships {len(shipped)} .gguf files and no assemble(); "
            "name the file itself in base.model"
        )
    target.write_bytes(shipped[0].read_bytes())
