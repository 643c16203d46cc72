"""An attached LoRA adapter gives what PEFT's own pass gives, and is gone without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.helpers import rescale_adapter_scale
from peft.tuners.tuners_utils import BaseTunerLayer

from harness.experiment.schema import Base, Quantization
from harness.models.adapters import attached_adapter
from harness.models.loading import DTYPES, Loaded, load
from tests.conftest import tiny_model

EVERY = "all-linear"
LISTED = ["q_proj", "v_proj", "down_proj"]
PLAIN: dict[str, dict[str, Any]] = {
    "rank 3": {"r": 3, "target_modules": EVERY},
    "alpha 7": {"r": 4, "lora_alpha": 7, "target_modules": EVERY},
    "rsLoRA": {"r": 5, "lora_alpha": 16, "use_rslora": True, "target_modules": EVERY},
    "dropout in training": {"r": 4, "lora_dropout": 0.5, "target_modules": EVERY},
    "patterns": {
        "r": 3,
        "target_modules": LISTED,
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"v_proj": 5},
    },
}
OTHER: dict[str, tuple[str, PeftConfig]] = {
    "DoRA": ("llama", LoraConfig(r=4, use_dora=True, target_modules=EVERY)),
    "a trained bias": ("llama", LoraConfig(r=4, lora_bias=True, target_modules=EVERY)),
    "embeddings": ("llama", LoraConfig(r=4, target_modules=["embed_tokens"])),
    "GPT-2": ("gpt2", LoraConfig(r=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)),
    "IA3": ("llama", IA3Config(target_modules=LISTED, feedforward_modules=["down_proj"])),
}
IDS = torch.arange(10, 70).view(2, 30)
TRAINED = ("lora_B", "lora_embedding_A", "ia3_l")  # what begins without an effect


def loaded(kind: str = "llama", dtype: str = "float32") -> Loaded:
    return Loaded(tiny_model(kind).to(DTYPES[dtype]), None, torch.device("cpu"))


def stored(folder: Path, recipe: PeftConfig, kind: str = "llama", seed: int = 1) -> Path:
    """An adapter with random numbers in the place of what training would have found."""
    torch.manual_seed(seed)
    model = get_peft_model(tiny_model(kind), recipe)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if any(part in name for part in TRAINED):
                weight.normal_(std=0.1)
    model.save_pretrained(folder)
    return folder


def logits(model: Any, **options: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS, **options).logits  # type: ignore[no-any-return]


def of_peft(base: Loaded, folder: Path, strength: float = 1, **options: Any) -> torch.Tensor:
    """The logits with PEFT's own pass; the base is bare again afterwards."""
    model = PeftModel.from_pretrained(base.model, str(folder)).eval()
    try:
        if strength == 1:
            return logits(model, **options)
        with rescale_adapter_scale(model, strength):
            return logits(model, **options)
    finally:
        model.unload()


