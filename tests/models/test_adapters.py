"""An adapter is proved live before anything is measured with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from harness.errors import RunFailed
from harness.experiment.schema import Base, Quantization
from harness.models.adapters import WEIGHTS, attached_adapter
from harness.models.loading import load
from harness.models.proof import probe, prove
from tests.conftest import tiny_model

PROMPTS = ["the quick brown fox", "which colour is the sky?", "sphinx"]
FLOAT32 = Base(model="unused", dtype="float32")


def adapter(folder: Path, b: float, hidden: str = "llama") -> Path:
    """A LoRA adapter whose B matrices are all `b`."""
    torch.manual_seed(1)
    model = get_peft_model(
        tiny_model(hidden), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    model.save_pretrained(folder)
    weights = load_file(folder / WEIGHTS)
    save_file(
        {name: torch.full_like(t, b) if "lora_B" in name else t for name, t in weights.items()},
        folder / WEIGHTS,
        metadata={"format": "pt"},
    )
    return folder


def test_a_trained_adapter_is_live_and_switches_off_without_a_trace(
    model_folder: Path, tmp_path: Path
) -> None:
    base = load(str(model_folder), FLOAT32, None)
    reference = probe(base, PROMPTS)
    folder = adapter(tmp_path, 0.05)

    with attached_adapter(base, folder) as tuned:
        proof = prove(tuned, reference, scales=True)

    assert proof.problems == ()
    assert proof.off_equals_base
    assert proof.largest_b == pytest.approx(0.05)
    assert torch.equal(probe(base, PROMPTS).logits, reference.logits), "the base is bare again"


def test_an_adapter_whose_b_is_zero_is_not_live(model_folder: Path, tmp_path: Path) -> None:
    base = load(str(model_folder), FLOAT32, None)
    reference = probe(base, PROMPTS)
    folder = adapter(tmp_path, 0.0)

    with attached_adapter(base, folder) as tuned:
        proof = prove(tuned, reference, scales=True)

    assert proof.logit_change == 0.0
    assert any("every B matrix is zero" in problem for problem in proof.problems)


def test_an_adapter_below_the_engines_own_noise_is_not_live(model_folder: Path, tmp_path: Path) -> None:
    base = load(str(model_folder), FLOAT32, None)
    reference = probe(base, PROMPTS)
    folder = adapter(tmp_path, 1e-9)

    with attached_adapter(base, folder) as tuned:
        proof = prove(tuned, reference, scales=True)

    assert any("no more than" in problem and "noise" in problem for problem in proof.problems)


def test_a_quantised_base_takes_an_adapter_unmerged(model_folder: Path, tmp_path: Path) -> None:
    base = load(str(model_folder), FLOAT32, Quantization(compute_dtype="float32"))
    reference = probe(base, PROMPTS)
    folder = adapter(tmp_path, 0.05)

    with attached_adapter(base, folder) as tuned:
        proof = prove(tuned, reference, scales=True)

    assert proof.problems == ()


def test_an_adapter_of_another_architecture_is_refused_in_words(model_folder: Path, tmp_path: Path) -> None:
    base = load(str(model_folder), FLOAT32, None)
    folder = adapter(tmp_path, 0.05, "gpt2")

    with pytest.raises(RunFailed, match="does not fit this base"), attached_adapter(base, folder):
        pass


def test_a_model_that_is_not_there_says_which_and_what_to_set() -> None:
    with pytest.raises(RunFailed, match=r"'no-such/model' could not be loaded(.|\n)*HF_HOME"):
        load("no-such/model", FLOAT32, None)
