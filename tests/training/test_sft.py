"""Training: the loss is TRL's, a killed run goes on, and errors are for the person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback
from trl import SFTTrainer

from harness.errors import RunFailed, UsageError
from harness.experiment.schema import Base, Quantization, Tuned
from harness.models.loading import load
from harness.training import sft
from harness.training.sft import Job, last_checkpoint, train
from harness.training.trainer import CompletionTrainer

FLOAT32 = Base(model="tiny", dtype="float32")
ROWS = [{"prompt": f"the colour of thing {n} is", "completion": [" blue", " red"][n % 2]} for n in range(24)]


def recipe(**options: Any) -> Tuned:
    declared = {"method": "lora", "lora": {"r": 4, "target_modules": "all-linear"}, "batch_size": 4}
    return Tuned(**{**declared, "learning_rate": 1e-2, "checkpoint_steps": 2, **options})


def job(**options: Any) -> Job:
    return Job("lora", FLOAT32, recipe(**options), 0, ROWS, ROWS[:4])


def run(folder: Path, model: Path, wanted: Job, quantization: Quantization | None = None) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return train(wanted, load(str(model), FLOAT32, quantization), folder, lambda done, total: None)


@pytest.fixture(scope="module")
def unbroken(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, run(folder, model_folder, job())


def test_training_learns_and_records_what_it_did(unbroken: tuple[Path, dict[str, Any]]) -> None:
    folder, record = unbroken

    assert record["steps"] == 6
    losses = [loss for _, loss in record["train_loss"]]
    assert losses[-1] < losses[0]
    assert record["validation_loss"]
    assert record["tokens"] > 6 * 4 * 5
    assert record["tokens_per_second"] > 0
    assert record["trainable_parameters"] > 0
    sft.discard_checkpoints(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


class Killed(BaseException):
    """As a kill -9 would: nothing is cleaned up."""


def test_a_training_killed_between_checkpoints_ends_with_the_unbroken_runs_weights(
    unbroken: tuple[Path, dict[str, Any]],
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class KillAtStepThree(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 3:
                raise Killed

    original = sft._trainer

    def with_a_kill(*arguments: Any) -> CompletionTrainer:
        trainer = original(*arguments)
        trainer.add_callback(KillAtStepThree())
        return trainer

    monkeypatch.setattr(sft, "_trainer", with_a_kill)
    with pytest.raises(Killed):
        run(tmp_path, model_folder, job())
    monkeypatch.undo()

    record = run(tmp_path, model_folder, job())

    assert record["resumed_from"] == 2
    expected = load_file(unbroken[0] / "adapter_model.safetensors")
    resumed = load_file(tmp_path / "adapter_model.safetensors")
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    configs = [(each / "adapter_config.json").read_text() for each in (unbroken[0], tmp_path)]
    assert configs[0] == configs[1]
    assert record["train_loss"] == unbroken[1]["train_loss"]
    assert record["tokens"] == unbroken[1]["tokens"]


def test_a_checkpoint_that_a_kill_cut_short_is_passed_over(tmp_path: Path) -> None:
    for steps, state in ((5, '{"global_step": 5}'), (10, '{"global_'), (15, None)):
        folder = tmp_path / f"checkpoint-{steps}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state, encoding="utf-8")

    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert not (tmp_path / "checkpoint-15").exists()


def test_the_loss_is_the_one_that_trl_computes(
    unbroken: tuple[Path, dict[str, Any]],
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CompletionTrainer, "compute_loss", SFTTrainer.compute_loss)

    theirs = run(tmp_path, model_folder, job())

    for ours, expected in zip(unbroken[1]["train_loss"], theirs["train_loss"], strict=True):
        assert ours == pytest.approx(expected, rel=1e-4)


def test_a_seed_changes_the_adapter(
    unbroken: tuple[Path, dict[str, Any]], model_folder: Path, tmp_path: Path
) -> None:
    other = Job("lora", FLOAT32, recipe(), 1, ROWS, [])
    run(tmp_path, model_folder, other)

    ours, theirs = (load_file(each / "adapter_model.safetensors") for each in (unbroken[0], tmp_path))
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_qlora_trains_on_a_base_in_nf4(model_folder: Path, tmp_path: Path) -> None:
    record = run(
        tmp_path, model_folder, job(method="qlora"), Quantization(type="nf4", compute_dtype="float32")
    )

    losses = [loss for _, loss in record["train_loss"]]
    assert losses[-1] < losses[0]


def test_a_loss_that_is_no_longer_a_number_stops_the_run_with_the_step(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = CompletionTrainer.compute_loss
    monkeypatch.setattr(
        CompletionTrainer,
        "compute_loss",
        lambda self, *given, **named: original(self, *given, **named) * float("nan"),
    )
    with pytest.raises(RunFailed, match=r"loss became nan at step 1; lower learning_rate"):
        run(tmp_path, model_folder, job())


def test_a_lora_setting_that_does_not_fit_the_model_is_the_persons_to_mend(
    model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"\[tuned.lora\] does not fit this model"):
        run(tmp_path, model_folder, job(lora={"r": 4, "target_modules": ["no_such_layer"]}))
