"""The exception tree and its exit codes. Only `cli/` turns an error into an exit code.

HarnessError            70  (a bug, when nothing more precise is known)
├── UsageError           2  the person's input is wrong
│   ├── ConfigurationError   an experiment, suite or data file: every problem at once, with its place
│   └── MissingExtra         a command that needs `[models]` ran without it
├── RunFailed            3  training or measuring failed
└── NothingMeasured      4  the store has no result to judge
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EXIT_PASS = 0
EXIT_FAIL = 1
EXIT_USAGE = 2
EXIT_RUN_FAILED = 3
EXIT_NO_VERDICT = 4
EXIT_BUG = 70
EXIT_INTERRUPTED = 130


class HarnessError(Exception):
    """Root of every error the harness raises on purpose."""

    exit_code = EXIT_BUG


class UsageError(HarnessError):
    """The command or one of its files is wrong; the message says what to do."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file.

    `line` and `column` count from 1; both are None where the file as a whole is meant.
    `source_line` is the text of that line, `help` says what to do. A source line without a file is
    the text of a `--set` option.
    """

    message: str
    file: Path | None = None
    line: int | None = None
    column: int | None = None
    source_line: str | None = None
    help: str | None = None


class ConfigurationError(UsageError):
    """One or more problems in an experiment, suite or data file."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.message for problem in problems))


class MissingExtra(UsageError):
    """A step needs libraries of an extra that is not installed."""

    def __init__(self, extra: str, missing: str) -> None:
        super().__init__(
            f"this step needs `{missing}`, which is not installed. "
            f"Install it with: pip install '.[{extra}]' -c constraints.txt"
        )


class RunFailed(HarnessError):
    """Training or measuring failed for a reason outside the configuration."""

    exit_code = EXIT_RUN_FAILED


class NothingMeasured(HarnessError):
    """The store holds no result for this experiment yet."""

    exit_code = EXIT_NO_VERDICT
