"""The store: content-addressed steps, written atomically, completion recorded last.

    .harness/<kind>/<fingerprint>/step.json      a finished step: its record, beside its files
    .harness/<kind>/<fingerprint>.partial/       a step under way; a killed run goes on here
    .harness/runs/<experiment key>.json          which step holds each result of an experiment

A folder without `.partial` is complete: it gets its final name by one rename, after everything in
it is on the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import RunFailed

STEP_FILE = "step.json"


@dataclass(frozen=True)
class Step:
    """Something that is made once and kept: named by the hash of what it is made from.

    kind: models, adapters, weights, proofs, measurements, generations or comparisons (a folder of the store)
    name: for people ("lora", "lora on medical/chapter")
    inputs: what it is made from, as JSON values; empty where a record names a step that was made
    """

    kind: str
    name: str
    fingerprint: str
    inputs: Mapping[str, Any] = field(default_factory=dict, compare=False)


def step(kind: str, name: str, inputs: Mapping[str, Any]) -> Step:
    """The step that is made from `inputs`."""
    return Step(kind, name, fingerprint(inputs), inputs)


@dataclass(frozen=True)
class Store:
    """A folder of finished and unfinished steps."""

    root: Path

    def folder(self, step: Step) -> Path:
        return self.root / step.kind / step.fingerprint

    def has(self, step: Step) -> bool:
        return (self.folder(step) / STEP_FILE).is_file()

    def read(self, step: Step) -> dict[str, Any]:
        """The record of a finished step. Raises RunFailed where the file is damaged."""
        return _read_json(self.folder(step) / STEP_FILE)

    def begin(self, step: Step) -> Path:
        """The folder in which a step is made: empty, or what a killed run left."""
        partial = self.root / step.kind / f"{step.fingerprint}.partial"
        partial.mkdir(parents=True, exist_ok=True)
        return partial

    def finish(self, step: Step, record: Mapping[str, Any]) -> Path:
        """Record completion: the step's record and inputs, then the rename that makes it visible."""
        partial = self.begin(step)
        facts = without_nan({**record, "step": step.name, "made_from": dict(step.inputs)})
        write_json(partial / STEP_FILE, facts)
        final = self.folder(step)
        if final.exists():  # somebody deleted its record: what is left is not a finished step
            shutil.rmtree(final)
        os.replace(partial, final)
        _sync_folder(final.parent)
        return final

    def read_run(self, key: str) -> dict[str, Any] | None:
        path = self.root / "runs" / f"{key}.json"
        return _read_json(path) if path.is_file() else None

    def write_run(self, key: str, record: Mapping[str, Any]) -> None:
        write_json(self.root / "runs" / f"{key}.json", record)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store for one run. Raises RunFailed when another run holds it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / "lock", "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunFailed(
                    f"another run is writing to {self.root}; wait for it, or give this one its own --store"
                ) from None
            yield


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON, 24 hex digits: the name of what was made from these inputs."""
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become "nan" and "inf", which float() reads back."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return value


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: temporary file, flush to disk, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)  # mkstemp makes it private; a store may be shared
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise RunFailed(
            f"{path} is damaged ({error}). Delete {path.parent} and run again: only that step is made anew"
        ) from error
    if not isinstance(value, dict):
        raise RunFailed(f"{path} is damaged (not a table). Delete it and run again")
    return value
