"""The size of a forward pass changes nothing but the memory, and is found when it is not given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.errors import RunFailed
from harness.training import trainer
from harness.training.watch import Watch
from tests.training.conftest import NONE, SOME, job, run
from tests.training.test_resume import killed

Trained = Callable[..., tuple[Path, dict[str, Any]]]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def holding(rows: int) -> Callable[..., Any]:
    """A loss that runs out of memory with more rows than these in one pass."""
    original = trainer.summed_losses

    def limited(model: Any, inputs: Any, reference: Any, weight: float) -> Any:
        if len(inputs["input_ids"]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return original(model, inputs, reference, weight)

    return limited


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_passes_of_fewer_rows_train_the_weights_of_the_whole_batch(trained: Trained, rows: int) -> None:
    whole, _ = trained(batch_size=8)
    parts, record = trained(batch_size=8, micro_batch_size=rows)

    assert record["micro_batch_size"] == rows
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], tensor, rtol=1e-3, atol=1e-5)


def test_a_pass_that_does_not_fit_is_halved_until_it_does_and_nothing_else_changes(
    trained: Trained, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "summed_losses", holding(2))

    record = run(tmp_path, model_folder, job(batch_size=8))

    assert record["micro_batch_size"] == 2
    assert record["steps"] == 3
    assert record["tokens"] == record["counts"]["tokens"]
    expected, _ = trained(batch_size=8, micro_batch_size=2)
    ours, theirs = weights(tmp_path), weights(expected)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_resumed_training_begins_with_the_size_that_was_found(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "summed_losses", holding(1))
        with killed(monkeypatch, Watch, "on_step_end", 3):
            run(tmp_path, model_folder, job())

    record = run(tmp_path, model_folder, job())

    assert record["resumed_from"] == 2
    assert record["micro_batch_size"] == 1


def test_validation_gives_way_to_the_memory_too(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = trainer.summed_losses

    def limited(model: Any, inputs: Any, reference: Any, weight: float) -> Any:
        if not torch.is_grad_enabled() and len(inputs["input_ids"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return original(model, inputs, reference, weight)

    monkeypatch.setattr(trainer, "summed_losses", limited)
    record = run(tmp_path, model_folder, job(validation=SOME))

    assert record["micro_batch_size"] == 1
    assert len(record["validation_loss"]) == 4


def test_an_explicit_size_is_kept_and_the_error_names_the_key(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "summed_losses", holding(2))
    with pytest.raises(RunFailed, match=r"micro_batch_size = 4: set it to 2, or to \"auto\""):
        run(tmp_path, model_folder, job(micro_batch_size=4))


def test_when_not_one_row_fits_the_error_says_what_to_do(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "summed_losses", holding(0))
    with pytest.raises(RunFailed, match="not hold one row at a time: lower max_length"):
        run(tmp_path, model_folder, job(validation=NONE))


def test_memory_that_ends_outside_of_a_pass_is_answered_with_what_helps(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(RunFailed, match=r"outside of its passes.*paged_adamw_8bit"):
        run(tmp_path, model_folder, job())


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(trainer, "summed_losses", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run(tmp_path, model_folder, job())
