"""Trained weights take the place of the base's own, at any strength, and leave no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from harness.errors import RunFailed
from harness.experiment.schema import Base
from harness.models.loading import Loaded, load
from harness.models.proof import is_bare, probe, prove
from harness.models.weights import TRAINED_WEIGHTS, attached_weights

PROMPTS = ["the quick brown fox", "which colour is the sky?"]
FLOAT32 = Base(model="unused", dtype="float32")


@pytest.fixture
def base(model_folder: Path) -> Loaded:
    return load(str(model_folder), FLOAT32, None)


def trained(base: Loaded, folder: Path, change: float, only: str = "mlp") -> Path:
    """Weights as a partial fine-tune leaves them: the layers named `only`, each moved by `change`."""
    moved = {name: weight.detach() + change for name, weight in base.model.named_parameters() if only in name}
    save_file(moved, folder / TRAINED_WEIGHTS)
    return folder


def logits(loaded: Loaded) -> torch.Tensor:
    return probe(loaded, PROMPTS).logits


def test_trained_weights_are_live_and_the_base_comes_back_bit_by_bit(base: Loaded, tmp_path: Path) -> None:
    reference = probe(base, PROMPTS)

    with attached_weights(base, trained(base, tmp_path, 0.05)) as attached:
        proof = prove(attached, reference, scales=True)
        assert not torch.equal(logits(attached.loaded), reference.logits)

    assert proof.problems == ()
    assert proof.off_equals_base
    assert proof.zero_equals_base
    assert proof.largest_b == pytest.approx(0.05, rel=1e-4)
    assert is_bare(base, reference)


def test_unchanged_weights_are_not_live(base: Loaded, tmp_path: Path) -> None:
    reference = probe(base, PROMPTS)

    with attached_weights(base, trained(base, tmp_path, 0.0)) as attached:
        proof = prove(attached, reference, scales=False)

    assert any("no weight changed" in problem for problem in proof.problems)


def test_a_strength_is_the_straight_line_between_base_and_trained(base: Loaded, tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    own = base.model.get_parameter(name).detach().clone()

    with attached_weights(base, trained(base, tmp_path, 0.4)) as attached:
        for strength in (0.0, 0.25, 1.0, 1.5):
            with attached.scaled(strength):
                moved = base.model.get_parameter(name).detach() - own
                assert torch.allclose(moved, torch.full_like(own, 0.4 * strength), atol=1e-6)
        with attached.off():
            assert torch.equal(base.model.get_parameter(name).detach(), own)
        assert torch.allclose(base.model.get_parameter(name).detach() - own, torch.tensor(0.4), atol=1e-6)


def without_layer(tensors: dict[str, Any]) -> None:
    tensors["model.layers.7.mlp.up_proj.weight"] = torch.zeros(2, 2)


def of_another_shape(tensors: dict[str, Any]) -> None:
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(2, 2)


@pytest.mark.parametrize(
    ("damage", "said"),
    [(without_layer, "no parameter model.layers.7"), (of_another_shape, r"\(2, 2\) against \(64, 32\)")],
)
def test_weights_of_another_model_are_refused_in_words(
    base: Loaded, tmp_path: Path, damage: Any, said: str
) -> None:
    tensors: dict[str, Any] = {}
    damage(tensors)
    save_file(tensors, tmp_path / TRAINED_WEIGHTS)

    with pytest.raises(RunFailed, match=said), attached_weights(base, tmp_path):
        pass


def test_a_damaged_file_says_what_to_delete(base: Loaded, tmp_path: Path) -> None:
    (tmp_path / TRAINED_WEIGHTS).write_bytes(b"not safetensors")

    with pytest.raises(RunFailed, match="Delete its folder"), attached_weights(base, tmp_path):
        pass
