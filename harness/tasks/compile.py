"""Suite → lm-eval tasks. The only place that knows lm-eval's task keys."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.task import ConfigurableTask

from harness.errors import UsageError
from harness.experiment.metrics import METRICS, METRICS_OF_KIND, WRITTEN, Metric
from harness.experiment.schema import Task
from harness.experiment.templates import render
from harness.experiment.written_answers import read_answer
from harness.models.quiet import quiet_lm_eval
from harness.tasks.registered import FEWSHOT_SEED, load_registered, registered_metrics, table
from harness.tasks.results import (
    Document,
    ProcessResults,
    aggregations,
    answer_results,
    choice_results,
    text_results,
    written_choice_results,
)

Rows = Sequence[Document]


@dataclass(frozen=True)
class CompiledTask:
    """One task of a suite, ready to be scored.

    lm_tasks: one lm-eval task, or the leaves of a registered group such as mmlu.
    cluster:  column or template that names an item's cluster; None when items are independent.
    read:     which option of a document a generated text means, None where it is none of them; None itself
              where texts are taken as they stand.
    slices:   columns by whose values its items are also compared.
    """

    name: str
    kind: str
    primary: str
    metrics: Mapping[str, Metric]
    cluster: str | None
    labels: tuple[str, ...]
    lm_tasks: tuple[Any, ...]
    decoding: str
    read: Callable[[Document, str], str | None] | None = None
    slices: tuple[str, ...] = ()


def compile_task(
    name: str, task: Task, test: Rows, fewshot: Rows, count_tokens: Callable[[str], int]
) -> CompiledTask:
    """One local or registered task. `test` and `fewshot` are its rows; both empty for hub data.

    Raises RunFailed where a registered task or its hub data set cannot be had.
    """
    if task.kind == "lm_eval":
        return _registered(name, task, load_registered(name, task, test, fewshot))
    lm_task = _configurable(
        {
            "task": name,
            "num_fewshot": task.num_fewshot or 0,
            **_COMPILERS[task.kind](task, count_tokens),
        },
        {"test": test, "validation": fewshot},
        task,
    )
    names = task.metrics or METRICS_OF_KIND[task.kind]
    return CompiledTask(
        name=name,
        kind=task.kind,
        primary=task.primary or names[0],
        metrics={metric: METRICS[metric] for metric in names},
        cluster=task.cluster,
        labels=task.labels or (),
        lm_tasks=(lm_task,),
        decoding=f"greedy, at most {task.max_new_tokens} tokens, stop {list(task.stop)!r}"
        if task.kind in WRITTEN
        else "log-likelihood",
        read=_reader(task) if task.kind == "generated_choice" else None,
        slices=task.slices,
    )


def field(template: str | None) -> Callable[[Document], Any]:
    """A reader of one column, or of a Jinja template over the columns."""
    if template is None:
        return lambda document: ""
    return lambda document: render(template, document)


@dataclass(frozen=True)
class _Choice:
    """The options of a document, and which of them is right."""

    options: Callable[[Document], list[str]]
    gold: Callable[[Document], int]


def _choice(task: Task) -> _Choice:
    return _among_labels(task) if task.labels is not None else _among_choices(task)


def _among_choices(task: Task) -> _Choice:
    choices, answer = field(task.choices), field(task.answer)

    def options(document: Document) -> list[str]:
        value = choices(document)
        # A template renders to text: '["yes", "no"]'.
        return [str(choice) for choice in (ast.literal_eval(value) if isinstance(value, str) else value)]

    def gold(document: Document) -> int:
        """The answer's text among the choices comes first: "14" may be a choice as well as an index."""
        value, among = answer(document), options(document)
        return among.index(value) if value in among else int(value)

    return _Choice(options, gold)


def _among_labels(task: Task) -> _Choice:
    labels, answer = list(task.labels or ()), field(task.answer)
    return _Choice(lambda document: labels, lambda document: labels.index(answer(document)))


def _likelihood_choice(task: Task, count_tokens: Callable[[str], int]) -> dict[str, Any]:
    choice = _choice(task)
    return {
        "output_type": "multiple_choice",
        "doc_to_text": field(task.prompt),
        "doc_to_choice": choice.options,
        "doc_to_target": choice.gold,
        **_measured_by(task, choice_results(choice.options, choice.gold)),
    }


