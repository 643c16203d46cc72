"""Two runs of lm-eval as a pair: compared as an experiment's, and judged where it is said what must gain."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.comparison.compare import compare
from harness.comparison.facts import Comparison, Pair, Role
from harness.errors import UsageError
from harness.experiment.schema import Gate
from harness.report.inert import visible
from harness.store.lm_eval_files import read_lm_eval
from harness.store.measurements import Measurement


@dataclass(frozen=True)
class Asked:
    """domain: names or globs of the tasks that must gain."""

    domain: tuple[str, ...]
    primary: str | None
    cluster: str | None
    other_prompts: bool

    def suite_of(self, task: str) -> str:
        return "domain" if any(fnmatchcase(task, each) for each in self.domain) else "general"


def compared(base: Path, tuned: Path, asked: Asked) -> Comparison:
    """Tasks of `asked.domain` are the suite "domain", all others "general". Raises UsageError."""
    names = _names(base, tuned)
    before, after = (
        _with_primary(read_lm_eval(folder, name, asked.suite_of, asked.cluster), asked.primary)
        for folder, name in zip((base, tuned), names, strict=True)
    )
    unknown = [each for each in asked.domain if not any(fnmatchcase(m.task, each) for m in before)]
    if unknown:
        known = ", ".join(measurement.task for measurement in before)
        raise UsageError(f"--domain {unknown[0]} fits no task of {base}; there are {known}")
    return compare(
        before,
        after,
        Pair(
            base=names[0],
            tuned=names[1],
            differs_in="model" if asked.other_prompts else "weights",
            roles=_roles(before),
        ),
    )


def _roles(measurements: Sequence[Measurement]) -> dict[str, Role]:
    roles: dict[str, Role] = {"domain": "domain", "general": "general"}
    measured = {measurement.suite for measurement in measurements}
    return {suite: role for suite, role in roles.items() if suite in measured}


def _names(base: Path, tuned: Path) -> tuple[str, str]:
    if base.resolve() == tuned.resolve():
        raise UsageError(f"{base} and {tuned} are the same results")
    pair = (base.name, tuned.name) if base.name != tuned.name else (str(base), str(tuned))
    return visible(pair[0]), visible(pair[1])


def _with_primary(measurements: Sequence[Measurement], metric: str | None) -> list[Measurement]:
    if metric is None:
        return list(measurements)
    if not any(metric in measurement.metrics for measurement in measurements):
        known = ", ".join(sorted({name for measurement in measurements for name in measurement.metrics}))
        raise UsageError(f"--primary {metric} is measured for no task; there are {known}")
    return [
        replace(each, primary=metric if metric in each.metrics else each.primary) for each in measurements
    ]


def policy_of(settings: Sequence[str]) -> Gate:
    """The gate's defaults but for these settings. Raises UsageError."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, written = setting.partition("=")
        key, *below = _keys(name)
        if key not in Gate.model_fields or key == "tuned" or (below and key != "task"):
            known = ", ".join(f"gate.{each}" for each in Gate.model_fields if each != "tuned")
            raise UsageError(f"--set {setting}: of two folders of results only the gate can be set: {known}")
        try:
            value = tomllib.loads(f"value = {written}")["value"]
        except tomllib.TOMLDecodeError:
            value = written.strip()
        _put(values, [key, *below], value)
    try:
        return Gate.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--set gate.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _keys(name: str) -> list[str]:
    """The parts of `gate.key` or `gate.task."suite/task".key` after the first; [""] where it is neither."""
    try:
        table = tomllib.loads(f"{name} = 0")
    except tomllib.TOMLDecodeError:
        return [""]
    parts = []
    while isinstance(table, dict) and table:
        (part, table), *_ = table.items()
        parts.append(part)
    return parts[1:] if parts[0] == "gate" and len(parts) > 1 else [""]


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set the value in a table of tables, beside what is there."""
    *tables, last = path
    for part in tables:
        held = values.get(part)
        values[part] = held if isinstance(held, dict) else {}
        values = values[part]
    values[last] = value
