"""A smoke run: the same experiment on a few rows, under a name of its own."""

from __future__ import annotations

from harness.experiment.schema import LoadedExperiment, LoadedSuite

TRAINING_ROWS_PER_ITEM = 8


def limited(loaded: LoadedExperiment, limit: int) -> LoadedExperiment:
    """At most `limit` rows of each task. The name says so, so its results and report stand apart."""
    experiment = loaded.experiment
    data = experiment.data
    if data is not None:
        most = limit * TRAINING_ROWS_PER_ITEM
        train = data.train.model_copy(update={"limit": min(data.train.limit or most, most)})
        data = data.model_copy(update={"train": train})
    renamed = experiment.model_copy(update={"name": f"{experiment.name}-smoke-{limit}", "data": data})
    suites = tuple(_limited_suite(entry, limit) for entry in loaded.suites)
    return loaded.model_copy(update={"experiment": renamed, "suites": suites})


def _limited_suite(entry: LoadedSuite, limit: int) -> LoadedSuite:
    tasks = {
        name: task.model_copy(update={"limit": min(task.limit or limit, limit)})
        for name, task in entry.suite.task.items()
    }
    return entry.model_copy(update={"suite": entry.suite.model_copy(update={"task": tasks})})
