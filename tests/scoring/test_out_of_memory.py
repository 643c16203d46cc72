"""Memory that runs out costs time and no number, wherever it happens."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from harness.errors import RunFailed
from harness.models.loading import device
from harness.scoring.budget import FEWEST_NODES, budget_for, recall, remember
from harness.scoring.forest import Shape
from harness.scoring.halves import Halves
from harness.scoring.language_model import TreeLM
from tests.conftest import TEXT, tiny_model, tiny_tokenizer

SHOTS = "Question: which colour is the sky? Answer: blue. " * 4
PLAIN = [
    Instance("loglikelihood", {}, (f"the quick {word}", f" {choice}"), 0)
    for word in ("brown fox", "lazy dog", "sphinx", "quartz of black")
    for choice in ("jumps", "over the", "judge my vow")
]
STEM = [
    Instance("loglikelihood", {}, (f"{SHOTS}Question: {k}?", f" {c}"), 0) for k in range(9) for c in "abc"
]
TEXTS = [Instance("loglikelihood_rolling", {}, (TEXT[start:],), 0) for start in (0, 40, 80)]
PROMPTS = [
    Instance("generate_until", {}, (prompt, {"until": ["\n"], "max_gen_toks": 6 + k}), 0)
    for k, prompt in enumerate((TEXT[:30], TEXT[:60], "the quick", "one two", f"{SHOTS}Question:"))
]


def language_model() -> TreeLM:
    lm = TreeLM(tiny_model("gemma3").to(device()), tiny_tokenizer())
    lm.budget = replace(lm.budget, nodes=64, logits=16, shape=Shape(24, 64))
    return lm


def failing_at(monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> list[int]:
    """Passes of the decoder, counted; memory runs out in those that `fails` names."""
    passes: list[int] = []
    hidden = Halves.hidden

    def counted(halves: Halves, tokens: torch.Tensor, **inputs: Any) -> torch.Tensor:
        passes.append(tokens.numel())
        if fails(len(passes)):
            raise torch.OutOfMemoryError("injected")
        return hidden(halves, tokens, **inputs)

    monkeypatch.setattr(Halves, "hidden", counted)
    return passes


def numbers(answers: list[Any]) -> list[Any]:
    return [pytest.approx(each[0] if isinstance(each, tuple) else each, abs=1e-4) for each in answers]


@pytest.mark.parametrize("requests", [PLAIN, STEM, TEXTS], ids=["choices", "below a stem", "texts"])
@pytest.mark.parametrize("where", ["first", "middle", "last", "every other"])
def test_scores_are_the_same(monkeypatch: pytest.MonkeyPatch, requests: list[Instance], where: str) -> None:
    lm = language_model()
    with monkeypatch.context() as patch:
        passes = failing_at(patch, lambda _: False)
        expected = lm.answers(requests)
    count = len(passes)
    at = {"first": {1}, "middle": {(count + 1) // 2}, "last": {count}, "every other": {2, 4}}[where]
    passes = failing_at(monkeypatch, lambda number: number in at)

    found = lm.answers(requests)

    assert [each[0] if isinstance(each, tuple) else each for each in found] == numbers(expected)
    assert [each[1] for each in found if isinstance(each, tuple)] == [
        each[1] for each in expected if isinstance(each, tuple)
    ]
    assert lm.budget.nodes < 64, "it had run out"


@pytest.mark.parametrize("failing", [1, 3, 6])
def test_texts_are_generated_the_same(monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    lm = language_model()
    expected = lm.answers(PROMPTS)
    passes = failing_at(monkeypatch, lambda number: number == failing)

    assert lm.answers(PROMPTS) == expected
    assert len(passes) > failing


def test_where_not_even_a_few_tokens_fit_the_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = language_model()
    failing_at(monkeypatch, lambda _: True)

    with pytest.raises(RunFailed, match=f"(?s)not even {FEWEST_NODES} tokens fit into memory.*quantization"):
        lm.answers(PLAIN)


def test_what_worked_is_remembered_for_the_next_run(tmp_path: Path) -> None:
    file = tmp_path / "budgets" / "a.json"
    budget = budget_for(tiny_model())
    remember(budget, file)
    assert not file.exists(), "memory never ran out"
    budget.shrink(RuntimeError())
    remember(budget, file)

    again = budget_for(tiny_model())
    recall(again, file)

    assert (again.nodes, again.logits, again.share) == (budget.nodes, budget.logits, budget.share)


@pytest.mark.parametrize("damage", ["", "{", "[]", json.dumps({"nodes": "many"})])
def test_a_damaged_record_of_a_budget_is_passed_over(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(damage, encoding="utf-8")
    budget = budget_for(tiny_model())

    recall(budget, file)

    assert budget == budget_for(tiny_model())


def test_the_work_that_a_run_reports_is_the_work_that_was_expected() -> None:
    """An estimate of the time that is left goes by it."""
    lm = language_model()
    work = lm.workload(PLAIN + STEM + TEXTS)

    reported = sum(responses.work for responses in lm.respond(work))

    assert reported == pytest.approx(lm.cost(work, range(len(work.requests))))


def test_the_work_of_what_is_missing_is_that_of_the_passes_that_it_takes() -> None:
    lm = language_model()
    work = lm.workload(PLAIN + STEM + TEXTS)
    missing = frozenset({0, len(PLAIN), len(PLAIN) + 5, len(work.requests) - 1})

    reported = sum(responses.work for responses in lm.respond(work, missing, contextlib.nullcontext))

    assert reported == pytest.approx(lm.cost(work, missing, contextlib.nullcontext))
    assert reported < lm.cost(work, range(len(work.requests)), contextlib.nullcontext)
