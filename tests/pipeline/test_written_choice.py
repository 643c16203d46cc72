"""A whole run in which the same items are scored by likelihood and written."""

from __future__ import annotations

import json

from harness.experiment.load import load_experiment
from harness.gate.stored import stored_comparisons, stored_run
from harness.store.artifacts import Store
from tests.pipeline.conftest import Project

WRITTEN = """
[task.written]
kind = "generated_choice"
data = { test = "colour.jsonl" }
prompt = "{{ n }} {{ thing }}:"
labels = ["blue", "red", "green", "yellow"]
cluster = "n"
likelihood = "colour"
max_new_tokens = 8
gate = false
"""


def test_written_answers_are_held_against_the_likelihood_of_the_same_items(project: Project) -> None:
    suite = project.root / "domain.toml"
    suite.write_text(suite.read_text(encoding="utf-8") + WRITTEN, encoding="utf-8")
    assert project.run() == 0

    loaded, store = load_experiment(project.file), Store(project.store)
    (comparison,) = stored_comparisons(stored_run(loaded, store), store, loaded.experiment.gate)
    by_name = {task.task: task for task in comparison.tasks}
    form, likely = by_name["written"].form, by_name["colour"]
    assert form is not None
    assert by_name["written"].n == likely.n
    assert by_name["written"].metrics["parsed"].tuned > 0.5, "the tiny model learns to write a colour"
    assert form.parsed is not None
    assert form.parsed.value > 0
    assert form.tuned.truncated is not None
    assert form.losses is not None
    assert form.no_losses is None
    assert by_name["say"].form is not None
    assert by_name["say"].form.losses is None
    assert likely.form is None

    lines = [
        json.loads(line)
        for file in project.store.glob("measurements/*/items.jsonl")
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    written = [response for item in lines for response in item["responses"] if "text" in response]
    assert written
    assert all(isinstance(response["truncated"], bool) for response in written)
    assert "Answer form" in (project.root / "reports/tiny/report.md").read_text(encoding="utf-8")
