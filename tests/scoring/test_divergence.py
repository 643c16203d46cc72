"""KL(base ‖ tuned) is the definition's, over the full vocabulary; and what is done already changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from scipy.stats import entropy

from harness.models.loading import device
from harness.scoring import reading
from harness.scoring.forest import Shape
from harness.scoring.language_model import Response, TreeLM
from tests.conftest import TEXT, tiny_model, tiny_tokenizer

TEXTS = [TEXT, TEXT[50:120], "the quick brown fox", "Question: which colour is the sky?"]
REQUESTS = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in TEXTS]
CHOICES = [Instance("loglikelihood", {}, ("the quick", f" {choice}"), 0) for choice in ("brown", "fox")]


class Pair:
    """A model whose weights can be exchanged with its base's, as `attached_weights` does."""

    def __init__(self, kind: str, seed: int = 1) -> None:
        self.tuned, self.base = tiny_model(kind, seed=seed).to(device()), tiny_model(kind).to(device())
        for model in (self.tuned, self.base):  # Phi's head has a bias, and it begins at zero
            if (bias := model.get_output_embeddings().bias) is not None:
                torch.nn.init.normal_(bias)
        self.lm = TreeLM(self.tuned, tiny_tokenizer())

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        own = [parameter.data for parameter in self.tuned.parameters()]
        self.put([parameter.data for parameter in self.base.parameters()])
        yield
        self.put(own)

    def put(self, tensors: list[torch.Tensor]) -> None:
        for parameter, tensor in zip(self.tuned.parameters(), tensors, strict=True):
            parameter.data = tensor

    def responses(self, wanted: set[int] | None = None) -> dict[int, Response]:
        work = self.lm.workload([*REQUESTS, *CHOICES])
        return {
            response.request: response
            for responses in self.lm.respond(work, wanted, self.off)
            for response in responses.found
        }


def by_definition(pair: Pair, text: str) -> tuple[float, int]:
    tokens = pair.lm.tok_encode(text)
    tokens = torch.tensor([[pair.lm.prefix_token_id, *tokens]], device=device())[:, :-1]
    with torch.inference_mode():
        p, q = (model(tokens).logits[0].double().softmax(-1).cpu() for model in (pair.base, pair.tuned))
    return float(np.sum(entropy(p, q, axis=-1))), len(p)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2", "phi"])
@pytest.mark.parametrize("width", [64, 1 << 16], ids=["many slices", "one slice"])
def test_a_text_diverges_as_scipy_has_it(kind: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reading.SLICE_OF_DEVICE, device().type, width)
    pair = Pair(kind)
    found = pair.responses()
    for k, text in enumerate(TEXTS):
        nats, positions = by_definition(pair, text)
        assert found[k].divergence == (pytest.approx(nats, rel=1e-4, abs=1e-5), positions)
        assert nats > 0.01


def test_a_text_in_pieces_diverges_the_same() -> None:
    pair = Pair("gemma3")
    whole = pair.responses()
    pair.lm.budget = replace(pair.lm.budget, nodes=16, logits=5, shape=Shape(8, 16))
    pieces = pair.responses()
    for k in range(len(TEXTS)):
        assert pieces[k].value == pytest.approx(whole[k].value, abs=1e-3)
        assert pieces[k].divergence[0] == pytest.approx(whole[k].divergence[0], rel=1e-4)


def test_a_model_that_is_its_base_diverges_by_nothing() -> None:
    found = Pair("llama", seed=0).responses()
    assert [found[k].divergence[0] for k in range(len(TEXTS))] == pytest.approx([0.0] * len(TEXTS), abs=1e-6)


def test_only_texts_have_a_divergence_and_scores_do_not_change_with_it() -> None:
    pair = Pair("llama")
    beside = pair.responses()
    alone = pair.lm.answers([*REQUESTS, *CHOICES])
    assert [beside[k].value for k in range(len(TEXTS))] == pytest.approx(alone[: len(TEXTS)], abs=1e-4)
    assert all(beside[k].divergence is None for k in range(len(TEXTS), len(beside)))


def test_a_part_that_is_wanted_has_the_very_numbers_that_it_has_among_all() -> None:
    pair = Pair("llama")
    pair.lm.budget = replace(pair.lm.budget, nodes=48, shape=Shape(24, 48))
    everything = pair.responses()
    for k in everything:
        assert pair.responses({k})[k] == everything[k]


class Identity:
    """A head that gives its hidden states back as logits: what of the engine reads them can be told numbers."""

    vocabulary, head_is_plain, device = 3, True, torch.device("cpu")

    def logits(self, hidden: torch.Tensor, start: int, stop: int, projection: object = None) -> torch.Tensor:
        return hidden[:, start:stop]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_direction_of_the_divergence_is_the_oracles(
    oracles: dict[str, dict[str, float]], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setitem(reading.SLICE_OF_DEVICE, "cpu", width)
    oracle = oracles["O16_kl"]
    base, tuned = (torch.tensor([shares]).log() for shares in ([0.7, 0.2, 0.1], [0.5, 0.3, 0.2]))
    one = np.zeros(1, dtype=np.int64)

    def nats(of: torch.Tensor, unchanged: torch.Tensor) -> float:
        projection = (torch.empty(0), None)
        places = reading.Positions(kept=one, row_of=one, targets=one, order=one)
        return float(reading.read_at(Identity(), of, places, 1, reading.Base(unchanged, projection))[2, 0])

    assert nats(tuned, base) == pytest.approx(oracle["fwd"], abs=1e-6)
    assert nats(base, tuned) == pytest.approx(oracle["rev"], abs=1e-6)
    assert nats(base, base) == pytest.approx(0.0, abs=1e-7)
    entropy_of_base = -float((base.exp() * base).sum())
    assert entropy_of_base + nats(tuned, base) == pytest.approx(oracle["ce"], abs=1e-6)
