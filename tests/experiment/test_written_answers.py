"""Which option a written answer means: the one that it begins with, as whole words."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.experiment.written_answers import read_answer, unreadable

CHAPTERS = ["eye", "ear", "early childhood", "blood"]
WORDS = st.text("abcdeé ßİ1-'", min_size=1, max_size=8)
OPTIONS = st.lists(WORDS, min_size=2, max_size=6, unique=True)
ENDS = st.sampled_from(["", ".", "!", " ", "\n", ", because", " and so on", ": yes", ")", "\n1. more"])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("eye", "eye"),
        ("  Eye.", "eye"),
        ("\n\neye\nblood", "eye"),
        ("EYE, because it sees", "eye"),
        ("early childhood", "early childhood"),
        ("early  Childhood!", "early childhood"),
        ("ear; not eye", "ear"),
        ("ear)", "ear"),
        ("the eye", None),
        ("eyes", None),
        ("eye-lid", None),
        ("eye's", None),
        ("early", None),
        ("", None),
        (" \n", None),
        ("...", None),
    ],
)
def test_a_text_means_the_option_that_its_first_line_begins_with(text: str, answer: str | None) -> None:
    assert read_answer(text, CHAPTERS) == answer


@pytest.mark.parametrize(
    ("text", "answer"), [("1", "1"), ("1.", "1"), ("1.5", "1.5"), ("1.55", None), ("15", None)]
)
def test_a_number_goes_on_to_its_end(text: str, answer: str | None) -> None:
    assert read_answer(text, ["1", "1.5"]) == answer


def test_of_two_options_that_fit_the_longer_is_meant_in_whatever_order_they_stand() -> None:
    assert read_answer("New York City", ["New York", "New York City"]) == "New York City"
    assert read_answer("New York City", ["New York City", "New York"]) == "New York City"
    assert read_answer("New York State", ["New York City", "New York"]) == "New York"


@given(options=OPTIONS, place=st.integers(0, 5), end=ENDS, lead=st.sampled_from(["", " ", "\n"]))
def test_an_option_that_is_written_is_read_whatever_stands_around_it(
    options: list[str], place: int, end: str, lead: str
) -> None:
    assume(unreadable(options) is None)
    option = options[place % len(options)]
    read = read_answer(lead + option.upper() + end, options)
    # "A" and "a and": what stands after an option may make a longer one of it, and never a shorter.
    assert read is not None
    assert read == option or len(read) > len(option)


@given(options=OPTIONS, text=st.text("abcde .-1\n", max_size=20))
def test_what_is_read_is_an_option_with_which_the_text_begins(options: list[str], text: str) -> None:
    read = read_answer(text, options)
    if read is not None:
        assert read in options
        begins = " ".join(text.casefold().split())
        assert begins.startswith(" ".join(read.casefold().split()).rstrip(".,;:!?…"))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["yes", "no"], None),
        (["yes", "Yes."], ("Yes.", "yes")),
        (["yes", "?"], ("?", None)),
        (["one\ntwo", "one"], ("one", "one\ntwo")),
    ],
)
def test_options_that_cannot_be_told_apart_once_written_are_found(
    options: list[str], found: tuple[str, str | None] | None
) -> None:
    assert unreadable(options) == found
