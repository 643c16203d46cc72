"""A run record and the store → everything that a report shows. Reads only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from harness.comparison.aggregates import measured_interval95, measured_value
from harness.comparison.facts import Comparison
from harness.experiment.schema import Gate
from harness.gate.verdict import GateResult
from harness.report.facts import (
    ConfigurationFacts,
    Cost,
    Generation,
    Proof,
    ReportFacts,
    TaskValue,
    Training,
)
from harness.store.artifacts import Store
from harness.store.measurements import Measurement, read_measurement
from harness.store.runs import RecordedConfiguration, RunRecord, made, read_step


def collect(
    record: RunRecord, store: Store, policy: Gate, result: GateResult, comparisons: Sequence[Comparison]
) -> ReportFacts:
    """The report's facts. Raises RunFailed where a stored file is damaged."""
    measured = {entry.name: _measurements(entry, store) for entry in record.configurations}
    adapters = {entry.name: read_step(store, "adapters", entry.adapter) for entry in record.configurations}
    return ReportFacts(
        name=record.name,
        verdict=result,
        policy=policy,
        comparisons=tuple(comparisons),
        configurations=tuple(
            _configuration(entry, measured[entry.name], adapters[entry.name])
            for entry in record.configurations
        ),
        proofs=tuple(_proofs(record, store)),
        trainings=tuple(
            _training(entry.name, adapter)
            for entry in record.configurations
            if (adapter := adapters[entry.name]) is not None
        ),
        generations=tuple(_generations(record, store)),
        costs=tuple(_costs(record, measured, adapters)),
        resolved=record.resolved,
        command=record.command,
        provenance=record.provenance,
        versions=record.versions,
    )


def _measurements(entry: RecordedConfiguration, store: Store) -> list[Measurement]:
    return [read_measurement(store, made("measurements", each.fingerprint)) for each in entry.measurements]


def _configuration(
    entry: RecordedConfiguration, measurements: Sequence[Measurement], adapter: dict[str, Any] | None
) -> ConfigurationFacts:
    values = []
    for recorded, measurement in zip(entry.measurements, measurements, strict=True):
        if any(item.missing for item in measurement.items):
            continue  # a value over the rest would be another quantity
        values += [
            TaskValue(
                suite=recorded.suite,
                task=recorded.task,
                metric=metric,
                value=measured_value(measurement, name),
                n=len(measurement.items),
                interval95=measured_interval95(measurement, name),
            )
            for name, metric in measurement.metrics.items()
        ]
    return ConfigurationFacts(
        name=entry.name,
        description=entry.description,
        dtype=entry.dtype,
        quantization=entry.quantization,
        adapter_digest=entry.adapter,
        trainable_parameters=adapter["trainable_parameters"] if adapter else None,
        values=tuple(values),
    )


def _proofs(record: RunRecord, store: Store) -> Iterator[Proof]:
    for entry in record.configurations:
        proof = read_step(store, "proofs", entry.proof)
        if proof is not None:
            yield Proof(
                tuned=entry.name,
                largest_b=proof["largest_b"],
                logit_difference=proof["logit_change"],
                noise_floor=proof["engine_noise"],
                off_equals_base=proof["off_equals_base"],
            )


def _training(name: str, adapter: dict[str, Any]) -> Training:
    return Training(
        name=name,
        seed=adapter["seed"],
        steps=adapter["steps"],
        train_loss=_curve(adapter["train_loss"]),
        validation_loss=_curve(adapter["validation_loss"]),
        tokens_per_second=adapter["tokens_per_second"],
        seconds=adapter["seconds"],
        peak_memory_bytes=adapter["peak_memory_bytes"],
        trainable_parameters=adapter["trainable_parameters"],
        adapter_bytes=adapter["adapter_bytes"],
    )


def _curve(points: Sequence[tuple[int, float | str]]) -> tuple[tuple[int, float], ...]:
    """Points that can be drawn: a loss may be "nan"."""
    return tuple((step, float(loss)) for step, loss in points if math.isfinite(float(loss)))


def _generations(record: RunRecord, store: Store) -> Iterator[Generation]:
    texts: dict[str, dict[str, str]] = {}
    for entry in record.configurations:
        written = read_step(store, "generations", entry.generation)
        for text in written["texts"] if written else ():
            texts.setdefault(text["prompt"], {})[entry.name] = text["text"]
    for prompt, answers in texts.items():
        yield Generation(prompt=prompt, texts=answers)


def _costs(
    record: RunRecord,
    measured: dict[str, list[Measurement]],
    adapters: dict[str, dict[str, Any] | None],
) -> Iterator[Cost]:
    for entry in record.configurations:
        adapter = adapters[entry.name]
        if adapter is not None:
            yield Cost(
                step=f"train {entry.name}",
                seconds=adapter["seconds"],
                tokens=adapter["tokens"],
                peak_memory_bytes=adapter["peak_memory_bytes"],
            )
        seconds = sum(measurement.cost.get("seconds", 0.0) for measurement in measured[entry.name])
        yield Cost(step=f"measure {entry.name}", seconds=seconds)
