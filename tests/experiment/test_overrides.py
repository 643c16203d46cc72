"""`--set`, `~key` and `${env:NAME}`: what they change, and where their mistakes are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ConfigurationError
from harness.experiment.load import load_experiment, load_experiments
from harness.experiment.problems import format_problem
from harness.experiment.schema import Experiment

if TYPE_CHECKING:
    from tests.experiment.conftest import Project

E, D = "experiments/small.toml", "suites/domain.toml"


def with_set(project: Project, *options: str) -> Experiment:
    return load_experiment(project.experiment, options).experiment


@pytest.mark.parametrize(
    ("option", "path", "value"),
    [
        ("base.model=org/other", ("base", "model"), "org/other"),
        ('base.model="org/other"', ("base", "model"), "org/other"),
        (" base . model = org/other ", ("base", "model"), "org/other"),
        ("base.trust_remote_code=true", ("base", "trust_remote_code"), True),
        ("gate.alpha=1e-3", ("gate", "alpha"), 1e-3),
        ("gate.min_gain=1", ("gate", "min_gain"), 1.0),
        ('gate.tuned=["qlora"]', ("gate", "tuned"), ("qlora",)),
        ("base.aliases=[]", ("base", "aliases"), ()),
        ('"base"."revision"=a=b', ("base", "revision"), "a=b"),
        ("base.revision=", ("base", "revision"), ""),
        ("base.revision=v1.0 # not a comment", ("base", "revision"), "v1.0 # not a comment"),
    ],
)
def test_a_value_is_toml_or_else_text(
    project: Project, option: str, path: tuple[str, str], value: Any
) -> None:
    section = getattr(with_set(project, option), path[0])
    assert getattr(section, path[1]) == value


def test_a_table_merges_and_the_last_option_wins(project: Project) -> None:
    tuned = with_set(project, "tuned.lora.lora={ r = 3 }", "tuned.lora.epochs=2", "tuned.lora.epochs=5").tuned
    assert (tuned["lora"].lora["r"], tuned["lora"].lora["target_modules"], tuned["lora"].epochs) == (
        3,
        "all-linear",
        5.0,
    )


def test_it_applies_after_extends(project: Project) -> None:
    tuned = with_set(project, "tuned.lora.epochs=5").tuned
    assert (tuned["lora"].epochs, tuned["qlora"].epochs) == (5.0, 1.0)


def test_it_applies_before_the_matrix(project: Project) -> None:
    project.replace(E, "[gate]", '[matrix]\n"tuned.lora.lora.r" = [1, 2]\n[gate]')
    tuned = with_set(project, "tuned.lora.epochs=5").tuned
    assert {name: one.epochs for name, one in tuned.items()} == {"lora-r1": 5.0, "lora-r2": 5.0, "qlora": 1.0}
    assert list(with_set(project, "~matrix").tuned) == ["lora", "qlora"]
    assert len(load_experiments(project.experiment, ['matrix."base.dtype"=["float32", "float16"]'])) == 2


def test_a_key_is_taken_out(project: Project) -> None:
    experiment = with_set(project, "~tuned.qlora", "~data.train.format", "~generate", "~gate.alpha")
    assert list(experiment.tuned) == ["lora"]
    assert (experiment.generate, experiment.gate.alpha) == ((), 0.05)


def test_the_loaded_experiment_knows_its_options(project: Project) -> None:
    assert load_experiment(project.experiment, ["gate.alpha=0.1"]).overrides == ("gate.alpha=0.1",)


# option with the mark ⟦ where the caret is, part of the message, part of the help
BROKEN = {
    "no value": ("tuned.lora.epochs⟦", "this is not key=value", "--set key.path=value"),
    "no key": ("⟦=3", "names no key", "--set key.path=value"),
    "value for what is taken out": ("~gate.alpha⟦=3", "this is not key=value", "'~key.path'"),
    "unknown key": ("base.⟦modle=x", "unknown key `base.modle`", "did you mean `model`?"),
    "unknown table": ("⟦gaet.alpha=1", "unknown key `gaet`", "did you mean `gate`?"),
    "unknown configuration": ("tuned.⟦lroa.epochs=1", "no tuned configuration `lroa`", "did you mean `lora`?"),
    "LoRA key beside it": ("tuned.lora.⟦r=3", "unknown key `tuned.lora.r`", "belongs to `[tuned.lora.lora]`"),
    "type": ("tuned.lora.⟦epochs=many", 'must be a number, not "many"', "default, 1.0"),
    "choice": ("base.⟦dtype=float23", 'cannot be "float23"', '"float32"'),
    "range": ("gate.⟦alpha=0.9", "must be less than 0.5, not 0.9", "default, 0.05"),
    "broken list": ("gate.tuned=[\"lora\"⟦", "not closed", "close it"),
    "broken text": ("base.model=\"a⟦", "not closed", "close the quotes"),
    "name in a list": ('gate.tuned=[⟦"lor"]', 'names "lor"', 'did you mean "lora"?'),
    "no such key to take out": ("~gate.⟦aplha", "no `gate.aplha` that could be taken out", "did you mean `alpha`?"),
    "no such table to take out": ("~gaet.⟦alpha", "no `gaet.alpha` that could be taken out", "take it out"),
    "extends": ("⟦extends=other.toml", "followed before --set applies", "write it into the file"),
    "extends of tuned": ("tuned.lora.⟦extends=tuned.qlora", "followed before --set applies", "into the file"),
    "needed": ("~base.model", "the key `base.model` is missing", "add `model"),
    "useless": ("tuned.lora.⟦weights_dtype=bfloat16", "no use with", "take it out"),
    "below a text": ("base.⟦model.x=1", "must be text, not a table", "write text"),
    "variable": ("base.⟦model=${env:NONE_SUCH}", "`NONE_SUCH` is not set", "export NONE_SUCH=…"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_option_is_its_own_place(project: Project, case: tuple[str, str, str]) -> None:
    option, message, help = case
    before, mark, after = option.partition("⟦")
    (problem,) = project.problems(before + after)
    assert message in problem.message
    assert help in (problem.help or "")
    if mark:
        assert (problem.file, problem.line) == (None, None)
        assert (problem.source_line, problem.column) == (before + after, len(before) + 1)
    else:
        assert problem.file == project.experiment, "what is missing is missing in the file"


def test_a_broken_option_is_shown_with_carets(project: Project) -> None:
    (problem,) = project.problems("base.modle=x")
    assert format_problem(problem) == (
        "error: unknown key `base.modle`\n"
        "  --> --set base.modle=x\n"
        "                 ^^^^^\n"
        "  help: did you mean `model`?"
    )


def test_mistakes_of_options_and_files_come_together(project: Project) -> None:
    project.replace(E, "r = 16", "rnak = 16")
    assert len(project.problems("base.modle=x", "nonsense", "gate.alpha=2")) == 4


def test_a_variable_is_its_value_in_experiment_and_suite(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORG", "mine")
    monkeypatch.setenv("ROWS_FILE", "rows")
    project.replace(E, "google/gemma", "${env:ORG}/gemma-${env:ORG}")
    project.replace(D, "data/rows.jsonl", "data/${env:ROWS_FILE}.jsonl")
    loaded = project.load()
    assert loaded.experiment.base.model == "mine/gemma-mine"
    (task,) = loaded.suites[0].suite.task.values()
    assert task.data is not None
    assert task.data.test == "data/rows.jsonl"


def test_a_variable_is_its_value_in_extends_and_in_the_matrix(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHICH", "small")
    file = project.write(
        "child.toml",
        'extends = "experiments/${env:WHICH}.toml"\n[matrix]\n"base.model" = ["a/${env:WHICH}"]\n',
    )
    loaded = load_experiment(file)
    assert (loaded.experiment.name, loaded.experiment.base.model) == ("small-model-a-small", "a/small")


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("$${env:ORG}", "${env:ORG}"),
        ("$$${env:ORG}", "$${env:ORG}"),
        ("${env:NONE_SUCH:-a guide}", "a guide"),
        ("${env:NONE_SUCH:-}", ""),
        ("${other} and $5 and {{ env }}", "${other} and $5 and {{ env }}"),
    ],
)
def test_a_default_an_escape_and_other_signs(project: Project, text: str, prompt: str) -> None:
    project.replace(E, "Act as a travel guide", text)
    assert project.load().experiment.generate[0].prompt == prompt


@pytest.mark.parametrize(
    ("text", "message", "help"),
    [
        ("${env:NONE_SUCH}", "the environment variable `NONE_SUCH` is not set", "set it: export NONE_SUCH=…"),
        ("${env:HOMEE}", "the environment variable `HOMEE` is not set", "did you mean `HOME`?"),
        ("${env:}", "names no environment variable", "write ${env:NAME}"),
        ("${env:A B}", "names no environment variable", "write ${env:NAME}"),
        ("${env:OPEN", "names no environment variable", "write ${env:NAME}"),
    ],
)
def test_a_variable_that_is_not_there_is_told_at_its_place(
    project: Project, monkeypatch: pytest.MonkeyPatch, text: str, message: str, help: str
) -> None:
    monkeypatch.setenv("HOME", "/home")
    place = project.replace(E, 'prompt = "Act as a travel guide"', f'⟦prompt = "{text}"')
    (problem,) = project.problems()
    assert message in problem.message
    assert help in (problem.help or "")
    assert (problem.line, problem.column) == place


def test_a_variable_in_a_suite_is_told_in_the_suite(project: Project) -> None:
    project.replace(D, "data/rows.jsonl", "${env:NONE_SUCH}")
    found = project.problems()
    assert {problem.file for problem in found} == {project.root / D}
    assert "`NONE_SUCH`" in found[0].message


def test_a_variable_in_a_value_that_is_replaced_is_not_asked_for(project: Project) -> None:
    project.replace(E, "google/gemma", "${env:NONE_SUCH}")
    assert with_set(project, "base.model=org/x").base.model == "org/x"
    with pytest.raises(ConfigurationError):
        project.load()
