"""Conversations through a chat template, and which of their tokens are the assistant's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from trl.chat_template_utils import get_training_chat_template, has_generation_markers
from trl.data_utils import common_prefix_length

from harness.errors import UsageError

Turns = list[dict[str, Any]]


@dataclass(frozen=True)
class Chat:
    """A tokenizer with its chat template.

    marked:    whether a template says itself which part is the assistant's
    training:  TRL's template for training in the place of the tokenizer's own, where there is one
    turn_ends: special and added tokens; one of them has to end an assistant's turn
    """

    tokenizer: Any
    marked: bool
    training: str | None
    turn_ends: frozenset[int]

    def ids(self, turns: Turns, tools: Any, generation_prompt: bool = False) -> list[int]:
        """The conversation's tokens. Raises UsageError where the template does not take it."""
        found: list[int] = self._applied(
            turns, tools, add_generation_prompt=generation_prompt, return_dict=True
        )["input_ids"]
        return found

    def ids_and_mask(self, turns: Turns, tools: Any) -> tuple[list[int], list[bool]]:
        """The conversation's tokens, and for each whether the assistant says it."""
        if not self.marked:
            return self._turn_by_turn(turns, tools)
        found = self._applied(
            turns, tools, chat_template=self.training, return_dict=True, return_assistant_tokens_mask=True
        )
        return found["input_ids"], [bool(said) for said in found["assistant_masks"]]

    def _turn_by_turn(self, turns: Turns, tools: Any) -> tuple[list[int], list[bool]]:
        """What the template adds from a prompt for the assistant's turn to the end of that turn."""
        whole = self._text(turns, tools)
        ids = self._encoded(whole)
        mask = [False] * len(ids)
        for index, turn in enumerate(turns):
            if turn["role"] != "assistant":
                continue
            before = self._text(turns[:index], tools, generation_prompt=True) if index else ""
            after = self._text(turns[: index + 1], tools)
            for part in (before, after):
                _check_begins(whole, part, index)
            start, end = (common_prefix_length(self._encoded(part), ids) for part in (before, after))
            mask[start:end] = [True] * (end - start)
        return ids, mask

    def _text(self, turns: Turns, tools: Any, generation_prompt: bool = False) -> str:
        found: str = self._applied(turns, tools, tokenize=False, add_generation_prompt=generation_prompt)
        return found

    def _encoded(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def _applied(self, turns: Turns, tools: Any, **options: Any) -> Any:
        try:
            return self.tokenizer.apply_chat_template(turns, tools=tools, **options)
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise UsageError(
                f"the chat template does not take this conversation: {error}\n"
                "Correct the row, or set base.chat_template to a template that takes it."
            ) from error

    def ends_every_turn(self, ids: Sequence[int], trained: Sequence[bool]) -> bool:
        """Whether each stretch that is trained on ends in a token that can end a turn, blanks aside."""
        followed = [*trained[1:], False]
        ends = [at for at in range(len(ids)) if trained[at] and not followed[at]]
        return all(self._ended_at(ids, at) for at in ends)

    def _ended_at(self, ids: Sequence[int], index: int) -> bool:
        while index >= 0 and not self.tokenizer.decode([ids[index]]).strip():
            index -= 1
        return index >= 0 and ids[index] in self.turn_ends


def chat_of(tokenizer: Any) -> Chat:
    """Raises UsageError for a tokenizer without a chat template."""
    if not tokenizer.chat_template:
        raise UsageError(
            "the training rows are messages, and the tokenizer of this model has no chat template.\n"
            'Set base.chat_template = "file.jinja", or make plain text of the rows with `template`.'
        )
    turn_ends = frozenset([*tokenizer.get_added_vocab().values(), *tokenizer.all_special_ids])
    if not tokenizer.is_fast:  # only fast tokenizers know where in the text a token stands
        return Chat(tokenizer, False, None, turn_ends)
    if has_generation_markers(tokenizer.chat_template):
        return Chat(tokenizer, True, None, turn_ends)
    try:
        training = get_training_chat_template(tokenizer)
    except ValueError:  # TRL knows no training template for it
        return Chat(tokenizer, False, None, turn_ends)
    return Chat(tokenizer, True, training, turn_ends)


def _check_begins(whole: str, part: str, index: int) -> None:
    if whole.startswith(part):
        return
    at = common_prefix_length(list(part), list(whole))
    first, last = part[at : at + 40], whole[at : at + 40]
    raise UsageError(
        f"the chat template writes the conversation up to turn {index + 1} otherwise once it goes on: "
        f"after {part[max(0, at - 40) : at]!r} comes {first!r} at first and {last!r} in the end. "
        "So it cannot be told which tokens are the assistant's.\n"
        "Set base.chat_template to a template with {% generation %} … {% endgeneration %} around the "
        'assistant\'s part, or train_on = "all".'
    )
