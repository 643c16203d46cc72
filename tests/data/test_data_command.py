"""`harness data` on a tiny model: what is shown, what it refuses, and with which exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import entry
from tests.conftest import write_rows

EXPERIMENT = """
version = 1
name = "tiny"
[base]
model = "{model}"
{base}
[data.train]
source = "train.jsonl"
{train}
{tables}
[tuned.lora]
method = "lora"
max_length = 48
[tuned.replayed]
extends = "tuned.lora"
max_length = 40
[tuned.replayed.replay]
source = "general.jsonl"
fraction = 0.4
[suites]
domain = ["suite.toml"]
"""
SUITE = """
version = 1
name = "suite"
[task.prose]
kind = "perplexity"
data = { test = "test.jsonl" }
text = "text"
"""
PAIRS = [{"prompt": f"{number} the sky is", "completion": " blue"} for number in range(3)]
TALK = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path, model_folder: Path) -> Project:
    def write(rows: list[dict[str, Any]], base: str = "", train: str = "", tables: str = "") -> Path:
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
        write_rows(tmp_path / "general.jsonl", [{"text": f"one two {number}"} for number in range(9)])
        write_rows(tmp_path / "test.jsonl", [{"text": f"judge my vow {number}"} for number in range(9)])
        write_rows(tmp_path / "train.jsonl", rows)
        file = tmp_path / "tiny.toml"
        text = EXPERIMENT.format(model=model_folder, base=base, train=train, tables=tables)
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_rows_are_shown_with_what_has_no_loss_marked_and_the_counts(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*PAIRS, PAIRS[0], {"prompt": "too long " * 40, "completion": " cut"}]

    assert entry(["data", str(project(rows)), "--rows", "2"]) == 0

    said = capsys.readouterr().out
    assert said.startswith(
        "tiny: train rows as [tuned.lora] sees them, max_length = 48\n"
        "· format prompt-completion, guessed from `prompt` and `completion` in train.jsonl\n"
        "\nrow 1\n⟦<s>0 the sky is⟧ blue</s>\n\nrow 2\n⟦<s>1 the sky is⟧ blue</s>\n\n4 rows, "
    )
    assert " 40 tokens, 12 with a loss (30.0%)\n1 truncated, 1 dropped, 1 duplicates\n\ntest items" in said
    assert said.endswith("by shared runs of words\n· suite/prose (domain): 0 of 6 (0.0%)\n")


def test_what_has_no_loss_is_dimmed_where_there_are_colours(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")

    assert entry(["data", str(project(PAIRS)), "--rows", "1"]) == 0

    assert "\x1b[2m<s>0 the sky is\x1b[0m blue</s>" in capsys.readouterr().out


def test_control_characters_of_a_row_are_inert(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry(["data", str(project([{"text": "a\x1b[31mred\u202e [bold]b[/bold]"}]))]) == 0

    said = capsys.readouterr().out
    assert "⟦<s>⟧a⟨U+001B⟩[31mred⟨U+202E⟩ [bold]b[/bold]</s>" in said
    assert "\x1b" not in said


def test_json_has_the_notes_the_counts_and_the_pieces(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry(["data", str(project(PAIRS)), "--json", "--rows", "1"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == "harness.data/1"
    assert (said["split"], said["tuned"], said["max_length"]) == ("train", "lora", 48)
    assert said["counts"]["rows"] == 3
    assert said["counts"]["dropped"] == 0
    assert said["rows"] == [
        [{"text": "<s>0 the sky is", "trained": False}, {"text": " blue</s>", "trained": True}]
    ]


def test_a_recipe_with_replay_shows_its_mixture_and_the_replayed_rows_alone(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(project(PAIRS))

    assert entry(["data", file, "--tuned", "replayed", "--rows", "9"]) == 0
    mixture = capsys.readouterr().out
    assert entry(["data", file, "--tuned", "replayed", "--split", "replay", "--rows", "1"]) == 0
    alone = capsys.readouterr().out

    assert "replay: 2 of 5 rows, drawn from 9" in mixture
    assert mixture.count("⟦<s>⟧one two") == 2
    assert mixture.count(" the sky is⟧ blue") == 3
    assert alone.startswith("tiny: replay rows as [tuned.replayed] sees them, max_length = 40\n· format text")
    assert "\n9 rows, " in alone


def test_validation_rows_are_shown(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    file = project(PAIRS, tables='[data.validation]\nsource = "more.jsonl"')
    write_rows(file.parent / "more.jsonl", [{"text": "judge my vow"}])

    assert entry(["data", str(file), "--split", "validation"]) == 0

    assert "⟦<s>⟧judge my vow</s>" in capsys.readouterr().out


def test_a_chat_template_of_the_experiment_takes_the_place_of_the_tokenizers(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    file = project([TALK], base='chat_template = "chat.jinja"')
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
    (file.parent / "chat.jinja").write_text(template, encoding="utf-8")

    assert entry(["data", str(file)]) == 0

    assert "⟦user: hi</s>⟧assistant: ho</s>\n" in capsys.readouterr().out


def test_domain_items_that_are_trained_on_are_counted_shown_inertly_and_warned_about(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six of the nine are test items, by their hash."""
    rows = [{"prompt": "Say it:", "completion": f" Judge\u202e my vow, {number}!"} for number in range(9)]
    file = str(project(rows))

    assert entry(["data", file, "--rows", "0"]) == 0
    said = capsys.readouterr().out
    assert entry(["data", file, "--json"]) == 0
    (overlap,) = json.loads(capsys.readouterr().out)["overlaps"]

    assert "⚠ suite/prose (domain): 6 of 6 (100.0%); a gain may be memory" in said
    assert "shares its whole text with row " in said
    assert "\u202e" not in said
    assert (overlap["items"], overlap["flagged"], overlap["unchecked"]) == (6, 6, None)
    assert [example["longest"] for example in overlap["examples"]] == [4, 4]


