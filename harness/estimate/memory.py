"""Memory of a training or a measurement, from the parts that are known to be held."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.estimate.quantities import Note, Source
from harness.estimate.sizes import ModelSize
from harness.experiment.lora_fields import REWRITES_BASE
from harness.experiment.schema import Partial, Quantization, Tuned

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Of one 4-bit weight with the constants of its block of 64: float32, or 8 bits and float32 for 256 of them.
QUANTIZED_BYTES = 0.5 + 4 / 64
DOUBLY_QUANTIZED_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
# Bytes that a layer keeps for the backward pass, a token and a unit of width, in 16 bits and without the
# attention matrix: Korthikanti et al. 2022, "Reducing Activation Recomputation", section 4.1.
KEPT_BY_A_LAYER = 34
# As harness.training.loss holds logits, in float32: itself, its logarithms, and the gradients of both.
LOGITS_HELD = 1 << 25
LOGIT_COPIES = 4
# As harness.scoring packs (a test holds the two together): tokens of one forward pass, bytes of float32
# logits that are read at a time, more where the vocabulary is not cut, and where it is.
SCORING_PASS = {"cpu": 1024, "cuda": 8192}
LOGITS_READ = {"cpu": 1 << 23, "cuda": 1 << 29}
UNCUT_LOGITS_READ = 1 << 27
SLICE = {"cpu": 4096, "cuda": 1 << 16}
# Resident, measured: Python with torch, transformers, peft, trl and lm-eval; a tokenizer, by its vocabulary.
LIBRARIES = 540_000_000
TOKENIZER_ENTRY = 1250


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak: "stored" where it was measured; where it is estimated `parts` add up to it."""

    value: int | None
    source: Source
    parts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Held:
    """How a model is held in memory, and where."""

    size: ModelSize
    dtype: str
    quantization: Quantization | None
    device: str

    @property
    def wide(self) -> int:
        """1 for activations in 16 bits, 2 in 32."""
        return BYTES[self.dtype] // 2


def from_parts(parts: Mapping[str, float], *notes: Note) -> Memory:
    whole = {name: round(value) for name, value in parts.items() if round(value)}
    return Memory(sum(whole.values()), "estimated", whole, notes)


def _frozen_copy(recipe: Tuned, held: Held, trained: int) -> float:
    """What `kl` holds beside the model. An adapter is switched off, unless it began by changing the base."""
    if recipe.method in ("lora", "qlora"):
        return _weights(held) if str(recipe.lora.get("init_lora_weights")).startswith(REWRITES_BASE) else 0
    return trained * BYTES[held.dtype]


def training_parts(recipe: Tuned, held: Held, rows: int, row_tokens: int) -> dict[str, float]:
    """What a training holds with `rows` rows of `row_tokens` tokens in a pass.

    States that a paged optimiser moves out of a full GPU are not in it.
    """
    size, on_adapter = held.size, recipe.method in ("lora", "qlora")
    trained = trained_parameters(recipe, size)
    each = 4 if on_adapter else BYTES[recipe.weights_dtype]  # adapters are trained in float32
    frozen = size.parameters - (0 if on_adapter else trained)
    narrow = BYTES[held.dtype] < each and not on_adapter
    tokens = rows * row_tokens
    parts = {
        "weights": _weights(held) if on_adapter else frozen * BYTES[held.dtype] + trained * each,
        "adapter": trained * each if on_adapter else 0,
        "gradients": trained * each,
        "optimiser": _optimiser(recipe, size, trained, each),
        "frozen copy": _frozen_copy(recipe, held, trained) if recipe.kl else 0,
        # Autocast keeps the weights in 16 bits too while their activations wait for the backward pass.
        "16-bit copies": trained * BYTES[held.dtype] if narrow else 0,
        "activations": _activations(recipe, held, tokens),
        "logits": min(tokens * size.vocabulary, LOGITS_HELD) * 4 * LOGIT_COPIES,
    }
    return parts | _libraries(held)


def scoring_parts(held: Held) -> dict[str, float]:
    """What a measurement holds: no gradients, one layer's activations, and the logits that are read."""
    tokens, read = SCORING_PASS[held.device], LOGITS_READ[held.device]
    if held.size.vocabulary <= SLICE[held.device]:
        read = max(read, UNCUT_LOGITS_READ)
    return {
        "weights": _weights(held),
        "activations": KEPT_BY_A_LAYER * held.wide * tokens * held.size.width,
        "logits": LOGIT_COPIES * read,
    } | _libraries(held)


