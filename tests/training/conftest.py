"""Small trainings on the tiny model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data.training_rows import TrainingRows
from harness.experiment.schema import Base, Quantization, Tuned
from harness.models.loading import load
from harness.training.sft import Job, train

COLOURS = [" blue", " red"]
ROWS = TrainingRows(
    tuple({"prompt": f"the colour of thing {n} is", "completion": COLOURS[n % 2]} for n in range(24)),
    "completion",
)
SOME = TrainingRows(ROWS.rows[:4], "completion")
NONE = TrainingRows(())


def recipe(**options: Any) -> Tuned:
    declared: dict[str, Any] = {
        "method": "lora",
        "learning_rate": 1e-2,
        "batch_size": 4,
        "checkpoint_steps": 2,
    }
    if options.get("method", "lora") in ("lora", "qlora"):
        declared["lora"] = {"r": 4, "target_modules": "all-linear"}
    return Tuned(**{**declared, **options})


def job(*, rows: TrainingRows = ROWS, validation: TrainingRows = SOME, seed: int = 0, **options: Any) -> Job:
    dtype = options.pop("dtype", "float32")
    return Job("lora", Base(model="tiny", dtype=dtype), recipe(**options), seed, rows, validation)


def run(folder: Path, model: Path, wanted: Job, quantization: Quantization | None = None) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return train(wanted, load(str(model), wanted.base, quantization), folder, lambda done, total: None)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """On models this small threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trained(
    model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Trains once for each set of options; gives the folder and the record. Only to be read."""
    made: dict[str, tuple[Path, dict[str, Any]]] = {}

    def train_once(**options: Any) -> tuple[Path, dict[str, Any]]:
        key = repr(sorted(options.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("trained")
            made[key] = folder, run(folder, model_folder, job(**options))
        return made[key]

    return train_once
