"""The command line: the only place where an error becomes an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module

import click

from harness.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_PASS,
    EXIT_RUN_FAILED,
    EXIT_USAGE,
    ConfigurationError,
    HarnessError,
)
from harness.report.inert import visible

COMMANDS = {
    "run": "train and measure what is missing, then compare, judge and report",
    "data": "print training rows as tokens see them, what is masked, and the counts",
    "plan": "print the steps of an experiment and which are in the store",
    "gate": "judge stored results; the exit code is for CI",
    "compare": "print the stored paired differences, or those of two folders of lm-eval's own results",
    "report": "write the HTML and Markdown report from stored results",
    "show": "print the resolved experiment with the origin of each value",
    "init": "begin a project: an experiment, a suite and rows to try it on",
}


class Commands(click.Group):
    """Loads a command's file when it is called: `--help` stays fast."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = import_module(f"harness.cli.{name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="finetune-harness")
def harness() -> None:
    """Did my fine-tune help my domain, what did it cost, and may CI block on the answer?

    Exit codes of `harness gate`: 0 pass, 1 quality regressed, 4 no verdict (inconclusive, not
    comparable, nothing measured), 2 usage or configuration, 3 training or measuring failed, 70 a bug.
    Only 1 says that the fine-tune did damage.
    """


def entry(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; never raises, and a bug is never a 1."""
    try:
        result = harness.main(args=arguments, prog_name="harness", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else EXIT_PASS
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        print("interrupted; what was finished is kept, run again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click and rich make a SystemExit(1) of a broken pipe
        return _reader_left()
    except ConfigurationError as error:
        _show_problems(error)
        return error.exit_code
    except HarnessError as error:
        print(visible(f"error: {error}"), file=sys.stderr)  # an error may quote a row of the data
        return error.exit_code
    except OSError as error:
        # A full disk, a folder without permission: the machine's, not a bug of ours.
        print(visible(f"error: {error}\nWhat was finished is kept; run again to go on."), file=sys.stderr)
        return EXIT_RUN_FAILED
    except BaseException:
        traceback.print_exc()
        print("error: this is a bug in the harness, not a verdict; please report it", file=sys.stderr)
        return EXIT_BUG


def _reader_left() -> int:
    """The reader (head, a pager) went away: point stdout elsewhere, or the exit handler raises again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_RUN_FAILED


def _show_problems(error: ConfigurationError) -> None:
    from harness.experiment.problems import format_problem

    print(visible("\n\n".join(map(format_problem, error.problems))), file=sys.stderr)
    count = len(error.problems)
    if count > 1:
        print(f"\n{count} problems; nothing was run", file=sys.stderr)
