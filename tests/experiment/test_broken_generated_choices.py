"""Broken tasks in which the model writes its answer: each names the place, the mistake and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.fingerprints import source_fingerprints, task_inputs

if TYPE_CHECKING:
    from tests.experiment.conftest import Broken, Project

D = "suites/domain.toml"
WRITTEN = """
[task.written]
kind = "generated_choice"
data = { test = "data/rows.jsonl" }
prompt = "{{ title }}:"
labels = ["a", "b"]
likelihood = "label"
"""

# As `Broken` says: the mark ⟦ stands where the problem is.
BROKEN = {
    "no such task": (D, 'likelihood = "label"', '⟦likelihood = "labell"', '"labell", which is not a task', 'did you mean "label"?'),
    "itself": (D, 'likelihood = "label"', '⟦likelihood = "written"', "a task of kind generated_choice", "multiple_choice"),
    "other labels": (D, 'labels = ["a", "b"]\nl', 'labels = ["a", "c"]\n⟦l', "another `labels`", "the same `labels`"),
    "other rows": (D, 'rows.jsonl" }\nprompt = "{{ title }}:"\nlabels = ["a", "b"]\nl', 'rows.jsonl#[:1]" }\nprompt = "{{ title }}:"\nlabels = ["a", "b"]\n⟦l', "has another `data`", "the same `data`"),
    "another answer": (D, 'likelihood = "label"', 'answer = "title"\n⟦likelihood = "label"', "another `answer`", "same"),
    "another cluster": (D, 'likelihood = "label"', 'cluster = "title"\n⟦likelihood = "label"', "another `cluster`", "same"),
    "no parsed": (D, 'likelihood = "label"', '⟦likelihood = "label"\nmetrics = ["accuracy"]', 'apart by "parsed"', "metrics of `task.written`"),
    "no accuracy there": (D, 'metrics = ["accuracy", "macro_f1"]\n\n[task.written]', 'metrics = ["macro_f1"]\n\n[task.written]', "`task.label` does not measure", 'add "accuracy"'),
    "likelihood elsewhere": (D, 'metrics = ["accuracy", "macro_f1"]\n', 'metrics = ["accuracy", "macro_f1"]\n⟦likelihood = "label"\n', "kind classification cannot use `likelihood`", "take it out"),
    "neither": (D, 'labels = ["a", "b"]\nlikelihood', 'likelihood', "needs either `labels` or `choices`", "each row's own"),
    "both": (D, 'likelihood = "label"', 'choices = "title"', "`task.written` has both", "the same for every row"),
    "choices without an answer": (D, 'labels = ["a", "b"]\nlikelihood = "label"', 'choices = "title"', "with `choices` needs `answer`", "add `answer"),
    "macro-F1 of choices": (D, 'labels = ["a", "b"]\nlikelihood = "label"', 'choices = "title"\nanswer = "label"\n⟦metrics = ["macro_f1"]', "macro-F1, which is over labels", "out"),
    "labels alike": (D, '["a", "b"]\nlikelihood', '["a", ⟦"A."]\nlikelihood', 'the label "A.", once it is written, is read as "a"', "told apart"),
    "no label": (D, '["a", "b"]\nlikelihood', '["a", ⟦"!"]\nlikelihood', 'the label "!", once it is written, is read as no answer', "told apart"),
    "label twice": (D, '["a", "b"]\nlikelihood', '["a", "b", ⟦"a"]\nlikelihood', 'the label "a" stands twice', "take one out"),
    "a metric of texts": (D, 'likelihood = "label"', 'likelihood = "label"\nmetrics = ["accuracy", "parsed", ⟦"token_f1"]', 'generated_choice has no metric "token_f1"', "accuracy"),
}  # fmt: skip


@pytest.fixture
def written(project: Project) -> Project:
    file = project.root / D
    file.write_text(file.read_text(encoding="utf-8") + WRITTEN, encoding="utf-8")
    return project


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_task_names_its_place_and_the_remedy(written: Project, case: Broken) -> None:
    file, old, new, message, help = case
    if "⟦" in new:
        written.assert_broken(case)
        return
    written.replace(file, old, new)
    (problem,) = [each for each in written.problems() if message in each.message]
    assert problem.file == written.root / file
    assert problem.line is not None
    assert help in (problem.help or "")


def test_more_rows_than_are_scored_by_likelihood_are_refused(written: Project) -> None:
    written.replace(D, 'labels = ["a", "b"]\nmetrics', 'labels = ["a", "b"]\nlimit = 8\nmetrics')
    (problem,) = written.problems()
    assert "of which only 8 rows are measured" in problem.message
    assert problem.help == "write `limit = 8`, or fewer"

    written.replace(D, 'likelihood = "label"', 'likelihood = "label"\nlimit = 8')
    assert written.load().suites[0].suite.task["written"].limit == 8


def test_left_out_the_answer_is_the_label_and_the_metrics_are_those_of_the_kind(written: Project) -> None:
    task = written.load().suites[0].suite.task["written"]
    assert (task.answer, task.primary) == ("label", "accuracy")
    assert task.metrics == ("accuracy", "parsed", "macro_f1")


def test_what_a_task_is_held_against_changes_no_measurement(written: Project) -> None:
    task = written.load().suites[0].suite.task["written"]
    sources = source_fingerprints(written.root)
    assert task_inputs(task, sources) == task_inputs(task.model_copy(update={"likelihood": None}), sources)
