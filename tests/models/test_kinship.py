"""An adapter that others trained is checked against what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from harness.errors import RunFailed, UsageError
from harness.experiment.model_source import ModelSource, model_source
from harness.experiment.schema import Base
from harness.models.adapters import CONFIGURATION, WEIGHTS
from harness.models.kinship import Family, family_problems, import_adapter
from tests.conftest import tiny_model, tiny_tokenizer

BASE = Base(model="org/tiny", dtype="float32")


def adapter(folder: Path, **options: Any) -> Path:
    """An adapter of the tiny model, as PEFT saves it."""
    declared = LoraConfig(**{"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **options})
    model = get_peft_model(tiny_model(), declared)
    for config in model.peft_config.values():
        config.base_model_name_or_path = BASE.model
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


def source(folder: Path) -> ModelSource:
    return model_source(str(folder), None, folder.parent)


def imported(given: Path, folder: Path, scales: bool = False, base: Base = BASE) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return import_adapter(source(given), base, tiny_tokenizer(), scales, folder)


def test_an_adapter_of_this_base_is_copied_and_has_no_problems(tmp_path: Path) -> None:
    given = adapter(tmp_path / "given")

    record = imported(given, tmp_path / "kept", scales=True)

    assert record["problems"] == []
    assert record["declared_base"] == "org/tiny"
    assert record["trainable_parameters"] > 1000
    assert (tmp_path / "kept" / WEIGHTS).read_bytes() == (given / WEIGHTS).read_bytes()


def test_an_adapter_of_another_base_is_named_with_the_remedy(tmp_path: Path) -> None:
    given = adapter(tmp_path / "given")
    other = BASE.model_copy(update={"model": "org/other"})

    (problem,) = imported(given, tmp_path / "kept", base=other)["problems"]

    assert "declares the base 'org/tiny'" in problem
    assert 'aliases = ["org/tiny"]' in problem
    named = other.model_copy(update={"aliases": ("org/tiny",)})
    assert imported(given, tmp_path / "kept", base=named)["problems"] == []


def test_another_vocabulary_or_chat_template_beside_the_adapter_is_a_problem(tmp_path: Path) -> None:
    given = adapter(tmp_path / "given")
    tokenizer = tiny_tokenizer()
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())
    first, second = list(vocabulary["model"]["vocab"])[40:42]
    numbers = vocabulary["model"]["vocab"]
    numbers[first], numbers[second] = numbers[second], numbers[first]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(vocabulary)))
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(given)

    problems = imported(given, tmp_path / "kept")["problems"]

    assert [("vocabulary" in each, "chat template" in each) for each in problems] == [
        (True, False),
        (False, True),
    ]


def test_the_base_s_own_tokenizer_beside_the_adapter_is_none(tmp_path: Path) -> None:
    given = adapter(tmp_path / "given")
    tiny_tokenizer().save_pretrained(given)

    assert imported(given, tmp_path / "kept")["problems"] == []


def test_a_padding_token_added_beside_the_adapter_is_no_problem(tmp_path: Path) -> None:
    given = adapter(tmp_path / "given")
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    tokenizer.save_pretrained(given)

    assert imported(given, tmp_path / "kept")["problems"] == []


def test_an_adapter_that_puts_tokens_before_the_prompt_is_refused(tmp_path: Path) -> None:
    given = adapter(tmp_path / "given")
    declared = json.loads((given / CONFIGURATION).read_text(encoding="utf-8"))
    (given / CONFIGURATION).write_text(
        json.dumps({**declared, "peft_type": "PREFIX_TUNING"}), encoding="utf-8"
    )

    with pytest.raises(UsageError, match="tokens before the prompt"):
        imported(given, tmp_path / "kept")


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    given = adapter(tmp_path / "given")
    (given / WEIGHTS).rename(given / "adapter_model.bin")

    with pytest.raises(RunFailed, match="only safetensors"):
        imported(given, tmp_path / "kept")


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    given = adapter(tmp_path / "given")
    (given / CONFIGURATION).write_text("{oops", encoding="utf-8")

    with pytest.raises(RunFailed, match=r"adapter_config\.json cannot be read"):
        imported(given, tmp_path / "kept")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"use_dora": True}, "magnitudes"),
        ({"modules_to_save": ["lm_head"]}, "copies of modules"),
        ({"bias": "all"}, "biases"),
    ],
)
def test_what_cannot_be_scaled_refuses_strengths_with_the_reason(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    given = adapter(tmp_path / "given", **options)

    with pytest.raises(UsageError, match=reason):
        imported(given, tmp_path / "kept", scales=True)
    assert imported(given, tmp_path / "kept")["problems"] == [], "at its own strength it is fine"


def test_an_adapter_that_is_no_lora_refuses_strengths(tmp_path: Path) -> None:
    given = adapter(tmp_path / "given")
    declared = json.loads((given / CONFIGURATION).read_text(encoding="utf-8"))
    (given / CONFIGURATION).write_text(json.dumps({**declared, "peft_type": "IA3"}), encoding="utf-8")

    with pytest.raises(UsageError, match="IA3 adapters cannot be scaled"):
        imported(given, tmp_path / "kept", scales=True)


def test_a_checkpoint_is_of_the_family_when_architecture_and_vocabulary_are_equal() -> None:
    base = Family("llama", "a1")

    assert family_problems(base, Family("llama", "a1")) == ()
    assert "not one family" in family_problems(base, Family("gpt2", "a1"))[0]
    assert "another vocabulary" in family_problems(base, Family("llama", "b2"))[0]
