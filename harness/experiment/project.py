"""The root of a project, and what one loading finds out about what stands there, each thing once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness.errors import Problem
from harness.experiment.model_checks import adapter_config, adapter_problem, model_problem
from harness.experiment.sources import check_source

_ROOT_MARKS = (".git", "pyproject.toml", ".harness")


@dataclass(frozen=True)
class Project:
    """Where relative paths start, and what is wrong with a source, a model or an adapter, or None.

    The answers are remembered: the sixty-four cells of a matrix ask the same questions.
    """

    root: Path
    source_problem: Callable[[str], Problem | None]
    model_problem: Callable[[str], Problem | None]
    adapter_problem: Callable[[str], Problem | None]
    adapter_config: Callable[[str], Mapping[str, Any]]


def project_at(root: Path) -> Project:
    """A project of which nothing is known yet."""
    return Project(
        root=root,
        source_problem=cache(partial(check_source, root=root)),
        model_problem=cache(partial(model_problem, root=root)),
        adapter_problem=cache(partial(adapter_problem, root=root)),
        adapter_config=cache(partial(adapter_config, root=root)),
    )


def elsewhere(root: Path) -> Project:
    """A project that is only judged here: its rows, models and adapters may be on another machine."""
    return Project(
        root=root,
        source_problem=lambda source: None,
        model_problem=lambda model: None,
        adapter_problem=lambda adapter: None,
        adapter_config=lambda adapter: {},
    )


def root_of(path: Path) -> Path:
    """Where relative paths start: the nearest folder above with .git, pyproject.toml or .harness.

    Without one it is the experiment's own folder.
    """
    folder = path.resolve().parent
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in _ROOT_MARKS):
            return candidate
    return folder
