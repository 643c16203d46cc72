"""Every kind of LoRA trains, is stored as an adapter of the unchanged base, and is the trained model again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import entropy

from harness.errors import UsageError
from harness.experiment.schema import Quantization
from harness.models.adapters import attached_adapter, why_not_scalable
from harness.models.loading import load
from harness.training import initialisations
from harness.training.sft import train
from harness.training.watch import Watch
from tests.training.conftest import NONE, SOME, job, run
from tests.training.test_resume import assert_equal, killed

EVERY = "all-linear"
LISTED = ["q_proj", "v_proj", "down_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": EVERY},
    "some modules": {"target_modules": ["q_proj", "v_proj"]},
    "one layer": {"target_modules": LISTED, "layers_to_transform": [1]},
    "ranks by pattern": {
        "target_modules": LISTED,
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"q_proj": 4},
    },
    "rsLoRA": {"target_modules": EVERY, "use_rslora": True, "lora_alpha": 16},
    "DoRA": {"target_modules": EVERY, "use_dora": True},
    "head saved": {"target_modules": LISTED, "modules_to_save": ["lm_head"]},
    "embeddings saved": {"target_modules": LISTED, "modules_to_save": ["embed_tokens"]},
    "embeddings too": {"target_modules": [*LISTED, "embed_tokens"]},
    "some tokens": {"target_modules": LISTED, "trainable_token_indices": [40, 41]},
    "gaussian": {"target_modules": EVERY, "init_lora_weights": "gaussian"},
    "random": {"target_modules": EVERY, "init_lora_weights": False},
    "orthogonal": {"target_modules": EVERY, "init_lora_weights": "orthogonal"},
    "MiCA": {"target_modules": EVERY, "init_lora_weights": "mica"},
    "EVA": {"target_modules": EVERY, "init_lora_weights": "eva", "eva_config": {"rho": 1.5}},
    "PiSSA": {"target_modules": EVERY, "init_lora_weights": "pissa"},
    "fast PiSSA": {"target_modules": EVERY, "init_lora_weights": "pissa_niter_8"},
    "OLoRA": {"target_modules": EVERY, "init_lora_weights": "olora"},
    "OLoRA at another scale": {"target_modules": EVERY, "init_lora_weights": "olora", "lora_alpha": 16},
    "CorDA": {"target_modules": LISTED, "init_lora_weights": "corda"},
    "CorDA keeping knowledge": {
        "target_modules": LISTED,
        "init_lora_weights": "corda",
        "corda_config": {"corda_method": "kpm"},
    },
}
REWRITING = [kind for kind in KINDS if kind.startswith(("PiSSA", "fast", "OLoRA", "CorDA"))]
IDS = torch.arange(10, 40)[None]


def of(kind: str, **options: Any) -> Any:
    return job(lora={"r": 4, **KINDS[kind]}, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_the_stored_adapter_on_the_unchanged_base_is_the_trained_model(
    kind: str, model_folder: Path, tmp_path: Path
) -> None:
    wanted = of(kind)
    loaded = load(str(model_folder), wanted.base, None)
    with torch.no_grad():
        unchanged = loaded.model(input_ids=IDS).logits

    record = train(wanted, loaded, tmp_path, lambda done, total: None)

    base = load(str(model_folder), wanted.base, None)
    with torch.no_grad(), attached_adapter(base, tmp_path) as attached:
        stored = attached.loaded.model(input_ids=IDS).logits
        with attached.off():
            off = attached.loaded.model(input_ids=IDS).logits
    # After reloading, because PEFT takes off what it stores with.
    with torch.no_grad():
        trained = loaded.model.eval()(input_ids=IDS).logits
    assert torch.equal(off, unchanged)
    torch.testing.assert_close(stored, trained, rtol=1e-4, atol=1e-4)
    assert (stored - unchanged).abs().max() > 100 * (stored - trained).abs().max()
    losses = [loss for _, loss in record["train_loss"]]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", REWRITING)
def test_initialisations_that_rewrite_the_base_are_stored_as_plain_lora(
    kind: str, model_folder: Path, tmp_path: Path
) -> None:
    run(tmp_path, model_folder, of(kind, validation=NONE, max_steps=2))

    declared = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert declared["init_lora_weights"] is True
    assert declared["r"] == 8
    assert why_not_scalable(declared) is None
    assert all(".lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))


@pytest.mark.parametrize("kl", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["fast PiSSA", "CorDA", "EVA", "MiCA", "DoRA", "head saved"])
def test_a_killed_training_ends_with_the_unbroken_runs_adapter(
    kind: str, kl: float, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = of(kind, kl=kl, max_steps=4)
    unbroken = run(tmp_path / "unbroken", model_folder, wanted)
    with killed(monkeypatch, Watch, "on_step_end", 3):
        run(tmp_path / "killed", model_folder, wanted)

    record = run(tmp_path / "killed", model_folder, wanted)

    assert record["resumed_from"] == 2
    assert_equal((tmp_path / "killed", record), (tmp_path / "unbroken", unbroken))


def test_with_a_rewritten_base_the_divergence_is_from_the_base_as_it_was(
    model_folder: Path, tmp_path: Path
) -> None:
    wanted = of("PiSSA", kl=1e-9, validation=SOME)
    loaded = load(str(model_folder), wanted.base, None)

    record = train(wanted, loaded, tmp_path, lambda done, total: None)

    assert record["kl"][0][1] == pytest.approx(0, abs=1e-5)
    base = load(str(model_folder), wanted.base, None)
    total, tokens = 0.0, 0
    with torch.no_grad(), attached_adapter(base, tmp_path) as attached:
        for row in SOME.rows:
            prompt = base.tokenizer(row["prompt"]).input_ids
            ids = [*base.tokenizer(row["prompt"] + row["completion"]).input_ids, base.tokenizer.eos_token_id]
            given = torch.tensor([ids])
            tuned = attached.loaded.model(input_ids=given).logits[0].double().softmax(-1)
            with attached.off():
                unchanged = attached.loaded.model(input_ids=given).logits[0].double().softmax(-1)
            trained = slice(len(prompt) - 1, len(ids) - 1)
            total += float(entropy(unchanged[trained].numpy(), tuned[trained].numpy(), axis=-1).sum())
            tokens += len(ids) - len(prompt)
    assert record["validation_kl"][-1][1] == pytest.approx(total / tokens, rel=1e-3)


def test_the_kl_of_a_model_with_a_trained_head_is_from_the_heads_first_state(
    model_folder: Path, tmp_path: Path
) -> None:
    record = run(tmp_path, model_folder, of("head saved", kl=0.1))

    assert record["kl"][0][1] == pytest.approx(0, abs=1e-6)
    assert record["kl"][-1][1] > 1e-4


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (
            {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}},
            r"`lora.loftq_config` is not supported.*\"pissa\"",
        ),
        ({"layer_replication": [[0, 2], [0, 2]]}, "`lora.layer_replication` is not supported: it rebuilds"),
        ({"alora_invocation_tokens": [3]}, "`lora.alora_invocation_tokens` is not supported"),
        ({"kasa_config": {"beta": 1e-4}}, "`lora.kasa_config` is not supported"),
        (
            {"init_lora_weights": "pissa", "use_dora": True},
            r"\"pissa\" rewrites.*`lora.use_dora` has no place",
        ),
        (
            {"init_lora_weights": "olora", "modules_to_save": ["lm_head"]},
            "`lora.modules_to_save` has no place",
        ),
        ({"init_lora_weights": "pissa", "bias": "all"}, "`lora.bias` has no place"),
        (
            {"init_lora_weights": "pissa", "use_rslora": True, "rank_pattern": {"q_proj": 2}},
            "`lora.use_rslora` has no place",
        ),
        ({"init_lora_weights": "corda"}, "needs lora.target_modules as a list"),
        (
            {"init_lora_weights": "corda", "target_modules": LISTED, "corda_config": {"cache_file": "x.pt"}},
            "files are pickles, which are never loaded",
        ),
        ({"target_modules": ["lm_head"]}, "does not train an adapter on the head.*modules_to_save"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_training_with_what_to_use(
    lora: dict[str, Any], message: str, model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        run(tmp_path, model_folder, job(lora={"r": 4, "target_modules": EVERY, **lora}))


def test_a_quantised_base_is_not_rewritten(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quantised ones would be rounded anew"):
        run(tmp_path, model_folder, of("OLoRA", method="qlora"), Quantization(compute_dtype="float32"))


def test_eva_does_not_look_for_directions_for_ever(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initialisations, "EVA_BATCH", 1)
    lora = {"r": 16, "target_modules": EVERY, "init_lora_weights": "eva"}
    with pytest.raises(UsageError, match=r"found no stable directions.*: lower lora\.r"):
        run(tmp_path, model_folder, job(lora=lora))
