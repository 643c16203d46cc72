"""Checks of an experiment that go beyond types: names that must exist, keys that exclude each other."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import Problem
from harness.experiment.located import KeyPath, Located, key_name
from harness.experiment.lora_fields import LEFT_OUT, LoraFields
from harness.experiment.schema import Base, Quantization, Tuned
from harness.experiment.sources import check_source
from harness.experiment.validate import (
    shown,
    suggestion,
    texts_at,
    valid,
    validation_problems,
    value_at,
    without,
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Sections:
    """The parts of an experiment that are valid by themselves, so that one typo hides no other mistake."""

    base: Base | None
    tuned: dict[str, Tuned]


def valid_sections(located: Located, faulty: list[KeyPath]) -> Sections:
    """Each section, read without the keys that are already known to be wrong."""
    table = without(located.table, faulty)
    tuned = table.get("tuned")
    named = {name: valid(Tuned, one) for name, one in tuned.items()} if isinstance(tuned, dict) else {}
    return Sections(
        base=valid(Base, table.get("base")),
        tuned={name: one for name, one in named.items() if one is not None},
    )


def check_experiment(located: Located, sections: Sections, root: Path) -> list[Problem]:
    """Everything wrong with the experiment's own file beyond types."""
    problems = _check_data(located, root)
    if sections.base:
        problems += _check_base(located, sections.base, root)
    for name, tuned in sections.tuned.items():
        problems += _check_lora_table(located, name)
        problems += _check_quantization(located, name, tuned, sections.base)
    problems += _check_training_data(located, sections)
    return problems + _check_gate(located)


def _check_base(located: Located, base: Base, root: Path) -> list[Problem]:
    at: KeyPath = ("base", "model")
    trouble = model_problem(base.model, root)
    problems = [located.placed(at, trouble)] if trouble else []
    if base.revision is not None and not _is_hub(base.model, root):
        message = "`base.revision` belongs to a model of the hub; this one is a package or lies on disk"
        problems.append(located.problem(("base", "revision"), message, "take it out"))
    return problems


def _is_hub(model: str, root: Path) -> bool:
    return bool(_HUB_ID.fullmatch(model)) and not model.endswith(".gguf") and not (root / model).exists()


def model_problem(model: str, root: Path) -> Problem | None:
    """What is wrong with a model's source, as far as can be seen without loading or downloading."""
    if model.startswith("package:"):
        return _package_problem(model.removeprefix("package:"))
    path = root / Path(model).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return None
    if path.is_file():
        return Problem(f"`{model}` is not a .gguf file", help="name a folder, a .gguf file or a hub id")
    if model.endswith(".gguf") or model.startswith((".", "/", "~")) or model.count("/") > 1:
        return Problem(f"there is no model at `{model}`", help=f"paths start at {root}")
    if not _HUB_ID.fullmatch(model):
        message = f"`{model}` is neither a folder nor a hub id"
        return Problem(message, help="write org/name, a folder, a .gguf file or package:name")
    return None


def _package_problem(name: str) -> Problem | None:
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        return Problem(f"`package:{name}` does not name a package", help="write package:<import name>")
    # find_spec of a top-level name looks for the package without importing it.
    if importlib.util.find_spec(name) is None:
        distribution = name.replace("_", "-")
        return Problem(
            f"the package `{name}` is not installed", help=f"install it with: pip install {distribution}"
        )
    return None


def _check_data(located: Located, root: Path) -> list[Problem]:
    problems = []
    sources: dict[str, Any] = {}
    for part in ("train", "validation"):
        at: KeyPath = ("data", part, "source")
        sources[part] = value_at(located.table, at)
        if isinstance(sources[part], str):
            trouble = check_source(sources[part], root)
            problems += [located.placed(at, trouble)] if trouble else []
    if sources["train"] is not None and sources["train"] == sources["validation"]:
        message = "`data.validation` is the same source as `data.train`"
        at = ("data", "validation", "source")
        problems.append(located.problem(at, message, "validation rows must not be trained on"))
    return problems