def adapted(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def replaced(layers: list[Any]) -> int:
    return sum("forward" in vars(layer) for layer in layers)


@pytest.mark.parametrize("strength", [0, 0.5, 1, 2])
@pytest.mark.parametrize("recipe", PLAIN)
def test_plain_lora_is_pefts_own_at_every_strength(recipe: str, strength: float, tmp_path: Path) -> None:
    base = loaded()
    bare = logits(base.model)
    folder = stored(tmp_path, LoraConfig(**PLAIN[recipe]))
    expected = of_peft(base, folder, strength)

    with attached_adapter(base, folder) as attached:
        layers = adapted(attached.loaded.model)
        with attached.scaled(strength):
            found = logits(attached.loaded.model)

    assert layers
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(found, bare) == (strength == 0)


def test_every_plain_layer_is_spared_pefts_pass(tmp_path: Path) -> None:
    folder = stored(tmp_path, LoraConfig(**PLAIN["rank 3"]))

    with attached_adapter(loaded(), folder) as attached:
        layers = adapted(attached.loaded.model)
        assert replaced(layers) == len(layers) == 14


def test_an_adapted_head_takes_the_last_positions_of_a_batch(tmp_path: Path) -> None:
    """Its input is a view with gaps."""
    base = loaded()
    folder = stored(tmp_path, LoraConfig(r=4, target_modules=["lm_head"]))
    expected = of_peft(base, folder, logits_to_keep=2)

    with attached_adapter(base, folder) as attached:
        found = logits(attached.loaded.model, logits_to_keep=2)

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", OTHER)
def test_everything_else_keeps_pefts_own_pass(case: str, tmp_path: Path) -> None:
    kind, recipe = OTHER[case]
    base = loaded(kind)
    bare = logits(base.model)
    folder = stored(tmp_path, recipe, kind)
    expected = of_peft(base, folder)

    with attached_adapter(base, folder) as attached:
        layers = adapted(attached.loaded.model)
        found = logits(attached.loaded.model)
        assert layers
        assert replaced(layers) == 0

    assert torch.equal(found, expected)
    assert not torch.equal(found, bare)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_on_a_16_bit_base_it_is_as_near_to_float32_as_pefts_own(dtype: str, tmp_path: Path) -> None:
    folder = stored(tmp_path, LoraConfig(**PLAIN["alpha 7"]))
    exact = of_peft(loaded(), folder)
    base = loaded(dtype=dtype)
    of_pefts = (of_peft(base, folder) - exact).abs().mean()

    with attached_adapter(base, folder) as attached:
        found = logits(attached.loaded.model)
        held = {weight.dtype for name, weight in attached.loaded.model.named_parameters() if "lora_" in name}

    assert found.dtype == DTYPES[dtype]
    assert held == {DTYPES[dtype]}
    assert (found - exact).abs().mean() < 1.5 * of_pefts


def test_a_layer_kept_in_float32_on_a_16_bit_base_has_its_adapter_in_float32(tmp_path: Path) -> None:
    base = loaded(dtype="bfloat16")
    base.model.lm_head.float()
    base.model.model.norm.register_forward_hook(lambda module, inputs, output: output.float())
    folder = stored(tmp_path, LoraConfig(r=4, target_modules=["lm_head"]))
    expected = of_peft(base, folder)

    with attached_adapter(base, folder) as attached:
        found = logits(attached.loaded.model)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "compute"), [("float32", "float32"), ("bfloat16", "float32")])
def test_a_quantised_base_takes_it_in_the_activations_precision(
    dtype: str, compute: str, model_folder: Path, tmp_path: Path
) -> None:
    base = load(str(model_folder), Base(model="tiny", dtype=dtype), Quantization(compute_dtype=compute))
    bare = logits(base.model)
    folder = stored(tmp_path, LoraConfig(**PLAIN["alpha 7"]))
    expected = of_peft(base, folder)

    with attached_adapter(base, folder) as attached:
        layers = adapted(attached.loaded.model)
        assert replaced(layers) == len(layers) == 14
        found = logits(attached.loaded.model)
        with attached.off():
            off = logits(attached.loaded.model)

    tolerance = 1e-5 if dtype == "float32" else 0.05
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert (found - bare).abs().max() > 4 * tolerance
    assert torch.equal(off, bare)


def test_four_adapters_in_turn_are_each_as_alone_and_leave_the_bare_base(tmp_path: Path) -> None:
    folders = [
        stored(tmp_path / str(seed), LoraConfig(**PLAIN["alpha 7"]), seed=seed) for seed in range(1, 5)
    ]
    base = loaded()
    bare = logits(base.model)
    layers = []
    for folder in folders:
        with attached_adapter(base, folder) as attached:
            found = logits(attached.loaded.model)
            with attached.off():
                assert torch.equal(logits(attached.loaded.model), bare)
            assert torch.equal(logits(attached.loaded.model), found), "on again"
            layers += adapted(attached.loaded.model)
        with attached_adapter(loaded(), folder) as alone:
            assert torch.equal(logits(alone.loaded.model), found)

    assert torch.equal(logits(base.model), bare)
    assert not adapted(base.model)
    assert replaced([*layers, *base.model.modules()]) == 0


def test_an_error_within_leaves_the_bare_base(tmp_path: Path) -> None:
    base = loaded()
    bare = logits(base.model)
    folder = stored(tmp_path, LoraConfig(**PLAIN["rank 3"]))

    with pytest.raises(KeyboardInterrupt), attached_adapter(base, folder):
        raise KeyboardInterrupt

    assert torch.equal(logits(base.model), bare)
    assert replaced(list(base.model.modules())) == 0
