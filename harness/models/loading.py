"""A model and its tokenizer, in the precision that the configuration names."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from harness.errors import RunFailed, UsageError
from harness.experiment.schema import Base, Quantization

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Loaded:
    """A model ready to run. `model` is replaced by its PEFT wrapper while an adapter is attached."""

    model: Any
    tokenizer: Any
    device: torch.device


@dataclass(frozen=True)
class Attached:
    """A tuned model on its base, as trained until told otherwise.

    off:     within it the model is the base
    scaled:  within it the change has this strength; 1 is as trained, 0 the base exactly
    largest: largest |entry| of what was trained: of LoRA's B matrices, of W - W₀ for trained weights.
             0 means that nothing was changed
    """

    loaded: Loaded
    off: Callable[[], AbstractContextManager[None]]
    scaled: Callable[[float], AbstractContextManager[None]]
    largest: float


def _keep_quantised_weights_as_they_are(model: Any) -> None:
    """No repacking of 4-bit weights for the CPU.

    bitsandbytes repacks them at the first pass without gradients, and back whenever a state dict is
    taken (PEFT does when it attaches an adapter). The way back is lossy with double quantisation, so
    the base would no longer be the base; and a packed layer passes no gradient on, so training would
    go wrong after its first validation. Unpacked it is as fast (0.84 s against 0.87 s for 1,000 tokens).
    """
    from bitsandbytes.nn import Linear4bit  # only a quantised base needs it

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
LARGE_TENSOR_BYTES = 32 << 20  # the most that glibc takes
KEPT_BYTES = 512 << 20
FORGET_THE_PEAK = "5"  # of the resident memory: proc(5)


def release() -> None:
    """Give back the memory of models that nobody holds any more: trainers keep theirs in cycles.

    glibc is told to map and unmap the largest tensors one by one, and to keep what is freed of all others:
    left to itself it keeps more, and a training on a CPU grows to twice its need.
    Trap: where a pass's activations are mapped anew, or the heap's end is given back after each pass, the
    kernel's page faults take a third of the time.
    """
    gc.collect()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # not every C library has these two
            libc.mallopt(M_MMAP_THRESHOLD, LARGE_TENSOR_BYTES)
            libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
            libc.malloc_trim(0)
        with contextlib.suppress(OSError):  # not every kernel has it
            Path("/proc/self/clear_refs").write_text(FORGET_THE_PEAK, encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def settle() -> None:
    """Before a model is loaded: take what is held for good, libraries above all, out of garbage collection.

    A collection walks a million of their objects, 0.3 s in which a GPU waits, and making thousands of
    requests or attaching an adapter sets one off.
    """
    release()
    gc.freeze()


def slow_here(dtype: str) -> str | None:
    """What a person should know of a precision that the processor must emulate; None where a GPU computes."""
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    if dtype != "bfloat16" or torch.cuda.is_available() or capabilities.get("avx512_bf16", True):
        return None
    return (
        'this processor has no bfloat16 instructions: with `base.dtype = "float32"` a run takes a third of '
        "the time and twice the memory"
    )


def load(location: str, base: Base, quantization: Quantization | None) -> Loaded:
    """Load a folder or a hub id; `base.revision` is its revision, `base.chat_template` a readable path.

    Raises RunFailed saying which model and what to set, and UsageError for the chat template.
    """
    options: dict[str, Any] = {
        "dtype": DTYPES[base.dtype],
        "trust_remote_code": base.trust_remote_code,
        "use_safetensors": True,  # never a pickle
    }
    if base.revision:
        options["revision"] = base.revision
    if quantization:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantization.type,
            bnb_4bit_use_double_quant=quantization.double,
            bnb_4bit_compute_dtype=DTYPES[quantization.compute_dtype],
        )
    where = device()
    try:
        model = AutoModelForCausalLM.from_pretrained(location, device_map={"": where}, **options)
    except (OSError, ValueError) as error:
        raise _not_loaded(location, error) from error
    if quantization:
        _keep_quantised_weights_as_they_are(model)
    head = model.get_output_embeddings()
    if head is not None:
        # The last position of a longer pass is a view with that pass's strides, though contiguous() finds
        # it contiguous; for a frozen head (PEFT freezes it) torch's CPU matmul then copies the head, 335 MB
        # for each row of Gemma 3. A clone has strides of its own.
        head.register_forward_pre_hook(
            lambda _, inputs: (inputs[0].clone(memory_format=torch.contiguous_format), *inputs[1:])
        )
    model.eval()
    return Loaded(model, tokenizer_of(location, base), where)


def tokenizer_of(location: str, base: Base) -> Any:
    """The tokenizer without weights, with `base.chat_template` in the place of its own. Raises as `load`."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            location, revision=base.revision or "main", trust_remote_code=base.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise _not_loaded(location, error) from error
    if base.chat_template is not None:
        try:
            tokenizer.chat_template = Path(base.chat_template).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(f"base.chat_template cannot be read: {error}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _not_loaded(location: str, error: Exception) -> RunFailed:
    return RunFailed(
        f"model {location!r} could not be loaded: {error}\n"
        "A hub id needs a network or a filled cache (HF_HOME), and HF_TOKEN where the model is gated; "
        "a local folder with safetensors, a .gguf file or package:NAME need neither."
    )


def free_memory() -> int:
    """Bytes that can still be filled: of the GPU where there is one, else of this machine."""
    if torch.cuda.is_available():
        held = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + held
    try:
        found = Path("/proc/meminfo").read_text(encoding="ascii").partition("MemAvailable:")[2]
        return int(found.split()[0]) * 1024
    except (OSError, ValueError, IndexError):  # not a Linux
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def peak_memory() -> int:
    """Bytes since the last `release`: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):  # not a Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
