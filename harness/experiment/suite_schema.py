"""What a suite's file declares, typed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.experiment.declared import Declared, Name, Positive, SomeTexts, Texts
from harness.experiment.metrics import METRICS_OF_KIND


class TaskData(Declared):
    """Where a task's rows come from; validation may be a fraction of test, split by hash.

    test:                the rows that are measured
    validation:          rows of their own on which choices are made and examples are drawn
    validation_fraction: the part of test that is set aside for that, where there is no `validation`
    """

    test: str
    validation: str | None = None
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2


class Task(Declared):
    """One task of a suite, compiled to an lm-eval task in `tasks/`.

    prompt, choices, answer and text are either a column's name or a Jinja template over columns;
    `cluster` is a column's name. Left out, an answer among `labels` is the column `label`, the
    metrics are those of the kind, and the primary one is the first of them.

    kind:           what is asked of the model; it decides which keys a task needs
    data:           where its rows come from; for `lm_eval` in place of the registered task's own
    prompt:         what stands before the answer
    choices:        the list of texts of which one is right
    answer:         the right choice or its index; a label; the gold text or a list of them
    text:           the text whose perplexity is measured
    labels:         all answers that a classification, or a generated choice, may give
    task:           the name of a registered lm-eval task or group
    num_fewshot:    how many solved validation rows stand before each question
    max_new_tokens: where a generated answer is cut
    stop:           texts at which a generated answer ends
    likelihood:     the task of this suite that scores the same items by likelihood, so that a lost answer is
                    told apart from a lost form; of a generated choice
    metrics:        what is measured; left out, all that the kind has
    primary:        the metric that the gate judges; left out, the first
    gate:           whether the gate judges this task; otherwise it is only shown
    cluster:        the column that says which items belong together, as those of one category do
    slices:         columns by whose values the report also compares, to say which part of a task lost
    limit:          at most so many rows are measured
    """

    kind: Literal["multiple_choice", "classification", "generated_choice", "qa", "perplexity", "lm_eval"]
    data: TaskData | None = None
    prompt: str | None = None
    choices: str | None = None
    answer: str | None = None
    text: str | None = None
    labels: Texts | None = None
    task: str | None = None
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    max_new_tokens: Positive = 32
    stop: Texts = ("\n",)
    likelihood: str | None = None
    metrics: SomeTexts | None = None
    primary: str | None = None
    gate: bool = True
    cluster: str | None = None
    slices: Texts = ()
    limit: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, given: Any) -> Any:
        kind = given.get("kind") if isinstance(given, dict) else None
        if not isinstance(kind, str) or kind not in METRICS_OF_KIND:
            return given
        filled = {"metrics": list(METRICS_OF_KIND[kind]), **given}
        if kind == "generated_choice" and "labels" not in given and "metrics" not in given:
            filled["metrics"].remove("macro_f1")  # it is over labels
        if kind == "classification" or (kind == "generated_choice" and "labels" in given):
            filled.setdefault("answer", "label")
        if isinstance(filled["metrics"], list | tuple) and filled["metrics"]:
            filled.setdefault("primary", filled["metrics"][0])
        return filled


class Suite(Declared):
    """A named set of tasks. The experiment gives it its role.

    version: the version of this file's form
    name:    what the report calls the suite
    licence: under which terms its items may be used; for the report
    source:  where its items come from; for the report
    task:    one table `[task.<name>]` for each task
    """

    version: Literal[1]
    name: Name
    licence: str | None = None
    source: str | None = None
    task: Annotated[dict[Name, Task], Field(min_length=1)]
