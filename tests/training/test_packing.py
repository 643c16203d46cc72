"""Packed rows are trained as if each were alone: measured on the models, not read off their code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from harness.errors import UsageError
from harness.training.batches import micro_batches
from harness.training.loss import hidden_states, summed_losses
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer
from tests.training.conftest import job, run
from tests.training.test_batches import padded

Trained = Callable[..., tuple[Path, dict[str, Any]]]
LENGTHS = [9, 14, 3, 12, 7]
EVERY = [
    (kind, attention)
    for kind in ("llama", "mistral", "qwen3", "gemma2", "gemma3", "gpt2")
    for attention in ("sdpa", "eager")
    if (kind, attention) != ("gemma2", "sdpa")  # its softcap is not to be had there
]


def made(kind: str, attention: str) -> Any:
    torch.manual_seed(0)
    config = tiny_config(kind)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # so that attention is not nearly uniform
            if parameter.ndim > 1:
                parameter.mul_(3)
    return model


def alone(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients with one row a pass."""
    model.zero_grad()
    loss = sum(summed_losses(model, part, None, 0.0).objective for part in micro_batches(inputs, 1, None))
    loss.backward()  # type: ignore[union-attr]
    return float(loss), {name: each.grad.clone() for name, each in model.named_parameters()}


@pytest.mark.parametrize(("kind", "attention"), EVERY)
def test_loss_and_gradients_of_packed_rows_are_the_sums_of_the_rows_alone(kind: str, attention: str) -> None:
    """The sliding windows of Gemma and Mistral are 6 tokens here: shorter than the rows."""
    model, inputs = made(kind, attention), padded(LENGTHS)
    expected_loss, expected = alone(model, inputs)
    model.zero_grad()
    (part,) = micro_batches(inputs, len(LENGTHS), 24)
    assert part["input_ids"].shape[0] < len(LENGTHS)

    loss = summed_losses(model, part, None, 0.0).objective
    loss.backward()

    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "attention"), EVERY)
def test_changing_one_packed_row_changes_nothing_in_its_neighbours(kind: str, attention: str) -> None:
    model, inputs = made(kind, attention), padded([8, 8, 8])
    changed = {name: tensor.clone() for name, tensor in inputs.items()}
    changed["input_ids"][0] += 40

    with torch.no_grad():
        before, after = (hidden_states(model, micro_batches(each, 3, 24)[0]) for each in (inputs, changed))

    same = (before == after).all(dim=-1).flatten()
    assert int(same.sum()) == 16
    assert not torch.equal(before, after)


def test_packed_training_makes_the_weights_of_unpacked_training(trained: Trained) -> None:
    plain, _ = trained(batch_size=8)
    packed, record = trained(batch_size=8, packing=True, max_length=64)

    assert record["packed"]
    assert record["tokens"] == record["counts"]["tokens"]
    expected = load_file(plain / "adapter_model.safetensors")
    for name, tensor in load_file(packed / "adapter_model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)


def test_a_model_that_does_not_keep_packed_rows_apart_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mamba"
    tiny_model("mamba").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    lora = {"r": 4, "target_modules": ["in_proj"]}

    run(tmp_path / "plain", folder, job(lora=lora, max_steps=1))
    with pytest.raises(UsageError, match=r"packing = true, but MambaForCausalLM does not keep rows"):
        run(tmp_path / "packed", folder, job(lora=lora, packing=True))


def test_an_attention_that_ignores_positions_is_found_out(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import masking_utils

    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda positions: None)
    with pytest.raises(UsageError, match="set packing = false"):
        run(tmp_path, model_folder, job(packing=True))
