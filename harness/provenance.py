"""What a run record says of where everything came from."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from harness.configurations import Configuration
from harness.data.fingerprint import source_fingerprint
from harness.experiment.model_source import ModelSource
from harness.experiment.overrides import command_line
from harness.experiment.resolved import resolved_toml
from harness.experiment.schema import LoadedExperiment, TrainData
from harness.plan import Plan
from harness.store.runs import (
    RecordedChange,
    RecordedConfiguration,
    RecordedMeasurement,
    RecordedPair,
    RunRecord,
)

PACKAGES = (
    "finetune-harness",
    "torch",
    "transformers",
    "peft",
    "trl",
    "bitsandbytes",
    "datasets",
    "lm-eval",
    "scikit-learn",
    "torchmetrics",
    "scipy",
)


@dataclass(frozen=True)
class Compared:
    """Fingerprints of a pair's comparisons: on test items, and on validation items where they choose."""

    test: str
    validation: str | None


def run_record(loaded: LoadedExperiment, plan: Plan, compared: Mapping[str, Compared]) -> RunRecord:
    """The record of a finished run. `compared`: tuned configuration → its comparisons."""
    return RunRecord(
        name=loaded.experiment.name,
        command=command_line("run", _shown(loaded), loaded.overrides),
        resolved=resolved_toml(loaded),
        data={source: source_fingerprint(source, loaded.root) for source in sources(loaded)},
        configurations=tuple(_configuration(entry, loaded) for entry in plan.configurations),
        pairs=tuple(
            RecordedPair(
                base=pair.base,
                tuned=pair.tuned,
                runs=pair.runs,
                differs_in=pair.differs_in,
                comparison=compared[pair.tuned].test,
                validation=compared[pair.tuned].validation,
            )
            for pair in plan.pairs
        ),
        provenance=tuple(_provenance(loaded, plan)),
        versions=tuple(_versions()),
    )


def _shown(loaded: LoadedExperiment) -> Path:
    path, root = loaded.path.absolute(), loaded.root.absolute()
    return path.relative_to(root) if path.is_relative_to(root) else path


def _configuration(entry: Configuration, loaded: LoadedExperiment) -> RecordedConfiguration:
    return RecordedConfiguration(
        name=entry.name,
        description=entry.description,
        dtype=loaded.experiment.base.dtype,
        quantization=None if entry.quantization is None else entry.quantization.type.upper(),
        base=entry.base,
        family=entry.family,
        method=entry.recipe.method if entry.recipe else None,
        seed=entry.seed,
        strength=entry.strength,
        change=_change(entry),
        proof=entry.proof.fingerprint if entry.proof else None,
        generation=entry.generation.fingerprint if entry.generation else None,
        measurements=tuple(
            RecordedMeasurement(suite=suite, task=task, fingerprint=step.fingerprint)
            for (suite, task), step in entry.measurements.items()
        ),
    )


def _change(entry: Configuration) -> RecordedChange | None:
    if entry.change is None:
        return None
    return RecordedChange.model_validate({"kind": entry.change.kind, "fingerprint": entry.change.fingerprint})


def _provenance(loaded: LoadedExperiment, plan: Plan) -> Iterator[tuple[str, str]]:
    source = plan.configuration("base").source
    yield "model", f"{loaded.experiment.base.model} ({_identity(source)})"
    if source.terms:
        yield "model terms", source.terms
    for name, recipe in loaded.experiment.tuned.items():
        if recipe.adapter or recipe.model:
            tuned = next(entry for entry in plan.configurations if entry.family == name)
            given = _identity(tuned.source) if recipe.model else recipe.revision or "as it was imported"
            yield f"{recipe.method} of {name}", f"{recipe.adapter or recipe.model} ({given})"
        if recipe.replay:
            yield f"replayed by {name}", recipe.replay.source
    if loaded.experiment.data:
        yield "training data", loaded.experiment.data.train.source
    for entry in loaded.suites:
        yield f"suite {entry.suite.name}", f"{entry.path}, version {entry.suite.version}"
        if entry.suite.source:
            yield f"source of {entry.suite.name}", entry.suite.source
        if entry.suite.licence:
            yield f"licence of {entry.suite.name}", entry.suite.licence
    yield "experiment key", plan.key


def sources(loaded: LoadedExperiment) -> tuple[str, ...]:
    """Every source of rows that the experiment names, each once."""
    data = loaded.experiment.data
    declared: list[TrainData | None] = [data.train, data.validation] if data else []
    declared += [recipe.replay for recipe in loaded.experiment.tuned.values()]
    found = [entry.source for entry in declared if entry is not None]
    for suite in loaded.suites:
        for task in suite.suite.task.values():
            if task.data is not None:
                found += [source for source in (task.data.test, task.data.validation) if source]
    return tuple(dict.fromkeys(found))


def _identity(source: ModelSource) -> str:
    return ", ".join(f"{name} {value}" for name, value in source.identity.items())


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    yield "machine", f"{platform.system()} {platform.machine()}"
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
