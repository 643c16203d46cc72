"""The engine's numbers are lm-eval's own, item by item."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from harness.models.loading import device
from harness.models.norms import one_kernel_norms
from harness.models.quiet import quiet_lm_eval
from harness.scoring.forest import Shape
from harness.scoring.halves import Halves
from harness.scoring.language_model import TreeLM
from tests.conftest import tiny_model, tiny_tokenizer

CONTEXTS = ["Question: which colour is the sky?\nAnswer:", "the quick brown", "", "jumps over the lazy dog "]
CHOICES = [" blue", " green and red", " yellow", "the sphinx of black quartz", " blue sky"]


def requests() -> list[Instance]:
    return [
        Instance("loglikelihood", {}, (context, choice), index)
        for context in CONTEXTS
        for index, choice in enumerate(CHOICES)
    ]


def both(kind: str, **options: Any) -> tuple[TreeLM, HFLM]:
    model, tokenizer = tiny_model(kind).to(device()), tiny_tokenizer()
    with quiet_lm_eval():
        return TreeLM(model, tokenizer), HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, **options)


ARCHITECTURES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi", "olmo2", "gpt2", "gpt_neox", "falcon",
    "stablelm",
)  # fmt: skip


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_log_likelihoods_and_greedy_flags_equal_hflm(kind: str) -> None:
    ours, theirs = both(kind)

    assert ours.engine == "tree"
    scored = ours.loglikelihood(requests(), disable_tqdm=True)
    expected = theirs.loglikelihood(requests(), disable_tqdm=True)
    assert [score for score, _ in scored] == pytest.approx([score for score, _ in expected], abs=1e-3)
    assert [greedy for _, greedy in scored] == [greedy for _, greedy in expected]


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "olmo2", "gpt2"])
def test_with_norms_in_one_kernel_as_on_a_gpu_the_numbers_are_hflms_too(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = []

    def fused(halves: Halves) -> AbstractContextManager[None]:
        entered.append(halves)
        return one_kernel_norms(halves.whole)

    monkeypatch.setattr(Halves, "fused", fused)
    ours, theirs = both(kind)

    assert ours.engine == "tree"
    scored = ours.loglikelihood(requests(), disable_tqdm=True)
    expected = theirs.loglikelihood(requests(), disable_tqdm=True)
    assert [score for score, _ in scored] == pytest.approx([score for score, _ in expected], abs=1e-3)
    assert len(entered) == 2  # of the self-check, and of this


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_rolling_log_likelihoods_equal_hflm_over_several_windows(kind: str) -> None:
    ours, theirs = both(kind)
    ours._max_length = theirs._max_length = 16
    texts = ["the quick brown fox jumps over the lazy dog. " * 4, "sphinx", "one two three four five six"]
    asked = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]

    scored = ours.loglikelihood_rolling(asked, disable_tqdm=True)

    assert scored == pytest.approx(theirs.loglikelihood_rolling(asked, disable_tqdm=True), abs=1e-3)


def test_a_context_longer_than_the_model_is_cut_as_hflm_cuts_it() -> None:
    ours, theirs = both("llama")
    ours._max_length = theirs._max_length = 12
    asked = [Instance("loglikelihood", {}, (CONTEXTS[0] * 3, choice), 0) for choice in CHOICES[:3]]

    scored = [score for score, _ in ours.loglikelihood(asked, disable_tqdm=True)]

    expected = [score for score, _ in theirs.loglikelihood(asked, disable_tqdm=True)]
    assert scored == pytest.approx(expected, abs=1e-3)


def test_small_passes_give_the_scores_of_large_ones() -> None:
    ours, _ = both("gemma3")
    whole = ours.loglikelihood(requests(), disable_tqdm=True)
    ours.budget = replace(ours.budget, nodes=20, logits=3, shape=Shape(8, 20))

    pieces = ours.loglikelihood(requests(), disable_tqdm=True)

    assert [score for score, _ in pieces] == pytest.approx([score for score, _ in whole], abs=1e-4)


def test_a_state_space_model_falls_back_to_the_plain_loop_and_says_so() -> None:
    ours, theirs = both("mamba")

    assert ours.engine == "hflm"
    scored = ours.loglikelihood(requests()[:5], disable_tqdm=True)
    expected = theirs.loglikelihood(requests()[:5], disable_tqdm=True)
    assert [score for score, _ in scored] == pytest.approx([score for score, _ in expected], abs=1e-4)


def test_a_model_that_does_not_heed_the_tree_mask_falls_back_to_the_plain_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama")
    decoder, forward = model.get_decoder(), model.get_decoder().forward
    monkeypatch.setattr(decoder, "forward", lambda **given: forward(**(given | {"attention_mask": None})))

    assert TreeLM(model.to(device()), tiny_tokenizer()).engine == "hflm"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_in_16_bits_is_not_taken_for_a_model_that_takes_no_trees(dtype: torch.dtype) -> None:
    model = tiny_model("gemma3")
    for parameter in model.parameters():
        parameter.data *= 3  # large activations: the plain pass itself is far from exact here

    assert TreeLM(model.to(device(), dtype), tiny_tokenizer()).engine == "tree"


def test_an_adapter_is_scored_by_the_engine_that_its_base_was_given() -> None:
    model = tiny_model("llama").to(device())

    assert TreeLM(model, tiny_tokenizer(), engine="hflm").engine == "hflm"
