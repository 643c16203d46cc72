"""`SOURCE#[a:b]`: a part of a source's rows, so that one file can be trained on and tested on."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.fingerprint import source_fingerprint
from harness.data.sources import read_rows
from harness.errors import ConfigurationError
from tests.conftest import write_rows


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_rows(tmp_path / "rows.jsonl", [{"n": n} for n in range(10)])
    (tmp_path / "own.py").write_text(
        "def rows():\n    return [{'n': n} for n in range(10)]\n", encoding="utf-8"
    )
    return tmp_path


@pytest.mark.parametrize("source", ["rows.jsonl", "*.jsonl", "python:own:rows"])
@pytest.mark.parametrize(
    ("part", "expected"), [("[7:]", [7, 8, 9]), ("[:2]", [0, 1]), ("[3:5]", [3, 4]), ("[:]", list(range(10)))]
)
def test_any_source_can_be_read_in_part(root: Path, source: str, part: str, expected: list[int]) -> None:
    assert [row.values["n"] for row in read_rows(f"{source}#{part}", root)] == expected


def test_a_limit_counts_within_the_part(root: Path) -> None:
    assert [row.values["n"] for row in read_rows("rows.jsonl#[4:]", root, limit=2)] == [4, 5]


def test_the_part_belongs_to_what_the_rows_are_made_from(root: Path) -> None:
    whole, part = (source_fingerprint(f"rows.jsonl{end}", root) for end in ("", "#[4:]"))

    assert part == {**whole, "rows": "4:None"}


def test_a_part_without_rows_is_an_error(root: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no rows"):
        read_rows("rows.jsonl#[40:]", root)


def test_a_file_that_is_not_there_is_named_without_its_part(root: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no file `row\.jsonl`"):
        read_rows("row.jsonl#[1:]", root)
