"""A small project, and a past: finished steps in its store, written as runs write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.configurations import Configuration
from harness.estimate.estimate import Estimate, Group, estimate
from harness.estimate.work import Machine
from harness.experiment.load import load_experiments
from harness.experiment.schema import LoadedExperiment
from harness.plan import make_plan
from harness.store.artifacts import Store
from tests.conftest import write_rows

CPU = Machine("a CPU, 2 cores", "cpu", 16 * 10**9, "this machine")
GPU = Machine("a CPU, 16 cores, a GPU", "cuda", 80 * 10**9, "a GPU")

EXPERIMENT = """\
version = 1
name = "small"
[base]
model = "org/model-1B"
[data.train]
source = "train.jsonl"
[tuned.lora]
method = "lora"
batch_size = 8
[tuned.lora.lora]
r = 8
target_modules = "all-linear"
[suites]
domain = ["suite.toml"]
"""

SUITE = """\
version = 1
name = "suite"
[task.choice]
kind = "multiple_choice"
data = { test = "choice.jsonl", validation = "choice_validation.jsonl" }
prompt = "q"
choices = "c"
answer = "a"
[task.say]
kind = "qa"
data = { test = "say.jsonl", validation = "say_validation.jsonl" }
prompt = "q"
answer = "a"
max_new_tokens = 5
[task.prose]
kind = "perplexity"
data = { test = "prose.jsonl", validation = "prose_validation.jsonl" }
text = "text"
"""

# Bytes of a prompt are 40, of a choice 4: an item of two choices asks 88 bytes, 22 tokens.
CHOICE = {"q": "q" * 40, "c": ["aaaa", "bbbb"], "a": 0}
SAY = {"q": "q" * 40, "a": "gold"}
PROSE = {"text": "t" * 400}
TRAIN = {"prompt": "p" * 60, "completion": "c" * 20}


@dataclass
class Project:
    """A folder with an experiment; `past_…` put finished steps into its store."""

    root: Path
    machine: Machine = CPU

    @property
    def file(self) -> Path:
        return self.root / "small.toml"

    @property
    def store(self) -> Store:
        return Store(self.root / ".harness")

    def write(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    def add(self, text: str) -> None:
        """Tables before [suites]."""
        self.write(self.file.read_text(encoding="utf-8").replace("[suites]", f"{text}\n[suites]", 1))

    def replace(self, old: str, new: str, name: str = "small.toml") -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        assert old in text
        (self.root / name).write_text(text.replace(old, new), encoding="utf-8")

    def load(self, *overrides: str) -> tuple[LoadedExperiment, ...]:
        return load_experiments(self.file, overrides)

    def estimate(self, *overrides: str) -> Estimate:
        return estimate(self.load(*overrides), self.store, self.machine)

    def group(self, name: str, *overrides: str) -> Group:
        return next(group for group in self.estimate(*overrides).groups() if group.name == name)

    def configuration(self, name: str, *overrides: str) -> Configuration:
        return make_plan(self.load(*overrides)[0]).configuration(name)

    def past_training(self, name: str, *overrides: str, **record: Any) -> None:
        """A finished training of the configuration, as it is with the overrides."""
        configuration = self.configuration(name, *overrides)
        assert configuration.change is not None
        assert configuration.recipe is not None
        self.store.begin(configuration.change)
        said = {
            "machine": self.machine.name,
            "method": configuration.recipe.method,
            "counts": {"rows": 10, "tokens": 1000, "trained_tokens": 200, "truncated": 0},
            "tokens": 1000,
            "seconds": 10.0,
            "tokens_per_second": 120.0,
            "peak_memory_bytes": 3_000_000_000,
            "micro_batch_size": 8,
            "total_parameters": 1_000_000_000,
            "gradient_checkpointing": configuration.recipe.gradient_checkpointing,
            "train_loss": [[1, 2.5]],
        }
        self.store.finish(configuration.change, {**said, **record})

    def past_measuring(self, name: str, task: str, *overrides: str, **record: Any) -> None:
        """A finished measurement of the configuration on one task."""
        configuration = self.configuration(name, *overrides)
        step = configuration.measurements["suite", task]
        self.store.begin(step)
        cost = {"seconds": 2.0, "items_scored": 4, "tokens": 500, "peak_memory_bytes": 2_000_000_000}
        kind = {"choice": "multiple_choice", "say": "qa", "prose": "perplexity"}[task]
        said = {"machine": self.machine.name, "kind": kind, "items": 4, "conditions": {}}
        self.store.finish(step, {**said, "cost": {**cost, **record.pop("cost", {})}, **record})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "pyproject.toml").touch()
    project = Project(tmp_path)
    project.write(EXPERIMENT)
    (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
    for name, row in (("choice", CHOICE), ("say", SAY), ("prose", PROSE)):
        write_rows(tmp_path / f"{name}.jsonl", [{**row, "n": n} for n in range(4)])
        write_rows(tmp_path / f"{name}_validation.jsonl", [{**row, "n": n} for n in range(10, 12)])
    write_rows(tmp_path / "train.jsonl", [{**TRAIN, "n": n} for n in range(10)])
    return project


@pytest.fixture
def save_model() -> Callable[..., Path]:
    """Writes a folder with config.json and the header of a safetensors file, without any weights."""

    def save(folder: Path, tensors: dict[str, list[int]], **config: int) -> Path:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        header = json.dumps(
            {
                "__metadata__": {"format": "pt"},
                **{name: {"dtype": "BF16", "shape": shape} for name, shape in tensors.items()},
            }
        ).encode()
        data = len(header).to_bytes(8, "little") + header
        (folder / "model.safetensors").write_bytes(data)
        return folder

    return save
