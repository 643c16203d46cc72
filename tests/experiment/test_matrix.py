"""`[matrix]`: combinations as GitHub makes them, cells and configurations, their names, their mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import UsageError
from harness.experiment.cells import MOST_CONFIGURATIONS
from harness.experiment.document import parse_document
from harness.experiment.load import load_cells, load_experiment, load_experiments
from harness.experiment.matrix import combined, read_matrix
from harness.experiment.resolved import experiment_key
from harness.experiment.written import plain, written

if TYPE_CHECKING:
    from tests.experiment.conftest import Project

E = "experiments/small.toml"


def combinations(text: str) -> list[dict[str, Any]]:
    """The combinations of a matrix of one-part keys, as plain values."""
    tree = written(parse_document(f"[matrix]\n{text}", Path("x.toml")))
    table = tree.at("matrix")
    assert table is not None
    matrix, problems = read_matrix(table, tree)
    assert not problems
    return [{key[0]: plain(value) for key, value in one.items()} for one in combined(matrix)]


def test_axes_are_crossed_in_their_order() -> None:
    assert combinations("a = [1, 2]\nb = ['x', 'y']") == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_include_as_in_githubs_own_example() -> None:
    """The example of GitHub's documentation, "Expanding or adding matrix configurations"."""
    text = """
    fruit = ["apple", "pear"]
    animal = ["cat", "dog"]
    include = [
      { color = "green" },
      { color = "pink", animal = "cat" },
      { fruit = "apple", shape = "circle" },
      { fruit = "banana" },
      { fruit = "banana", animal = "cat" },
    ]
    """
    assert combinations(text) == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


def test_include_that_adds_and_include_that_is_new() -> None:
    """The example of GitHub's documentation, "Adding configurations"."""
    text = """
    os = ["macos", "windows", "ubuntu"]
    version = [12, 14, 16]
    include = [{ os = "windows", version = 17 }, { os = "ubuntu", version = 16, npm = 6 }]
    """
    found = combinations(text.replace("version", "v"))
    assert len(found) == 10
    assert {"os": "ubuntu", "v": 16, "npm": 6} in found
    assert found[-1] == {"os": "windows", "v": 17}


def test_include_alone() -> None:
    assert combinations("include = [{ a = 1, b = 2 }, { a = 1 }]") == [{"a": 1, "b": 2}, {"a": 1}]


def test_exclude_matches_in_part() -> None:
    """The example of GitHub's documentation, "Excluding matrix configurations"."""
    text = """
    os = ["macos", "windows"]
    v = [12, 14, 16]
    where = ["staging", "production"]
    exclude = [{ os = "macos", v = 12, where = "production" }, { os = "windows", v = 16 }]
    """
    found = combinations(text)
    assert len(found) == 9
    assert {"os": "macos", "v": 12, "where": "staging"} in found
    assert not [one for one in found if one["os"] == "windows" and one["v"] == 16]


def test_include_comes_after_exclude() -> None:
    text = "a = [1, 2]\nexclude = [{ a = 1 }]\ninclude = [{ a = 1 }, { a = 2, b = 3 }]"
    assert combinations(text) == [{"a": 2, "b": 3}, {"a": 1}]


def test_true_is_not_one() -> None:
    assert combinations("a = [1, 2]\nexclude = [{ a = true }, { a = 2.0 }]") == [{"a": 1}]


def matrix(project: Project, text: str, *options: str) -> dict[str, list[str]]:
    """Experiments by name, each with its tuned configurations."""
    project.replace(E, "[gate]\n", f"[matrix]\n{text}\n[gate]\n")
    loaded = load_experiments(project.experiment, options)
    return {each.experiment.name: list(each.experiment.tuned) for each in loaded}


def test_an_axis_inside_tuned_makes_configurations_of_one_experiment(project: Project) -> None:
    """A configuration that extends the multiplied one is not multiplied with it."""
    assert matrix(project, '"tuned.lora.lora.r" = [4, 16]') == {"small": ["lora-r4", "lora-r16", "qlora"]}
    tuned = project.load().experiment.tuned
    assert [one.lora["r"] for one in tuned.values()] == [4, 16, 4]


