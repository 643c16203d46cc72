"""What others trained: is it of this base? Its declared base, tokenizer, chat template and family.

Whatever does not match makes the pair NOT COMPARABLE, with the reason and what to do about it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import safe_open
from transformers import AutoTokenizer

from harness.errors import RunFailed, UsageError
from harness.experiment.model_source import ModelSource
from harness.experiment.schema import Base
from harness.models.adapters import CONFIGURATION, WEIGHTS, declared_configuration, why_not_scalable
from harness.models.loading import Loaded
from harness.store.artifacts import file_digest

PROMPT_LEARNING = frozenset(
    {
        "PROMPT_TUNING",
        "MULTITASK_PROMPT_TUNING",
        "P_TUNING",
        "PREFIX_TUNING",
        "CPT",
        "ADAPTION_PROMPT",
        "CARTRIDGE",
    }
)
# Of a hub repository only what is read: never a pickle, never code.
_FILES = [CONFIGURATION, WEIGHTS, "tokenizer*", "special_tokens_map.json", "*.jinja"]


@dataclass(frozen=True)
class Family:
    """What makes two checkpoints comparable, whatever their weights."""

    architecture: str
    vocabulary: str


def family_of(loaded: Loaded) -> Family:
    return Family(
        architecture=str(loaded.model.config.model_type),
        vocabulary=vocabulary_digest(loaded.tokenizer),
    )


def vocabulary_digest(tokenizer: Any) -> str:
    """A hash of every token and its number."""
    listing = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=True)
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


def template_digest(tokenizer: Any) -> str | None:
    template = tokenizer.chat_template
    return hashlib.sha256(str(template).encode()).hexdigest()[:16] if template else None


def family_problems(base: Family, other: Family) -> tuple[str, ...]:
    """Why a checkpoint is no fine-tune of this base."""
    if base.architecture != other.architecture:
        return (f"the model is a {other.architecture}, the base a {base.architecture}: not one family",)
    if base.vocabulary != other.vocabulary:
        return ("the model has another vocabulary than the base: not one family",)
    return ()


def import_adapter(
    source: ModelSource, base: Base, base_tokenizer: Any, scales: bool, folder: Path
) -> dict[str, Any]:
    """Copy somebody's adapter into `folder` and check what it says of itself against the base.

    Returns the step's record. Raises RunFailed where it cannot be had, UsageError where it cannot be
    scaled though several strengths are asked for.
    """
    given = _fetched(source)
    declared = declared_configuration(given)
    if declared.get("peft_type") in PROMPT_LEARNING:
        raise UsageError(
            f"{source.location} is a {declared['peft_type']} adapter, which puts tokens before the prompt: "
            "it cannot be switched on one base. Adapters of weights (LoRA and its kin) can be measured"
        )
    if not (given / WEIGHTS).is_file():
        raise RunFailed(f"{given} holds no {WEIGHTS} (only safetensors adapters are read)")
    reason = why_not_scalable(declared) if scales else None
    if reason:
        raise UsageError(f"`strengths` cannot be used with {source.location}: {reason}")
    for name in (CONFIGURATION, WEIGHTS):
        shutil.copyfile(given / name, folder / name)
    return {
        "method": "adapter",
        "source": dict(source.identity),
        "declared_base": declared.get("base_model_name_or_path"),
        "peft_type": declared.get("peft_type"),
        "problems": [*_base_problems(declared, base, source), *_tokenizer_problems(given, base_tokenizer)],
        "weights_sha256": file_digest(folder / WEIGHTS),
        "adapter_bytes": (folder / WEIGHTS).stat().st_size,
        "trainable_parameters": _parameters(folder / WEIGHTS),
    }


def _fetched(source: ModelSource) -> Path:
    if source.kind != "hub":
        return Path(source.location)
    try:
        return Path(snapshot_download(source.location, revision=source.revision, allow_patterns=_FILES))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise RunFailed(
            f"the adapter {source.location!r} could not be had from the hub: {error}\n"
            "Without a network, name a folder with adapter_config.json and adapter_model.safetensors."
        ) from error


def _base_problems(declared: dict[str, Any], base: Base, source: ModelSource) -> list[str]:
    of = declared.get("base_model_name_or_path")
    if not of or of in (base.model, *base.aliases):
        return []
    return [
        f"the adapter {source.location} declares the base {of!r}, this experiment's base is {base.model!r}; "
        f'if they are the same model, say so: aliases = ["{of}"] under [base]'
    ]


def _tokenizer_problems(given: Path, base_tokenizer: Any) -> list[str]:
    """A tokenizer beside the adapter is the one that it was trained with."""
    if not (given / "tokenizer.json").is_file():
        return []
    own = AutoTokenizer.from_pretrained(given, trust_remote_code=False)
    problems = []
    if not base_tokenizer.get_vocab().items() <= own.get_vocab().items():  # an added padding token is fine
        problems.append(
            "the tokenizer beside the adapter has another vocabulary than the base's; if it was trained "
            "with the base's own, delete the tokenizer's files from the adapter's folder"
        )
    if own.chat_template and template_digest(own) != template_digest(base_tokenizer):
        problems.append(
            "the adapter was saved with another chat template than the base's; save it as a file and name "
            "it: chat_template = … under [base]"
        )
    return problems


def _parameters(file: Path) -> int:
    with safe_open(file, framework="pt") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
    total = 0
    for shape in shapes:
        count = 1
        for size in shape:
            count *= size
        total += count
    return total
