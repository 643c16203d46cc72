"""Training text becomes tokens and labels, here and nowhere else.

Rows come out as TRL 1.16 prepares them, token by token: the end-of-sequence token after a plain
completion or text, the beginning as the tokenizer adds it, the mask up to the token where prompt
and prompt with completion part, the assistant's tokens as the chat template marks them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from trl.data_utils import common_prefix_length

from harness.data.shapes import IGNORED as IGNORED
from harness.data.training_rows import Mixture, TrainingRow, TrainingRows
from harness.errors import UsageError
from harness.training.chat import Chat, chat_of

SHOWN_CHARACTERS = 1500


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
    trained_tokens: those that have a loss
    truncated:      rows cut at max_length
    dropped:        rows left out, because no token with a loss was left
    duplicates:     rows that repeat another one exactly; kept
    """

    rows: int
    tokens: int
    trained_tokens: int
    truncated: int
    dropped: int
    duplicates: int


@dataclass(frozen=True)
class Rendered:
    """Rows to train on; `notes` are what the person should know about them."""

    rows: tuple[TokenRow, ...]
    counts: Counts
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """A stretch of a row's text that has a loss, or has none."""

    text: str
    trained: bool


def render(rows: TrainingRows | Mixture, tokenizer: Any, max_length: int) -> Rendered:
    """Tokens and labels of every row, cut at `max_length` tokens; the start is kept.

    Raises UsageError for a conversation that the chat template does not take, for a tokenizer without
    one, and where no token of any row has a loss, with one row shown.
    """
    each = list(rows)
    chat = chat_of(tokenizer) if any(_is_chat(row) for row in each) else None
    drafts = [_draft(row, number, tokenizer, chat) for number, row in enumerate(each, 1)]
    cut = [TokenRow(draft.ids[:max_length], draft.labels[:max_length]) for draft in drafts]
    kept = tuple(row for row in cut if trained_tokens(row))
    if drafts and not kept:
        raise UsageError(_nothing_trained(drafts, cut[0], tokenizer, max_length))
    counts = Counts(
        rows=len(kept),
        tokens=sum(len(row.input_ids) for row in kept),
        trained_tokens=sum(map(trained_tokens, kept)),
        truncated=sum(len(draft.ids) > max_length for draft in drafts),
        dropped=len(drafts) - len(kept),
        duplicates=rows.duplicates,
    )
    return Rendered(kept, counts, tuple(_notes(drafts, tokenizer)))


def trained_tokens(row: TokenRow) -> int:
    """How many tokens have a loss."""
    return sum(_has_loss(row))


def _has_loss(row: TokenRow) -> list[bool]:
    """The first token is predicted from nothing, so it never has a loss."""
    return [place > 0 and label != IGNORED for place, label in enumerate(row.labels)]


def pieces(row: TokenRow, tokenizer: Any) -> tuple[Piece, ...]:
    """The row's text, special tokens too, in stretches that have a loss or have none."""
    found = []
    start = 0
    for trained, stretch in groupby(_has_loss(row)):
        end = start + len(list(stretch))
        # A token's text depends on the ones before it: a leading space, a character of several tokens.
        before, text = _text(row.input_ids[:start], tokenizer), _text(row.input_ids[:end], tokenizer)
        found.append(Piece(text[len(before) :], trained))
        start = end
    return tuple(found)


def _text(ids: Sequence[int], tokenizer: Any) -> str:
    text: str = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return text


