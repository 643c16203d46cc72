"""Training text becomes tokens and labels, here and nowhere else.

Plain rows come out as TRL 1.16 prepares them, token by token: the end-of-sequence token after the
completion, the beginning as the tokenizer adds it, the mask from the token where prompt and
prompt with completion part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trl.data_utils import common_prefix_length

from harness.data.shapes import IGNORED as IGNORED
from harness.data.training_rows import Mixture, TrainingRow, TrainingRows
from harness.errors import UsageError


@dataclass(frozen=True)
class TokenRow:
    """One training sequence. Equal lengths; a label of IGNORED has no loss."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Counts:
    """What rendering came to.

    rows:           kept
    tokens:         of the kept rows, after truncation
    trained_tokens: those with a loss; the first token of a row never has one
    truncated:      rows cut at max_length
    dropped:        rows left out, because no token with a loss was left
    duplicates:     rows that repeat another one exactly; kept
    merged:         rows whose prompt ends otherwise once the completion follows
    """

    rows: int
    tokens: int
    trained_tokens: int
    truncated: int
    dropped: int
    duplicates: int
    merged: int


@dataclass(frozen=True)
class Rendered:
    """Rows to train on; `notes` are what the person should know about them."""

    rows: tuple[TokenRow, ...]
    counts: Counts
    notes: tuple[str, ...] = ()


def render(rows: TrainingRows | Mixture, tokenizer: Any, max_length: int) -> Rendered:
    """Tokens and labels of every row, cut at `max_length` tokens.

    Raises UsageError where no token of any row has a loss, with one row shown.
    """
    drafts = [_draft(row, tokenizer) for row in rows]
    cut = [TokenRow(ids[:max_length], labels[:max_length]) for ids, labels, _ in drafts]
    kept = tuple(row for row in cut if _trained(row))
    if drafts and not kept:
        raise UsageError("no token of any row has a loss")
    counts = Counts(
        rows=len(kept),
        tokens=sum(len(row.input_ids) for row in kept),
        trained_tokens=sum(map(_trained, kept)),
        truncated=sum(len(ids) > max_length for ids, _, _ in drafts),
        dropped=len(drafts) - len(kept),
        duplicates=rows.duplicates,
        merged=sum(merged for _, _, merged in drafts),
    )
    return Rendered(kept, counts)


def _trained(row: TokenRow) -> int:
    return sum(label != IGNORED for label in row.labels[1:])


Draft = tuple[tuple[int, ...], tuple[int, ...], bool]


def _draft(row: TrainingRow, tokenizer: Any) -> Draft:
    values = row.values
    if "input_ids" in values:
        return tuple(values["input_ids"]), tuple(values["labels"]), False
    if "text" in values:
        ids = tuple(tokenizer(_ended(values["text"], tokenizer))["input_ids"])
        return ids, ids, False
    prompt = tokenizer(values["prompt"])["input_ids"]
    whole = tokenizer(values["prompt"] + _ended(values["completion"], tokenizer))["input_ids"]
    start = common_prefix_length(prompt, whole)
    ids = tuple(whole)
    return ids, (IGNORED,) * start + ids[start:], start < len(prompt)


def _ended(text: str, tokenizer: Any) -> str:
    end = tokenizer.eos_token or ""
    return text if text.endswith(end) else text + end
