"""What a run record says of where everything came from."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib import metadata

from harness.experiment.resolved import resolved_toml
from harness.experiment.schema import LoadedExperiment
from harness.plan import Configuration, Plan
from harness.store.runs import (
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


def run_record(loaded: LoadedExperiment, plan: Plan, comparisons: Mapping[str, str]) -> RunRecord:
    """The record of a finished run. `comparisons`: tuned configuration → its comparison's fingerprint."""
    return RunRecord(
        name=loaded.experiment.name,
        command=f"harness run {_shown(loaded)}",
        resolved=resolved_toml(loaded),
        configurations=tuple(_configuration(entry, loaded) for entry in plan.configurations),
        pairs=tuple(
            RecordedPair(
                base=pair.base,
                tuned=pair.tuned,
                differs_in=pair.differs_in,
                comparison=comparisons[pair.tuned],
            )
            for pair in plan.pairs
        ),
        provenance=tuple(_provenance(loaded, plan)),
        versions=tuple(_versions()),
    )


def _shown(loaded: LoadedExperiment) -> str:
    path, root = loaded.path.absolute(), loaded.root.absolute()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _configuration(entry: Configuration, loaded: LoadedExperiment) -> RecordedConfiguration:
    return RecordedConfiguration(
        name=entry.name,
        description=entry.description,
        dtype=loaded.experiment.base.dtype,
        quantization=None if entry.quantization is None else entry.quantization.type.upper(),
        base=entry.base,
        seed=entry.seed,
        adapter=entry.adapter.fingerprint if entry.adapter else None,
        proof=entry.proof.fingerprint if entry.proof else None,
        generation=entry.generation.fingerprint if entry.generation else None,
        measurements=tuple(
            RecordedMeasurement(suite=suite, task=task, fingerprint=step.fingerprint)
            for (suite, task), step in entry.measurements.items()
        ),
    )


def _provenance(loaded: LoadedExperiment, plan: Plan) -> Iterator[tuple[str, str]]:
    identity = ", ".join(f"{name} {value}" for name, value in plan.source.identity.items())
    yield "model", f"{loaded.experiment.base.model} ({identity})"
    if plan.source.terms:
        yield "model terms", plan.source.terms
    if loaded.experiment.data:
        yield "training data", loaded.experiment.data.train.source
    for entry in loaded.suites:
        yield f"suite {entry.suite.name}", f"{entry.path}, version {entry.suite.version}"
        if entry.suite.source:
            yield f"source of {entry.suite.name}", entry.suite.source
        if entry.suite.licence:
            yield f"licence of {entry.suite.name}", entry.suite.licence
    yield "experiment key", plan.key


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    yield "machine", f"{platform.system()} {platform.machine()}"
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
