"""The run record: which step of the store holds each result of an experiment.

Keyed by the resolved experiment, so comparing, gating and reporting need neither weights nor data.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import RunFailed
from harness.store.artifacts import Step, Store


class _Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RecordedMeasurement(_Recorded):
    suite: str
    task: str
    fingerprint: str


class RecordedChange(_Recorded):
    """The step that keeps an adapter ("adapters") or trained weights ("weights")."""

    kind: Literal["adapters", "weights"]
    fingerprint: str


class RecordedConfiguration(_Recorded):
    """One measured configuration; `base` is what it is compared with, None for the base itself.

    family is its [tuned.<family>]; method, seed and strength say which of that family it is.
    """

    name: str
    description: str
    dtype: str
    quantization: str | None
    base: str | None
    family: str | None
    method: str | None
    seed: int | None
    strength: float
    change: RecordedChange | None
    proof: str | None
    generation: str | None
    measurements: tuple[RecordedMeasurement, ...]


class RecordedPair(_Recorded):
    """`comparison` is on test items; `validation`, on validation items, only where a strength is chosen.

    runs: the configurations whose recipe `tuned` names; empty where it names a configuration.
    """

    base: str
    tuned: str
    runs: tuple[str, ...]
    differs_in: Literal["adapter", "weights", "model", "prompt", "quantization"]
    comparison: str
    validation: str | None


class RunRecord(_Recorded):
    """`provenance` is (label, value) rows for people, `resolved` the experiment with every default.

    data: every source of rows → its parts and their digests when it was measured.
    """

    schema_name: Literal["harness.run/3"] = "harness.run/3"
    name: str
    command: str
    resolved: str
    data: dict[str, dict[str, str]]
    configurations: tuple[RecordedConfiguration, ...]
    pairs: tuple[RecordedPair, ...]
    provenance: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]


def read_run(store: Store, key: str) -> RunRecord | None:
    """The record of the last run of an experiment; None where it was never run to its end."""
    record = store.read_run(key)
    if record is None:
        return None
    try:
        return RunRecord.model_validate(record)
    except ValidationError as error:
        path = store.root / "runs" / f"{key}.json"
        raise RunFailed(f"{path} is of another version or damaged; delete it and run again") from error


def write_run(store: Store, key: str, record: RunRecord) -> None:
    store.write_run(key, record.model_dump(mode="json"))


def made(kind: str, fingerprint: str) -> Step:
    """The step that a record names."""
    return Step(kind, fingerprint, fingerprint)


def read_step(store: Store, kind: str, fingerprint: str | None) -> dict[str, Any] | None:
    """A finished step's record; None where the configuration has no such step."""
    return None if fingerprint is None else store.read(made(kind, fingerprint))
