"""The list of what makes a pair NOT COMPARABLE, each through `compare` and `judge`, with exit code 4."""

from __future__ import annotations

from typing import Any

import pytest

from harness.comparison.compare import compare
from harness.comparison.facts import Pair
from harness.experiment.schema import Gate
from harness.gate.judge import judge
from harness.gate.verdict import Verdict
from harness.models.kinship import Family, family_problems
from harness.models.proof import Proof

PAIR = Pair(
    base="base", tuned="lora", differs_in="adapter", roles={"medical": "domain", "general": "general"}
)
CONDITIONS = {
    "dtype": "bfloat16",
    "quantization": "none",
    "engine": "tree",
    "decoding": "greedy, 32 tokens",
    "tokenizer": "vocabulary 1",
    "chat template": "not applied",
    "prompt": "none",
    "adapter": "none",
}
ALIVE: dict[str, Any] = {
    "largest_b": 0.1,
    "logit_change": 2.0,
    "engine_noise": 1e-4,
    "off_equals_base": True,
    "zero_equals_base": True,
}


def judged(measured: Any, pair: Pair = PAIR, item: dict[str, Any] | None = None, **conditions: str) -> Any:
    """A domain that gains and a general task that keeps, of which `item` or a condition of the tuned is other."""

    def changed(place: int) -> dict[str, Any]:
        return item if item and place == 7 else {}

    base = [
        measured([0.0] * 60 + [1.0] * 240, suite="medical", conditions=CONDITIONS),
        measured([1.0, 0.0] * 150, conditions=CONDITIONS),
    ]
    tuned = [
        measured(
            [1.0] * 300, suite="medical", configuration="lora", conditions={**CONDITIONS, "adapter": "sha"}
        ),
        measured(
            [1.0, 0.0] * 150,
            configuration="lora",
            conditions={**CONDITIONS, "adapter": "sha", **conditions},
            per_item=changed,
        ),
    ]
    return judge(compare(base, tuned, pair), Gate())


def refused(judgement: Any, reason: str) -> None:
    assert (judgement.verdict, judgement.exit_code) == (Verdict.NOT_COMPARABLE, 4)
    assert reason in judgement.sentence
    assert judgement.endpoints == (), "no number is shown"


def test_without_any_of_it_the_same_pair_passes(measured):
    judgement = judged(measured)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.PASS, 0)


@pytest.mark.parametrize(
    ("condition", "other"),
    [
        ("dtype", "float32"),
        ("quantization", "nf4"),
        ("engine", "hflm"),
        ("decoding", "sampled at 0.7"),
        ("tokenizer", "vocabulary 2"),
        ("chat template", "chatml"),
        ("prompt", "You are a doctor."),
    ],
)
def test_every_condition_but_the_pairs_own_must_be_the_same(measured, condition, other):
    refused(
        judged(measured, **{condition: other}), f"{condition} is {CONDITIONS[condition]} for base but {other}"
    )


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"item": "of another content"}, "lora has no item item7"),
        ({"prompt_hash": "another prompt"}, "prompt_hash differs on item item7"),
        ({"gold": "another answer"}, "gold differs on item item7"),
        ({"cluster": "another cluster"}, "cluster differs on item item7"),
        ({"chance": 0.5}, "chance differs on item item7"),
        ({"scores": {}, "missing": "too long"}, "could not score item item7: too long"),
        ({"scores": {}}, "lora has no accuracy on item item7"),
    ],
)
def test_one_item_that_is_not_the_same_or_has_no_score_is_enough(measured, item, reason):
    refused(judged(measured, item=item), reason)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({"largest_b": 0.0}, "every B matrix is zero"),
        ({"logit_change": 1e-5}, "no more than 1 times the engine's own noise"),
        ({"off_equals_base": False}, "switched off, it does not give the base's logits"),
        ({"zero_equals_base": False}, "at strength 0, it does not give the base's logits"),
    ],
)
def test_an_adapter_that_is_not_live_or_does_not_switch_is_not_comparable(measured, seen, reason):
    assert Proof(**ALIVE).problems == ()
    found = Proof(**{**ALIVE, **seen}).problems
    refused(judged(measured, PAIR.model_copy(update={"problems": found})), reason)


@pytest.mark.parametrize(
    ("other", "reason"),
    [(Family("gpt2", "a"), "not one family"), (Family("llama", "b"), "another vocabulary")],
)
def test_a_checkpoint_of_another_family_is_not_comparable(measured, other, reason):
    found = family_problems(Family("llama", "a"), other)
    refused(judged(measured, PAIR.model_copy(update={"problems": found})), reason)


def test_a_prompt_that_is_asked_exactly_as_it_is_asked_of_the_base_is_not_live(measured):
    refused(judged(measured, PAIR.model_copy(update={"differs_in": "prompt"})), "the prompt is not live")
