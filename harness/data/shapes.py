"""One row of each format in its canonical shape: the only shapes that training knows.

    {"prompt", "completion"}     both text, or both lists of messages
    {"messages"}                 a conversation; with "tools" where the row has them
    {"text"}
    {"input_ids", "labels"}      tokenised before; -100 in `labels` is a token without a loss

Every function raises Unusable for a row that is not of its format.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

Shape = dict[str, Any]
ROLES = ("system", "developer", "user", "assistant", "tool")
IGNORED = -100


class Unusable(Exception):
    """A row that cannot be trained on: what is wrong, and what to do."""

    def __init__(self, message: str, help: str | None = None) -> None:
        self.message = message
        self.help = help
        super().__init__(message)


def prompt_completion(values: Mapping[str, Any]) -> Shape:
    prompt, completion = _value(values, "prompt"), _value(values, "completion")
    if isinstance(prompt, list) and isinstance(completion, list):
        turns = {"prompt": _turns(prompt, "prompt"), "completion": _turns(completion, "completion")}
        return {**turns, **_tools(values)}
    if not isinstance(prompt, str) or not isinstance(completion, str):
        raise Unusable(
            "`prompt` and `completion` must both be text, or both lists of messages",
            f"they are {_shown(prompt)} and {_shown(completion)}",
        )
    if not completion.strip():
        raise Unusable("`completion` is empty; there is nothing to learn", _TAKE_OUT)
    return {"prompt": prompt, "completion": completion}


def messages(values: Mapping[str, Any]) -> Shape:
    turns = _turns(_list(values, "messages"), "messages")
    return {"messages": _with_an_answer(turns, "messages"), **_tools(values)}


def text(values: Mapping[str, Any]) -> Shape:
    found = _value(values, "text")
    if not isinstance(found, str):
        raise Unusable(f"`text` is {_shown(found)}; expected text", "write it in quotes")
    if not found.strip():
        raise Unusable("`text` is empty", _TAKE_OUT)
    return {"text": found}


# The prompt of Stanford Alpaca, with the line break after "Response:" that its data set's own texts have.
_ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
_ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


def alpaca(values: Mapping[str, Any]) -> Shape:
    """A prompt in Alpaca's words; an `input` that is missing, null or empty is left out of them."""
    instruction, output = _value(values, "instruction"), _value(values, "output")
    given = values.get("input") or ""
    for column, value in (("instruction", instruction), ("input", given), ("output", output)):
        if not isinstance(value, str):
            raise Unusable(f"`{column}` is {_shown(value)}; expected text", "write it in quotes")
    if not output.strip():
        raise Unusable("`output` is empty; there is nothing to learn", _TAKE_OUT)
    form = _ALPACA_WITH_INPUT if given.strip() else _ALPACA
    return {"prompt": form.format(instruction=instruction, input=given), "completion": output}


# Who speaks, by the names that ShareGPT files use.
_SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "function_response": "tool",
    "observation": "tool",
    **{role: role for role in ROLES},
}


def sharegpt(values: Mapping[str, Any]) -> Shape:
    turns = _list(values, "conversations")
    if not isinstance(turns, list) or not turns:
        raise Unusable(f"`conversations` must be a list of turns, not {_shown(turns)}", _SHAREGPT)
    converted = []
    for index, turn in enumerate(turns):
        name = f"conversations[{index}]"
        if not isinstance(turn, Mapping):
            raise Unusable(f"`{name}` must have `from` and `value`, not be {_shown(turn)}", _SHAREGPT)
        speaker, said = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
        if speaker not in _SPEAKERS:
            known = ", ".join(_SPEAKERS)
            raise Unusable(f"`{name}.from` is {_shown(speaker)}", f"expected one of {known}")
        if not isinstance(said, str):
            raise Unusable(f"`{name}.value` is {_shown(said)}; expected text", _SHAREGPT)
        converted.append({"role": _SPEAKERS[speaker], "content": said})
    return {"messages": _with_an_answer(converted, "conversations"), **_tools(values)}