@dataclass(frozen=True)
class _Draft:
    """A row before it is cut. `merged`: the prompt ends otherwise once the completion follows."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    merged: bool = False
    ended: bool = True


def _is_chat(row: TrainingRow) -> bool:
    return "messages" in row.values or isinstance(row.values.get("prompt"), list)


def _draft(row: TrainingRow, number: int, tokenizer: Any, chat: Chat | None) -> _Draft:
    values = row.values
    if "input_ids" in values:
        return _tokenised(values, number, tokenizer)
    if chat is not None and _is_chat(row):
        try:
            return _conversation(row, chat)
        except UsageError as error:
            raise UsageError(f"training row {number:,}: {error}") from error
    if "text" in values:
        ids = tokenizer(_ended(values["text"], tokenizer))["input_ids"]
        return _Draft(tuple(ids), tuple(ids))
    prompt = tokenizer(values["prompt"])["input_ids"]
    ids = tokenizer(values["prompt"] + _ended(values["completion"], tokenizer))["input_ids"]
    return _completion(prompt, ids, row.train_on == "all")


def _completion(prompt: list[int], ids: list[int], everything: bool) -> _Draft:
    if everything:
        return _Draft(tuple(ids), tuple(ids))
    start = common_prefix_length(prompt, ids)
    return _Draft(tuple(ids), (IGNORED,) * start + tuple(ids[start:]), start < len(prompt))


def _conversation(row: TrainingRow, chat: Chat) -> _Draft:
    values, tools = row.values, row.values.get("tools")
    turns = values["messages"] if "messages" in values else values["prompt"] + values["completion"]
    if row.train_on == "assistant":
        ids, mask = chat.ids_and_mask(turns, tools)
        labels = tuple(token if said else IGNORED for token, said in zip(ids, mask, strict=True))
        draft = _Draft(tuple(ids), labels)
    elif row.train_on == "completion":
        prompt = chat.ids(values["prompt"], tools, generation_prompt=True)
        draft = _completion(prompt, chat.ids(turns, tools), everything=False)
    else:
        ids = chat.ids(turns, tools)
        draft = _Draft(tuple(ids), tuple(ids))
    trained = [label != IGNORED for label in draft.labels]
    return _Draft(draft.ids, draft.labels, draft.merged, chat.ends_every_turn(draft.ids, trained))


def _tokenised(values: dict[str, Any], number: int, tokenizer: Any) -> _Draft:
    highest = max(values["input_ids"] + values["labels"], default=0)
    if highest >= len(tokenizer):
        raise UsageError(
            f"training row {number:,} holds the token {highest:,}, and this model's tokenizer has "
            f"{len(tokenizer):,}: the rows were tokenised for another model. Tokenise them again, or give "
            "their text."
        )
    return _Draft(tuple(values["input_ids"]), tuple(values["labels"]))


def _ended(text: str, tokenizer: Any) -> str:
    end = tokenizer.eos_token or ""
    return text if text.endswith(end) else text + end


def _notes(drafts: Sequence[_Draft], tokenizer: Any) -> Iterator[str]:
    of_all = f"of {len(drafts):,} rows"
    merged = sum(draft.merged for draft in drafts)
    if merged:
        yield (
            f"{merged:,} {of_all}: the prompt's tokens end otherwise once the completion follows, and the "
            "loss begins where they part. Begin the completion with the space or line break that ends the "
            "prompt, or set base.chat_template to a template that renders both alike."
        )
    unended = sum(not draft.ended for draft in drafts)
    if unended:
        yield (
            f"{unended:,} {of_all}: the token that ends the assistant's turn is not trained on, so the model "
            "may not learn to stop. Set base.chat_template to a template that has it in the assistant's part."
        )
    if not tokenizer.eos_token:
        yield "the tokenizer has no end-of-sequence token, so the model cannot learn to stop."


def _nothing_trained(drafts: Sequence[_Draft], row: TokenRow, tokenizer: Any, max_length: int) -> str:
    if any(label != IGNORED for draft in drafts for label in draft.labels[1:]):
        help = f"max_length = {max_length} cuts every row before its first trained token: raise it."
    else:
        help = (
            'Nothing is marked as trained: set train_on = "all", or base.chat_template to a template with '
            "{% generation %}; in rows tokenised before, a label of -100 has no loss."
        )
    shown = "".join(f"⟦{piece.text}⟧" for piece in pieces(row, tokenizer))[:SHOWN_CHARACTERS]
    return (
        f"no token of the {len(drafts):,} training rows has a loss. The first of them, the masked part in "
        f"⟦…⟧:\n{shown}\n{help}"
    )