def _libraries(held: Held) -> dict[str, float]:
    """On a CPU the process is what is measured, on a GPU only its tensors."""
    if held.device != "cpu":
        return {}
    return {"libraries": LIBRARIES + TOKENIZER_ENTRY * held.size.vocabulary}


def _weights(held: Held) -> float:
    size, quantization = held.size, held.quantization
    if quantization is None:
        return size.parameters * BYTES[held.dtype]
    if size.tensors:
        packed = sum(math.prod(shape) for shape in _linear(size).values())
    else:
        packed = size.parameters - size.heads * size.embedding
    a_weight = DOUBLY_QUANTIZED_BYTES if quantization.double else QUANTIZED_BYTES
    return packed * a_weight + (size.parameters - packed) * BYTES[held.dtype]


def _optimiser(recipe: Tuned, size: ModelSize, trained: int, each: int) -> float:
    """Two moments of each trained parameter."""
    if recipe.optimizer == "adamw":
        return 2 * each * trained
    # transformers keeps the moments of an embedding in float32.
    embedding = size.embedding if recipe.method == "full" else 0
    states = 2 * (trained - embedding) + 8 * embedding
    return 0 if recipe.optimizer == "paged_adamw_8bit" else states


def paged_states(recipe: Tuned, size: ModelSize) -> float | None:
    """Bytes of the optimiser that may leave a full GPU."""
    if recipe.optimizer != "paged_adamw_8bit":
        return None
    plain = recipe.model_copy(update={"optimizer": "adamw_8bit"})
    return _optimiser(plain, size, trained_parameters(recipe, size), 4)


def _activations(recipe: Tuned, held: Held, tokens: int) -> float:
    size = held.size
    layers = size.layers
    if (
        recipe.method == "partial"
        and recipe.partial
        and recipe.partial.top_layers
        and not recipe.partial.modules
    ):
        layers = min(layers, recipe.partial.top_layers)  # no gradient flows below the last frozen layer
    layer = KEPT_BY_A_LAYER * held.wide * tokens * size.width
    if recipe.gradient_checkpointing:
        return layer + layers * 2 * held.wide * tokens * size.width
    return layers * layer


def trained_parameters(recipe: Tuned, size: ModelSize) -> int:
    """How many parameters require a gradient."""
    if recipe.method == "full":
        return size.parameters
    if recipe.method == "partial":
        return _unfrozen(recipe.partial or Partial(), size)
    return _adapter(recipe.lora, size)


def _unfrozen(partial: Partial, size: ModelSize) -> int:
    top = partial.top_layers or 0
    if not size.tensors:
        layers = size.parameters - size.heads * size.embedding
        return size.parameters if partial.modules else layers * min(top, size.layers) // size.layers
    return sum(
        math.prod(shape)
        for name, shape in size.tensors.items()
        if _layer(name) >= size.layers - top
        or any(fnmatch.fnmatchcase(name, each) for each in partial.modules)
    )


def _layer(name: str) -> int:
    """The number of the layer that a tensor is in; -1 for the embedding, the head and the last norm."""
    found = re.search(r"\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _linear(size: ModelSize) -> dict[str, tuple[int, ...]]:
    """Matrices of the layers, by the names of their modules: what is quantised, and can have an adapter."""
    return {
        name.removesuffix(".weight"): shape
        for name, shape in size.tensors.items()
        if len(shape) == 2 and _layer(name) >= 0
    }


def _adapter(lora: Mapping[str, Any], size: ModelSize) -> int:
    """Parameters of a LoRA adapter: rank times the sides of each matrix that it is put on."""
    rank, target = int(lora.get("r", 8)), lora.get("target_modules")
    if not size.tensors:
        # Attention and the three matrices of an MLP have sides of 19 widths in a usual decoder: all of them.
        return 19 * size.width * size.layers * rank
    chosen = [shape for name, shape in _linear(size).items() if _is_target(name, target)]
    return rank * sum(sum(shape) for shape in chosen)


def _is_target(name: str, target: Any) -> bool:
    """As PEFT chooses modules: all of them, by a pattern over the whole name, or by the ends of names."""
    if isinstance(target, str) and target != "all-linear":
        return re.fullmatch(target, name) is not None
    if isinstance(target, list | tuple):
        return any(name == end or name.endswith(f".{end}") for end in target)
    return True
