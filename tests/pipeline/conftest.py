"""A whole project with a tiny model: an experiment that runs in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli.main import entry
from tests.conftest import write_rows

COLOURS = ["blue", "red", "green", "yellow"]
THINGS = ["sky", "fire", "grass", "sun"]

EXPERIMENT = """
version = 1
name = "tiny"
[base]
model = "{model}"
dtype = "float32"
[data.train]
source = "train.jsonl"
[tuned.lora]
method = "lora"
learning_rate = {rate}
batch_size = 8
epochs = 6
checkpoint_steps = 2
{more}
[tuned.lora.lora]
r = 8
target_modules = "all-linear"
[suites]
domain = ["domain.toml"]
general = ["general.toml"]
[gate]
tuned = ["lora"]
max_drop_task = 0.9
max_drop_average = 0.9
max_bits_per_byte_increase = 9.0
[[generate]]
prompt = "the quick brown"
max_new_tokens = 4
"""

DOMAIN = """
version = 1
name = "domain"
[task.colour]
kind = "classification"
data = { test = "colour.jsonl" }
prompt = "{{ n }} {{ thing }}:"
labels = ["blue", "red", "green", "yellow"]
cluster = "n"
slices = ["thing"]
[task.say]
kind = "qa"
data = { test = "say.jsonl" }
prompt = "say {{ n }}:"
answer = "gold"
max_new_tokens = 4
gate = false
"""

GENERAL = """
version = 1
name = "general"
[task.choice]
kind = "multiple_choice"
data = { test = "choice.jsonl" }
prompt = "pick {{ n }}"
choices = "options"
answer = "right"
[task.prose]
kind = "perplexity"
data = { test = "prose.jsonl" }
text = "text"
"""


@dataclass(frozen=True)
class Project:
    """A folder with an experiment, its data, and a store of its own."""

    root: Path

    @property
    def file(self) -> Path:
        return self.root / "tiny.toml"

    @property
    def store(self) -> Path:
        return self.root / ".harness"

    def call(self, *arguments: str) -> int:
        """The exit code of `harness <arguments>`."""
        return entry(list(arguments))

    def run(self, *options: str) -> int:
        return self.call("run", str(self.file), *options)

    def gate(self, *options: str) -> int:
        return self.call("gate", str(self.file), *options)


def write_project(root: Path, model: Path, rate: float = 0.02, more: str = "") -> Project:
    root.mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").touch()
    project = Project(root)
    project.file.write_text(EXPERIMENT.format(model=model, rate=rate, more=more), encoding="utf-8")
    (root / "domain.toml").write_text(DOMAIN, encoding="utf-8")
    (root / "general.toml").write_text(GENERAL, encoding="utf-8")
    write_rows(
        root / "train.jsonl",
        [{"prompt": f"{n} {THINGS[n % 4]}:", "completion": f" {COLOURS[n % 4]}"} for n in range(64)],
    )
    write_rows(
        root / "colour.jsonl",
        [{"n": n + 100, "thing": THINGS[n % 4], "label": COLOURS[n % 4]} for n in range(80)],
    )
    write_rows(root / "say.jsonl", [{"n": n, "gold": f"thing {n}"} for n in range(12)])
    write_rows(root / "choice.jsonl", [{"n": n, "options": COLOURS, "right": (n * 7) % 4} for n in range(80)])
    write_rows(
        root / "prose.jsonl",
        [{"text": f"the lazy dog {n} jumps over the quick brown fox"} for n in range(20)],
    )
    return project


@pytest.fixture
def project(tmp_path: Path, model_folder: Path) -> Project:
    return write_project(tmp_path / "project", model_folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Project:
    """A project that was run to its end once; tests only read it."""
    project = write_project(tmp_path_factory.mktemp("finished"), model_folder)
    assert project.run() == 0
    return project
