from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.models.norms import one_kernel_norms
from tests.conftest import tiny_model


def normed(kind: str, dtype: torch.dtype = torch.float32) -> Any:
    """A tiny model whose norms have weights of all kinds, as trained ones do."""
    model = tiny_model(kind)
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if weight.ndim == 1 and "norm" in name:
            weight.data.add_(0.5 * torch.randn_like(weight))
    return model.to(dtype)


def replaced(model: Any) -> list[Any]:
    return [module for module in model.modules() if "forward" in vars(module)]


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=torch.arange(3, 40)[None]).logits.double()  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "olmo2"])
def test_norms_in_one_kernel_give_the_models_own_logits(kind: str) -> None:
    model = normed(kind)
    before = logits(model)

    with one_kernel_norms(model):
        norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
        assert norms
        assert replaced(model) == norms
        assert torch.allclose(logits(model), before, rtol=1e-4, atol=1e-5)

    assert not replaced(model)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_in_16_bits_they_are_no_further_from_the_truth_than_the_models_own(kind: str) -> None:
    model = normed(kind, torch.bfloat16)
    exact = logits(normed(kind, torch.bfloat16).float())
    own = (logits(model) - exact).abs().mean()

    with one_kernel_norms(model):
        assert (logits(model) - exact).abs().mean() <= 1.1 * own


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "phi"])
def test_other_norms_are_left_alone(kind: str) -> None:
    model = tiny_model(kind)

    with one_kernel_norms(model):
        assert not replaced(model)


def test_a_norm_that_only_looks_like_one_keeps_its_own_pass() -> None:
    model = normed("llama")
    kind = type(model.model.norm)

    class HalvedRMSNorm(kind):  # type: ignore[misc, valid-type]
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden_states) / 2  # type: ignore[no-any-return]

    model.model.norm.__class__ = HalvedRMSNorm
    before = logits(model)

    with one_kernel_norms(model):
        assert model.model.norm not in replaced(model)
        assert len(replaced(model)) == 4
        assert torch.allclose(logits(model), before, rtol=1e-4, atol=1e-5)


def test_a_hook_that_stands_in_for_a_norms_pass_is_not_lost() -> None:
    model = normed("llama")
    hook = model.model.norm.forward
    model.model.norm.forward = hook

    with one_kernel_norms(model):
        assert model.model.norm.forward is hook

    assert model.model.norm.forward is hook


def test_they_are_the_models_own_again_after_an_error() -> None:
    model = normed("llama")

    with pytest.raises(RuntimeError), one_kernel_norms(model):
        raise RuntimeError

    assert not replaced(model)
