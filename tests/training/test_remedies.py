"""Remedies against forgetting: each does what it says, and is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import entropy

from harness.data.training_rows import TrainingRows
from harness.errors import RunFailed, UsageError
from harness.experiment.schema import EarlyStopping, Quantization
from harness.models.adapters import attached_adapter
from harness.models.loading import load
from harness.models.weights import attached_weights
from harness.training import trainer
from harness.training.stopping import best_file, discard_older, standing
from harness.training.watch import validation_steps
from tests.training.conftest import NONE, job, run

Trained = Callable[..., tuple[Path, dict[str, Any]]]
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"learning_rate": 3e-2},
    "full": {"method": "full", "learning_rate": 3e-3},
    "partial": {"method": "partial", "partial": {"top_layers": 1}, "learning_rate": 1e-2},
}


def held_out_divergence(model_folder: Path, folder: Path) -> float:
    """Mean KL(base ‖ tuned) by scipy, on text that was not trained on."""
    base = load(str(model_folder), job().base, None)
    attach = attached_weights if (folder / "weights.safetensors").exists() else attached_adapter
    ids = base.tokenizer("the colour of thing 77 is green", return_tensors="pt").input_ids
    with torch.no_grad(), attach(base, folder) as attached:
        tuned = attached.loaded.model(input_ids=ids).logits[0].double().softmax(-1)
        with attached.off():
            unchanged = attached.loaded.model(input_ids=ids).logits[0].double().softmax(-1)
    return float(entropy(unchanged.numpy(), tuned.numpy(), axis=-1).mean())


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_on_the_divergence_keeps_the_tuned_model_near_the_base(
    method: str, trained: Trained, model_folder: Path
) -> None:
    options = {**METHODS[method], "epochs": 3.0}
    free, _ = trained(**options)
    held, record = trained(**options, kl=10.0)

    assert held_out_divergence(model_folder, held) < 0.6 * held_out_divergence(model_folder, free)
    first, *_, last = (value for _, value in record["kl"])
    assert first == pytest.approx(0, abs=1e-5)
    assert last > first
    assert len(record["validation_kl"]) == len(record["validation_loss"])


def test_the_recorded_loss_is_without_the_divergence(trained: Trained) -> None:
    """At the first step both models are the base, so nothing may differ yet; later both curves are losses."""
    free, held = (trained(**options)[1]["train_loss"] for options in ({}, {"kl": 100.0}))

    assert held[0] == free[0]
    assert held[-1][1] < 10


def test_qlora_is_held_to_its_quantised_base(model_folder: Path, tmp_path: Path) -> None:
    record = run(
        tmp_path, model_folder, job(method="qlora", kl=1.0), Quantization(type="nf4", compute_dtype="float32")
    )

    assert record["kl"][0][1] == pytest.approx(0, abs=1e-6)
    assert record["kl"][-1][1] > 0


def test_the_copy_that_full_is_held_to_does_not_move(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[Any] = []
    original = trainer.summed_losses

    def watching(model: Any, inputs: Any, reference: Any, weight: float) -> Any:
        if reference is not None and not copies:
            with reference() as base:
                copies.append(base)
        return original(model, inputs, reference, weight)

    monkeypatch.setattr(trainer, "summed_losses", watching)
    run(tmp_path, model_folder, job(**METHODS["full"], kl=1.0))

    untouched = dict(load(str(model_folder), job().base, None).model.named_parameters())
    for name, parameter in copies[0].named_parameters():
        assert torch.equal(parameter, untouched[name])
        assert not parameter.requires_grad


def test_the_copy_that_partial_is_held_to_shares_what_is_not_trained(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, bool] = {}

    def watching(model: Any, inputs: Any, reference: Any, weight: float) -> Any:
        if reference is not None:
            with reference() as base:
                own = {id(parameter) for parameter in model.parameters()}
                seen.update((name, id(parameter) in own) for name, parameter in base.named_parameters())
        return original(model, inputs, reference, weight)

    original = trainer.summed_losses
    monkeypatch.setattr(trainer, "summed_losses", watching)
    run(tmp_path, model_folder, job(**METHODS["partial"], kl=1.0, max_steps=1, validation=NONE))

    assert all(shared == (".layers.1." not in name) for name, shared in seen.items())


def test_weight_decay_makes_the_weights_smaller(trained: Trained) -> None:
    free, decayed = (
        load_file(trained(**METHODS["full"], weight_decay=decay)[0] / "weights.safetensors")
        for decay in (0.0, 50.0)
    )

    name = "model.layers.0.mlp.up_proj.weight"
    assert decayed[name].norm() < 0.9 * free[name].norm()


OTHER = TrainingRows(({"prompt": "sphinx of black", "completion": " quartz, judge my vow"},), "completion")
RISING = {"learning_rate": 0.03, "validations": 12, "epochs": 4.0, "validation": OTHER}


def test_early_stopping_keeps_the_weights_of_the_lowest_validation_loss(trained: Trained) -> None:
    _, record = trained(**RISING, early_stopping={"patience": 3})

    curve = dict(record["validation_loss"])
    assert record["best_step"] == min(curve, key=curve.__getitem__) == 4
    assert record["stopped_at"] == record["steps"] == max(curve) == 10


def test_the_kept_weights_have_the_loss_that_was_recorded(trained: Trained, model_folder: Path) -> None:
    folder, record = trained(**RISING, early_stopping={"patience": 3})
    base = load(str(model_folder), job().base, None)
    total, tokens = 0.0, 0
    with torch.no_grad(), attached_adapter(base, folder) as attached:
        for row in OTHER.rows:
            prompt = base.tokenizer(row["prompt"]).input_ids
            ids = [*base.tokenizer(row["prompt"] + row["completion"]).input_ids, base.tokenizer.eos_token_id]
            logits = attached.loaded.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            for at in range(len(prompt), len(ids)):
                total -= float(logits[at - 1, ids[at]])
                tokens += 1

    assert dict(record["validation_loss"])[record["best_step"]] == pytest.approx(total / tokens, rel=1e-4)


def test_a_training_that_still_improves_is_not_stopped(trained: Trained) -> None:
    _, record = trained(early_stopping={"patience": 1})

    assert record["stopped_at"] is None
    assert record["best_step"] == record["steps"] == 6


def test_early_stopping_without_validation_rows_is_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\[tuned.lora\]: early_stopping needs validation rows"):
        run(tmp_path, model_folder, job(early_stopping={}, validation=NONE))


def test_validation_weighs_tokens_not_batches(trained: Trained) -> None:
    """The same four rows, one or all at a time: transformers' mean of batch means would differ."""
    curves = [trained(batch_size=4, micro_batch_size=rows)[1]["validation_loss"] for rows in (1, 4)]

    for (step, one), (same, other) in zip(*curves, strict=True):
        assert (step, one) == (same, pytest.approx(other, rel=1e-4))


