"""Training rows of every format in one canonical shape, and how bad ones are told."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.data.training_rows import TrainingRow, TrainingRows, mixed, training_rows
from harness.errors import ConfigurationError, Problem
from harness.experiment.schema import TrainData
from tests.conftest import write_rows

PAIR = {"prompt": "the sky is", "completion": " blue"}
USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


def read(root: Path, rows: list[dict[str, Any]], **declared: Any) -> TrainingRows:
    write_rows(root / "x.jsonl", rows)
    return training_rows(TrainData(source="x.jsonl", **declared), root)


def problems(root: Path, rows: list[dict[str, Any]], **declared: Any) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationError) as caught:
        read(root, rows, **declared)
    return caught.value.problems


FORMATS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "pair": ("prompt-completion", {**PAIR, "id": 1}, PAIR, "completion"),
    "chat pair": (
        "prompt-completion",
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"prompt": [USER], "completion": [ASSISTANT]},
        "completion",
    ),
    "messages": (
        "messages",
        {"messages": [USER, ASSISTANT], "tools": None},
        {"messages": [USER, ASSISTANT]},
        "assistant",
    ),
    "messages with tools": (
        "messages",
        {"messages": [USER, ASSISTANT], "tools": '[{"name": "f"}]'},
        {"messages": [USER, ASSISTANT], "tools": [{"name": "f"}]},
        "assistant",
    ),
    "messages as JSON text": (
        "messages",
        {"messages": json.dumps([USER, ASSISTANT])},
        {"messages": [USER, ASSISTANT]},
        "assistant",
    ),
    "text": ("text", {"text": "words", "source": "x"}, {"text": "words"}, "all"),
    "alpaca": (
        "alpaca",
        {"instruction": "Name a colour.", "input": "", "output": "Red"},
        {
            "prompt": "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\nName a colour.\n\n### Response:\n",
            "completion": "Red",
        },
        "completion",
    ),
    "alpaca with input": (
        "alpaca",
        {"instruction": "Translate.", "input": "{rouge}", "output": "red"},
        {
            "prompt": "Below is an instruction that describes a task, paired with an input that provides "
            "further context. Write a response that appropriately completes the request.\n\n"
            "### Instruction:\nTranslate.\n\n### Input:\n{rouge}\n\n### Response:\n",
            "completion": "red",
        },
        "completion",
    ),
    "sharegpt": (
        "sharegpt",
        {
            "conversations": [
                {"from": "system", "value": "s"},
                {"from": "human", "value": "a"},
                {"from": "function_call", "value": "f()"},
                {"from": "observation", "value": "1"},
                {"from": "gpt", "value": "b"},
            ]
        },
        {
            "messages": [
                {"role": "system", "content": "s"},
                USER,
                {"role": "assistant", "content": "f()"},
                {"role": "tool", "content": "1"},
                ASSISTANT,
            ]
        },
        "assistant",
    ),
    "sharegpt by role": (
        "sharegpt",
        {"conversations": [USER, ASSISTANT]},
        {"messages": [USER, ASSISTANT]},
        "assistant",
    ),
    "tokens": ("tokens", {"input_ids": [1, 5, 2]}, {"input_ids": [1, 5, 2], "labels": [1, 5, 2]}, "all"),
    "tokens with a mask": (
        "tokens",
        {"input_ids": [0, 1, 5, 2], "labels": [-100, -100, 5, 2], "attention_mask": [0, 1, 1, 1]},
        {"input_ids": [1, 5, 2], "labels": [-100, 5, 2]},
        "all",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_guessed_the_guess_is_told_and_rows_get_their_canonical_shape(
    name: str, tmp_path: Path
) -> None:
    format, given, canonical, train_on = FORMATS[name]

    guessed = read(tmp_path, [given])

    assert guessed.rows == (canonical,)
    assert guessed.train_on == train_on
    assert guessed.note is not None
    assert guessed.note.startswith(f"format {format}, guessed from `")
    assert guessed.note.endswith(" in x.jsonl")
    declared = read(tmp_path, [given], format=format)
    assert (declared.rows, declared.note) == (guessed.rows, None)


TURN = 'a message is {"role": "user", "content": "…"}'
LACKING: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "null completion": ({"prompt": "a", "completion": None}, "auto", "`completion` is null", "take the row out"),
    "empty completion": ({"prompt": "a", "completion": " "}, "auto", "nothing to learn", "take the row out"),
    "no completion": ({"prompt": "a", "id": 1}, "prompt-completion", "`completion` is missing", "the row has `prompt`, `id`"),
    "misspelt completion": ({"prompt": "a", "completon": "b"}, "prompt-completion", "`completion` is missing", "did you mean `completon`?"),
    "number as completion": ({"prompt": "a", "completion": 3}, "auto", "must both be text", 'they are "a" and 3'),
    "empty list as completion": ({"prompt": [USER], "completion": []}, "auto", "`completion` must be a list of messages, not an empty list", TURN),
    "text as messages": ({"messages": "hello"}, "auto", '`messages` must be a list of messages, not "hello"', TURN),
    "broken JSON as messages": ({"messages": '[{"role": user}]'}, "auto", "`messages` holds JSON that is not valid: Expecting value", "CSV cell"),
    "null content": ({"messages": [{"role": "user", "content": None}]}, "auto", "`messages[0].content` is null; expected text", TURN),
    "no assistant turn": ({"messages": [USER]}, "auto", "no assistant turn; there is nothing to learn", "take the row out"),
    "unknown role": ({"messages": [{"role": "human", "content": "a"}]}, "auto", '`messages[0].role` is "human"', "expected one of system, developer, user"),
    "sharegpt turns as messages": ({"messages": [{"from": "human", "value": "a"}]}, "auto", "`messages[0].role` is null", '"sharegpt"'),
    "text as a turn": ({"messages": ["a"]}, "auto", '`messages[0]` must have `role` and `content`, not be "a"', TURN),
    "tools that are no list": ({"messages": [USER, ASSISTANT], "tools": "none"}, "auto", '`tools` must be a list of JSON schemas, not "none"', "leave the column out"),
    "null text": ({"text": None}, "auto", "`text` is null", "take the row out"),
    "empty text": ({"text": " \n"}, "auto", "`text` is empty", "take the row out"),
    "number as text": ({"text": 3}, "auto", "`text` is 3; expected text", "in quotes"),
    "text without messages": ({"text": "a"}, "messages", "`messages` is missing", "the row has `text`"),
    "null output": ({"instruction": "a", "output": None}, "auto", "`output` is null", "take the row out"),
    "empty output": ({"instruction": "a", "output": ""}, "auto", "`output` is empty", "take the row out"),
    "list as input": ({"instruction": "a", "input": ["b"], "output": "c"}, "auto", "`input` is a list; expected text", "in quotes"),
    "unknown speaker": ({"conversations": [{"from": "alien", "value": "a"}]}, "auto", '`conversations[0].from` is "alien"', "expected one of human, gpt"),
    "turn without value": ({"conversations": [{"from": "gpt"}]}, "auto", "`conversations[0].value` is null; expected text", '"from": "human"'),
    "text as a sharegpt turn": ({"conversations": ["a"]}, "auto", "must have `from` and `value`", '"from": "human"'),
    "text as conversations": ({"conversations": "a"}, "auto", '`conversations` must be a list of turns, not "a"', '"from": "human"'),
    "human alone": ({"conversations": [{"from": "human", "value": "a"}]}, "auto", "`conversations` has no assistant turn", "take the row out"),
    "text as tokens": ({"input_ids": "a"}, "auto", '`input_ids` must be a list of whole numbers, not "a"', "[2, 651, 8168]"),
    "negative token": ({"input_ids": [1, -1]}, "auto", "`input_ids[1]` is -1; expected a whole number", "at least 0"),
    "short labels": ({"input_ids": [1, 2], "labels": [1]}, "auto", "`labels` has 1 entries and `input_ids` 2", "one for each token"),
    "label that is no number": ({"input_ids": [1], "labels": ["a"]}, "auto", '`labels[0]` is "a"; expected a whole number', "-100"),
}  # fmt: skip


@pytest.mark.parametrize("name", LACKING)
def test_a_row_that_cannot_be_trained_on_is_named_with_its_line_and_a_remedy(
    name: str, tmp_path: Path
) -> None:
    values, format, message, help = LACKING[name]

    (problem,) = problems(tmp_path, [values], format=format)

    assert (problem.file, problem.line, problem.column) == (tmp_path / "x.jsonl", 1, 1)
    assert message in problem.message
    assert help in (problem.help or "")


def test_a_bad_row_among_good_ones_has_its_own_line_and_more_than_twenty_are_counted(tmp_path: Path) -> None:
    found = problems(tmp_path, [PAIR, *[{**PAIR, "completion": ""}] * 23, PAIR])

    assert [problem.line for problem in found[:20]] == list(range(2, 22))
    assert found[20].message == "3 more problems like these in x.jsonl (23 in 25 rows)"


@pytest.mark.parametrize(
    ("values", "message", "help"),
    [
        (
            {"text": "a", **PAIR},
            'x.jsonl fits several formats: "prompt-completion", "text"; its columns are `text`, `prompt`',
            'format = "prompt-completion"',
        ),
        (
            {"id": 1, "act": "a", "reply": "b"},
            "x.jsonl fits no format of training rows; its columns are `id`, `act`, `reply`",
            'template = { prompt = "{{ act }}", completion = "{{ reply }}" }',
        ),
        ({"body": "a"}, "fits no format", 'template = { text = "{{ body }}" }'),
    ],
)
def test_a_format_that_cannot_be_told_names_the_columns_and_what_to_write(
    values: dict[str, Any], message: str, help: str, tmp_path: Path
) -> None:
    (problem,) = problems(tmp_path, [values])

    assert problem.file == tmp_path / "x.jsonl"
    assert message in problem.message
    assert help in (problem.help or "")


@pytest.mark.parametrize(
    ("template", "values", "expected", "train_on"),
    [
        (
            {"prompt": "Act as {{ act }}:", "completion": " {{ prompt }}"},
            {"act": "a guide", "prompt": "I want"},
            {"prompt": "Act as a guide:", "completion": " I want"},
            "completion",
        ),
        (
            {"prompt": "question", "completion": "answer"},
            {"question": "q", "answer": "a"},
            {"prompt": "q", "completion": "a"},
            "completion",
        ),
        (
            {"text": "{{ a }}{% if b %} {{ b }}{% endif %}"},
            {"a": "x", "b": None, "text": "y"},
            {"text": "x"},
            "all",
        ),
    ],
)
def test_a_template_makes_text_of_any_columns(
    template: dict[str, str], values: dict[str, Any], expected: dict[str, str], train_on: str, tmp_path: Path
) -> None:
    found = read(tmp_path, [values], template=template)

    assert (found.rows, found.train_on, found.note) == ((expected,), train_on, None)


TEMPLATES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "missing column": ({"template": {"text": "{{ actt }}"}}, {"act": "a"}, "there is no column `actt`, which `template.text` names", "did you mean `act`?"),
    "missing bare column": ({"template": {"prompt": "act", "completion": "reply"}}, {"act": "a"}, "there is no column `reply`, which `template.completion` names", "the row has `act`"),
    "null column": ({"template": {"text": "{{ act }}"}}, {"act": None}, "`act` is null, and `template.text` names it", "default"),
    "failing expression": ({"template": {"text": "{{ act / 0 }}"}}, {"act": 1}, "`template.text` cannot be rendered with this row: division by zero", "correct the template"),
    "number as a bare column": ({"template": {"text": "n"}}, {"n": 3}, "`text` is 3; expected text", "in quotes"),
    "empty completion": ({"template": {"prompt": "{{ a }}", "completion": "{{ b }}"}}, {"a": "x", "b": ""}, "`completion` is empty", "take the row out"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_row_that_a_template_cannot_use_is_named(name: str, tmp_path: Path) -> None:
    declared, values, message, help = TEMPLATES[name]

    (problem,) = problems(tmp_path, [values], **declared)

    assert (problem.file, problem.line) == (tmp_path / "x.jsonl", 1)
    assert message in problem.message
    assert help in (problem.help or "")


CONTRADICTIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "half a template": ({"template": {"prompt": "{{ a }}"}}, {"a": "x"}, "needs either `text`, or `prompt` and `completion`", "it has `prompt`"),
    "two templates": ({"template": {"prompt": "a", "completion": "a", "text": "a"}}, {"a": "x"}, "needs either `text`", "`prompt`, `completion`, `text`"),
    "empty template": ({"template": {}}, {"a": "x"}, "needs either `text`", "it has nothing"),
    "template that does not parse": ({"template": {"text": "{{ a "}}, {"a": "x"}, "`template.text` for x.jsonl is not a valid template", "{{ column }}"),
    "template against format": ({"template": {"text": "a"}, "format": "messages"}, {"a": "x"}, 'makes rows of the format "text", not "messages"', "take `format` out"),
    "completion of a text": ({"train_on": "completion"}, {"text": "x"}, '`train_on = "completion"` does not fit the format text of x.jsonl', 'it can be "all"'),
    "completion of messages": ({"train_on": "completion"}, {"messages": [USER, ASSISTANT]}, "does not fit the format messages", 'it can be "assistant" or "all"'),
    "assistant of alpaca": ({"train_on": "assistant"}, {"instruction": "a", "output": "b"}, "does not fit the format alpaca", 'it can be "completion" or "all"'),
    "assistant of a plain prompt": ({"train_on": "assistant"}, PAIR, "the prompt has no roles", "take `train_on` out"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_keys_that_contradict_each_other_or_the_rows_are_told(name: str, tmp_path: Path) -> None:
    declared, values, message, help = CONTRADICTIONS[name]

    (problem,) = problems(tmp_path, [values], **declared)

    assert message in problem.message
    assert help in (problem.help or "")


@pytest.mark.parametrize(
    ("name", "train_on"), [("pair", "all"), ("chat pair", "assistant"), ("messages", "all")]
)
def test_what_is_trained_on_can_be_declared(name: str, train_on: str, tmp_path: Path) -> None:
    assert read(tmp_path, [FORMATS[name][1]], train_on=train_on).train_on == train_on


def test_exact_duplicates_are_counted_and_kept(tmp_path: Path) -> None:
    found = read(tmp_path, [{**PAIR, "id": number} for number in range(3)] + [{**PAIR, "prompt": "else"}])

    assert (len(found.rows), found.duplicates) == (4, 2)


def test_no_declared_data_is_no_rows(tmp_path: Path) -> None:
    assert training_rows(None, tmp_path).rows == ()


def test_nested_messages_come_out_of_parquet_as_they_went_in(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    calls = [{"name": "f", "arguments": "{}"}]
    rows = [
        {"messages": [USER, ASSISTANT]},
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": calls}, ASSISTANT]},
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "x.parquet")

    found = training_rows(TrainData(source="x.parquet"), tmp_path)

    # Arrow fills what a turn lacks with null; the tokenizer takes nulls out before it renders.
    said = [
        [{key: value for key, value in turn.items() if value is not None} for turn in row["messages"]]
        for row in found.rows
    ]
    assert said == [
        [USER, ASSISTANT],
        [USER, {"role": "assistant", "tool_calls": calls}, ASSISTANT],
    ]


def test_lists_in_csv_cells_are_read_as_json(tmp_path: Path) -> None:
    with open(tmp_path / "x.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["input_ids", "labels"])
        writer.writerow(["[1, 5, 2]", "[-100, 5, 2]"])

    found = training_rows(TrainData(source="x.csv"), tmp_path)

    assert found.rows == ({"input_ids": [1, 5, 2], "labels": [-100, 5, 2]},)


def test_a_hub_data_set_has_its_revision_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, revision: str, split: str) -> Any:
        return {("org/name", "v2", "sft"): [{"messages": [USER, ASSISTANT]}]}[name, revision, split]

    stand_in = type("datasets", (), {"load_dataset": staticmethod(load_dataset)})
    monkeypatch.setitem(sys.modules, "datasets", stand_in)

    found = training_rows(TrainData(source="hub:org/name@v2#sft"), tmp_path)

    assert found.rows == ({"messages": [USER, ASSISTANT]},)
    assert found.note == "format messages, guessed from `messages` in hub:org/name@v2#sft"


def test_a_glob_of_files_is_one_source_and_a_bad_row_names_its_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "parts/a.jsonl", [PAIR])
    (tmp_path / "parts/b.json").write_text(json.dumps([PAIR, {"prompt": "a", "completion": ""}]))

    with pytest.raises(ConfigurationError) as caught:
        training_rows(TrainData(source="parts/*.json*"), tmp_path)

    (problem,) = caught.value.problems
    assert problem.file == tmp_path / "parts/b.json"
    assert problem.message == "row 2 of b.json: `completion` is empty; there is nothing to learn"
    assert len(training_rows(TrainData(source="parts/*.json*", limit=2), tmp_path).rows) == 2


def test_a_bad_cell_in_a_csv_file_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        'messages\n"[{""role"": ""user"", ""content"": ""a""}"\n', encoding="utf-8"
    )

    with pytest.raises(ConfigurationError) as caught:
        training_rows(TrainData(source="x.csv"), tmp_path)

    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (tmp_path / "x.csv", 2)
    assert "`messages` holds JSON that is not valid" in problem.message


def numbered(count: int, kind: str) -> TrainingRows:
    return TrainingRows(tuple({"text": f"{kind} {number}"} for number in range(count)), "all")


def test_a_mixture_has_the_declared_share_each_row_with_its_own_part_trained_on() -> None:
    domain = TrainingRows(
        tuple({**PAIR, "prompt": str(number)} for number in range(90)), "completion", "guess"
    )

    mixture = mixed(domain, numbered(50, "general"), 0.1, seed=0)

    rows = list(mixture)
    replayed = [row for row in rows if row.train_on == "all"]
    assert (len(rows), len(replayed)) == (100, 10)
    assert len({row.values["text"] for row in replayed}) == 10
    assert [row for row in rows if row.train_on == "completion"] == list(domain)
    assert mixture.note == "guess; replay: 10 of 100 rows, drawn from 50"
    assert mixture.duplicates == 0


def test_replayed_rows_are_spread_evenly() -> None:
    rows = list(mixed(TrainingRows(({"text": "domain"},) * 900), numbered(200, "general"), 0.1, seed=3))

    each_tenth = [
        sum(row.values["text"] != "domain" for row in rows[at : at + 100]) for at in range(0, 1000, 100)
    ]
    assert all(8 <= count <= 12 for count in each_tenth)


def test_a_seed_decides_what_is_replayed() -> None:
    one, again, other = (mixed(numbered(90, "d"), numbered(50, "g"), 0.5, seed) for seed in (1, 1, 2))

    assert one == again
    assert one != other


def test_a_replay_source_that_is_too_small_is_repeated_in_whole_passes_and_the_note_says_so() -> None:
    mixture = mixed(numbered(10, "domain"), numbered(4, "general"), 0.5, seed=0)

    counts = [
        sum(row == TrainingRow({"text": f"general {number}"}, "all") for row in mixture)
        for number in range(4)
    ]
    assert sorted(counts) == [2, 2, 3, 3]
    assert mixture.duplicates == 6
    assert mixture.note == (
        "replay: 10 of 20 rows, drawn from 4; they are too few, so each is repeated 2.5 times"
    )