def _written_choice(task: Task, count_tokens: Callable[[str], int]) -> dict[str, Any]:
    choice, read = _choice(task), _reader(task)

    def gold(document: Document) -> str:
        return choice.options(document)[choice.gold(document)]

    return {
        "output_type": "generate_until",
        "doc_to_text": field(task.prompt),
        "doc_to_target": gold,
        "generation_kwargs": _greedy(task),
        **_measured_by(task, written_choice_results(gold, read)),
    }


def _reader(task: Task) -> Callable[[Document, str], str | None]:
    options = _choice(task).options
    return lambda document, text: read_answer(text, options(document))


def _greedy(task: Task) -> dict[str, Any]:
    return {"until": list(task.stop), "do_sample": False, "max_gen_toks": task.max_new_tokens}


def _answer(task: Task, count_tokens: Callable[[str], int]) -> dict[str, Any]:
    answer = field(task.answer)

    def golds(document: Document) -> list[str]:
        value = answer(document)
        return [value] if isinstance(value, str) else list(value)

    return {
        "output_type": "generate_until",
        "doc_to_text": field(task.prompt),
        "doc_to_target": golds,
        "generation_kwargs": _greedy(task),
        **_measured_by(task, answer_results(golds)),
    }


def _text(task: Task, count_tokens: Callable[[str], int]) -> dict[str, Any]:
    text = field(task.text)
    return {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": text,
        **_measured_by(task, text_results(text, count_tokens)),
    }


_COMPILERS: dict[str, Callable[[Task, Callable[[str], int]], dict[str, Any]]] = {
    "multiple_choice": _likelihood_choice,
    "classification": _likelihood_choice,
    "generated_choice": _written_choice,
    "qa": _answer,
    "perplexity": _text,
}


def _measured_by(task: Task, process: ProcessResults) -> dict[str, Any]:
    names = task.metrics or METRICS_OF_KIND[task.kind]
    combine = aggregations(task.labels)

    def only_declared(document: Document, results: Sequence[Any]) -> dict[str, Any]:
        values = process(document, results)
        return {name: values[name] for name in names}

    return {
        "process_results": only_declared,
        "metric_list": [
            {
                "metric": name,
                "aggregation": combine[name],
                "higher_is_better": METRICS[name].higher_is_better,
            }
            for name in names
        ],
    }


def _configurable(config: dict[str, Any], splits: Mapping[str, Rows], task: Task) -> Any:
    """An lm-eval task over rows that are already here."""
    tables = {split: table(config["task"], rows) for split, rows in splits.items() if rows}
    with quiet_lm_eval():
        lm_task = ConfigurableTask(
            config={
                **config,
                "custom_dataset": lambda **_: tables,
                "test_split": "test",
                "fewshot_split": _fewshot_split(task, tables),
            }
        )
    lm_task.set_fewshot_seed(FEWSHOT_SEED)
    return lm_task


def _fewshot_split(task: Task, tables: Mapping[str, Any]) -> str | None:
    """From the test rows lm-eval leaves out the document itself; without a split it does not."""
    if not task.num_fewshot:
        return None
    return "validation" if "validation" in tables else "test"


def _registered(name: str, task: Task, leaves: tuple[Any, ...]) -> CompiledTask:
    known = registered_metrics(leaves)
    wanted = task.metrics or tuple(known)
    primary = task.primary or wanted[0]
    unknown = [each for each in (*wanted, primary) if each not in known]
    if unknown:
        raise UsageError(
            f"[task.{name}] names `{unknown[0]}`, which is no metric of lm-eval's {task.task}; "
            f"it has {', '.join(known)}"
        )
    metrics = {each: known[each] for each in dict.fromkeys((*wanted, primary))}
    return CompiledTask(
        name=name,
        kind="lm_eval",
        primary=primary,
        metrics=metrics,
        cluster=task.cluster,
        labels=(),
        lm_tasks=leaves,
        decoding=str(leaves[0].config.generation_kwargs or "log-likelihood"),
        slices=task.slices,
    )
