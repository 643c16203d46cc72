"""Numbers and hostile text, piece by piece."""

from __future__ import annotations

import math

import pytest
from markdown_it import MarkdownIt

from harness.experiment.metrics import METRICS
from harness.report import wording
from harness.report.inert import cut, markdown_text, markdown_verbatim, visible
from harness.report.pictures import ForestRow, Panel, forest, inline
from harness.report.sections.making import thinned


@pytest.mark.parametrize(
    ("unit", "value", "words"),
    [
        ("rate", 0.0591, "+5.9 pp"),
        ("rate", -0.034, "−3.4 pp"),
        ("rate", -0.00001, "0.0 pp"),
        ("relative", 0.0071, "+0.71 % of the base"),
        ("bits", -0.5127, "−0.5127 bits"),
        ("perplexity", 1234.5, "+1,234.50"),
        ("rate", math.nan, "undefined pp"),
        ("rate", -math.inf, "−∞ pp"),
    ],
)
def test_difference(unit: wording.ChangeUnit, value: float, words: str) -> None:
    assert wording.change(unit, value) == words


def test_interval_and_direction() -> None:
    assert wording.span("rate", -0.034, -0.008) == "−3.4 … −0.8"
    assert wording.titled(METRICS["accuracy"]) == "accuracy\u00a0↑"
    assert wording.titled(METRICS["bits_per_byte"]) == "bits per byte\u00a0↓"


@pytest.mark.parametrize(
    ("seconds", "words"), [(9.26, "9.3 s"), (59.97, "60.0 s"), (431.2, "7 min 11 s"), (7260, "2 h 1 min")]
)
def test_duration(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(12, "12 B"), (7_613_440, "7.3 MiB"), (3_221_225_472, "3.00 GiB")]
)
def test_size(size: int, words: str) -> None:
    assert wording.size(size) == words


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred", "⟨U+001B⟩[31mred"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("zero\u200bwidth\ufeff", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
        ("lone\ud800", "lone⟨U+D800⟩"),
        ("x\x00y\x7f\x85", "x⟨U+0000⟩y⟨U+007F⟩⟨U+0085⟩"),
        ("back\rover", "back⟨U+000D⟩over"),
        ("two\r\nlines\t!", "two\nlines\t!"),
        ("می‌خواهم 👩‍⚕️ naïve", "می‌خواهم 👩‍⚕️ naïve"),
    ],
)
def test_invisible_characters_become_visible(hostile: str, shown: str) -> None:
    assert visible(hostile) == shown


@pytest.mark.parametrize(
    "hostile",
    [
        "| a | b |",
        "`code` ``` fence",
        "# heading\n- item\n1. first",
        "<b>bold</b> &amp; <!-- hidden",
        "[link](http://evil.example) ![x](y)",
        "::error file=x::message",
        "##[error]old",
        "*a* **b** _c_ __d__ ~~e~~",
        "@everyone #1 $x$",
        "\\| \\` www.evil.example",
        "- item",
        "+ item",
        "=====",
        "12. item",
        "  - item",
    ],
)
def test_markdown_text_is_inert(hostile: str) -> None:
    rendered = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(markdown_text(hostile))
    assert not set(rendered.replace("<p>", "").replace("</p>", "")) & set("<>")
    assert "\n" not in markdown_text(hostile)
    assert not markdown_text(hostile).startswith("::")


def test_words_stay_readable_in_raw_markdown() -> None:
    assert markdown_text("max_drop_task: 6.5 pp, (a-b) 50 %") == "max_drop_task: 6.5 pp, (a-b) 50 %"


def test_verbatim_cannot_leave_its_block() -> None:
    assert markdown_verbatim("</pre>\n::error::x") == "&lt;/pre&gt;\n&#58;:error&#58;:x"


def test_cut_says_what_is_missing() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("x" * 2_003, 3) == "xxx … [cut here: 2,000 more characters]"


def test_thinned_keeps_both_ends() -> None:
    points = tuple((step, float(step)) for step in range(1_000))
    few = thinned(points, 40)
    assert len(few) == 40
    assert (few[0], few[-1]) == (points[0], points[-1])


def row(**changes: object) -> ForestRow:
    values: dict[str, object] = {
        "label": "general / a<b",
        "value": 1.0,
        "low90": 0.5,
        "high90": 1.5,
        "low95": 0.2,
        "high95": 1.8,
        "limit": -6.5,
        "numbers": "+1.0 pp",
        "word": "retained",
        "tone": "plain",
    }
    return ForestRow(**{**values, **changes})  # type: ignore[arg-type]


def test_forest_stands_alone_and_fits_into_a_page() -> None:
    svg = forest((Panel("general", "right is better", (row(), row(tone="better", limit=None))),))
    assert svg.startswith("<svg ")
    assert 'fill="#fefefe"' in svg
    assert "a&lt;b" in svg
    page = inline(svg, "a < b", 'says "so"', "x")
    assert 'role="img" aria-labelledby="x-title x-text"><title id="x-title">a &lt; b</title>' in page
    assert "http" not in page
    assert "#fefefe" not in page
    assert "currentColor" in page


def test_forest_draws_endless_intervals_up_to_its_edge() -> None:
    endless = row(low90=-math.inf, high90=math.inf, low95=-math.inf, high95=math.inf)
    svg = forest((Panel("general", "right is better", (endless, row(value=math.nan))),))
    assert "NaN" not in svg
    assert "Infinity" not in svg