def test_any_other_axis_makes_experiments(project: Project) -> None:
    assert matrix(project, '"base.model" = ["org/a", "org/b"]\n"base.dtype" = ["float32"]') == {
        "small-model-org-a-dtype-float32": ["lora", "qlora"],
        "small-model-org-b-dtype-float32": ["lora", "qlora"],
    }


def test_both_kinds_of_axes_together(project: Project) -> None:
    text = '"base.model" = ["org/a", "org/b"]\n"tuned.lora.lora.r" = [4, 16]\nexclude = [{ "base.model" = "org/b", "tuned.lora.lora.r" = 16 }]'
    assert matrix(project, text) == {
        "small-model-org-a": ["lora-r4", "lora-r16", "qlora"],
        "small-model-org-b": ["lora-r4", "qlora"],
    }


def test_two_families_are_not_crossed_with_each_other(project: Project) -> None:
    """They are configurations beside each other: crossing them would measure each one twice."""
    assert matrix(project, '"tuned.lora.lora.r" = [4, 16]\n"tuned.qlora.epochs" = [1, 2]') == {
        "small": ["lora-r4", "lora-r16", "qlora-epochs1", "qlora-epochs2"]
    }


def test_two_axes_of_one_family_are(project: Project) -> None:
    assert matrix(project, '"tuned.lora.lora.r" = [4, 16]\n"tuned.lora.packing" = [true, false]') == {
        "small": [
            "lora-r4-packing-true",
            "lora-r4-packing-false",
            "lora-r16-packing-true",
            "lora-r16-packing-false",
            "qlora",
        ]
    }


def test_include_may_set_what_belongs_to_a_value(project: Project) -> None:
    text = '"base.model" = ["org/a", "org/b"]\ninclude = [{ "base.model" = "org/b", "base.dtype" = "float32", "tuned.lora.epochs" = 7 }]'
    assert matrix(project, text) == {
        "small-model-org-a": ["lora", "qlora"],
        "small-model-org-b": ["lora", "qlora"],
    }
    a, b = load_experiments(project.experiment)
    assert (a.experiment.base.dtype, b.experiment.base.dtype) == ("bfloat16", "float32")
    assert b.experiment.tuned["lora"].epochs == 7.0


def test_a_cell_of_include_alone_keeps_the_plain_configuration(project: Project) -> None:
    text = '"tuned.lora.lora.r" = [4, 8]\ninclude = [{ "tuned.lora.lora.r" = 64, "base.dtype" = "float16" }, { "base.dtype" = "float32", "tuned.lora.lora.r" = 99 }]'
    assert matrix(project, text) == {
        "small": ["lora-r4", "lora-r8", "qlora"],
        "small-dtype-float16": ["lora-r64", "qlora"],
        "small-dtype-float32": ["lora-r99", "qlora"],
    }


def test_the_gate_judges_all_that_a_name_became(project: Project) -> None:
    matrix(project, '"tuned.lora.lora.r" = [4, 16]')
    assert project.load().experiment.gate.tuned == ("lora-r4", "lora-r16")
    project.replace(E, 'tuned = ["lora"]', 'tuned = ["lora-r16", "qlora"]')
    assert project.load().experiment.gate.tuned == ("lora-r16", "qlora")


def test_what_is_unset_on_an_axis_is_a_value_of_it(project: Project) -> None:
    text = '"base.quantization" = [{ unset = true }, { type = "fp4" }]\n"base.revision" = [{ unset = true }]'
    project.replace(E, 'method = "lora"', 'method = "qlora"')
    assert list(matrix(project, text)) == [
        "small-quantization-unset-true-revision-unset-true",
        "small-quantization-type-fp4-revision-unset-true",
    ]
    plain_base, quantised = (
        each.experiment.base.quantization for each in load_experiments(project.experiment)
    )
    assert (plain_base, quantised and quantised.type) == (None, "fp4")


