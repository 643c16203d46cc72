"""The report as Markdown: the same blocks, short enough for a pull request, nothing in it active."""

from __future__ import annotations

from harness.report.document import (
    Banner,
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Exchange,
    Exchanges,
    Fold,
    Heading,
    Picture,
    Row,
    Section,
    Table,
    Text,
)
from harness.report.inert import cut, markdown_text, markdown_verbatim

MAX_CHARACTERS = 60_000
MAX_ROWS = 40
MAX_EXCHANGES = 8
_EXCHANGE_LIMIT, _CODE_LIMIT = 300, 6_000
_ELSEWHERE = "in [report.html](report.html)"


def _cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    return f"{text}<br><sub>{markdown_text(cell.note)}</sub>" if cell.note else text


def _row(row: Row) -> str:
    cells = [_cell(cell) for cell in row.cells]
    if row.role == "secondary":
        cells[0] = f"↳ {cells[0]}"
    elif row.role == "total":
        cells[0] = (
            f"**{cells[0]}**" if "<br>" not in cells[0] else f"**{cells[0].replace('<br>', '**<br>', 1)}"
        )
    return f"| {' | '.join(cells)} |"


def _table(table: Table) -> str:
    """Totals stay when a long table is cut."""
    body = [row for row in table.rows if row.role != "total"]
    totals = [row for row in table.rows if row.role == "total"]
    rule = "|".join("--:" if column.numeric else "---" for column in table.columns)
    lines = [
        f"*{markdown_text(table.caption)}*",
        "",
        f"| {' | '.join(markdown_text(column.title) for column in table.columns)} |",
        f"|{rule}|",
        *(_row(row) for row in (*body[:MAX_ROWS], *totals)),
    ]
    if len(body) > MAX_ROWS:
        lines += ["", f"… {len(body) - MAX_ROWS:,} more rows {_ELSEWHERE}."]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    # GitHub leaves mentions and issue numbers inside `<code>` alone.
    return f"<code>{markdown_text(cut(text, _EXCHANGE_LIMIT)) or ' '}</code>"


def _exchange(exchange: Exchange) -> str:
    lines = [f"**{markdown_text(exchange.heading)}**", "", "| | |", "|---|---|"]
    lines += [f"| prompt | {_quoted(exchange.prompt)} |"]
    lines += [f"| {markdown_text(label)} | {_quoted(answer)} |" for label, answer in exchange.answers]
    return "\n".join(lines)


def _exchanges(exchanges: Exchanges) -> str:
    parts = [_exchange(each) for each in exchanges.items[:MAX_EXCHANGES]]
    left = len(exchanges.items) - len(parts)
    if left:
        parts.append(f"… {left:,} more {_ELSEWHERE}.")
    return "\n\n".join(parts)


def _banner(banner: Banner) -> str:
    first = f"**{markdown_text(banner.mark)} {markdown_text(banner.word)}:** {markdown_text(banner.sentence)}"
    return "\n>\n".join(f"> {line}" for line in (first, *(markdown_text(note) for note in banner.notes)))


def _fold(fold: Fold) -> str:
    body = "\n\n".join(_block(block) for block in fold.blocks)
    state = " open" if fold.open else ""
    return f"<details{state}><summary>{markdown_text(fold.summary)}</summary>\n\n{body}\n\n</details>"


def _block(block: Block) -> str:
    match block:
        case Table():
            return _table(block)
        case Text():
            return markdown_text(block.text)
        case Bullets():
            return "\n".join(f"- {markdown_text(item)}" for item in block.items)
        case Banner():
            return _banner(block)
        case Picture():
            picture = f"![{markdown_text(block.title)}](pictures/{block.name}.svg)"
            return f"{picture}\n\n<sub>{markdown_text(block.description)}</sub>"
        case Exchanges():
            return _exchanges(block)
        case Code():
            return f"<pre>{markdown_verbatim(cut(block.text, _CODE_LIMIT))}</pre>"
        case Heading():
            return f"### {markdown_text(block.text)}"
        case Fold():
            return _fold(block)


def _section(section: Section) -> str:
    blocks = "\n\n".join(_block(block) for block in section.blocks)
    return f"## {markdown_text(section.title)}\n\n{blocks}\n"


def _without_closed_folds(section: Section) -> Section:
    """The section with what is folded away left to the HTML."""
    blocks = tuple(
        Text(f"▸ {block.summary} (in report.html)") if isinstance(block, Fold) and not block.open else block
        for block in section.blocks
    )
    return Section(section.anchor, section.title, blocks)


def _left_out(section: Section) -> str:
    return f"## {markdown_text(section.title)}\n\nToo long for this file: it is {_ELSEWHERE}.\n"


def write_markdown(document: Document) -> str:
    """The report in at most 60,000 characters.

    A section is whole where the later ones still fit without their closed folds; else it loses its own,
    and one that does not fit even so is named and left to the HTML.
    """
    parts = [f"# {markdown_text(document.title)}: base against tuned\n"]
    shorter = [_section(_without_closed_folds(section)) for section in document.sections]
    named = [_left_out(section) for section in document.sections]
    room = MAX_CHARACTERS - len(parts[0]) - 1
    for place, section in enumerate(document.sections):
        after = place + 1
        whole = _section(section)
        if _length([whole, *shorter[after:]]) <= room:
            text = whole
        elif _length([shorter[place], *named[after:]]) <= room:
            text = shorter[place]
        else:
            text = named[place]
        room -= _length([text])
        parts.append(text)
    return "\n".join(parts)


def _length(texts: list[str]) -> int:
    """With the line break after each."""
    return sum(len(text) + 1 for text in texts)
