"""Generated texts are those of `model.generate`, in whatever company they are generated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from harness.models.loading import device
from harness.models.quiet import quiet_lm_eval
from harness.scoring import generation
from harness.scoring.budget import Budget
from harness.scoring.language_model import TreeLM
from tests.conftest import tiny_model, tiny_tokenizer

SHARED = "Question: which colour is the sky? Answer: blue. Question: one two three four five? Answer: six. "
PROMPTS = [
    "the quick",
    "Question: which colour",
    "jumps over the lazy dog. sphinx of black quartz",
    "one two three four",
    SHARED + "Question: red?",
    SHARED + "Question: green and yellow?",
    SHARED + "Question: the lazy dog?",
]


def asked(**options: Any) -> list[Instance]:
    return [
        Instance("generate_until", {}, (prompt, {"until": ["e"], "max_gen_toks": 4 + 5 * k, **options}), k)
        for k, prompt in enumerate(PROMPTS)
    ]


def models(kind: str) -> tuple[TreeLM, HFLM]:
    model, tokenizer = tiny_model(kind).to(device()), tiny_tokenizer()
    with quiet_lm_eval():
        return TreeLM(model, tokenizer), HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)


class NarrowBudget(Budget):
    def slots(self, capacity: int) -> int:
        return 2


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3", "gemma2", "gemma3", "gpt2", "falcon", "phi"])
@pytest.mark.parametrize("until", [["e"], ["\n"]])
def test_greedy_texts_equal_those_of_model_generate(kind: str, until: list[str]) -> None:
    ours, theirs = models(kind)
    expected = theirs.generate_until(asked(until=until, do_sample=False), disable_tqdm=True)

    assert ours.generate_until(asked(until=until, do_sample=False)) == expected
    assert any(expected)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_two_slots_that_are_filled_again_and_again_give_the_same_texts(kind: str) -> None:
    ours, theirs = models(kind)
    ours.budget = NarrowBudget(**vars(ours.budget))
    ours.budget.nodes, ours.budget.shape = 24, replace(ours.budget.shape, row=8, longest=32)

    texts = ours.generate_until(asked(until=["\n"]))

    assert texts == theirs.generate_until(asked(until=["\n"]), disable_tqdm=True)


def test_a_sampled_text_is_the_same_alone_and_in_company() -> None:
    ours, _ = models("llama")
    requests = asked(do_sample=True, temperature=0.8, top_k=20, until=["\n"])

    together = ours.generate_until(requests)

    assert [ours.generate_until([request])[0] for request in requests] == together
    assert together != ours.generate_until(asked(until=["\n"]))


def test_a_prompt_that_is_asked_twice_is_sampled_twice() -> None:
    ours, _ = models("llama")
    (request,) = asked(do_sample=True, temperature=2.0, until=["\n"])[-1:]

    first, second = ours.generate_until([request, request])

    assert first != second


def test_what_only_model_generate_can_do_is_left_to_it() -> None:
    ours, theirs = models("llama")
    requests = asked(num_beams=2, do_sample=False, until=["\n"])

    assert ours.generate_until(requests) == theirs.generate_until(requests, disable_tqdm=True)


def test_a_prompt_longer_than_the_context_is_cut_on_the_left_as_lm_eval_does() -> None:
    ours, theirs = models("llama")
    ours._max_length = theirs._max_length = 40
    requests = asked(until=["\n"], max_gen_toks=10)

    assert ours.generate_until(requests) == theirs.generate_until(requests, disable_tqdm=True)


def test_a_text_that_is_missing_is_generated_in_the_company_that_it_would_have_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In 16 bits the company changes a text here and there, so a killed run must not choose another one."""
    monkeypatch.setitem(generation.BLOCK, device().type, 3)
    ours, _ = models("llama")
    work = ours.workload(asked())
    whole = [[each.request for each in found.found] for found in ours.respond(work)]
    first = next(iter(whole[0]))

    again = list(ours.respond(work, frozenset({first})))

    made = [each.request for found in again for each in found.found]
    assert first in made
    assert len(made) == 3
    assert [found for found in whole if set(found) <= set(made)] == [
        [each.request for each in found.found] for found in again
    ]
    assert sum(found.work for found in again) == pytest.approx(ours.cost(work, {first}))