def test_a_validation_loss_that_is_no_number_stops_the_run(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = trainer.summed_losses

    def failing(*given: Any) -> Any:
        found = original(*given)
        return found if torch.is_grad_enabled() else replace(found, loss=found.loss * float("nan"))

    monkeypatch.setattr(trainer, "summed_losses", failing)
    with pytest.raises(RunFailed, match="validation loss became nan at step 2"):
        run(tmp_path, model_folder, job())


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "best", "stop"),
    [
        ([3.0], 1, 0.0, 1, False),
        ([3.0, 2.0, 1.0], 1, 0.0, 3, False),
        ([3.0, 2.0, 2.5], 1, 0.0, 2, True),
        ([3.0, 2.0, 2.5], 2, 0.0, 2, False),
        ([3.0, 2.0, 2.5, 2.2], 2, 0.0, 2, True),
        ([3.0, 2.0, 2.5, 1.9, 2.4], 2, 0.0, 4, False),
        ([3.0, 3.0], 1, 0.0, 1, True),
        # Lower, but by too little to count: still the best.
        ([3.0, 2.95, 2.9], 2, 0.2, 3, True),
        # Many small steps that together are more than the distance count when it is reached.
        ([3.0, 2.9, 2.8, 2.7], 3, 0.2, 4, False),
    ],
)
def test_patience_is_counted_in_validations_that_do_not_help(
    losses: list[float], patience: int, min_delta: float, best: int, stop: bool
) -> None:
    found = standing(list(enumerate(losses, start=1)), EarlyStopping(patience=patience, min_delta=min_delta))

    assert (found.best_step, found.stop) == (best, stop)


def test_older_best_weights_are_cleared_away(tmp_path: Path) -> None:
    for step in (2, 4):
        best_file(tmp_path, step).touch()

    discard_older(tmp_path, 4)

    assert list(tmp_path.iterdir()) == [best_file(tmp_path, 4)]


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [(8, 4, {2, 4, 6, 8}), (10, 4, {3, 5, 8, 10}), (3, 4, {1, 2, 3}), (7, 1, {7}), (5, 0, set())],
)
def test_validations_are_evenly_spaced_and_the_last_is_at_the_end(
    steps: int, count: int, expected: set[int]
) -> None:
    assert validation_steps(steps, count) == expected