def test_cells_differ_in_their_key(project: Project) -> None:
    matrix(project, '"base.model" = ["org/a", "org/b"]')
    assert len({experiment_key(each) for each in load_experiments(project.experiment)}) == 2


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"base.aliases" = [["a/b"], ["a:b"]]', ["small-aliases-a-b", "small-aliases-a-b-2"]),
        ('"data.train.limit" = [1]\n"generate" = [[]]', ["small-limit1-generate"]),
        ('"gate.alpha" = [1e-5]', ["small-alpha1e-05"]),
        ('"suites.domain" = [["suites/domain.toml"]]', ["small-domain-suites-domain.toml"]),
        ('"base.aliases" = [["ü"]]', ["small-aliases"]),
        ('include = [{ "gate.alpha" = 0.1, "gate.min_gain" = 0.2 }, { "gate.alpha" = 0.1 }]', ["small-alpha0.1-min_gain0.2", "small-alpha0.1"]),
        ('"gate.alpha" = [0.1]\ninclude = [{ "gate.min_gain" = 0.2 }]', ["small-alpha0.1"]),
    ],
)  # fmt: skip
def test_names_are_short_safe_and_never_equal(project: Project, text: str, names: list[str]) -> None:
    assert list(matrix(project, text)) == names


def test_more_of_the_key_is_named_where_two_would_be_equal(project: Project) -> None:
    project.replace(E, "[tuned.lora]\n", '[data.validation]\nsource = "python:rows:general"\n[tuned.lora]\n')
    text = '"data.train.limit" = [5]\n"data.validation.limit" = [6]\n"gate.alpha" = [0.1]'
    assert list(matrix(project, text)) == ["small-train.limit5-validation.limit6-alpha0.1"]


def test_a_long_name_is_cut_and_stays_its_own(project: Project) -> None:
    long = "x" * 90
    first, second = matrix(project, f'"base.model" = ["org/{long}a", "org/{long}b"]')
    assert len(first) == len(second) == 80
    assert first != second


def test_a_dot_in_a_name_is_quoted_in_the_axis(project: Project) -> None:
    project.replace(E, "[suites]", '[tuned."lora.v2"]\nextends = "tuned.lora"\n[suites]')
    assert matrix(project, "'tuned.\"lora.v2\".epochs' = [1, 2]")["small"][-2:] == [
        "lora.v2-epochs1",
        "lora.v2-epochs2",
    ]


def test_a_matrix_is_inherited_and_taken_out(project: Project) -> None:
    matrix(project, '"base.dtype" = ["float16", "float32"]')
    child = project.write("child.toml", f'extends = "{E}"\n')
    assert len(load_experiments(child)) == 2
    child.write_text(f'extends = "{E}"\nmatrix = {{ unset = true }}\n')
    assert load_experiment(child).experiment.name == "small"


def test_several_experiments_are_not_one(project: Project) -> None:
    matrix(project, '"base.dtype" = ["float16", "float32"]')
    with pytest.raises(UsageError, match="makes 2 experiments: small-dtype-float16, small-dtype-float32"):
        project.load()


def test_more_than_sixty_four_configurations_need_a_yes(project: Project) -> None:
    names = matrix(
        project,
        f'"tuned.lora.lora.r" = {list(range(1, 17))}\n"base.dtype" = ["float16", "float32", "bfloat16"]\n"gate.alpha" = [0.1, 0.2]',
    )
    assert sum(map(len, names.values())) == 6 * 17
    with pytest.raises(
        UsageError, match="6 experiments with 102 tuned configurations in all; more than 64 need --yes"
    ):
        load_cells(project.experiment, (), MOST_CONFIGURATIONS)


