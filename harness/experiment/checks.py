"""Checks of an experiment that go beyond types: names that must exist, keys that exclude each other."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import Problem
from harness.experiment.document import KeyPath
from harness.experiment.located import Located
from harness.experiment.lora_fields import LEFT_OUT, LoraFields
from harness.experiment.methods import check_tuned, check_what_is_trained_on
from harness.experiment.model_checks import is_hub_id
from harness.experiment.project import Project
from harness.experiment.row_checks import check_rows
from harness.experiment.schema import Base, Quantization, Tuned
from harness.experiment.sources import near_path
from harness.experiment.validate import suggestion, texts_at, valid, validation_problems, value_at, without


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


def check_experiment(located: Located, sections: Sections, project: Project) -> list[Problem]:
    """Everything wrong with the experiment's own file beyond types."""
    written = located.table.get("tuned")
    names = list(written) if isinstance(written, dict) else []
    problems = check_rows(located, names, project)
    if sections.base:
        problems += _check_base(located, sections.base, project)
    for name in names:
        problems += _check_lora_table(located, name)
    for name, tuned in sections.tuned.items():
        problems += check_tuned(located, name, tuned, sections.base, project)
    problems += check_what_is_trained_on(located, sections.tuned)
    return problems + _check_gate(located)


def _check_base(located: Located, base: Base, project: Project) -> list[Problem]:
    trouble = project.model_problem(base.model)
    problems = [located.placed(("base", "model"), trouble)] if trouble else []
    if base.revision is not None and not is_hub_id(base.model, project.root):
        message = "`base.revision` belongs to a model of the hub; this one is a package or lies on disk"
        problems.append(located.problem(("base", "revision"), message, "take it out"))
    if base.chat_template is not None:
        trouble = _chat_template_problem(base.chat_template, project)
        problems += [located.placed(("base", "chat_template"), trouble)] if trouble else []
    return problems


def _chat_template_problem(name: str, project: Project) -> Problem | None:
    """Whether the file can be read; what it means is the tokenizer's, whose Jinja has tags of its own."""
    file = project.root / name
    if file.suffix != ".jinja":
        return Problem(f"`{name}` is not a .jinja file", help="name a file that holds the chat template")
    if not file.is_file():
        return Problem(f"there is no file `{name}`", help=near_path(name, project.root))
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return Problem(f"`{name}` cannot be read as text", help="save it as UTF-8")
    return None if text.strip() else Problem(f"`{name}` is empty", help="write the chat template into it")


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
            message = f"`{located.name(path)}` is set by the harness"
            problem = located.problem_of_key(path, message, "take it out")
        elif key in Tuned.model_fields and key not in LoraFields.model_fields:
            help = f"`{key}` belongs to `[{located.table_name(path, 2)}]`"
            problem = located.problem_of_key(path, problem.message, help)
        problems.append(problem)
    return problems


def explain_misplaced(located: Located, problem: Problem, path: KeyPath) -> Problem:
    """A LoRA field written beside `learning_rate` is told where it belongs."""
    if len(path) == 3 and path[0] == "tuned" and path[2] in LoraFields.model_fields:
        if path[2] in Tuned.model_fields:
            return problem
        help = f"`{path[2]}` belongs to `[{located.table_name(path, 2)}.lora]`"
        return located.problem_of_key(path, problem.message, help)
    return problem


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
