"""`[gate.task."suite/task"]` and `slices`: what they mean, and where their mistakes are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.experiment.load import load_experiment, load_experiments
from harness.experiment.resolved import resolved_toml

if TYPE_CHECKING:
    from tests.experiment.conftest import Broken, Project

E, D, G = "experiments/small.toml", "suites/domain.toml", "suites/general.toml"
RULES = """\
[gate.task."general/choice"]
tier = "supporting"
max_drop = 0.1
[gate.task."general/prose"]
max_bits_per_byte_increase = 0.05
[gate.task."domain/label"]
min_gain = 0.02
[gate.task."general/registered"]
max_drop = 0.2
[[generate]]"""

# As `Broken` says: the mark ⟦ stands where the problem is.
BROKEN = {
    "no such task": (E, "[[generate]]", '[gate.task.⟦"general/choise"]\n[[generate]]', 'names "general/choise", which is no task', 'did you mean "general/choice"?'),
    "without its suite": (E, "[[generate]]", "[gate.task.⟦choice]\n[[generate]]", 'names "choice"', '[gate.task."general/choice"]'),
    "without quotes": (E, "[[generate]]", "[gate.task.general.⟦choice]\ntier = \"advisory\"\n[[generate]]", "unknown key `gate.task.general.choice`", "`tier`"),
    "a suite alone": (E, "[[generate]]", "[gate.task.⟦general]\n[[generate]]", 'names "general"', '[gate.task."general/choice"]'),
    "tier": (E, "[[generate]]", '[gate.task."general/choice"]\n⟦tier = "suporting"\n[[generate]]', 'cannot be "suporting"', 'did you mean "supporting"?'),
    "key of all": (E, "[[generate]]", '[gate.task."general/choice"]\n⟦max_drop_task = 0.1\n[[generate]]', "unknown key", "`max_drop`"),
    "drop of 0": (E, "[[generate]]", '[gate.task."general/choice"]\n⟦max_drop = 0.0\n[[generate]]', "must be greater than 0.0", "write a number"),
    "gain of a general task": (E, "[[generate]]", '[gate.task."general/choice"]\n⟦min_gain = 0.1\n[[generate]]', "`gate.task.\"general/choice\".min_gain` has no use", "write `max_drop` in place of it"),
    "drop of a domain task": (E, "[[generate]]", '[gate.task."domain/label"]\n⟦max_drop = 0.1\n[[generate]]', "has no use: \"domain/label\" is a domain task with a rate", "write `min_gain`"),
    "bits of a rate": (E, "[[generate]]", '[gate.task."general/choice"]\n⟦max_bits_per_byte_increase = 0.1\n[[generate]]', "has no use", "write `max_drop`"),
    "drop of text": (E, "[[generate]]", '[gate.task."general/prose"]\n⟦max_drop = 0.1\n[[generate]]', "is general text", "write `max_bits_per_byte_increase`"),
    "a table": (E, "[[generate]]", '[gate.task]\n⟦"general/choice" = 0.1\n[[generate]]', "must be a table, not 0.1", "write a table"),
    "slice limit": (E, "[gate]", "[gate]\n⟦max_drop_slice = 0.0", "must be greater than 0.0", "write a number"),
    "slice limit misspelt": (E, "[gate]", "[gate]\n⟦max_drop_slices = 0.1", "unknown key `gate.max_drop_slices`", "did you mean `max_drop_slice`?"),
    "slices misspelt": (D, "labels =", '⟦slice = ["title"]\nlabels =', "unknown key `task.label.slice`", "did you mean `slices`?"),
    "slices as text": (D, "labels =", '⟦slices = "title"\nlabels =', "must be a list of text", 'write a list: ["title"]'),
    "slice twice": (D, "labels =", 'slices = ["title", ⟦"title"]\nlabels =', 'the slice "title" stands twice', "take one out"),
    "slice by a template": (D, "labels =", 'slices = [⟦"{{ title }}"]\nlabels =', "is no name of one", "name a column"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_a_mistake_is_shown_where_it_stands(project: Project, case: Broken) -> None:
    project.assert_broken(case)


def test_a_task_has_its_own_numbers_or_those_of_all(project: Project) -> None:
    project.replace(E, "[[generate]]", RULES)
    policy = project.load().experiment.gate

    assert policy.bound("general", "choice", "max_drop") == 0.1
    assert policy.bound("general", "other", "max_drop") == policy.max_drop_task
    assert policy.bound("general", "prose", "max_bits_per_byte_increase") == 0.05
    assert policy.bound("domain", "label", "min_gain") == 0.02
    assert policy.rule("general", "choice").tier == "supporting"
    assert policy.rule("domain", "label").tier == policy.rule("no", "table").tier == "critical"


def test_a_gain_of_nothing_is_not_the_gain_of_all(project: Project) -> None:
    project.replace(E, "[gate]", "[gate]\nmin_gain = 0.1")
    project.replace(E, "[[generate]]", '[gate.task."domain/label"]\nmin_gain = 0.0\n[[generate]]')

    assert project.load().experiment.gate.bound("domain", "label", "min_gain") == 0.0


def test_the_resolved_file_loads_to_the_same_policy(project: Project) -> None:
    project.replace(E, "[[generate]]", RULES)
    loaded = project.load()
    again = project.write("experiments/again.toml", resolved_toml(loaded))

    assert load_experiment(again).experiment.gate == loaded.experiment.gate


def test_a_rule_can_be_set_on_the_command_line(project: Project) -> None:
    (loaded,) = load_experiments(project.experiment, ['gate.task."general/choice".max_drop=0.1'])

    assert loaded.experiment.gate.bound("general", "choice", "max_drop") == 0.1


def test_a_mistake_in_a_set_option_is_shown_in_the_option(project: Project) -> None:
    (problem,) = project.problems('gate.task."general/choise".max_drop=0.1')

    assert problem.file is None
    assert problem.source_line == 'gate.task."general/choise".max_drop=0.1'
    assert 'did you mean "general/choice"?' in (problem.help or "")


@pytest.mark.parametrize("tier", ["critical", "supporting"])
def test_a_task_that_its_suite_only_shows_has_no_other_tier(project: Project, tier: str) -> None:
    project.replace(G, 'text = "text"', 'text = "text"\ngate = false')
    case = f'[gate.task."general/prose"]\n⟦tier = "{tier}"\n[[generate]]'

    project.assert_broken(
        (E, "[[generate]]", case, "its suite says `gate = false`", "take `gate = false` out")
    )


def test_a_task_that_its_suite_only_shows_may_be_called_advisory(project: Project) -> None:
    project.replace(G, 'text = "text"', 'text = "text"\ngate = false')
    project.replace(E, "[[generate]]", '[gate.task."general/prose"]\ntier = "advisory"\n[[generate]]')

    assert project.load().experiment.gate.rule("general", "prose").tier == "advisory"


def test_domain_text_has_no_number_and_no_tier_that_decides(project: Project) -> None:
    text = (
        '[task.text]\nkind = "perplexity"\ndata = { test = "python:rows:prose" }\ntext = "text"\n[task.label]'
    )
    project.replace(D, "[task.label]", text)
    rules = '[gate.task."domain/text"]\n⟦tier = "supporting"\nmax_bits_per_byte_increase = 0.1\n[[generate]]'

    project.assert_broken((E, "[[generate]]", rules, "because it is domain text", 'write tier = "advisory"'))
    assert any("no number has a use there" in (problem.help or "") for problem in project.problems())


def test_a_suite_that_cannot_be_read_is_not_said_to_lack_tasks(project: Project) -> None:
    project.replace(E, "[[generate]]", RULES)
    project.replace(G, 'kind = "perplexity"', 'kind = "perplexiti"')

    assert all("is no task of these suites" not in problem.message for problem in project.problems())
