"""A kill costs the steps since the last checkpoint and nothing else: the weights come out equal, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.errors import RunFailed
from harness.training import sft
from harness.training.sft import last_checkpoint
from harness.training.trainer import StepTrainer
from harness.training.watch import Watch
from tests.training.conftest import job, run

Trained = Callable[..., tuple[Path, dict[str, Any]]]

WAYS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora with dropout": {"lora": {"r": 4, "target_modules": "all-linear", "lora_dropout": 0.5}},
    "full": {"method": "full", "learning_rate": 1e-3},
    "partial": {"method": "partial", "partial": {"top_layers": 1}, "learning_rate": 1e-3},
    "packing": {"packing": True, "max_length": 64},
    "kl": {"kl": 0.5},
    "full with kl": {"method": "full", "learning_rate": 1e-3, "kl": 0.5},
    "bfloat16": {"method": "full", "learning_rate": 1e-3, "dtype": "bfloat16"},
    "8-bit optimizer": {"optimizer": "adamw_8bit"},
    "micro batches": {"micro_batch_size": 2},
    "two epochs": {"epochs": 2.0, "batch_size": 8},
    "half an epoch": {"epochs": 0.5},
    # Too high a rate: the validation loss rises, and training stops at step 4 of 6.
    "early stopping": {"learning_rate": 0.2, "validations": 6, "early_stopping": {"patience": 2}},
}


class Killed(BaseException):
    """As a kill -9 would: nothing is cleaned up."""


@contextmanager
def killed(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, step: int) -> Iterator[None]:
    """The run ends the first time that the method is called at this step."""
    original = getattr(owner, method)

    def fatal(self: Any, *given: Any, **named: Any) -> Any:
        state = self.state if isinstance(self, StepTrainer) else given[1]
        if state.global_step == step:
            raise Killed
        return original(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, fatal)
        with pytest.raises(Killed):
            yield


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], list[str]]:
    sft.discard_checkpoints(folder)
    (weights,) = folder.glob("*.safetensors")
    return load_file(weights), [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json"))]


def assert_equal(ours: tuple[Path, dict[str, Any]], unbroken: tuple[Path, dict[str, Any]]) -> None:
    resumed, expected = outcome(ours[0]), outcome(unbroken[0])
    assert resumed[0].keys() == expected[0].keys()
    assert all(torch.equal(resumed[0][name], expected[0][name]) for name in expected[0])
    assert resumed[1] == expected[1]
    measured = {"resumed_from", "seconds", "tokens_per_second", "peak_memory_bytes"}
    assert {name: ours[1][name] for name in ours[1].keys() - measured} == {
        name: unbroken[1][name] for name in unbroken[1].keys() - measured
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_training_killed_between_checkpoints_ends_with_the_unbroken_runs_weights(
    way: str, trained: Trained, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = job(**WAYS[way])
    with killed(monkeypatch, Watch, "on_step_end", 3):
        run(tmp_path, model_folder, wanted)

    record = run(tmp_path, model_folder, wanted)

    assert record["resumed_from"] == 2
    assert_equal((tmp_path, record), trained(**WAYS[way]))


MOMENTS: dict[str, tuple[type, str, int]] = {
    "in the middle of a checkpoint": (StepTrainer, "_save_optimizer_and_scheduler", 2),
    "in the middle of the next": (StepTrainer, "_save_optimizer_and_scheduler", 4),
    "between a checkpoint and the clearing up after it": (Watch, "on_save", 4),
    "after the last step": (Watch, "on_train_end", 6),
}
STOPPED: dict[str, tuple[type, str, int]] = {
    "in the middle of a checkpoint": (StepTrainer, "_save_optimizer_and_scheduler", 2),
    "before the best weights are kept": (Watch, "on_evaluate", 2),
    "before its end is decided": (Watch, "on_evaluate", 4),
    "after the last step": (Watch, "on_train_end", 4),
}
CASES = [
    *(("lora", moment) for moment in MOMENTS.values()),
    *(("full with kl", moment) for moment in MOMENTS.values()),
    *(("early stopping", moment) for moment in STOPPED.values()),
    ("half an epoch", (Watch, "on_train_end", 3)),
    ("two epochs", (Watch, "on_train_end", 6)),
]


@pytest.mark.parametrize(("way", "moment"), CASES)
def test_it_may_be_killed_at_any_moment(
    way: str,
    moment: tuple[type, str, int],
    trained: Trained,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with killed(monkeypatch, *moment):
        run(tmp_path, model_folder, job(**WAYS[way]))

    assert_equal((tmp_path, run(tmp_path, model_folder, job(**WAYS[way]))), trained(**WAYS[way]))


def test_a_checkpoint_that_a_kill_cut_short_is_passed_over(tmp_path: Path) -> None:
    for steps, state in ((5, '{"global_step": 5}'), (10, '{"global_'), (15, None)):
        folder = tmp_path / f"checkpoint-{steps}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state, encoding="utf-8")

    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert not (tmp_path / "checkpoint-15").exists()


def test_checkpoints_of_another_training_are_not_gone_on_from(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed(monkeypatch, Watch, "on_step_end", 3):
        run(tmp_path, model_folder, job())
    with pytest.raises(RunFailed, match="holds the weights of another training; delete its folder"):
        run(tmp_path, model_folder, job(**WAYS["full"]))


def test_pickles_are_loaded_as_weights_only_and_from_checkpoints_only(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[tuple[str, bool | None]] = []
    original = torch.load

    def watched(file: Any, *given: Any, **named: Any) -> Any:
        loads.append((Path(file).name, named.get("weights_only")))
        return original(file, *given, **named)

    with killed(monkeypatch, Watch, "on_step_end", 3):
        run(tmp_path, model_folder, job())
    monkeypatch.setattr(torch, "load", watched)
    run(tmp_path, model_folder, job())

    assert set(loads) == {("optimizer.pt", True), ("scheduler.pt", True), ("rng_state.pth", True)}
