"""`${env:NAME}` in a text is the environment variable's value. Not for secrets: the value is stored.

`${env:NAME:-other}` is `other` where the variable is not set, as in a shell.

`$${env:NAME}` is the text `${env:NAME}` itself.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import replace

from harness.errors import Problem
from harness.experiment.written import Written

_REFERENCE = re.compile(r"(?P<escaped>\$?)\$\{env:(?P<name>[^}]*)(?P<end>\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def interpolated(tree: Written) -> tuple[Written, list[Problem]]:
    """The tree with every reference replaced, and a problem for each variable that is not set."""
    if isinstance(tree.value, str):
        return _interpolated_text(tree) if "${env:" in tree.value else (tree, [])
    if isinstance(tree.value, dict):
        found = {key: interpolated(child) for key, child in tree.value.items()}
        problems = [problem for _, more in found.values() for problem in more]
        return Written({key: child for key, (child, _) in found.items()}, tree.origin), problems
    if isinstance(tree.value, list):
        elements = [interpolated(child) for child in tree.value]
        problems = [problem for _, more in elements for problem in more]
        return Written([child for child, _ in elements], tree.origin), problems
    return tree, []


def _interpolated_text(text: Written) -> tuple[Written, list[Problem]]:
    problems: list[Problem] = []
    used: list[str] = []

    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return found[0][1:]
        name, has_default, default = found["name"].partition(":-")
        if not found["end"] or not _NAME.fullmatch(name):
            message = f"`{found[0]}` names no environment variable"
            problems.append(text.origin.problem(message, "write ${env:NAME}, or $${env: for the text itself"))
        elif name not in os.environ and not has_default:
            near = difflib.get_close_matches(name, os.environ, n=1)
            help = f"did you mean `{near[0]}`?" if near else f"set it: export {name}=…"
            problems.append(text.origin.problem(f"the environment variable `{name}` is not set", help))
        used.append(name)
        return os.environ.get(name, default)

    replaced = _REFERENCE.sub(value, text.value)
    return Written(replaced, replace(text.origin, variables=tuple(used))), problems
