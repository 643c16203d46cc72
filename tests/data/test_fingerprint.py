"""What a source's fingerprint covers, and that it is quick and imports nothing."""

from __future__ import annotations

import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from harness.data.fingerprint import source_fingerprint
from harness.errors import ConfigurationError

FILES = {
    "suites/__init__.py": "",
    "suites/rows.py": (
        "import json\nimport jinja2\nfrom suites.near import value\nfrom . import beside\n"
        'READS = ("data/read.jsonl",)\n'
        "def rows():\n    import deep\n    return []\n"
    ),
    "suites/near.py": "from .further import other\nvalue = 1\n",
    "suites/further.py": "other = 1\n",
    "suites/beside.py": "",
    "deep.py": "raise RuntimeError('never imported')\n",
    "data/read.jsonl": "{}\n",
    "data/x.jsonl": "{}\n",
    "data/y.jsonl": "{}\n",
    "unrelated.py": "",
}
SOURCE = "python:suites.rows:rows"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_function_is_its_modules_their_data_and_their_packages(root: Path) -> None:
    parts = source_fingerprint(SOURCE, root)
    assert set(parts) == {
        "function",
        "package jinja2",
        "deep.py",
        "data/read.jsonl",
        "suites/__init__.py",
        "suites/rows.py",
        "suites/near.py",
        "suites/further.py",
        "suites/beside.py",
    }
    assert parts["package jinja2"] == metadata.version("jinja2")
    assert parts["function"] == "rows"
    assert not {"deep", "suites.near"} & sys.modules.keys()


def test_it_is_the_same_each_time(root: Path) -> None:
    assert list(source_fingerprint(SOURCE, root).items()) == list(source_fingerprint(SOURCE, root).items())


@pytest.mark.parametrize(
    "name",
    [
        "suites/__init__.py",
        "suites/rows.py",
        "suites/further.py",
        "suites/beside.py",
        "deep.py",
        "data/read.jsonl",
    ],
)
def test_editing_what_it_is_made_of_changes_it(root: Path, name: str) -> None:
    before = source_fingerprint(SOURCE, root)
    with open(root / name, "a") as stream:
        stream.write("\n# more\n")
    after = source_fingerprint(SOURCE, root)
    assert {part for part in after if after[part] != before[part]} == {name}


def test_editing_something_else_does_not(root: Path) -> None:
    before = source_fingerprint(SOURCE, root)
    (root / "unrelated.py").write_text("x = 1")
    (root / "data/x.jsonl").write_text("{}{}")
    assert source_fingerprint(SOURCE, root) == before


def test_two_functions_of_a_module_differ(root: Path) -> None:
    (root / "two.py").write_text("def a(): return []\ndef b(): return []\n")
    assert source_fingerprint("python:two:a", root) != source_fingerprint("python:two:b", root)


def test_files_are_their_bytes(root: Path) -> None:
    before = source_fingerprint("data/?.jsonl", root)
    assert list(before) == ["data/x.jsonl", "data/y.jsonl"]
    (root / "data/y.jsonl").write_text("{}{}")
    (root / "data/z.jsonl").write_text("{}")
    after = source_fingerprint("data/?.jsonl", root)
    assert list(after) == ["data/x.jsonl", "data/y.jsonl", "data/z.jsonl"]
    assert (
        after["data/x.jsonl"] == before["data/x.jsonl"],
        after["data/y.jsonl"] == before["data/y.jsonl"],
    ) == (True, False)


def test_the_hub_is_its_revision(root: Path) -> None:
    assert source_fingerprint("hub:org/name", root) == {"hub:org/name": "main#train"}
    assert source_fingerprint("hub:org/name@abc#test", root) == {"hub:org/name": "abc#test"}


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ('READS = ("data/none.jsonl",)', "which is not there"),
        ("READS = tuple(x)", "must be a literal tuple"),
        ("READS: tuple[str, ...] = (1,)", "must be a literal tuple"),
    ],
)
def test_a_bad_declaration_is_named(root: Path, reads: str, message: str) -> None:
    file = root / "bad.py"
    file.write_text(f"x = 1\n{reads}\ndef rows(): return []\n")
    with pytest.raises(ConfigurationError) as caught:
        source_fingerprint("python:bad:rows", root)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == (file, 2, 1)
    assert message in problem.message


def test_a_helper_that_does_not_parse_is_named(root: Path) -> None:
    (root / "suites/further.py").write_text("x = 1\ndef (\n")
    with pytest.raises(ConfigurationError) as caught:
        source_fingerprint(SOURCE, root)
    assert (caught.value.problems[0].file, caught.value.problems[0].line) == (root / "suites/further.py", 2)


def test_it_is_quick(root: Path) -> None:
    source_fingerprint(SOURCE, root)
    begin = time.perf_counter()
    source_fingerprint(SOURCE, root)
    assert time.perf_counter() - begin < 0.05
