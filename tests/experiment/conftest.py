"""A small project on disk, and broken variants of it with the expected place marked in the text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import ConfigurationError, Problem
from harness.experiment.load import load_experiment, load_experiments
from harness.experiment.schema import LoadedExperiment

# (file, text, broken text with the mark where the problem is, part of the message, part of the help)
Broken = tuple[str, str, str, str, str]
MARK = "⟦"  # stands in a broken text where the problem is expected

EXPERIMENT = """\
version = 1
name = "small"

[base]
model = "google/gemma"
dtype = "bfloat16"

[data.train]
source = "python:rows:training_rows"
format = "prompt-completion"

[tuned.lora]
method = "lora"
learning_rate = 2e-4
seeds = [0, 1]
[tuned.lora.lora]
r = 16
target_modules = "all-linear"

[tuned.qlora]
extends = "tuned.lora"
method = "qlora"
[tuned.qlora.lora]
r = 4

[suites]
domain = ["suites/domain.toml"]
general = ["suites/general.toml"]

[gate]
tuned = ["lora"]
alpha = 0.05

[[generate]]
prompt = "Act as a travel guide"
"""

DOMAIN = """\
version = 1
name = "domain"

[task.label]
kind = "classification"
data = { test = "data/rows.jsonl" }
prompt = "{{ title }}:"
labels = ["a", "b"]
metrics = ["accuracy", "macro_f1"]
"""

GENERAL = """\
version = 1
name = "general"

[task.choice]
kind = "multiple_choice"
data = { test = "data/choice*.jsonl", validation_fraction = 0.3 }
prompt = "question"
choices = "choices"
answer = "answer"

[task.prose]
kind = "perplexity"
data = { test = "python:rows:prose" }
text = "text"

[task.registered]
kind = "lm_eval"
task = "arc_easy"
"""

ROWS = """\
def training_rows():
    yield {"prompt": "a", "completion": "b"}

def prose():
    return [{"text": "words"}]

def general():
    return [{"text": "other words"}]

def needs(argument):
    return []
"""

FILES = {
    "pyproject.toml": "",
    "experiments/small.toml": EXPERIMENT,
    "suites/domain.toml": DOMAIN,
    "suites/general.toml": GENERAL,
    "rows.py": ROWS,
    "data/rows.jsonl": json.dumps({"title": "t", "label": "a"}) + "\n",
    "data/choice1.jsonl": json.dumps({"question": "q", "choices": ["x", "y"], "answer": 1}) + "\n",
}


@dataclass(frozen=True)
class Project:
    root: Path
    experiment: Path

    def write(self, name: str, text: str) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def replace(self, name: str, old: str, new: str) -> tuple[int, int] | None:
        """Replaces a text in a file; the line and column of the mark, which is left out of the file."""
        text = (self.root / name).read_text(encoding="utf-8")
        assert old in text
        text = text.replace(old, new, 1)
        before, mark, after = text.partition(MARK)
        self.write(name, before + after)
        return (before.count("\n") + 1, len(before) - before.rfind("\n")) if mark else None

    def load(self) -> LoadedExperiment:
        return load_experiment(self.experiment)

    def problems(self, *overrides: str) -> tuple[Problem, ...]:
        with pytest.raises(ConfigurationError) as caught:
            load_experiments(self.experiment, overrides)
        return caught.value.problems

    def assert_broken(self, case: Broken) -> None:
        """The replaced text makes a problem at the mark, in words that name the mistake and the remedy."""
        file, old, new, message, help = case
        place = self.replace(file, old, new)
        found = [problem for problem in self.problems() if message in problem.message]
        assert found, [problem.message for problem in self.problems()]
        problem = found[0]
        assert problem.file == self.root / file
        assert (problem.line, problem.column) == place
        assert problem.source_line == (self.root / file).read_text().split("\n")[place[0] - 1]
        assert help
        assert help in (problem.help or "")


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[[], Project]:
    def make() -> Project:
        project = Project(tmp_path, tmp_path / "experiments/small.toml")
        for name, text in FILES.items():
            project.write(name, text)
        return project

    return make


@pytest.fixture
def project(make_project: Callable[[], Project]) -> Project:
    return make_project()
