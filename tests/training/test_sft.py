"""Training: the adapter is the one that a plain TRL script makes, and errors are for the person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file
from trl import SFTConfig, SFTTrainer

from harness.errors import RunFailed, UsageError
from harness.experiment.schema import Quantization
from harness.models.loading import load
from harness.training import sft, trainer
from harness.training.rendering import render
from tests.training.conftest import NONE, ROWS, job, run

Trained = Callable[..., tuple[Path, dict[str, Any]]]


def test_training_learns_and_records_what_it_did(trained: Trained) -> None:
    folder, record = trained()

    assert record["steps"] == 6
    losses = [loss for _, loss in record["train_loss"]]
    assert losses[-1] < losses[0]
    assert [step for step, _ in record["validation_loss"]] == [2, 3, 5, 6]
    assert record["rows"] == 24
    assert record["counts"]["rows"] == 24
    assert record["tokens"] == record["counts"]["tokens"]
    assert record["trained_tokens"] == record["counts"]["trained_tokens"]
    assert record["tokens_per_second"] > 0
    assert 0 < record["trainable_parameters"] < record["total_parameters"]
    assert record["adapter_bytes"] == (folder / "adapter_model.safetensors").stat().st_size
    assert [name for name in ("kl", "validation_kl") if record[name]] == []


def test_nothing_but_the_adapter_is_left_and_no_pickle(model_folder: Path, tmp_path: Path) -> None:
    run(tmp_path, model_folder, job(max_steps=1))
    sft.discard_checkpoints(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_the_adapter_is_the_one_that_a_plain_trl_script_trains(
    trained: Trained, model_folder: Path, tmp_path: Path
) -> None:
    loaded = load(str(model_folder), job().base, None)
    theirs = SFTTrainer(
        model=loaded.model,
        args=SFTConfig(
            output_dir=str(tmp_path),
            learning_rate=1e-2,
            per_device_train_batch_size=4,
            num_train_epochs=1,
            warmup_steps=1,
            lr_scheduler_type="cosine",
            max_length=512,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            seed=0,
            data_seed=0,
            logging_steps=1,
            report_to=[],
        ),
        train_dataset=datasets.Dataset.from_list(list(ROWS.rows)),
        processing_class=loaded.tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"),
    )
    theirs.train()
    theirs.model.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)

    folder, record = trained()
    expected = [entry["loss"] for entry in theirs.state.log_history if "loss" in entry]
    assert [loss for _, loss in record["train_loss"]] == pytest.approx(expected, rel=1e-4)
    ours = load_file(folder / "adapter_model.safetensors")
    for name, tensor in load_file(tmp_path / "theirs" / "adapter_model.safetensors").items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-5)


def test_training_sees_exactly_the_rendered_rows(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    original = trainer.summed_losses

    def watching(model: Any, inputs: Any, reference: Any, weight: float) -> Any:
        for ids, labels, mask in zip(
            inputs["input_ids"], inputs["labels"], inputs["attention_mask"].bool(), strict=True
        ):
            seen.append((tuple(ids[mask].tolist()), tuple(labels[mask].tolist())))
        return original(model, inputs, reference, weight)

    monkeypatch.setattr(trainer, "summed_losses", watching)
    run(tmp_path, model_folder, job(validation=NONE))

    tokenizer = load(str(model_folder), job().base, None).tokenizer
    rendered = render(ROWS, tokenizer, 512).rows
    assert sorted(seen) == sorted((row.input_ids, row.labels) for row in rendered)


def test_a_seed_changes_the_adapter(trained: Trained) -> None:
    ours, theirs = (
        load_file(trained(**options)[0] / "adapter_model.safetensors") for options in ({}, {"seed": 1})
    )

    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_qlora_trains_in_float32_on_a_base_in_nf4(model_folder: Path, tmp_path: Path) -> None:
    quantization = Quantization(type="nf4", compute_dtype="float32")

    record = run(tmp_path, model_folder, job(method="qlora"), quantization)

    losses = [loss for _, loss in record["train_loss"]]
    assert losses[-1] < losses[0]
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    rounded = [tensor.bfloat16().float() for tensor in stored.values()]
    assert not all(torch.equal(*pair) for pair in zip(stored.values(), rounded, strict=True))


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "paged_adamw_8bit"])
def test_optimizers_with_eight_bit_states_train_on_a_cpu_too(trained: Trained, optimizer: str) -> None:
    losses = [loss for _, loss in trained(optimizer=optimizer)[1]["train_loss"]]

    assert losses[-1] < losses[0]


def test_gradient_checkpointing_changes_nothing_but_the_memory(trained: Trained) -> None:
    plain, saving = (
        load_file(trained(**options)[0] / "adapter_model.safetensors")
        for options in ({}, {"gradient_checkpointing": True})
    )

    for name, tensor in plain.items():
        torch.testing.assert_close(saving[name], tensor)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_no_longer_a_number_stops_the_run_with_the_step(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    original = trainer.summed_losses
    steps = iter([1.0, 1.0, float(value)])

    def failing(*given: Any) -> Any:
        found, factor = original(*given), next(steps)
        return replace(found, objective=found.objective * factor, loss=found.loss * factor)

    monkeypatch.setattr(trainer, "summed_losses", failing)
    with pytest.raises(RunFailed, match=rf"training loss became {value} at step 3; lower learning_rate"):
        run(tmp_path, model_folder, job(validation=NONE))


def test_a_gradient_that_is_no_longer_a_number_stops_the_run_before_the_weights_are_spoilt(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spoilt(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
            return loss.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return gradient * float("nan")

    original = trainer.summed_losses

    def spoilt(*given: Any) -> Any:
        found = original(*given)
        return replace(found, objective=Spoilt.apply(found.objective))

    monkeypatch.setattr(trainer, "summed_losses", spoilt)
    with pytest.raises(RunFailed, match=r"gradient norm became nan at step 1"):
        run(tmp_path, model_folder, job(validation=NONE))


def test_a_lora_setting_that_does_not_fit_the_model_is_the_persons_to_mend(
    model_folder: Path, tmp_path: Path
) -> None:
    wanted = job(lora={"r": 4, "target_modules": ["no_such_layer"]})
    with pytest.raises(UsageError, match=r"\[tuned.lora\] does not fit this model"):
        run(tmp_path, model_folder, wanted)


def test_float16_is_not_trained_on_a_cpu(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'base.dtype = "float16" needs loss scaling.*"bfloat16"'):
        run(tmp_path, model_folder, job(dtype="float16"))


def test_without_rows_there_is_nothing_to_train_on(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\[tuned.lora\]: there are no rows to train on"):
        run(tmp_path, model_folder, job(rows=NONE))
