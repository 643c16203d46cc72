"""Training the base's own weights: what is stored, what stays, and what the person is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from harness.errors import UsageError
from harness.experiment.schema import Quantization
from harness.models.loading import load
from harness.models.weights import attached_weights
from harness.training import sft
from harness.training.sft import train
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer
from tests.training.conftest import NONE, SOME, job, run

Trained = Callable[..., tuple[Path, dict[str, Any]]]
FULL: dict[str, Any] = {"method": "full", "learning_rate": 1e-3}


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def base_weights(model_folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).named_parameters())


def test_full_stores_every_weight_under_its_own_name_and_changes_it(
    trained: Trained, model_folder: Path
) -> None:
    folder, record = trained(**FULL)

    base, tuned = base_weights(model_folder), stored(folder)
    assert tuned.keys() == base.keys()
    assert not any(torch.equal(tuned[name], base[name]) for name in base)
    assert record["trainable_parameters"] == record["total_parameters"]
    declared = json.loads((folder / "weights.json").read_text(encoding="utf-8"))
    assert declared == {"method": "full", "base": "tiny", "revision": None, "tensors": len(base)}
    losses = [loss for _, loss in record["train_loss"]]
    assert losses[-1] < losses[0]


def test_nothing_but_the_weights_is_left(model_folder: Path, tmp_path: Path) -> None:
    run(tmp_path, model_folder, job(**FULL, max_steps=1))
    sft.discard_checkpoints(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.json", "weights.safetensors"]


@pytest.mark.parametrize(
    ("partial", "expected"),
    [
        ({"top_layers": 1}, lambda name: name.startswith("model.layers.1.")),
        ({"top_layers": 2}, lambda name: name.startswith("model.layers.")),
        (
            {"modules": ["model.norm.weight", "lm_head.*"]},
            lambda name: "layers" not in name and "embed" not in name,
        ),
        ({"modules": ["*.mlp.*"]}, lambda name: ".mlp." in name),
        (
            {"top_layers": 1, "modules": ["*layers.0*norm*"]},
            lambda name: ".1." in name or (".0." in name and "norm" in name),
        ),
    ],
)
def test_partial_trains_exactly_what_is_named(
    model_folder: Path, tmp_path: Path, partial: dict[str, Any], expected: Callable[[str], bool]
) -> None:
    loaded = load(str(model_folder), job().base, None)
    wanted = job(method="partial", partial=partial, learning_rate=1e-3, max_steps=3, validation=NONE)

    train(wanted, loaded, tmp_path, lambda done, total: None)

    base, tuned = base_weights(model_folder), stored(tmp_path)
    assert tuned.keys() == {name for name in base if expected(name)}
    assert not any(torch.equal(tuned[name], base[name]) for name in tuned)
    for name, parameter in loaded.model.named_parameters():
        if name not in tuned:
            assert torch.equal(parameter, base[name])


def test_tied_weights_are_stored_once_and_found_by_either_name(tmp_path: Path) -> None:
    folder = tmp_path / "tied"
    config = LlamaConfig(**{**tiny_config().to_dict(), "tie_word_embeddings": True})
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    wanted = job(method="partial", partial={"modules": ["lm_head.weight"]}, max_steps=1, validation=NONE)

    run(tmp_path / "out", folder, wanted)

    assert list(stored(tmp_path / "out")) == ["model.embed_tokens.weight"]


@pytest.mark.parametrize("kind", ["gemma3", "gpt2", "qwen3", "mamba"])
def test_top_layers_are_found_in_other_families(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / kind
    tiny_model(kind).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    wanted = job(method="partial", partial={"top_layers": 1}, max_steps=1, validation=NONE)

    run(tmp_path / "out", folder, wanted)

    names = list(stored(tmp_path / "out"))
    assert names
    assert all(".1." in name for name in names)


def test_a_bfloat16_base_is_trained_in_float32_and_stored_in_its_own_precision(
    model_folder: Path, tmp_path: Path
) -> None:
    """An update of a thousandth of a weight is lost in bfloat16, and must not be."""
    small: dict[str, Any] = {
        "method": "full",
        "learning_rate": 1e-5,
        "dtype": "bfloat16",
        "warmup_ratio": 0.0,
    }
    loaded = load(str(model_folder), job(**small).base, None)
    before = {name: each.detach().clone() for name, each in loaded.model.named_parameters()}

    train(job(**small), loaded, tmp_path, lambda done, total: None)

    assert {each.dtype for each in stored(tmp_path).values()} == {torch.bfloat16}
    after = dict(loaded.model.named_parameters())
    assert {each.dtype for each in after.values()} == {torch.float32}
    moved = sum(int((after[name] != before[name].float()).sum()) for name in before)
    kept = sum(int((after[name].bfloat16() != before[name]).sum()) for name in before)
    assert moved > 0.7 * sum(each.numel() for each in before.values())  # embeddings of unseen tokens stay
    assert kept < 0.5 * moved


def test_weights_may_be_trained_in_bfloat16_as_they_are_loaded(model_folder: Path, tmp_path: Path) -> None:
    wanted = job(**FULL, dtype="bfloat16", weights_dtype="bfloat16")
    loaded = load(str(model_folder), wanted.base, None)

    record = train(wanted, loaded, tmp_path, lambda done, total: None)

    assert {each.dtype for each in loaded.model.parameters()} == {torch.bfloat16}
    losses = [loss for _, loss in record["train_loss"]]
    assert losses[-1] < losses[0]


def test_the_stored_weights_on_the_base_are_the_trained_model(model_folder: Path, tmp_path: Path) -> None:
    wanted = job(method="partial", partial={"top_layers": 1}, learning_rate=1e-3, validation=SOME)
    loaded = load(str(model_folder), wanted.base, None)
    train(wanted, loaded, tmp_path, lambda done, total: None)
    ids = torch.arange(10, 30)[None]
    with torch.no_grad():
        expected = loaded.model.eval()(input_ids=ids).logits

    base = load(str(model_folder), wanted.base, None)
    with torch.no_grad(), attached_weights(base, tmp_path) as attached:
        assert torch.equal(attached.loaded.model(input_ids=ids).logits, expected)


def test_quantised_weights_are_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\[tuned.lora\].*quantised weights cannot be trained.*qlora"):
        run(tmp_path, model_folder, job(**FULL), Quantization())


@pytest.mark.parametrize(
    ("partial", "message"),
    [
        (None, "trains nothing; give it top_layers or modules"),
        ({"top_layers": 3}, r"top_layers is 3, and this model has 2 layers.*method = \"full\""),
        ({"modules": ["model.norm.wieght"]}, r"matches 'model.norm.wieght'.*near it are model.norm.weight"),
    ],
)
def test_what_partial_cannot_find_is_said_with_what_is_there(
    model_folder: Path, tmp_path: Path, partial: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(tmp_path, model_folder, job(method="partial", partial=partial))


def test_bfloat16_weights_on_a_float32_base_are_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"base.dtype is \"float32\""):
        run(tmp_path, model_folder, job(**FULL, weights_dtype="bfloat16"))
