"""A run record and the store → everything that a report shows. Reads only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.comparison.aggregates import measured_interval95, measured_value
from harness.experiment.schema import Gate
from harness.gate.stored import stored_comparisons, strength_curves
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
from harness.statistics.curves import reading
from harness.store.artifacts import Store
from harness.store.measurements import Measurement, read_measurement
from harness.store.runs import RecordedConfiguration, RunRecord, made, read_step

# Name of a configuration → the record of the step that keeps its adapter or weights.
Changes = Mapping[str, dict[str, Any]]


def collect(record: RunRecord, store: Store, policy: Gate, result: GateResult) -> ReportFacts:
    """The report's facts. Raises RunFailed where a stored file is damaged."""
    measured = {entry.name: _measurements(entry, store) for entry in record.configurations}
    changes = {
        entry.name: store.read(made(entry.change.kind, entry.change.fingerprint))
        for entry in record.configurations
        if entry.change is not None
    }
    return ReportFacts(
        name=record.name,
        verdict=result,
        policy=policy,
        comparisons=stored_comparisons(record, store, policy),
        configurations=tuple(
            _configuration(entry, measured[entry.name], changes.get(entry.name))
            for entry in record.configurations
        ),
        proofs=tuple(_proofs(record, store)),
        trainings=tuple(_trainings(record, changes)),
        strengths=strength_curves(record, store, policy),
        generations=tuple(_generations(record, store)),
        costs=tuple(_costs(record, measured, changes)),
        resolved=record.resolved,
        command=record.command,
        provenance=record.provenance,
        versions=record.versions,
    )


def _measurements(entry: RecordedConfiguration, store: Store) -> list[Measurement]:
    return [read_measurement(store, made("measurements", each.fingerprint)) for each in entry.measurements]


def _configuration(
    entry: RecordedConfiguration, measurements: Sequence[Measurement], change: dict[str, Any] | None
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
        family=entry.family,
        method=entry.method,
        seed=entry.seed,
        strength=entry.strength,
        quantization=entry.quantization,
        adapter_digest=change["weights_sha256"] if change else None,
        trainable_parameters=change["trainable_parameters"] if change else None,
        parameters=change.get("total_parameters") if change else None,
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
                zero_equals_base=proof["zero_equals_base"],
            )


def _trained(record: RunRecord, changes: Changes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every training once, whatever the number of its strengths, under its name without them."""
    seen = set()
    for entry in record.configurations:
        change = entry.change
        if change is not None and change.fingerprint not in seen and "steps" in changes[entry.name]:
            seen.add(change.fingerprint)
            yield entry.name.partition("@")[0], changes[entry.name]


def _trainings(record: RunRecord, changes: Changes) -> Iterator[Training]:
    for name, change in _trained(record, changes):
        micro, batch = change["micro_batch_size"], change["made_from"]["recipe"]["batch_size"]
        yield Training(
            name=name,
            seed=change["seed"],
            steps=change["steps"],
            method=change["method"],
            reading=reading(_curve(change["train_loss"]), _curve(change["validation_loss"])),
            batch=f"{batch} rows a step" + ("" if micro == batch else f", {micro} at a time"),
            packed=change["packed"],
            gradient_norm=_curve(change["gradient_norm"]),
            train_loss=_curve(change["train_loss"]),
            validation_loss=_curve(change["validation_loss"]),
            tokens_per_second=change["tokens_per_second"],
            seconds=change["seconds"],
            peak_memory_bytes=change["peak_memory_bytes"],
            trainable_parameters=change["trainable_parameters"],
            adapter_bytes=change["adapter_bytes"],
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
    measured: Mapping[str, Sequence[Measurement]],
    changes: Changes,
) -> Iterator[Cost]:
    for name, change in _trained(record, changes):
        yield Cost(
            step=f"train {name}",
            seconds=change["seconds"],
            tokens=change["tokens"],
            peak_memory_bytes=change["peak_memory_bytes"],
        )
    for entry in record.configurations:
        seconds = sum(measurement.cost.get("seconds", 0.0) for measurement in measured[entry.name])
        yield Cost(step=f"measure {entry.name}", seconds=seconds)
