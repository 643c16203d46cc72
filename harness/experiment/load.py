"""From a TOML file to checked experiments. Reads files; imports and downloads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness.errors import ConfigurationError, Problem, UsageError
from harness.experiment.cells import expanded
from harness.experiment.checks import (
    check_experiment,
    default_quantization,
    explain_misplaced,
    valid_sections,
)
from harness.experiment.environment import interpolated
from harness.experiment.extends import read_extended
from harness.experiment.gate_checks import check_task_rules
from harness.experiment.located import Located, located
from harness.experiment.lora_fields import LoraFields
from harness.experiment.methods import has_use
from harness.experiment.overrides import overridden
from harness.experiment.project import Project, elsewhere, project_at, root_of
from harness.experiment.row_checks import row_tables, rows_at
from harness.experiment.schema import Experiment, LoadedExperiment, LoadedSuite, Tuned
from harness.experiment.sources import overlap, rows_of
from harness.experiment.suites import load_suites, read_suite
from harness.experiment.validate import validation_problems, value_at
from harness.experiment.written import without_taken_out


@dataclass(frozen=True)
class Cell:
    """One experiment of a file, and where each of its values is written."""

    loaded: LoadedExperiment
    located: Located


def load_cells(
    path: Path, overrides: Sequence[str] = (), most: int | None = None, judging: bool = False
) -> tuple[Cell, ...]:
    """The experiments that a file declares: one, or as many as its `[matrix]` makes.

    The order is: `extends`, then overrides, then environment variables, then the matrix. Raises
    ConfigurationError with every problem of the experiment and its suites, in the files' order, and
    UsageError where the matrix makes more than `most` tuned configurations in all. With `judging`, rows,
    models and adapters need not be here: a job that only judges has no use for them.
    """
    project = elsewhere(root_of(path)) if judging else project_at(root_of(path))
    extended = read_extended(path, project.root)
    problems = list(extended.problems)
    tree, found = overridden(extended.tree, overrides)
    problems += found
    for apply in (without_taken_out, interpolated):
        tree, found = apply(tree)
        problems += found
    trees, found = expanded(tree, most)
    problems += found
    suite = cache(partial(read_suite, project=project))
    cells = []
    for one in trees:
        cell = located(one)
        suites, found = load_suites(cell, suite)
        problems += [*_declared(cell, extended.broken, project), *found, *_trained_on_test(cell, suites)]
        problems += check_task_rules(cell, suites, complete=not found)
        if not problems:
            experiment = _completed(Experiment.model_validate(cell.table))
            loaded = LoadedExperiment(
                path=path,
                root=project.root,
                overrides=tuple(overrides),
                experiment=experiment,
                suites=tuple(suites),
            )
            cells.append(Cell(loaded, cell))
    if problems:
        raise ConfigurationError(_in_order(problems, path))
    return tuple(cells)


def load_experiments(
    path: Path, overrides: Sequence[str] = (), judging: bool = False
) -> tuple[LoadedExperiment, ...]:
    """The experiments that a file declares, with their suites, every default filled in.

    Each override is the text of a `--set` option. Raises as `load_cells` does.
    """
    return tuple(cell.loaded for cell in load_cells(path, overrides, judging=judging))


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> LoadedExperiment:
    """The one experiment that a file declares. Raises UsageError where its matrix makes several."""
    loaded = load_experiments(path, overrides)
    if len(loaded) > 1:
        names = ", ".join(each.experiment.name for each in loaded)
        raise UsageError(f"the matrix of {path.name} makes {len(loaded)} experiments: {names}")
    return loaded[0]


def _declared(cell: Located, broken: set[str], project: Project) -> list[Problem]:
    """What is wrong with the experiment apart from its suites."""
    problems = []
    found, faulty = validation_problems(cell, Experiment)
    for problem, at in zip(found, faulty, strict=True):
        # What a configuration lacks may be in the one that its `extends` failed to name.
        incomplete = at[:1] == ("tuned",) and broken.intersection(cell.written(at)[1:2])
        if not (incomplete and value_at(cell.table, at) is None):
            problems.append(explain_misplaced(cell, problem, at))
    return problems + check_experiment(cell, valid_sections(cell, faulty), project)


def _trained_on_test(cell: Located, suites: list[LoadedSuite]) -> list[Problem]:
    """Test rows among those that are trained on, validated on in training, or replayed."""
    tests = [
        (rows_of(task.data.test), f"{loaded.suite.name}.{name}")
        for loaded in suites
        for name, task in loaded.suite.task.items()
        if task.data is not None
    ]
    tuned = cell.table.get("tuned")
    problems = []
    for at in row_tables(tuned if isinstance(tuned, dict) else ()):
        rows = rows_at(cell, at)
        for test, task in tests:
            if rows and overlap(rows, test):
                message = f"`{cell.name(at)}` has rows of the test data of the task `{task}`"
                help = "test rows must be kept out of training"
                problems.append(cell.problem((*at, "source"), message, help))
    return problems


def _completed(experiment: Experiment) -> Experiment:
    """What depends on more than one key: QLoRA's quantisation, and PEFT's defaults in `lora`."""
    tuned: dict[str, Tuned] = {}
    for name, one in experiment.tuned.items():
        tuned[name] = default_quantization(one, experiment.base)
        if has_use("lora", one.method):
            lora: dict[str, Any] = LoraFields.model_validate(one.lora).model_dump(exclude_none=True)
            tuned[name] = tuned[name].model_copy(update={"lora": lora})
    return experiment.model_copy(update={"tuned": tuned})


def _in_order(problems: list[Problem], path: Path) -> list[Problem]:
    """Each once, the experiment's own first, then by file and place."""

    def place(problem: Problem) -> tuple[bool, str, int, int]:
        return (problem.file != path, str(problem.file), problem.line or 0, problem.column or 0)

    # Cells differ in what they suggest, not in what is wrong.
    once = {replace(problem, help=None): problem for problem in problems}
    return sorted(once.values(), key=place)
