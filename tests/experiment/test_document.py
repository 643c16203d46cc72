"""Places of keys: in documents made so that every place is known, and in the odd corners of TOML."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.document import KeyPath, Place, key_name, parse_document
from harness.experiment.validate import value_at

FILE = Path("x.toml")
ODD = """\
# comment [not.a.header]
a = "=[{#\\" x" # b = 1
"quoted = key" . 'and #' = 1
text = \"\"\"
[no] = "header"
key = 1\\\"\"\"\"\"
d . e."f.g" = 1979-05-27 07:32:32 # date with a space
literal = '''
'' [x] '''
list = [ # comment ]
  1,
  [ "a]", { x = 1, y.z = [2] } ],
]
[ t . u ] # header
k = 1
[[array]]
name = "one"
[[array.inner]]
v = 1
[[array.inner]]
v = 2
[array.inner.sub]
w = 3
[[array]]
name = "two"
[array.table]
x = 1
"""


def test_odd_corners() -> None:
    located = parse_document(ODD, FILE)
    expected = {
        ("a",): (2, 1),
        ("quoted = key",): (3, 1),
        ("quoted = key", "and #"): (3, 18),
        ("text",): (4, 1),
        ("d",): (7, 1),
        ("d", "e"): (7, 5),
        ("d", "e", "f.g"): (7, 7),
        ("literal",): (8, 1),
        ("list", 0): (11, 3),
        ("list", 1): (12, 3),
        ("list", 1, 1, "x"): (12, 13),
        ("list", 1, 1, "y", "z"): (12, 22),
        ("list", 1, 1, "y", "z", 0): (12, 27),
        ("t", "u"): (14, 7),
        ("t", "u", "k"): (15, 1),
        ("array", 0, "name"): (17, 1),
        ("array", 0, "inner", 1): (20, 9),
        ("array", 0, "inner", 1, "v"): (21, 1),
        ("array", 0, "inner", 1, "sub", "w"): (23, 1),
        ("array", 1, "name"): (25, 1),
        ("array", 1, "table", "x"): (27, 1),
    }
    assert {path: located.keys[path] for path in expected} == expected
    assert located.tables[("t", "u")] == (14, 1)
    assert located.tables[("array", 1)] == (24, 1)
    assert located.tables[("list", 1, 1)] == (12, 11)


def test_carriage_returns_and_a_table_named_before_its_parent() -> None:
    located = parse_document("[a.b]\r\nx = 1\r\n[a]\r\ny = 2\r\n", FILE)
    assert located.place(("a",)) == (3, 2)
    assert located.place(("a", "b", "x")) == (2, 1)
    assert located.lines[1] == "x = 1"


def test_an_unwritten_key_is_placed_at_what_holds_it() -> None:
    located = parse_document("[a]\nb = 1\n", FILE)
    assert located.place(("a", "c", "d")) == (1, 2)
    assert located.place(("z",)) == (1, 1)


def test_key_names() -> None:
    assert key_name(("suites", "domain", 0)) == "suites.domain[0]"
    assert key_name(("a", "b c")) == 'a."b c"'


_NAMES = st.one_of(st.from_regex(r"[a-z][a-z0-9_-]{0,4}", fullmatch=True), st.text(max_size=4))
_SCALARS = st.one_of(
    st.integers(-(2**62), 2**62),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
)
_INLINE = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_TABLES = st.recursive(
    st.dictionaries(_NAMES, _INLINE, max_size=4),
    lambda inner: st.dictionaries(
        _NAMES, st.one_of(_INLINE, inner, st.lists(inner, min_size=1, max_size=2)), max_size=4
    ),
    max_leaves=8,
)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


class _Writer:
    """Writes a document in a spelling that Hypothesis picks, and notes where each key lands."""

    def __init__(self, data: st.DataObject) -> None:
        self.pick = data.draw
        self.text = ""
        self.places: dict[KeyPath, Place] = {}

    def note(self, path: KeyPath) -> None:
        start = self.text.rfind("\n") + 1
        self.places[path] = Place(self.text.count("\n") + 1, len(self.text) - start + 1)

    def gap(self, newlines: bool = False) -> None:
        choices = ["", " ", "  ", "\t"] + (["\n", " # ] = } [x]\n", "\n\n"] if newlines else [])
        self.text += self.pick(st.sampled_from(choices))

    def string(self, value: str) -> str:
        quoted = _quoted(value)
        many = "".join(sign if sign == "\n" else _quoted(sign)[1:-1] for sign in value)
        spellings = [quoted, f'"""\n{many}"""']
        if not any(ord(sign) < 32 or sign in "'\x7f" for sign in value):
            spellings += [f"'{value}'", f"'''{value}'''"]
        return self.pick(st.sampled_from(spellings))

    def key(self, path: KeyPath) -> None:
        self.note(path)
        name = str(path[-1])
        bare = name.isascii() and name.replace("-", "a").replace("_", "a").isalnum()
        self.text += name if bare and self.pick(st.booleans()) else _quoted(name)

    def value(self, value: Any, path: KeyPath) -> None:
        if isinstance(value, list):
            self.text += "["
            for index, element in enumerate(value):
                self.gap(newlines=True)
                self.note((*path, index))
                self.value(element, (*path, index))
                self.gap(newlines=True)
                self.text += "," if index < len(value) - 1 or self.pick(st.booleans()) else ""
            self.gap(newlines=True)
            self.text += "]"
        elif isinstance(value, dict):
            self.text += "{"
            for index, key in enumerate(value):
                self.text += "," if index else ""
                self.gap()
                self.pair(value[key], (*path, key))
                self.gap()
            self.text += "}"
        elif isinstance(value, str):
            self.text += self.string(value)
        else:
            self.text += json.dumps(value)

    def pair(self, value: Any, path: KeyPath) -> None:
        self.key(path)
        self.gap()
        self.text += "="
        self.gap()
        self.value(value, path)

    def header(self, path: KeyPath, brackets: int) -> None:
        self.gap(newlines=True)
        names = [part for part in path if isinstance(part, str)]
        self.text += "[" * brackets + ".".join(_quoted(name) for name in names[:-1])
        self.text += "." if names[1:] else ""
        self.key(path if isinstance(path[-1], str) else path[:-1])
        self.places[path] = self.places.get(path) or self.places[path[:-1]]
        self.text += "]" * brackets + "\n"

    def table(self, table: dict[str, Any], path: KeyPath) -> None:
        nested = {key for key, value in table.items() if _wants_header(value) and self.pick(st.booleans())}
        for key in table.keys() - nested:
            self.gap(newlines=True)
            self.pair(table[key], (*path, key))
            self.text += self.pick(st.sampled_from(["\n", " # x = 1\n"]))
        for key in nested:
            value = table[key]
            if isinstance(value, dict):
                self.header((*path, key), 1)
                self.table(value, (*path, key))
                continue
            first = None
            for index, element in enumerate(value):
                self.header((*path, key, index), 2)
                first = first or self.places[(*path, key)]
                self.places[(*path, key)] = first
                self.table(element, (*path, key, index))


def _wants_header(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)
    )


@settings(max_examples=80, deadline=None)
@given(table=_TABLES, data=st.data())
def test_every_key_of_any_document_is_found_where_it_was_written(
    table: dict[str, Any], data: st.DataObject
) -> None:
    writer = _Writer(data)
    writer.table(table, ())
    located = parse_document(writer.text, FILE)
    assert located.table == tomllib.loads(writer.text)
    assert {path: located.keys.get(path) for path in writer.places} == writer.places


@settings(max_examples=40, deadline=None)
@given(table=_TABLES, data=st.data())
def test_every_value_has_a_place_and_every_place_a_value(table: dict[str, Any], data: st.DataObject) -> None:
    writer = _Writer(data)
    writer.table(table, ())
    located = parse_document(writer.text, FILE)
    assert set(_paths(located.table, ())) == set(located.keys)
    assert all(value_at(located.table, path) is not None for path in located.keys)


def _paths(value: Any, path: KeyPath) -> list[KeyPath]:
    below = list(value.items()) if isinstance(value, dict) else []
    below += list(enumerate(value)) if isinstance(value, list) else []
    return [(*path, key) for key, _ in below] + [
        deeper for key, child in below for deeper in _paths(child, (*path, key))
    ]
