"""Text becomes the tokens and labels that TRL would make of it; what has a loss can be proved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
from trl import SFTConfig, SFTTrainer
from trl.chat_template_utils import (
    gemma3_chat_template,
    llama3_chat_template,
    qwen2_5_chat_template,
    qwen3_chat_template,
)

from harness.data.training_rows import TrainingRows, mixed
from harness.errors import UsageError
from harness.training.rendering import IGNORED, Counts, Piece, TokenRow, pieces, render
from tests.conftest import tiny_model, tiny_tokenizer

# Unknown to TRL and without markers: the assistant's part can only be found turn by turn.
PLAIN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|im_end|>\n{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


TALKS = [
    {"messages": [turn("user", "which colour is the sky?"), turn("assistant", "blue")]},
    {
        "messages": [
            turn("system", "judge my vow"),
            turn("user", "one"),
            turn("assistant", "two  three"),
            turn("user", "four"),
            turn("assistant", "five"),
        ]
    },
]
CHAT_PAIRS = [{"prompt": talk["messages"][:-1], "completion": talk["messages"][-1:]} for talk in TALKS]
PAIRS = [
    {"prompt": "Question: which colour is the sky? Answer:", "completion": " blue"},
    {"prompt": "", "completion": "the quick brown fox"},
    {"prompt": "ends in a blank ", "completion": "jumps"},
    {"prompt": "ended by itself", "completion": " dog</s>"},
    {"prompt": "the lazy dog " * 4, "completion": "cut off " * 20},
    {"prompt": "the lazy dog " * 80, "completion": "never seen"},
]
TEXTS = [{"text": "sphinx of black quartz"}, {"text": "ended</s>"}, {"text": "red green yellow " * 40}]
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}
TOOL_TALKS = [
    {
        "messages": [
            turn("user", "the sky?"),
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            turn("tool", "it is blue"),
            turn("assistant", "blue"),
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": "d", "parameters": {}}}],
    }
]


def tokenizer(template: str | None = None) -> Any:
    made = tiny_tokenizer()
    made.add_special_tokens(
        {
            "additional_special_tokens": [
                *("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"),
                *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            ]
        }
    )
    made.chat_template = template
    return made


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


def prepared_by_trl(
    rows: list[dict[str, Any]], of: Any, model: Any, folder: Path, **options: Any
) -> list[TokenRow]:
    arguments = SFTConfig(output_dir=str(folder), report_to=[], use_cpu=True, bf16=False, **options)
    dataset = datasets.Dataset.from_list(rows)
    prepared = SFTTrainer(
        model=model, args=arguments, processing_class=of, train_dataset=dataset
    ).train_dataset
    return [TokenRow(tuple(row["input_ids"]), tuple(row["labels"])) for row in prepared]


TRL_CASES: dict[str, tuple[list[dict[str, Any]], Any, str | None, dict[str, Any]]] = {
    "prompt and completion": (PAIRS, "completion", None, {}),
    "all of prompt and completion": (PAIRS, "all", None, {"completion_only_loss": False}),
    "text": (TEXTS, "all", None, {}),
    "chat prompt and completion": (CHAT_PAIRS, "completion", qwen2_5_chat_template, {}),
    "a template that adds thoughts to the last turn": (CHAT_PAIRS, "completion", qwen3_chat_template, {}),
    "all of a conversation": (TALKS, "all", PLAIN_TEMPLATE, {}),
    "assistant, markers of its own": (TALKS, "assistant", MARKED_TEMPLATE, {"assistant_only_loss": True}),
    "assistant, Qwen 2.5": (TALKS, "assistant", qwen2_5_chat_template, {"assistant_only_loss": True}),
    "assistant, Qwen 3": (TALKS, "assistant", qwen3_chat_template, {"assistant_only_loss": True}),
    "assistant, Gemma 3": (TALKS, "assistant", gemma3_chat_template, {"assistant_only_loss": True}),
    "assistant, Llama 3": (TALKS, "assistant", llama3_chat_template, {"assistant_only_loss": True}),
    "assistant of chat pairs": (
        CHAT_PAIRS,
        "assistant",
        qwen2_5_chat_template,
        {"assistant_only_loss": True, "completion_only_loss": False},
    ),
    "tools": (TOOL_TALKS, "assistant", qwen2_5_chat_template, {"assistant_only_loss": True}),
}


@pytest.mark.parametrize("name", TRL_CASES)
def test_tokens_and_labels_are_those_that_trl_prepares(name: str, model: Any, tmp_path: Path) -> None:
    rows, train_on, template, options = TRL_CASES[name]
    of = tokenizer(template)

    length = 64 if template is None else 1200  # the templates' own words are long in a vocabulary of bytes

    expected = prepared_by_trl(rows, of, model, tmp_path, max_length=length, **options)

    assert list(render(TrainingRows(tuple(rows), train_on), of, length).rows) == expected
    assert expected


def test_rows_are_cut_at_the_end_and_what_is_left_without_a_loss_is_dropped() -> None:
    of = tokenizer()
    rendered = render(TrainingRows(tuple(PAIRS), "completion", None, 2), of, 64)

    whole = [len(of(row["prompt"] + row["completion"])["input_ids"]) for row in PAIRS]
    assert rendered.counts == Counts(
        rows=5,
        tokens=sum(len(row.input_ids) for row in rendered.rows),
        trained_tokens=sum(label != IGNORED for row in rendered.rows for label in row.labels[1:]),
        truncated=sum(length + 1 > 64 for length in whole),
        dropped=1,
        duplicates=2,
    )
    assert rendered.counts.truncated == 2
    assert rendered.rows[4].input_ids == tuple(
        of(PAIRS[4]["prompt"] + PAIRS[4]["completion"])["input_ids"][:64]
    )


def test_a_prompt_that_ends_otherwise_once_the_completion_follows_is_counted() -> None:
    rendered = render(
        TrainingRows(({"prompt": "the ", "completion": "quick"}, PAIRS[0]), "completion"), tokenizer(), 64
    )

    assert rendered.notes[0].startswith("1 of 2 rows: the prompt's tokens end otherwise")


def test_turn_by_turn_finds_what_markers_would_mark() -> None:
    rows = TrainingRows(tuple(TALKS), "assistant")

    assert render(rows, tokenizer(PLAIN_TEMPLATE), 512) == render(rows, tokenizer(MARKED_TEMPLATE), 512)


def test_the_assistants_words_and_the_end_of_its_turns_are_what_is_trained_on() -> None:
    of = tokenizer(PLAIN_TEMPLATE)

    (row,) = render(TrainingRows((TALKS[1],), "assistant"), of, 512).rows

    trained = [piece.text for piece in pieces(row, of) if piece.trained]
    assert trained == ["two  three<|im_end|>\n", "five<|im_end|>\n"]


def test_a_template_that_rewrites_earlier_turns_is_an_error_that_shows_where() -> None:
    thoughtful = PLAIN_TEMPLATE.replace(
        "{{ m['content'] }}",
        "{% if loop.last and m['role'] == 'assistant' %}<think>{% endif %}{{ m['content'] }}",
    )

    with pytest.raises(UsageError) as caught:
        render(TrainingRows(tuple(TALKS), "assistant"), tokenizer(thoughtful), 512)

    said = str(caught.value)
    assert said.startswith("training row 2: the chat template writes the conversation up to turn 3 otherwise")
    assert "'<think>two  three" in said
    assert "Set base.chat_template" in said
    assert 'train_on = "all"' in said


def test_messages_without_a_chat_template_are_an_error_that_says_what_to_set() -> None:
    with pytest.raises(UsageError, match=r'no chat template.\nSet base.chat_template = "file.jinja"'):
        render(TrainingRows(tuple(TALKS), "assistant"), tokenizer(), 512)


def test_a_conversation_that_the_template_refuses_is_named_with_the_templates_own_words() -> None:
    rows = TrainingRows(
        (TALKS[0], {"messages": [turn("user", "a"), turn("user", "b"), turn("assistant", "c")]}), "assistant"
    )

    with pytest.raises(
        UsageError, match=r"(?s)training row 2: .*roles must alternate.*set base.chat_template"
    ):
        render(rows, tokenizer(gemma3_chat_template), 512)


def test_a_template_whose_turns_never_end_is_told() -> None:
    endless = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"

    for train_on in ("assistant", "all"):
        rendered = render(TrainingRows(tuple(TALKS), train_on), tokenizer(endless), 512)
        (note,) = rendered.notes
        assert note.startswith("2 of 2 rows: the token that ends the assistant's turn is not trained on")
    assert render(TrainingRows(tuple(TALKS), "assistant"), tokenizer(PLAIN_TEMPLATE), 512).notes == ()


@pytest.mark.parametrize(
    ("rows", "train_on", "template", "length", "shown", "help"),
    [
        ((PAIRS[5],), "completion", None, 16, "⟦<s>the lazy dog", "max_length = 16 cuts every row"),
        (
            ({"input_ids": [1, 5, 6], "labels": [IGNORED] * 3},),
            "all",
            None,
            16,
            "⟦<s>",
            "a label of -100 has no loss",
        ),
        (
            tuple(TALKS),
            "assistant",
            "{% for m in messages %}{{ m['content'] }}{% if false %}{% generation %}{% endgeneration %}{% endif %}{% endfor %}",
            64,
            "⟦which colour is the sky?blue⟧",
            "base.chat_template to a template with {% generation %}",
        ),
    ],
)
def test_no_token_with_a_loss_is_an_error_that_shows_a_row(
    rows: Any, train_on: Any, template: str | None, length: int, shown: str, help: str
) -> None:
    with pytest.raises(UsageError) as caught:
        render(TrainingRows(rows, train_on), tokenizer(template), length)

    assert f"no token of the {len(rows)} training rows has a loss" in str(caught.value)
    assert shown in str(caught.value)
    assert help in str(caught.value)


def test_tokens_made_before_are_taken_as_they_are() -> None:
    rows = TrainingRows(({"input_ids": [1, 5, 6, 2], "labels": [IGNORED, IGNORED, 6, 2]},), "all")

    rendered = render(rows, tokenizer(), 3)

    assert rendered.rows == (TokenRow((1, 5, 6), (IGNORED, IGNORED, 6)),)
    assert (rendered.counts.trained_tokens, rendered.counts.truncated) == (1, 1)


def test_tokens_of_another_models_vocabulary_are_an_error() -> None:
    with pytest.raises(
        UsageError, match=r"training row 1 holds the token 262,143, and this model's tokenizer has"
    ):
        render(TrainingRows(({"input_ids": [1, 262143], "labels": [1, 262143]},), "all"), tokenizer(), 16)


def test_each_row_of_a_mixture_keeps_its_own_mask() -> None:
    of = tokenizer()
    domain, general = TrainingRows((PAIRS[0],) * 3, "completion"), TrainingRows((TEXTS[0],), "all")

    rendered = render(mixed(domain, general, 0.25, seed=0), of, 64)

    expected = [*render(domain, of, 64).rows, *render(general, of, 64).rows]
    assert sorted(row.labels for row in rendered.rows) == sorted(row.labels for row in expected)


def test_pieces_are_the_whole_text_with_the_special_tokens() -> None:
    of = tokenizer()
    (row,) = render(TrainingRows(({"prompt": "größe:", "completion": " ü ½"},), "completion"), of, 64).rows

    assert pieces(row, of) == (Piece("<s>größe:", False), Piece(" ü ½</s>", True))


def test_the_first_token_of_a_text_has_no_loss() -> None:
    of = tokenizer()
    rendered = render(TrainingRows((TEXTS[0],), "all"), of, 64)

    assert pieces(rendered.rows[0], of) == (Piece("<s>", False), Piece(TEXTS[0]["text"] + "</s>", True))
    assert rendered.counts.trained_tokens == rendered.counts.tokens - 1


def test_a_tokenizer_that_cannot_end_a_text_is_told() -> None:
    of = tokenizer()
    of.eos_token = None

    rendered = render(TrainingRows((TEXTS[0],), "all"), of, 64)

    assert rendered.rows[0].input_ids == tuple(of(TEXTS[0]["text"])["input_ids"])
    assert rendered.notes == (
        "the tokenizer has no end-of-sequence token, so the model cannot learn to stop.",
    )