def test_rows_of_token_numbers_are_said_to_be_unchecked(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry(["data", str(project([{"input_ids": [1, 5, 6], "labels": [1, 5, 6]}]))]) == 0

    said = capsys.readouterr().out
    assert "· suite/prose (domain): not checked, the training rows hold no text\n" in said


REFUSED: dict[str, tuple[list[dict[str, Any]], dict[str, str], list[str], str]] = {
    "bad row": ([PAIRS[0], {"prompt": "a", "completion": None}], {}, [], "error: `completion` is null\n  --> "),
    "no chat template": ([TALK], {}, [], 'Set base.chat_template = "file.jinja"'),
    "chat template that is not there": (
        [TALK],
        {"base": 'chat_template = "chat.jinja"'},
        [],
        "chat.jinja",
    ),
    "nothing trained": ([{"prompt": "too long " * 40, "completion": " cut"}], {}, [], "max_length = 48 cuts every row"),
    "no validation": (PAIRS, {}, ["--split", "validation"], "tiny.toml has no table [data.validation]"),
    "no replay": (PAIRS, {}, ["--split", "replay"], "tiny.toml has no table [tuned.lora.replay]"),
    "unknown tuned": (PAIRS, {}, ["--tuned", "replay"], "did you mean `replayed`?"),
    "unknown split": (PAIRS, {}, ["--split", "test"], "'test' is not one of"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_shown_is_the_persons_to_mend(
    name: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, keys, options, message = REFUSED[name]

    assert entry(["data", str(project(rows, **keys)), *options]) == 2

    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_an_error_that_quotes_a_row_is_inert(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry(["data", str(project([{"text": "a"}, {"text": "\x1b[31m"}]))]) == 0
    capsys.readouterr()

    assert entry(["data", str(project([{"messages": "\x1b[31mred"}]))]) == 2

    assert "⟨U+001B⟩[31mred" in capsys.readouterr().err
