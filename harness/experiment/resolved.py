"""The experiment as it will be run, every default in it: as a table, as TOML, and as a key."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from harness.experiment.methods import has_use
from harness.experiment.schema import LoadedExperiment


def resolved(loaded: LoadedExperiment) -> dict[str, Any]:
    """The experiment and its suites as plain JSON values, without the machine's absolute paths."""
    return {
        "experiment": loaded.experiment.model_dump(mode="json"),
        "suites": [suite.model_dump(mode="json") for suite in loaded.suites],
    }


KEY_LENGTH = 24


def experiment_key(loaded: LoadedExperiment) -> str:
    """A hash of what affects results, 24 hex digits: all but the gate's policy and where the files lie."""
    declared = resolved(loaded)
    del declared["experiment"]["gate"]
    for suite in declared["suites"]:
        del suite["path"]
        for task in suite["suite"]["task"].values():
            del task["gate"]
    text = json.dumps(declared, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def resolved_toml(loaded: LoadedExperiment) -> str:
    """The experiment's own file with every default that its methods use.

    A key without a value is a comment.
    """
    table = resolved(loaded)["experiment"]
    table["tuned"] = {
        name: {key: value for key, value in one.items() if has_use(key, one["method"])}
        for name, one in table["tuned"].items()
    }
    return "\n".join(_table_lines(table, ())) + "\n"


def _table_lines(table: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    """TOML wants a table's plain keys before its sub-tables."""
    lines: list[str] = []
    for key, value in table.items():
        if value is None:
            lines.append(f"# {_key(key)} is not set")
        elif not isinstance(value, dict) and not _is_table_list(value):
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{_dotted((*path, key))}]", *_table_lines(value, (*path, key))]
        elif _is_table_list(value):
            for element in value:
                lines += ["", f"[[{_dotted((*path, key))}]]", *_table_lines(element, (*path, key))]
    return lines


def _is_table_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_value(element) for element in value) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for the one control character that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(_key(part) for part in path)
