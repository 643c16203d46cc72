"""Which items stand in the training rows: the oracle, the four rules, and what breaks none of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.contamination import (
    containment,
    contaminated,
    coverage,
    jaccard,
    longest_match,
    ngrams,
    words_of,
)

# O23's own texts are lost. This pair of 31 words each has its structure: a run of twenty and no other
# 5-gram is shared, which gives every number of the oracle.
SHARED = (
    "she baked forty eight pies on Friday, sold half of them before noon and gave six to her old neighbour"
)
ITEM = f"Maria sells pies. {SHARED.capitalize()}. How many pies does Maria still have now?"
ROW = f"One cook works alone: {SHARED}; then he ate two. What was left?"


def numbered(start: int, count: int) -> str:
    return " ".join(f"w{number}" for number in range(start, start + count))


def test_a_pair_with_the_structure_of_o23_gives_its_numbers(oracles: dict[str, Any]) -> None:
    item, row, oracle = words_of(ITEM), words_of(ROW), oracles["O23_contam"]

    assert len(item) == oracle["n_tokens"]
    for words, (shared, of, _) in oracle["containment"].items():
        n = int(words)
        grams = ngrams(item, n)
        assert (len(grams & ngrams(row, n)), len(grams)) == (shared, of)
        assert containment(item, [row], n) == pytest.approx(shared / of)
    assert jaccard(item, row, 5) == pytest.approx(oracle["jaccard5"])
    assert coverage(item, [row], 8) == pytest.approx(oracle["token_coverage8"])
    assert longest_match(item, row) == 20


def test_case_punctuation_and_white_space_do_not_hide_a_copy() -> None:
    assert words_of("  “Hello,\nWORLD!”  3.5_x ") == ("hello", "world", "35x")
    (found,) = contaminated([ITEM], ["unrelated", ITEM.upper().replace(" ", "\n  ")])
    assert (found.item, found.row, found.reason) == (0, 1, "13 words in a row")


def test_twelve_shared_words_are_no_finding_and_thirteen_are() -> None:
    item = numbered(0, 40)
    assert contaminated([item], [f"a {numbered(5, 12)} b"]) == ()
    (found,) = contaminated([item], [f"a {numbered(5, 13)} b"])
    assert found.reason == "13 words in a row"


def test_an_item_put_together_from_runs_of_eight_in_several_rows_is_found() -> None:
    item = numbered(0, 40)
    rows = [f"a {numbered(start, 8)} b" for start in (0, 8, 16, 24)]
    assert contaminated([item], rows[:3]) == ()  # 24 of 40 words
    (found,) = contaminated([item], rows)
    assert found.reason == "80% of its words in runs of 8"


def test_a_short_item_with_another_ending_is_found_by_its_similarity_to_one_row() -> None:
    item, other = numbered(0, 8), f"{numbered(0, 7)} x"
    (found,) = contaminated([item], ["nothing", other])
    assert (found.row, found.reason) == (1, "60% of the 5-word runs of both")
    assert contaminated([item], [f"{other} {numbered(50, 20)}"]) == ()


def test_a_short_item_is_found_only_as_a_whole() -> None:
    items = ["Cholera due to Vibrio", "Cholera due to cold", "", "?!"]
    (found,) = contaminated(items, ["fever", "the code of cholera, due to vibrio: A00"])
    assert (found.item, found.row, found.reason) == (0, 1, "its whole text")


def test_the_row_that_shares_most_is_named_and_equal_items_are_all_found() -> None:
    item = numbered(0, 40)
    found = contaminated([item, "other", item], [f"a {numbered(0, 13)}", f"b {numbered(13, 27)}"])
    assert [(each.item, each.row) for each in found] == [(0, 1), (2, 1)]


WORDS = st.lists(st.sampled_from("abc"), max_size=40).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, max_size=4))
def test_the_index_finds_exactly_what_the_rule_says(items: list[str], rows: list[str]) -> None:
    split = [words_of(row) for row in rows]

    def by_the_rule(text: str) -> bool:
        item = words_of(text)
        runs = [row[at : at + len(item)] for row in split for at in range(len(row))]
        return (
            containment(item, split, 13) > 0
            or coverage(item, split, 8) >= 0.7
            or any(jaccard(item, row, 5) >= 0.5 for row in split)
            or (0 < len(item) < 13 and item in runs)
        )

    found = {each.item for each in contaminated(items, rows)}
    assert found == {place for place, text in enumerate(items) if by_the_rule(text)}
