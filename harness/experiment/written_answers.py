"""How a written answer is read: which of the options a text begins with."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TRAILING = ".,;:!?…"
# What goes on with the word or the number that stands before it: "none" is not "no", "1.5" is not "1".
_GOES_ON = re.compile(r"\w|[-'’]\w|[.,]\d")


def read_answer(text: str, options: Sequence[str]) -> str | None:
    """The option that the text's first line begins with, as whole words; None where there is none.

    Case, blanks and trailing punctuation do not count; of two options that fit the longer one is meant.

    >>> read_answer("Neoplasm, because it grows.", ["blood", "neoplasm"])
    'neoplasm'
    """
    line = _bare(text)
    for option in sorted(options, key=lambda each: -len(_bare(each))):
        begin = _bare(option)
        if begin and line.startswith(begin) and not _GOES_ON.match(line, len(begin)):
            return option
    return None


def unreadable(options: Sequence[str]) -> tuple[str, str | None] | None:
    """The first option that is not read as itself, and what it is read as; None where all are."""
    read = ((option, read_answer(option, options)) for option in options)
    return next(((option, other) for option, other in read if other != option), None)


def _bare(text: str) -> str:
    """The first line that is not blank, without what does not count."""
    lines = text.strip().splitlines()
    return " ".join(lines[0].casefold().split()).rstrip(_TRAILING + " ") if lines else ""
