"""`extends`: files that begin as files, configurations that begin as others, keys that are taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.experiment.load import load_experiment
from harness.experiment.resolved import resolved

if TYPE_CHECKING:
    from tests.experiment.conftest import Project

E = "experiments/small.toml"
CHILD = 'extends = "experiments/small.toml"\n'


def child(project: Project, text: str, name: str = "experiments/child.toml") -> Project:
    """The project, whose experiment is now one that extends the small one."""
    file = project.write(name, CHILD + text if "extends =" not in text.split("[")[0] else text)
    return type(project)(project.root, file)


def test_a_file_that_only_extends_is_the_file(project: Project) -> None:
    assert resolved(child(project, "").load()) == resolved(project.load())


def test_tables_merge_deeply_and_the_rest_is_replaced(project: Project) -> None:
    text = 'name = "child"\n[base]\ndtype = "float32"\n[tuned.lora]\nseeds = [7]\n[tuned.lora.lora]\nr = 2\n[[generate]]\nprompt = "mine"\n'
    experiment = child(project, text).load().experiment
    assert (experiment.name, experiment.base.model, experiment.base.dtype) == (
        "child",
        "google/gemma",
        "float32",
    )
    lora = experiment.tuned["lora"]
    assert (lora.learning_rate, lora.seeds, lora.lora["r"], lora.lora["target_modules"]) == (
        2e-4,
        (7,),
        2,
        "all-linear",
    )
    assert [each.prompt for each in experiment.generate] == ["mine"]


def test_a_configuration_of_the_extended_file_follows_what_the_child_changes(project: Project) -> None:
    tuned = child(project, "[tuned.lora]\nepochs = 9\n").load().experiment.tuned
    assert (tuned["lora"].epochs, tuned["qlora"].epochs) == (9.0, 9.0)


def test_a_configuration_may_extend_what_came_from_the_extended_file(project: Project) -> None:
    tuned = child(project, '[tuned.mine]\nextends = "tuned.qlora"\nepochs = 2\n').load().experiment.tuned
    assert (tuned["mine"].method, tuned["mine"].lora["r"], tuned["mine"].epochs) == ("qlora", 4, 2.0)


def test_one_configuration_of_another_file_is_taken_as_it_stands_there(project: Project) -> None:
    """Its own `extends` is followed in its own file, and nothing else of that file comes along."""
    project.write(
        "other.toml",
        '[tuned.lora]\nmethod = "lora"\nepochs = 5\n[tuned.long]\nextends = "tuned.lora"\nlora = { r = 99 }\n',
    )
    project.replace(E, "[suites]", '[tuned.long]\nextends = "other.toml:tuned.long"\nseeds = [3]\n[suites]')
    tuned = project.load().experiment.tuned
    assert list(tuned) == ["lora", "qlora", "long"]
    assert (tuned["long"].epochs, tuned["long"].lora["r"], tuned["long"].seeds) == (5.0, 99, (3,))


def test_of_several_files_the_later_ones_lie_above_the_earlier(project: Project) -> None:
    project.write("a.toml", '[base]\ndtype = "float16"\nrevision = "a"\n')
    project.write("b.toml", '[base]\nrevision = "b"\n')
    text = 'extends = ["experiments/small.toml", "a.toml", "b.toml"]\n'
    base = child(project, text).load().experiment.base
    assert (base.dtype, base.revision) == ("float16", "b")


def test_files_extend_files(project: Project) -> None:
    project.write("middle.toml", CHILD + "[gate]\nalpha = 0.2\nmin_gain = 0.1\n")
    gate = child(project, 'extends = "middle.toml"\n[gate]\nmin_gain = 0.3\n').load().experiment.gate
    assert (gate.alpha, gate.min_gain, gate.tuned) == (0.2, 0.3, ("lora",))


@pytest.mark.parametrize(
    "text",
    [
        "[data.train]\nformat = { unset = true }\n",
        "[data.train.format]\nunset = true\n",
    ],
)
def test_an_inherited_key_is_taken_out(project: Project, text: str) -> None:
    data = child(project, text).load().experiment.data
    assert data is not None
    assert data.train.format == "auto"


def test_a_whole_table_is_taken_out(project: Project) -> None:
    tuned = child(project, "[tuned]\nqlora = { unset = true }\n").load().experiment.tuned
    assert list(tuned) == ["lora"]


def test_a_key_is_taken_out_of_an_inherited_configuration(project: Project) -> None:
    text = '[tuned.full]\nextends = "tuned.lora"\nmethod = "full"\nlora = { unset = true }\n'
    assert child(project, text).load().experiment.tuned["full"].method == "full"


def test_what_was_taken_out_stays_out_for_those_that_extend_it(project: Project) -> None:
    project.replace(E, "seeds = [0, 1]", "seeds = [0, 1]\nkl = 0.5")
    project.replace(E, 'method = "qlora"', 'method = "qlora"\nkl = { unset = true }')
    text = '[tuned.x]\nextends = "tuned.qlora"\n'
    tuned = child(project, text).load().experiment.tuned
    assert [tuned[name].kl for name in ("lora", "qlora", "x")] == [0.5, 0.0, 0.0]


def test_what_was_taken_out_may_be_given_again(project: Project) -> None:
    project.replace(
        E, "seeds = [0, 1]", "seeds = [0, 1]\nreplay = { source = 'python:rows:general', fraction = 0.5 }"
    )
    project.replace(E, 'method = "qlora"', 'method = "qlora"\nreplay = { unset = true }')
    text = '[tuned.x]\nextends = "tuned.qlora"\nreplay = { source = "python:rows:general" }\n'
    replay = child(project, text).load().experiment.tuned["x"].replay
    assert replay is not None
    assert replay.fraction == 0.1, "not the half that was taken out"


def test_nothing_to_take_out_is_a_mistake(project: Project) -> None:
    place = project.replace(E, "alpha = 0.05", "alpha = 0.05\n⟦min_gain = { unset = true }")
    (problem,) = project.problems()
    assert (problem.line, problem.column) == place
    assert "no `gate.min_gain` that could be taken out" in problem.message
    assert "take the key out" in (problem.help or "")


def test_a_mistake_is_shown_in_the_file_that_has_it(project: Project) -> None:
    project.replace(E, "r = 16", "rnak = 16")
    found = child(project, '[gate]\nalhpa = 1\n[tuned.more]\nextends = "tuned.lora"\n').problems()
    assert [(p.file.name, p.source_line) for p in found if p.file] == [
        ("child.toml", "alhpa = 1"),
        ("small.toml", "rnak = 16"),
    ]


def test_a_mistake_in_one_configuration_of_another_file_is_shown_there(project: Project) -> None:
    other = project.write(
        "other.toml", '[tuned.a]\nmethod = "lora"\n[tuned.b]\nextends = "tuned.a"\nepochs = "x"\n'
    )
    project.replace(E, "[suites]", '[tuned.b]\nextends = "other.toml:tuned.b"\n[suites]')
    (problem,) = project.problems()
    assert (problem.file, problem.line) == (other, 5)


def test_a_key_that_the_child_lacks_is_asked_for_in_the_child(project: Project) -> None:
    project.write("part.toml", '[base]\ndtype = "float32"\n')
    file = project.write("experiments/child.toml", 'extends = "part.toml"\nversion = 1\n')
    found = type(project)(project.root, file).problems()
    names = [problem.message for problem in found if problem.file == file]
    assert "the key `name` is missing" in names
    (model,) = [problem for problem in found if "`base.model`" in problem.message]
    assert (model.file, model.source_line) == (project.root / "part.toml", "[base]")


# text of the child, the marked place, part of the message, part of the help
BROKEN = {
    "missing file": ('⟦extends = "experiments/smal.toml"\n', "there is no file", "small.toml`?"),
    "missing in a list": ('extends = ["experiments/small.toml", ⟦"none.toml"]\n', "there is no file", "has pyproject.toml"),
    "no text": ("⟦extends = 3\n", "names files, not 3", 'extends = "other.toml"'),
    "no text in a list": ('extends = [⟦3]\n', "names files, not 3", 'extends = "other.toml"'),
    "itself": ('⟦extends = "experiments/child.toml"\n', "circle: child.toml → child.toml", "take one"),
    "configuration of no file": (CHILD + '[tuned.x]\n⟦extends = "none.toml:tuned.a"\n', "there is no file", "has pyproject.toml"),
    "no such configuration there": (CHILD + '[tuned.x]\n⟦extends = "experiments/small.toml:tuned.lroa"\n', "of `experiments/small.toml`", '"experiments/small.toml:tuned.lora"'),
    "no such configuration here": (CHILD + '[tuned.x]\n⟦extends = "tuned.qlroa"\n', "of this file", '"tuned.qlora"'),
    "a table": (CHILD + '[tuned.x]\n⟦extends = ["tuned.lora"]\n', "names no tuned configuration", "tuned.lora"),
    "variable": (CHILD + '[tuned.x]\n⟦extends = "${env:NONE_SUCH}"\n', "`NONE_SUCH` is not set", "export NONE_SUCH"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_extends_names_its_place_and_the_remedy(
    project: Project, case: tuple[str, str, str]
) -> None:
    text, message, help = case
    before, _, after = text.partition("⟦")
    broken = child(project, before + after)
    problem = broken.problems()[0]
    assert message in problem.message
    assert help in (problem.help or "")
    assert problem.file == broken.experiment
    assert (problem.line, problem.column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))


def test_a_circle_over_three_files_is_named(project: Project) -> None:
    project.write("a.toml", 'extends = "b.toml"\n')
    project.write("b.toml", 'extends = "c.toml"\n')
    c = project.write("c.toml", 'extends = "a.toml"\n')
    (problem,) = type(project)(project.root, project.root / "a.toml").problems()
    assert "a.toml → b.toml → c.toml → a.toml" in problem.message
    assert problem.file == c


def test_a_circle_of_configurations_over_two_files_is_told_once(project: Project) -> None:
    project.write("other.toml", '[tuned.a]\nextends = "experiments/small.toml:tuned.x"\n')
    project.replace(E, "[suites]", '[tuned.x]\nextends = "other.toml:tuned.a"\n[suites]')
    (problem,) = project.problems()
    assert "x → a → x" in problem.message


def test_a_syntax_error_in_an_extended_file_is_shown_there(project: Project) -> None:
    other = project.write("other.toml", "a = \n")
    (problem,) = child(project, 'extends = "other.toml"\n').problems()
    assert (problem.file, problem.line) == (other, 1)


def test_paths_start_at_the_root_wherever_the_file_lies(project: Project) -> None:
    file = project.write("deep/er/child.toml", CHILD)
    assert load_experiment(file).suites[0].path == "suites/domain.toml"
