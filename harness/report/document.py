"""What a report is made of, before it is HTML or Markdown: both are written from the same blocks.

All text here is raw. The writers make it inert; nothing in a document is markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

Tone = Literal["plain", "better", "worse", "unsure", "void"]


@dataclass(frozen=True)
class Cell:
    """`note` stands small below the text."""

    text: str
    note: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Column:
    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Row:
    """`secondary` rows belong to the row above them; `total` rows sum up the table."""

    cells: tuple[Cell, ...]
    role: Literal["primary", "secondary", "total"] = "primary"


@dataclass(frozen=True)
class Table:
    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Text:
    kind: ClassVar[str] = "text"
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Bullets:
    kind: ClassVar[str] = "bullets"
    items: tuple[str, ...]
    tone: Tone = "plain"


@dataclass(frozen=True)
class Banner:
    """The verdict: mark, word and sentence; the tone only adds colour."""

    kind: ClassVar[str] = "banner"
    mark: str
    word: str
    sentence: str
    tone: Tone
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """`wide` also stands alone as a file; `narrow` is the same picture laid out for a phone."""

    kind: ClassVar[str] = "picture"
    name: str
    title: str
    description: str
    wide: str
    narrow: str = ""


@dataclass(frozen=True)
class Exchange:
    """A prompt and the answers to it, each with its label. Hostile text."""

    heading: str
    prompt: str
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Exchanges:
    """`dense` sets many short ones side by side."""

    kind: ClassVar[str] = "exchanges"
    items: tuple[Exchange, ...]
    dense: bool = False


@dataclass(frozen=True)
class Code:
    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Heading:
    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Fold:
    """Blocks behind a summary line. A fold holds no further fold."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: tuple[Block, ...]
    open: bool = False


Block = Table | Text | Bullets | Banner | Picture | Exchanges | Code | Heading | Fold


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    title: str
    sections: tuple[Section, ...]


def two_columns(caption: str, left: str, right: str, pairs: tuple[tuple[str, str], ...]) -> Table:
    """A table of labels and values."""
    rows = tuple(Row((Cell(label), Cell(value))) for label, value in pairs)
    return Table(caption, (Column(left), Column(right)), rows)


def pictures_of(document: Document) -> tuple[Picture, ...]:
    """Every picture of a document, in reading order."""
    found: list[Picture] = []
    for section in document.sections:
        for block in section.blocks:
            inside = block.blocks if isinstance(block, Fold) else (block,)
            found += [each for each in inside if isinstance(each, Picture)]
    return tuple(found)
