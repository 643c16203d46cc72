"""From a TOML file to a checked experiment. Reads files; imports and downloads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import ConfigurationError, Problem, UsageError
from harness.experiment.checks import (
    check_experiment,
    default_quantization,
    explain_misplaced,
    valid_sections,
)
from harness.experiment.extends import resolve_extends
from harness.experiment.located import KeyPath, Located, read_located
from harness.experiment.lora_fields import LoraFields
from harness.experiment.project import project_at, root_of
from harness.experiment.schema import Experiment, LoadedExperiment, LoadedSuite, Tuned
from harness.experiment.suites import load_suites
from harness.experiment.validate import validation_problems, value_at


def load_experiments(path: Path, overrides: Sequence[str] = ()) -> tuple[LoadedExperiment, ...]:
    """The experiments that a file declares, with their suites, every default filled in.

    Raises ConfigurationError with every problem of the experiment and its suites, in the files' order.
    """
    project = project_at(root_of(path))
    located, problems, broken = resolve_extends(read_located(path))
    found, faulty = validation_problems(located, Experiment)
    for problem, at in zip(found, faulty, strict=True):
        # What a configuration lacks may be in the one that its `extends` failed to name.
        if not (at[:1] == ("tuned",) and at[1:2] and at[1] in broken and value_at(located.table, at) is None):
            problems.append(explain_misplaced(located, problem, at))
    sections = valid_sections(located, faulty)
    problems += check_experiment(located, sections, project)
    suites, of_suites = load_suites(located, project)
    problems += of_suites
    problems += _trained_on_test(located, suites)
    if problems:
        raise ConfigurationError(_in_order(problems, path))
    experiment = _completed(Experiment.model_validate(located.table))
    return (LoadedExperiment(path=path, root=project.root, experiment=experiment, suites=tuple(suites)),)


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> LoadedExperiment:
    """The one experiment that a file declares. Raises UsageError where its matrix makes several."""
    loaded = load_experiments(path, overrides)
    if len(loaded) > 1:
        names = ", ".join(each.experiment.name for each in loaded)
        raise UsageError(f"the matrix of {path.name} makes {len(loaded)} experiments: {names}")
    return loaded[0]


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
