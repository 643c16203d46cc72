"""lm-eval's own result files as measurements: `results_*.json` and `samples_*.jsonl` of one model.

`lm_eval --output_path FOLDER --log_samples` writes them. lm-eval itself is not needed to read them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.experiment.metrics import Metric, item_score, lm_eval_metric
from harness.store.artifacts import fingerprint, without_nan
from harness.store.measurements import Item, Measurement, told_apart

SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
KINDS = {
    "multiple_choice": "multiple_choice",
    "generate_until": "qa",
    "loglikelihood_rolling": "perplexity",
    "loglikelihood": "multiple_choice",
}
# What both runs must have in common, by its place in the results file.
CONDITIONS = {
    "lm-eval version": ("lm_eval_version",),
    "chat template": ("chat_template_sha",),
    "system prompt": ("system_instruction_sha",),
    "few-shot as turns": ("fewshot_as_multiturn",),
    "dtype": ("config", "model_dtype"),
    "generation options": ("config", "gen_kwargs"),
    "limit": ("config", "limit"),
    "few-shot seed": ("config", "fewshot_seed"),
}


@dataclass(frozen=True)
class _Run:
    """One samples file with the results file of the same run."""

    file: Path
    task: str
    date: str

    @property
    def results(self) -> Path:
        return self.file.with_name(f"results_{self.date}.json")


def read_lm_eval(
    folder: Path, name: str, suite_of: Callable[[str], str], cluster: str | None = None
) -> list[Measurement]:
    """Every task's newest run under a folder, or the one of a samples file.

    name:     what to call the configuration: lm-eval gives a model and its adapter the same name
    suite_of: task → the suite that it counts in
    cluster:  a field of the documents; items that share its value are one independent draw

    Raises UsageError where a file is missing, damaged or of several models.
    """
    runs = _runs(folder)
    return [_measurement(run, name, suite_of(run.task), cluster) for run in runs.values()]


def _runs(folder: Path) -> dict[str, _Run]:
    files = [folder] if folder.is_file() else sorted(folder.rglob("samples_*.jsonl"))
    matched = [(file, match) for file in files if (match := SAMPLES.fullmatch(file.name))]
    found = [_Run(file, match["task"], match["date"]) for file, match in matched]
    if not found:
        raise UsageError(
            f"{folder} holds no samples_*.jsonl of lm-eval. They are written by "
            "`lm_eval … --output_path FOLDER --log_samples`"
        )
    places = sorted({str(run.file.parent) for run in found})
    if len(places) > 1:
        raise UsageError(f"{folder} holds results of several models, name one of them: {', '.join(places)}")
    newest: dict[str, _Run] = {}
    for run in sorted(found, key=lambda each: each.date):
        newest[run.task] = run
    return dict(sorted(newest.items()))


def _measurement(run: _Run, name: str, suite: str, cluster: str | None) -> Measurement:
    about = _results(run)
    samples = [*_samples(run.file)]
    directions = about.get("higher_is_better", {}).get(run.task, {})
    columns = _columns(run, samples, directions)
    config = about.get("configs", {}).get(run.task, {})
    output = config.get("output_type", "")
    written = _written(samples, _fallbacks(config)) if output == "generate_until" else {}
    return Measurement(
        configuration=name,
        suite=suite,
        task=run.task,
        kind=KINDS.get(output, "qa"),
        primary=next(iter(columns.metrics)),
        metrics=columns.metrics,
        conditions=_conditions(about, run.task),
        items=tuple(
            replace(item, responses=(written[document],)) if document in written else item
            for document, item in _items(run, samples, columns, cluster)
        ),
    )


def _fallbacks(config: Mapping[str, Any]) -> dict[str, str]:
    """For each filter that looks for an answer in a text: what it gives where it finds none."""
    steps = [
        (each.get("name"), step)
        for each in config.get("filter_list") or ()
        for step in each.get("filter", ())
    ]
    return {
        name: str(step.get("fallback", "[invalid]"))
        for name, step in steps
        if "regex" in str(step.get("function"))
    }


def _written(samples: Sequence[Mapping[str, Any]], fallbacks: Mapping[str, str]) -> dict[Any, dict[str, Any]]:
    """By document: the text, and by filter whether it found no answer. lm-eval does not say what was cut."""
    found: dict[Any, dict[str, Any]] = {}
    for sample in samples:
        texts, answers = sample.get("resps"), sample.get("filtered_resps")
        if not (isinstance(texts, list) and texts and isinstance(texts[0], list) and texts[0] and answers):
            continue
        response = found.setdefault(sample["doc_id"], {"text": str(texts[0][0]), "unread": {}})
        name = str(sample.get("filter"))
        if name in fallbacks:
            response["unread"][name] = answers[0] == fallbacks[name]
    return found


def _results(run: _Run) -> dict[str, Any]:
    try:
        about = json.loads(run.results.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"{run.results} is missing: it says which way each metric of {run.task} runs"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{run.results} cannot be read: {error}") from error
    if not isinstance(about, dict):
        raise UsageError(f"{run.results} is no table of lm-eval's results")
    return about


def _samples(file: Path) -> Iterator[dict[str, Any]]:
    with open(file, encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                sample = json.loads(line)
                if not {"doc_id", "metrics"} <= sample.keys():
                    raise ValueError("it has no doc_id or no metrics")
            except (ValueError, AttributeError) as error:
                raise UsageError(f"{file}:{number} is no sample of lm-eval's: {error}") from error
            yield sample


def _conditions(about: Mapping[str, Any], task: str) -> dict[str, str]:
    found = {"task version": about.get("versions", {}).get(task), "shots": about.get("n-shot", {}).get(task)}
    for name, place in CONDITIONS.items():
        value: Any = about
        for key in place:
            value = value.get(key) if isinstance(value, Mapping) else None
        found[name] = value
    return {name: "none" if value is None else str(value) for name, value in found.items()}


@dataclass(frozen=True)
class _Columns:
    """metrics: by name; of several filters "exact_match,strict-match". scores, weights: by document."""

    metrics: dict[str, Metric]
    scores: dict[Any, dict[str, float]]
    weights: dict[Any, dict[str, float]]


def _columns(run: _Run, samples: Sequence[Mapping[str, Any]], directions: Mapping[str, bool]) -> _Columns:
    several = len({sample.get("filter") for sample in samples}) > 1
    values: dict[str, tuple[str, list[tuple[Any, Any]]]] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            name = f"{metric},{sample['filter']}" if several else metric
            values.setdefault(name, (metric, []))[1].append((sample["doc_id"], sample.get(metric)))
    columns = _Columns({}, {}, {})
    for name, (metric, pairs) in values.items():
        _add(columns, lm_eval_metric(metric, name, directions.get(metric) is not False), pairs)
    if not columns.metrics:
        raise UsageError(
            f"{run.file} has no metric with a value for each item ({', '.join(values) or 'none'})"
        )
    return columns


def _add(columns: _Columns, metric: Metric, pairs: Sequence[tuple[Any, Any]]) -> None:
    """One metric, where its items have scores: those of a whole corpus (BLEU, F1 of labels) have not."""
    found = {item: score for item, value in pairs if (score := item_score(metric, value)) is not None}
    if not found:
        return
    # A Brier score that happens to stay below 1 is no rate.
    unknown = metric.unit == "score" and metric.title == metric.name
    if unknown and all(0 <= value <= 1 or math.isnan(value) for value, _ in found.values()):
        metric = metric.model_copy(update={"unit": "rate"})
    columns.metrics[metric.name] = metric
    for item, (value, weight) in found.items():
        columns.scores.setdefault(item, {})[metric.name] = value
        if weight is not None:
            columns.weights.setdefault(item, {})[metric.name] = weight


def _items(
    run: _Run, samples: Sequence[Mapping[str, Any]], columns: _Columns, cluster: str | None
) -> Iterator[tuple[Any, Item]]:
    """One for each document, named by its content; of several filters the first has what was asked."""
    first: dict[Any, Mapping[str, Any]] = {}
    for sample in samples:
        first.setdefault(sample["doc_id"], sample)
    names = told_apart(
        sample.get("doc_hash") or fingerprint({"doc": without_nan(sample.get("doc"))})
        for sample in first.values()
    )
    for name, (document, sample) in zip(names, first.items(), strict=True):
        prompt, choices = _asked(sample.get("arguments"))
        yield (
            document,
            Item(
                item=name,
                prompt_hash=sample.get("prompt_hash") or fingerprint({"prompt": prompt}),
                prompt=prompt,
                scores=columns.scores.get(document, {}),
                weights=columns.weights.get(document, {}),
                cluster=None if cluster is None else _cluster(run, sample, cluster),
                gold=str(sample.get("target")),
                predicted=_answer(sample, choices),
                chance=1 / len(choices) if len(choices) > 1 else 0.0,
            ),
        )


def _cluster(run: _Run, sample: Mapping[str, Any], field: str) -> str:
    document = sample.get("doc")
    if not isinstance(document, dict) or field not in document:
        known = ", ".join(document) if isinstance(document, dict) else "none"
        raise UsageError(f"{run.file}: documents have no field `{field}` (they have {known})")
    return str(document[field])


def _asked(arguments: Any) -> tuple[str, list[str]]:
    """The prompt, and of a choice between several continuations all of them."""
    asked = [[*each.values()] for each in arguments.values()] if isinstance(arguments, dict) else []
    if not asked or not asked[0]:
        return "", []
    continued = [str(each[1]) for each in asked if len(each) > 1 and isinstance(each[1], str)]
    return str(asked[0][0]), continued if len(continued) == len(asked) else []


def _answer(sample: Mapping[str, Any], choices: Sequence[str]) -> str | None:
    """The most likely choice or the text that was generated; None where the model only read."""
    answers = sample.get("filtered_resps") or []
    if len(choices) > 1 and len(answers) == len(choices):
        likely = [float(answer[0]) if isinstance(answer, list) else math.nan for answer in answers]
        return None if any(map(math.isnan, likely)) else choices[likely.index(max(likely))]
    return answers[0] if answers and isinstance(answers[0], str) else None