# matrix with the mark ⟦ where the problem is, part of the message, part of the help
BROKEN = {
    "not a table": ("⟦matrix = 3", "`matrix` must be a table", "whole key in quotes"),
    "no list": ('[matrix]\n⟦"base.model" = "org/a"', "must be a list of values", 'write ["org/a"]'),
    "no quotes": ('[matrix]\n⟦base.model = ["org/a"]', "`matrix.base` must be a list", 'quotes: "base.model"'),
    "no value": ('[matrix]\n⟦"base.model" = []', "has no value", "at least one value"),
    "value twice": ('[matrix]\n"base.model" = ["org/a", ⟦"org/a"]', "this value twice", "take one out"),
    "no key": ('[matrix]\n⟦"base..model" = ["org/a"]', "`base..model` is no dotted key", "in quotes"),
    "no key at all": ('[matrix]\n⟦"" = ["org/a"]', "is no dotted key", "in quotes"),
    "bad escape": ("[matrix]\n⟦'base.\"\\x\"' = ['org/a']", "is no dotted key", "in quotes"),
    "name": ('[matrix]\n⟦"name" = ["a"]', "`name` cannot be an axis", "after that"),
    "extends": ('[matrix]\n⟦"tuned.lora.extends" = ["tuned.qlora"]', "cannot be an axis", "after that"),
    "all of tuned": ('[matrix]\n⟦"tuned.lora" = [{ epochs = 1 }]', "`tuned.lora` cannot be an axis", "name a key of one"),
    "unknown configuration": ('[matrix]\n⟦"tuned.lroa.epochs" = [1]', "no tuned configuration `lroa`", "did you mean `lora`?"),
    "unknown key": ('[matrix]\n⟦"base.modle" = ["a", "b"]', "unknown key `base.modle`", "did you mean `model`?"),
    "unknown LoRA key": ('[matrix]\n⟦"tuned.lora.lora.rnak" = [1, 2]', "unknown key `tuned.lora.lora.rnak`", "rank_pattern"),
    "LoRA key beside it": ('[matrix]\n⟦"tuned.lora.r" = [1, 2]', "unknown key `tuned.lora.r`", "belongs to `[tuned.lora.lora]`"),
    "bad value": ('[matrix]\n"tuned.lora.lora.r" = [1, ⟦"x"]', "`tuned.lora.lora.r` must be a whole number", "default, 8"),
    "bad range": ('[matrix]\n"gate.alpha" = [0.1, ⟦0.7]', "`gate.alpha` must be less than 0.5", "default, 0.05"),
    "unknown key in a value": ('[matrix]\n"base.quantization" = [{ ⟦typ = "nf4" }]', "unknown key `base.quantization.typ`", "`type`"),
    "unknown key in include": ('[[matrix.include]]\n⟦"base.dtpye" = "float32"', "unknown key `base.dtpye`", "`dtype`"),
    "exclude of no axis": ('[matrix]\n"base.model" = ["a/b"]\n[[matrix.exclude]]\n⟦"base.modle" = "a/b"', "which is no axis", "did you mean `base.model`?"),
    "include without quotes": ('[matrix]\n"base.model" = ["a/b"]\n[[matrix.include]]\n⟦base.model = "a/b"', "holds axes", "write it as base.model"),
    "empty exclude": ('[matrix]\n"base.model" = ["a/b"]\n[[matrix.⟦exclude]]', "this `exclude` is empty", "take it out"),
    "include no list": ('[matrix]\n⟦include = { "base.model" = "a/b" }', "must be a list of tables", "[[matrix.include]]"),
    "nothing left": ('⟦[matrix]\n"base.model" = ["a/b"]\nexclude = [{ "base.model" = "a/b" }]', "leaves no combination", "exclude less"),
    "name that is taken": ('[matrix]\n"tuned.lora.lora.r" = [4]\n⟦[tuned.lora-r4]\nmethod = "lora"', "second tuned configuration called `lora-r4`", "rename"),
    "useless for a method": ('[matrix]\n"tuned.lora.method" = ["lora", "full"]\n"tuned.lora.weights_dtype" = [⟦"float32"]', "none of the base's own weights", "take it out"),
    "variable": ('[matrix]\n"base.model" = [⟦"${env:NONE_SUCH}"]', "`NONE_SUCH` is not set", "export"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_matrix_names_its_place_and_the_remedy(project: Project, case: tuple[str, str, str]) -> None:
    text, message, help = case
    at_top = not text.lstrip("⟦").startswith("[")
    new = f"{text}\nversion = 1" if at_top else f"{text}\n[gate]"
    place = project.replace(E, "version = 1" if at_top else "[gate]", new)
    found = [problem for problem in project.problems() if message in problem.message]
    assert len(found) == 1, project.problems()
    assert help in (found[0].help or "")
    assert (found[0].file, found[0].line, found[0].column) == (project.experiment, *place)


def test_a_mistake_outside_the_matrix_is_told_once_for_all_cells(project: Project) -> None:
    project.replace(E, "r = 16", "rnak = 16")
    project.replace(
        E, "[gate]", '[matrix]\n"base.dtype" = ["float16", "float32"]\n"tuned.lora.epochs" = [1, 2]\n[gate]'
    )
    assert len(project.problems()) == 1


def test_a_broken_matrix_hides_no_other_mistake(project: Project) -> None:
    project.replace(E, "r = 16", "rnak = 16")
    project.replace(E, "[gate]", '[matrix]\n"tuned.lroa.epochs" = [1, 2]\n[gate]\nalhpa = 1')
    assert len(project.problems()) == 3
