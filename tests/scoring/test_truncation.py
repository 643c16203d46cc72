"""Which generated texts were cut at their limit, by the engine's word and by `model.generate`'s tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from harness.models.loading import device
from harness.scoring.items import Document, with_truncation
from harness.scoring.language_model import TreeLM
from harness.store.measurements import Item
from tests.conftest import tiny_model, tiny_tokenizer

PROMPTS = [
    "the quick",
    "Question: which colour",
    "jumps over the lazy dog.",
    "one two three four",
    "red green",
]
MOST = (1, 3, 8, 20)


def asked(until: list[str]) -> list[Instance]:
    options = [{"until": until, "max_gen_toks": most, "do_sample": False} for most in MOST]
    return [
        Instance("generate_until", {}, (prompt, each), k)
        for k, (prompt, each) in enumerate((prompt, each) for prompt in PROMPTS for each in options)
    ]


def found(lm: TreeLM, requests: list[Instance]) -> list[bool | None]:
    responses = [each for part in lm.respond(lm.workload(requests)) for each in part.found]
    return [each.truncated for each in sorted(responses, key=lambda each: each.request)]


def by_generate(lm: TreeLM, request: Instance) -> bool:
    """Whether so many tokens of `model.generate` hold neither the end nor a stop string."""
    prompt, options = request.args
    tokens = torch.tensor([lm.tok_encode(prompt)], device=lm.device)
    most = options["max_gen_toks"]
    new = lm.model.generate(tokens, max_new_tokens=most, do_sample=False)[0, tokens.shape[1] :]
    ended = lm.model.generation_config.eos_token_id in new.tolist()
    return not ended and not any(stop in lm.tok_decode(new.tolist()) for stop in options["until"])


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
@pytest.mark.parametrize("until", [["e"], ["\n"]])
def test_a_text_is_cut_where_nothing_but_its_limit_ended_it(kind: str, until: list[str]) -> None:
    lm = TreeLM(tiny_model(kind).to(device()), tiny_tokenizer())
    requests = asked(until)
    assert found(lm, requests) == [by_generate(lm, request) for request in requests]


def test_some_texts_are_cut_and_some_are_not() -> None:
    lm = TreeLM(tiny_model().to(device()), tiny_tokenizer())
    assert set(found(lm, asked(["e"]))) == {True, False}


def test_of_lm_evals_own_loop_it_is_not_known() -> None:
    lm = TreeLM(tiny_model().to(device()), tiny_tokenizer(), "hflm")
    assert set(found(lm, asked(["e"]))) == {None}


def test_of_a_question_that_was_asked_several_times_the_first_text_counts() -> None:
    instances = tuple(Instance("generate_until", {}, ("a", {"until": []}), k) for k in range(2))
    instances[0].repeats = 2
    item = Item(item="x", prompt_hash="", prompt="", responses=({"text": "one"}, {"text": "two"}))
    document = Document("x", None, {}, instances)

    def marked(*cut: bool | None) -> list[dict[str, Any]]:
        return [dict(response) for response in with_truncation(item, document, cut).responses]

    assert marked(True, False, False) == [
        {"text": "one", "truncated": True},
        {"text": "two", "truncated": False},
    ]
    assert marked(None, None, None) == [{"text": "one"}, {"text": "two"}]
