"""From a TOML file to a checked experiment. Reads files; imports and downloads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import ConfigurationError, Problem
from harness.experiment.checks import (
    check_experiment,
    default_quantization,
    explain_misplaced,
    valid_sections,
)
from harness.experiment.extends import resolve_extends
from harness.experiment.located import KeyPath, Located, read_located
from harness.experiment.lora_fields import LoraFields
from harness.experiment.schema import Experiment, LoadedExperiment, LoadedSuite, Tuned
from harness.experiment.suites import load_suites
from harness.experiment.validate import validation_problems, value_at

_ROOT_MARKS = (".git", "pyproject.toml", ".harness")


def load_experiment(path: Path) -> LoadedExperiment:
    """The experiment with its suites, every default filled in.

    Raises ConfigurationError with every problem of the experiment and its suites, in the files' order.
    """
    root = root_of(path)
    located, problems, broken = resolve_extends(read_located(path))
    found, faulty = validation_problems(located, Experiment)
    for problem, at in zip(found, faulty, strict=True):
        # What a configuration lacks may be in the one that its `extends` failed to name.
        if not (at[:1] == ("tuned",) and at[1:2] and at[1] in broken and value_at(located.table, at) is None):
            problems.append(explain_misplaced(located, problem, at))
    sections = valid_sections(located, faulty)
    problems += check_experiment(located, sections, root)
    suites, of_suites = load_suites(located, root)
    problems += of_suites
    problems += _trained_on_test(located, suites)
    if problems:
        raise ConfigurationError(_in_order(problems, path))
    experiment = _completed(Experiment.model_validate(located.table))
    return LoadedExperiment(path=path, root=root, experiment=experiment, suites=tuple(suites))


def root_of(path: Path) -> Path:
    """Where relative paths start: the nearest folder above with .git, pyproject.toml or .harness.

    Without one it is the experiment's own folder.
    """
    folder = path.resolve().parent
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in _ROOT_MARKS):
            return candidate
    return folder


def _trained_on_test(located: Located, suites: list[LoadedSuite]) -> list[Problem]:
    problems = []
    for part in ("train", "validation"):
        at: KeyPath = ("data", part, "source")
        source = value_at(located.table, at)
        for loaded in suites:
            for name, task in loaded.suite.task.items():
                if source is not None and task.data is not None and source == task.data.test:
                    message = f"`data.{part}` is the test data of the task `{loaded.suite.name}.{name}`"
                    problems.append(located.problem(at, message, "test rows must be kept out of training"))
    return problems


def _completed(experiment: Experiment) -> Experiment:
    """What depends on more than one key: QLoRA's quantisation, and PEFT's defaults in `lora`."""
    tuned: dict[str, Tuned] = {}
    for name, one in experiment.tuned.items():
        lora: dict[str, Any] = LoraFields.model_validate(one.lora).model_dump(exclude_none=True)
        tuned[name] = default_quantization(one, experiment.base).model_copy(update={"lora": lora})
    return experiment.model_copy(update={"tuned": tuned})


def _in_order(problems: list[Problem], path: Path) -> list[Problem]:
    """Each once, the experiment's own first, then by file and place."""

    def place(problem: Problem) -> tuple[bool, str, int, int]:
        return (problem.file != path, str(problem.file), problem.line or 0, problem.column or 0)

    return sorted(dict.fromkeys(problems), key=place)
