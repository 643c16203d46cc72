"""The report as one HTML file: no network, no script, everything escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report.document import Document, Picture
from harness.report.inert import visible
from harness.report.pictures import inline

_TEMPLATES = Path(__file__).parent / "templates"


def _inert(value: Any) -> Any:
    """Every text that enters the page shows its control characters; autoescape does the rest."""
    return visible(value) if type(value) is str else value


def _drawing(picture: Picture, narrow: bool) -> Markup:
    """Safe as markup: vl-convert escapes labels, and `inline` escapes what it adds."""
    svg, suffix = (picture.narrow, "narrow") if narrow else (picture.wide, "wide")
    return Markup(
        inline(svg, visible(picture.title), visible(picture.description), f"{picture.name}-{suffix}")
    )


def write_html(document: Document) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_inert,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["drawing"] = _drawing
    return environment.get_template("report.html.j2").render(document=document)