def _check_lora_table(located: Located, name: str) -> list[Problem]:
    at: KeyPath = ("tuned", name, "lora")
    table = value_at(located.table, at)
    if not isinstance(table, dict):
        return []
    found, paths = validation_problems(located, LoraFields, at)
    problems = []
    for problem, path in zip(found, paths, strict=True):
        key = path[-1] if len(path) == len(at) + 1 else None
        if key in LEFT_OUT:
            message = f"`{key_name(located.written(path))}` is set by the harness"
            problem = located.problem(path, message, "take it out")
        elif key in Tuned.model_fields and key not in LoraFields.model_fields:
            problem = located.problem(
                path, problem.message, f"`{key}` belongs to `[{key_name(located.written(path)[:2])}]`"
            )
        problems.append(problem)
    return problems


def explain_misplaced(located: Located, problem: Problem, path: KeyPath) -> Problem:
    """A LoRA field written beside `learning_rate` is told where it belongs."""
    if len(path) == 3 and path[0] == "tuned" and path[2] in LoraFields.model_fields:
        if path[2] in Tuned.model_fields:
            return problem
        return located.problem(
            path, problem.message, f"`{path[2]}` belongs to `[{key_name(located.written(path)[:2])}.lora]`"
        )
    return problem


def _check_quantization(located: Located, name: str, tuned: Tuned, base: Base | None) -> list[Problem]:
    """A pair is compared at one quantisation, so base and tuned must not ask for two."""
    of_base = base.quantization if base else None
    own = ("tuned", name, "quantization")
    if tuned.method == "lora" and tuned.quantization is not None:
        message = f'`{key_name(own)}` needs `method = "qlora"`; "lora" trains on the base as it is'
        return [located.problem(own, message, 'write method = "qlora", or take the quantization out')]
    if tuned.method == "lora" and of_base is not None:
        message = f'`tuned.{name}` has `method = "lora"`, but `base.quantization` quantises the base'
        return [located.problem(("tuned", name, "method"), message, 'write method = "qlora"')]
    if tuned.quantization is not None and of_base is not None and tuned.quantization != of_base:
        message = f"`{key_name(own)}` differs from `base.quantization`; a pair has one quantisation"
        return [located.problem(own, message, "leave one of the two out")]
    return []


def _check_training_data(located: Located, sections: Sections) -> list[Problem]:
    trained = next(iter(sections.tuned), None)
    if trained is None or value_at(located.table, ("data", "train")) is not None or "data" in located.table:
        return []
    method = shown(sections.tuned[trained].method)
    message = f"`tuned.{trained}` has `method = {method}`, but there is no `[data.train]`"
    at: KeyPath = ("tuned", trained, "method")
    return [located.problem(at, message, 'add [data.train] with source = "…"')]


def _check_gate(located: Located) -> list[Problem]:
    tuned = located.table.get("tuned")
    known = list(tuned) if isinstance(tuned, dict) else []
    problems = []
    seen: set[str] = set()
    for index, name in texts_at(located.table, ("gate", "tuned")):
        at: KeyPath = ("gate", "tuned", index)
        if name not in known:
            message = f'`gate.tuned` names "{name}", which is not a tuned configuration'
            problems.append(located.problem(at, message, suggestion(name, known, '"')))
        elif name in seen:
            problems.append(located.problem(at, f'`gate.tuned` names "{name}" twice', "take one out"))
        seen.add(name)
    return problems


def default_quantization(tuned: Tuned, base: Base) -> Tuned:
    """QLoRA quantises as the base does, or in NF4 with double quantisation and bf16 compute."""
    if tuned.method == "qlora" and tuned.quantization is None:
        return tuned.model_copy(update={"quantization": base.quantization or Quantization()})
    return tuned
