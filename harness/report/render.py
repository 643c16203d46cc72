"""From facts to files: `report.html`, `report.md` and `pictures/*.svg`."""

from __future__ import annotations

from pathlib import Path

from harness.report.document import pictures_of
from harness.report.facts import ReportFacts
from harness.report.html import write_html
from harness.report.markdown import write_markdown
from harness.report.story import compose
from harness.store.artifacts import write_text


def render_report(facts: ReportFacts, folder: Path) -> Path:
    """Write the report into `folder` and return the HTML file. Same facts, same bytes."""
    document = compose(facts)
    pages = {"report.md": write_markdown(document), "report.html": write_html(document)}
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    written = {f"{picture.name}.svg": picture.wide for picture in pictures_of(document)}
    for name, svg in written.items():
        write_text(pictures / name, svg)
    for name, text in pages.items():
        write_text(folder / name, text)
    for pattern in ("differences-*.svg", "methods-*.svg", "strength-*.svg", "training-*.svg"):
        for old in pictures.glob(pattern):
            if old.name not in written:
                old.unlink()
    return folder / "report.html"
