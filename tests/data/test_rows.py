"""Reading rows of every kind, and how bad ones are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.rows import Row
from harness.data.sources import read_rows
from harness.errors import ConfigurationError, MissingExtra, Problem, RunFailed

ROWS = [{"title": "a", "n": 1}, {"title": "ü", "n": 2}]


def write(root: Path, name: str, text: str) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def problems(source: str, root: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationError) as caught:
        read_rows(source, root)
    return caught.value.problems


def values(source: str, root: Path, limit: int | None = None) -> list[dict[str, Any]]:
    return [dict(row.values) for row in read_rows(source, root, limit)]


def test_jsonl_with_empty_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = "\ufeff" + json.dumps(ROWS[0]) + "\r\n\n" + json.dumps(ROWS[1], ensure_ascii=False)
    file = write(tmp_path, "x.jsonl", text)
    rows = read_rows("x.jsonl", tmp_path)
    assert rows == (Row(ROWS[0], file, 1, 1), Row(ROWS[1], file, 3, 2))


def test_json_and_parquet_and_limit(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path, "x.json", json.dumps(ROWS))
    parquet.write_table(arrow.Table.from_pylist(ROWS), tmp_path / "x.parquet")
    assert values("x.json", tmp_path) == values("x.parquet", tmp_path) == ROWS
    assert values("x.json", tmp_path, 1) == ROWS[:1]


def test_csv_with_a_cell_of_several_lines(tmp_path: Path) -> None:
    file = write(tmp_path, "x.csv", 'title,n\n"a\nb, c",1\n\nd,2\n')
    assert read_rows("x.csv", tmp_path) == (
        Row({"title": "a\nb, c", "n": "1"}, file, 2, 1),
        Row({"title": "d", "n": "2"}, file, 5, 2),
    )


def test_a_glob_reads_files_in_order(tmp_path: Path) -> None:
    write(tmp_path, "d/b.jsonl", '{"x": 2}\n')
    write(tmp_path, "d/a.jsonl", '{"x": 1}\n')
    write(tmp_path, "d/e/c.jsonl", '{"x": 3}\n')
    assert values("d/*.jsonl", tmp_path) == [{"x": 1}, {"x": 2}]
    assert values("d/**/*.jsonl", tmp_path) == [{"x": 1}, {"x": 2}, {"x": 3}]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ('{"x": 1}\n{"x": }\n', 2, 7, "not valid JSON: expecting value"),
        ('{"x": 1}\n\n[1]\n', 3, 1, "not a JSON object"),
        ('{"x": NaN}\n', 1, 1, "NaN is not JSON"),
        ("hello\n", 1, 1, "not valid JSON"),
    ],
)
def test_bad_json_lines_are_named(tmp_path: Path, text: str, line: int, column: int, message: str) -> None:
    file = write(tmp_path, "x.jsonl", text)
    (problem,) = problems("x.jsonl", tmp_path)
    assert (problem.file, problem.line, problem.column) == (file, line, column)
    assert message in problem.message


def test_twenty_bad_rows_and_the_count(tmp_path: Path) -> None:
    write(tmp_path, "x.jsonl", '{"x": 1}\n' * 5 + "{\n" * 35)
    found = problems("x.jsonl", tmp_path)
    assert [problem.line for problem in found[:20]] == list(range(6, 26))
    assert found[20].message == "15 more problems like these in x.jsonl (35 in 40 rows)"


def test_a_line_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"x": 1}\n{"x": "\xff"}\n')
    (problem,) = problems("x.jsonl", tmp_path)
    assert (problem.line, problem.message) == (2, "this line is not UTF-8 text")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a,b\n1,2\n1\n", 3, "1 cells, the header 2"),
        ("a,b\n1,2,3\n", 2, "3 cells, the header 2"),
        ("a,a\n1,2\n", 1, "names of their own"),
        ('a,b\n1,"x" y\n', 2, "not valid CSV"),
    ],
)
def test_bad_csv_rows_are_named(tmp_path: Path, text: str, line: int, message: str) -> None:
    write(tmp_path, "x.csv", text)
    (problem,) = problems("x.csv", tmp_path)
    assert problem.line == line
    assert message in problem.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"x": 1}', "not a list"),
        ("[1]", "row 1 of x.json is not an object"),
        ('[\n{"x": 1}\n', "not valid JSON"),
    ],
)
def test_bad_json_files(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "x.json", text)
    assert message in problems("x.json", tmp_path)[0].message


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write(tmp_path, "x.parquet", "not parquet")
    assert "not a readable Parquet file" in problems("x.parquet", tmp_path)[0].message


@pytest.mark.parametrize(
    ("name", "text"), [("x.jsonl", ""), ("x.jsonl", "\n\n"), ("x.json", "[]"), ("x.csv", "a,b\n")]
)
def test_an_empty_data_set_is_an_error(tmp_path: Path, name: str, text: str) -> None:
    file = write(tmp_path, name, text)
    (problem,) = problems(name, tmp_path)
    assert (problem.message, problem.file) == (f"`{name}` holds no rows", file)


def test_a_missing_source(tmp_path: Path) -> None:
    write(tmp_path, "d/rows.jsonl", "")
    (problem,) = problems("d/row.jsonl", tmp_path)
    assert problem.help == "did you mean `d/rows.jsonl`?"


def test_a_python_source_with_its_helpers(tmp_path: Path) -> None:
    write(tmp_path, "made/__init__.py", "")
    write(tmp_path, "made/inner.py", "N = 2\n")
    write(
        tmp_path,
        "made/rows.py",
        "def rows():\n    from made.inner import N\n    yield from ({'x': i} for i in range(N))\n",
    )
    rows = read_rows("python:made.rows:rows", tmp_path)
    assert rows == (Row({"x": 0}, None, None, 1), Row({"x": 1}, None, None, 2))


def test_modules_of_the_same_name_under_two_roots(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path, f"{name}/made/rows.py", f"def rows():\n    return [{{'x': '{name}'}}]\n")
    for name in ("one", "two", "one"):
        assert values("python:made.rows:rows", tmp_path / name) == [{"x": name}]


def test_an_exception_in_a_python_source_is_named_where_it_was_raised(tmp_path: Path) -> None:
    file = write(tmp_path, "bad.py", "def rows():\n    yield {'x': 1}\n    yield {'x': 1 / 0}\n")
    (problem,) = problems("python:bad:rows", tmp_path)
    assert (problem.file, problem.line, problem.column) == (file, 3, 5)
    assert problem.message == "python:bad:rows raised ZeroDivisionError: division by zero"


def test_a_python_source_that_lacks_a_package(tmp_path: Path) -> None:
    write(tmp_path, "lacks.py", "import no_such_package_here\ndef rows():\n    return []\n")
    (problem,) = problems("python:lacks:rows", tmp_path)
    assert "no_such_package_here" in (problem.help or "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 5", "it gives int, not rows"),
        ("return {'x': 1}", "it gives dict, not rows"),
        ("return [3]", "row 1 of python:odd:rows is int, not a dict"),
        ("return []", "holds no rows"),
    ],
)
def test_a_python_source_that_gives_no_rows(tmp_path: Path, body: str, message: str) -> None:
    write(tmp_path, "odd.py", f"def rows():\n    {body}\n")
    assert message in problems("python:odd:rows", tmp_path)[0].message


def test_a_hub_source_that_fails_says_which_and_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(name: str, revision: str, split: str) -> Any:
        if split == "test":
            return ROWS
        raise ConnectionError(f"cannot reach {name} at {revision}")

    stand_in = type("datasets", (), {"load_dataset": staticmethod(load_dataset)})
    monkeypatch.setitem(__import__("sys").modules, "datasets", stand_in)
    assert values("hub:org/name#test", tmp_path) == ROWS
    with pytest.raises(RunFailed, match=r"hub:org/name@v1(.|\n)*cannot reach org/name at v1(.|\n)*HF_TOKEN"):
        read_rows("hub:org/name@v1", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtra, match="datasets"):
        read_rows("hub:org/name", tmp_path)
