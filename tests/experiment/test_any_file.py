"""Whatever is written, the answer is an experiment or problems with remedies, and never a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ConfigurationError, Problem
from harness.experiment.load import load_experiments
from harness.experiment.problems import format_problem
from tests.experiment.conftest import DOMAIN, EXPERIMENT, FILES, Project

if TYPE_CHECKING:
    from collections.abc import Callable

E, D = "experiments/small.toml", "suites/domain.toml"
MATRIX = """\
[matrix]
"tuned.lora.lora.r" = [1, 2]
"base.dtype" = ["float32", "bfloat16"]
[[matrix.include]]
"base.dtype" = "float16"
[[matrix.exclude]]
"base.dtype" = "float32"
"""
RICH = EXPERIMENT.replace("[gate]", f"{MATRIX}[gate]").replace(
    "seeds = [0, 1]",
    'replay = { source = "python:rows:general" }\nstrengths = [1.0, 0.5]\nearly_stopping = {}\nadapter = "a/b"',
)
VALUES = st.sampled_from(
    [
        "3",
        "-1",
        "1.5",
        "inf",
        "true",
        "'x'",
        "''",
        "[]",
        "[1]",
        "['a']",
        "[[]]",
        "{}",
        "{ unset = true }",
        "{ a = 1 }",
        "1979-05-27",
        "[{}]",
        "[{ unset = true }]",
        "'${env:NONE_SUCH}'",
        "'${env:'",
        "'tuned.lora'",
        "'hub:'",
        "'python:rows:needs'",
        "text",
    ]
)
KEYS = st.sampled_from(
    [
        "base",
        "base.model",
        "tuned",
        "tuned.lora",
        "tuned.lora.lora",
        "tuned.lora.replay",
        "tuned.x.y",
        "gate",
        "gate.tuned",
        "matrix",
        "matrix.include",
        "suites",
        "suites.domain",
        "data",
        "data.train",
        "generate",
        "name",
        "version",
        "extends",
        "a.b.c",
    ]
)
OPTIONS = st.lists(
    st.one_of(KEYS.map("~{}".format), KEYS, st.builds("{}={}".format, KEYS, VALUES)), max_size=2
)


def changed(text: str) -> st.SearchStrategy[str]:
    """The text with another value in some of its lines, and some headers gone or made keys."""

    def rewritten(lines: list[str], changes: list[tuple[int, str]]) -> str:
        for index, value in changes:
            line = lines[index]
            if " = " in line:
                lines[index] = f"{line.partition(' = ')[0]} = {value}"
            elif line.startswith("["):
                lines[index] = f"{line.strip('[]')} = {value}" if len(value) % 2 else ""
        return "\n".join(lines)

    count = text.count("\n")
    changes = st.lists(st.tuples(st.integers(0, count), VALUES), min_size=1, max_size=3)
    return changes.map(lambda chosen: rewritten(text.split("\n"), chosen))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("any")
    project = Project(root, root / E)
    for name, text in FILES.items():
        project.write(name, text)
    return project


@pytest.mark.parametrize("make", [lambda: changed(RICH), lambda: st.just(RICH)], ids=["file", "options"])
def test_it_is_an_experiment_or_problems_with_remedies(
    kept: Project, make: Callable[[], st.SearchStrategy[str]]
) -> None:
    @settings(max_examples=150, deadline=None)
    @given(text=make(), suite=st.one_of(st.just(DOMAIN), changed(DOMAIN)), options=OPTIONS)
    def holds(text: str, suite: str, options: list[str]) -> None:
        kept.write(E, text)
        kept.write(D, suite)
        problems: tuple[Problem, ...] = ()
        try:
            assert load_experiments(kept.experiment, options)
        except ConfigurationError as error:
            problems = error.problems
        for problem in problems:
            assert problem.help, problem
            assert format_problem(problem)

    holds()