def tokens(values: Mapping[str, Any]) -> Shape:
    """Token ids with their labels, without the positions that `attention_mask` leaves out."""
    ids = _whole_numbers(_list(values, "input_ids"), "input_ids")
    lists = {"labels": ids, "attention_mask": [1] * len(ids)}
    for column in lists:
        if values.get(column) is not None:
            lists[column] = _whole_numbers(_list(values, column), column)
        if len(lists[column]) != len(ids):
            raise Unusable(
                f"`{column}` has {len(lists[column]):,} entries and `input_ids` {len(ids):,}",
                "there is one for each token",
            )
    kept = [index for index, seen in enumerate(lists["attention_mask"]) if seen]
    return {
        "input_ids": [ids[index] for index in kept],
        "labels": [lists["labels"][index] for index in kept],
    }


_TAKE_OUT = "take the row out, or fill it"
_TURN = 'a message is {"role": "user", "content": "…"}'
_SHAREGPT = 'a turn is {"from": "human", "value": "…"}'


def _value(values: Mapping[str, Any], column: str) -> Any:
    if column not in values:
        near = difflib.get_close_matches(column, list(values), n=1)
        has = "the row has " + ", ".join(f"`{name}`" for name in values)
        raise Unusable(f"`{column}` is missing", f"did you mean `{near[0]}`?" if near else has)
    if values[column] is None:
        raise Unusable(f"`{column}` is null", _TAKE_OUT)
    return values[column]


def _list(values: Mapping[str, Any], column: str) -> Any:
    """A list, also where it is written as JSON text: a CSV cell can hold nothing else."""
    value = _value(values, column)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise Unusable(f"`{column}` holds JSON that is not valid: {error}", _IN_CSV) from None
    return value


_IN_CSV = 'in a CSV cell every quote of the JSON is doubled: "[{""role"": …}]"'


def _turns(turns: Any, column: str) -> list[dict[str, Any]]:
    if not isinstance(turns, list) or not turns:
        raise Unusable(f"`{column}` must be a list of messages, not {_shown(turns)}", _TURN)
    for index, turn in enumerate(turns):
        name = f"{column}[{index}]"
        if not isinstance(turn, Mapping):
            raise Unusable(f"`{name}` must have `role` and `content`, not be {_shown(turn)}", _TURN)
        if turn.get("role") not in ROLES:
            help = f"expected one of {', '.join(ROLES)}"
            if turn.get("role") is None and "from" in turn:
                help = 'turns with `from` and `value` are of the format "sharegpt"'
            raise Unusable(f"`{name}.role` is {_shown(turn.get('role'))}", help)
        # A turn that only calls tools says nothing.
        if not isinstance(turn.get("content"), str) and not turn.get("tool_calls"):
            raise Unusable(f"`{name}.content` is {_shown(turn.get('content'))}; expected text", _TURN)
    return [dict(turn) for turn in turns]


def _with_an_answer(turns: list[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    if all(turn["role"] != "assistant" for turn in turns):
        raise Unusable(f"`{column}` has no assistant turn; there is nothing to learn", _TAKE_OUT)
    return turns


def _tools(values: Mapping[str, Any]) -> Shape:
    """The tools that the chat template shows to the model, where the row has any."""
    if not values.get("tools"):
        return {}
    tools = _list(values, "tools")
    if not isinstance(tools, list):
        raise Unusable(
            f"`tools` must be a list of JSON schemas, not {_shown(tools)}",
            "leave the column out where there are no tools",
        )
    return {"tools": tools}


def _whole_numbers(found: Any, column: str) -> list[int]:
    if not isinstance(found, Sequence) or isinstance(found, str) or not found:
        raise Unusable(f"`{column}` must be a list of whole numbers, not {_shown(found)}", "[2, 651, 8168]")
    lowest = IGNORED if column == "labels" else 0
    for index, number in enumerate(found):
        if not isinstance(number, int) or isinstance(number, bool) or number < lowest:
            help = "at least 0; or -100, a token without a loss" if column == "labels" else "at least 0"
            raise Unusable(f"`{column}[{index}]` is {_shown(number)}; expected a whole number", help)
    return list(found)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, Mapping):
        return "an object"
    return f'"{value[:40]}"' if isinstance(value, str) else str(value)
