"""The experiment as it will be run, every default in it: as a table, as TOML, and as a key."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from harness.experiment.document import KeyPath
from harness.experiment.methods import has_use
from harness.experiment.schema import LoadedExperiment


def resolved(loaded: LoadedExperiment) -> dict[str, Any]:
    """The experiment and its suites as plain JSON values, without the machine's absolute paths."""
    return {
        "experiment": loaded.experiment.model_dump(mode="json"),
        "suites": [suite.model_dump(mode="json") for suite in loaded.suites],
    }


KEY_LENGTH = 24
Comment = Callable[[KeyPath], str]
_LINED_UP = 60  # signs of a line, up to which the comments of a table stand below each other


def experiment_key(loaded: LoadedExperiment) -> str:
    """A hash of what affects results, 24 hex digits: all but the gate's policy and where the files lie.

    A suite's `gate = false` counts: it stands in the stored comparison.
    """
    declared = resolved(loaded)
    del declared["experiment"]["gate"]
    for suite in declared["suites"]:
        del suite["path"]
    text = json.dumps(declared, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def resolved_toml(loaded: LoadedExperiment, comment: Comment | None = None) -> str:
    """The experiment's own file with every default that its methods use.

    A key without a value is a comment. `comment` says what stands behind the value at a path.
    """
    table = resolved(loaded)["experiment"]
    table["tuned"] = {
        name: {key: value for key, value in one.items() if has_use(key, one["method"])}
        for name, one in table["tuned"].items()
    }
    return "\n".join(_table_lines(table, (), comment)) + "\n"


def _table_lines(table: dict[str, Any], path: KeyPath, comment: Comment | None) -> list[str]:
    """TOML wants a table's plain keys before its sub-tables."""
    plain: dict[str, str] = {}
    for key, value in table.items():
        if value is None:
            plain[key] = f"# {_key(key)} is not set"
        elif not isinstance(value, dict) and not _is_table_list(value):
            plain[key] = f"{_key(key)} = {_value(value)}"
    width = max((len(line) for line in plain.values() if len(line) <= _LINED_UP), default=0)
    lines = [
        line if comment is None or table[key] is None else f"{line:<{width}}  # {comment((*path, key))}"
        for key, line in plain.items()
    ]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{_dotted((*path, key))}]", *_table_lines(value, (*path, key), comment)]
        elif _is_table_list(value):
            for index, element in enumerate(value):
                below = _table_lines(element, (*path, key, index), comment)
                lines += ["", f"[[{_dotted((*path, key))}]]", *below]
    return lines


def _is_table_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_value(element) for element in value) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's. What a terminal would act on or hide is escaped too.
        text = json.dumps(value, ensure_ascii=False)
        return text if text.isprintable() else "".join(map(_escaped, text))
    return json.dumps(value)


def _escaped(sign: str) -> str:
    if sign.isprintable():
        return sign
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _dotted(path: KeyPath) -> str:
    return ".".join(_key(part) for part in path if isinstance(part, str))
