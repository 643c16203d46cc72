"""The loss is the model's own, whatever its head does to the logits and in however many pieces it is made."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from scipy.stats import entropy

from harness.errors import RunFailed
from harness.training import loss as losses
from harness.training.loss import Head, summed_losses
from harness.training.rendering import TokenRow
from harness.training.trial import prove_loss
from tests.conftest import tiny_config, tiny_model
from tests.training.test_batches import padded

SHARED = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
SCALED = {
    "cohere": lambda: transformers.CohereConfig(**SHARED, logit_scale=0.3),
    "granite": lambda: transformers.GraniteConfig(**SHARED, logits_scaling=5.0),
    "gemma2 with a low cap": lambda: transformers.Gemma2Config(
        **SHARED, head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=1.5
    ),
}


def made(config: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    return model


def expected_loss(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten(), reduction="sum")


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters()}


@pytest.mark.parametrize("pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", [*SCALED, "llama", "gemma3", "gpt2"])
def test_loss_and_gradients_are_those_of_the_models_own_logits(
    name: str, pieces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pieces:
        monkeypatch.setattr(losses, "LOGITS_HELD", 300 * 4)
    model = made(SCALED[name]() if name in SCALED else tiny_config(name))
    inputs = padded([9, 5, 7])
    expected = expected_loss(model, inputs)
    wanted = gradients(model, expected)

    ours = summed_losses(model, inputs, None, 0.0)

    assert float(ours.divergence) == 0
    assert float(ours.loss) == float(ours.objective) == pytest.approx(float(expected), rel=1e-5)
    for parameter_name, gradient in gradients(model, ours.objective).items():
        torch.testing.assert_close(gradient, wanted[parameter_name], rtol=1e-3, atol=1e-4)


def test_only_labelled_tokens_count() -> None:
    model, inputs = tiny_model(), padded([9, 5])
    inputs["labels"][:, :4] = -100

    ours = summed_losses(model, inputs, None, 0.0)

    assert float(ours.loss) == pytest.approx(float(expected_loss(model, inputs)), rel=1e-5)


def base_and_tuned(pieces: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, dict[str, Any]]:
    """Two models and a batch, of which in pieces only a few logits are held at a time."""
    if pieces:
        monkeypatch.setattr(losses, "LOGITS_HELD", 300 * 4)
    return made(tiny_config(), seed=0), made(tiny_config(), seed=1), padded([9, 5, 7])


@pytest.mark.parametrize("pieces", [False, True], ids=["at once", "in pieces"])
def test_the_divergence_is_that_of_the_base_from_the_tuned_model_as_scipy_has_it(
    pieces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned, inputs = base_and_tuned(pieces, monkeypatch)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]

    ours = summed_losses(tuned, inputs, lambda: contextlib.nullcontext(base), 0.5)

    with torch.no_grad():
        of_base, of_tuned = (
            model(input_ids=ids, attention_mask=mask).logits[:, :-1].softmax(-1) for model in (base, tuned)
        )
    trained = inputs["labels"][:, 1:] != -100
    per_token = entropy(of_base[trained].double().numpy(), of_tuned[trained].double().numpy(), axis=-1)
    other_way = entropy(of_tuned[trained].double().numpy(), of_base[trained].double().numpy(), axis=-1)
    assert float(ours.divergence) == pytest.approx(per_token.sum(), rel=1e-4)
    assert abs(per_token.sum() - other_way.sum()) > 0.01 * per_token.sum()
    assert float(ours.loss) == pytest.approx(float(expected_loss(tuned, inputs)), rel=1e-5)
    assert float(ours.objective) == pytest.approx(float(ours.loss + 0.5 * ours.divergence), rel=1e-6)


@pytest.mark.parametrize("pieces", [False, True], ids=["at once", "in pieces"])
def test_gradients_of_the_divergence_are_those_that_autograd_finds(
    pieces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned, inputs = base_and_tuned(pieces, monkeypatch)
    trained = inputs["labels"][:, 1:] != -100
    of_base, of_tuned = (
        model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        .logits[:, :-1][trained]
        .log_softmax(-1)
        for model in (base, tuned)
    )
    expected = (of_base.exp() * (of_base - of_tuned)).sum() * 0.5 + expected_loss(tuned, inputs)
    wanted = gradients(tuned, expected)

    ours = summed_losses(tuned, inputs, lambda: contextlib.nullcontext(base), 0.5)

    for name, gradient in gradients(tuned, ours.objective * 3).items():
        torch.testing.assert_close(gradient, 3 * wanted[name], rtol=1e-3, atol=1e-4)


def test_the_divergence_moves_the_tuned_model_only() -> None:
    base, tuned = tiny_model(seed=0), tiny_model(seed=1)

    summed_losses(tuned, padded([9, 5]), lambda: contextlib.nullcontext(base), 1.0).objective.backward()

    assert all(parameter.grad is None for parameter in base.parameters())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in tuned.parameters())


def test_a_model_is_at_no_distance_from_itself() -> None:
    model = tiny_model()

    found = summed_losses(model, padded([9, 5]), lambda: contextlib.nullcontext(model), 1.0)

    assert float(found.divergence) == pytest.approx(0, abs=1e-5)


def test_a_head_of_an_unknown_kind_is_found_out_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "head_of", lambda model: Head(model.get_output_embeddings(), 1.0, None))
    model = made(SCALED["granite"]())
    with pytest.raises(RunFailed, match="GraniteForCausalLM makes its logits in a way of its own"):
        prove_loss(model, TokenRow(tuple(range(3, 19)), ()), contextlib.nullcontext)
