"""The form of answers and what was lost with them, as a reader sees it in both files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.comparison.facts import Comparison, FormFacts, FormRates, LossCounts
from harness.gate.verdict import EndpointStatus, Judgement
from harness.report.facts import ReportFacts
from harness.report.render import render_report
from harness.report.sections.answer_form import answer_form_section
from harness.report.story import compose
from harness.statistics.tango import tango_difference
from tests.report.conftest import HOSTILE, estimate, flips

pytestmark = pytest.mark.filterwarnings("error")

BASE = FormRates(empty=0.0, truncated=None, unparsed=0.05)
TUNED = FormRates(empty=0.125, truncated=0.25, unparsed=0.46)
LOST = LossCounts(likelihood="chapter", format=33, ability=5, both=3)
FORM = FormFacts(base=BASE, tuned=TUNED, parsed=estimate(-0.41, 0.03, 400), losses=LOST)


def with_form(facts: ReportFacts, form: FormFacts, task: str = "geography", **more: object) -> ReportFacts:
    """The usual report, in which one task of its only comparable pair is written."""
    lora, *others = facts.comparisons
    tasks = tuple(
        each.model_copy(update={"form": form, **more} if each.task == task else {}) for each in lora.tasks
    )
    return facts.model_copy(update={"comparisons": (lora.model_copy(update={"tasks": tasks}), *others)})


def read(facts: ReportFacts, folder: Path) -> dict[str, str]:
    """Both files, their tables as cells between bars and notes behind a semicolon."""
    html = render_report(facts, folder).read_text("utf-8")
    markdown = (folder / "report.md").read_text("utf-8")
    html = re.sub(r"</small></t[hd]>|</span></t[hd]>", " | ", html).replace("</span><small>", "; ")
    html = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    markdown = markdown.replace("<br><sub>", "; ").replace("</sub>", "").replace("\n", " ")
    pages = {"html": html, "markdown": markdown}
    return {
        name: " ".join(re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), page).split())
        for name, page in pages.items()
    }


def said(form: FormFacts, facts: ReportFacts, folder: Path) -> str:
    return read(with_form(facts, form), folder)["markdown"]


def test_both_files_show_rates_of_both_sides_and_the_labelled_losses(
    facts: ReportFacts, tmp_path: Path
) -> None:
    expected = (
        "geography; general | 400 | 0.00 % → 12 % | – → 25 % | 5.0 % → 46 % | ▽ −41.0 pp; −45.9 … −36.1 |",
        "Of 41 answers lost by writing, 33 are format (the likelihood still picks the right one), 5 ability, "
        "3 both.",
        "A model that only lost the form may know as much as before.",
    )
    for name, page in read(with_form(facts, FORM), tmp_path).items():
        for words in expected:
            assert words in page, (name, words)


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"losses": LossCounts(likelihood="c", format=1, ability=0, both=0)}, "Of 1 answer lost by writing, 1 is format"),
        ({"losses": LossCounts(likelihood="c", format=0, ability=0, both=0)}, "No answer was lost by writing."),
        ({"losses": None, "no_losses": "general/chapter is not measured"}, "cannot be told: general/chapter is not measured."),
    ],
)  # fmt: skip
def test_the_sentence_says_what_is_known(
    update: dict[str, object], words: str, facts: ReportFacts, tmp_path: Path
) -> None:
    assert words in said(FORM.model_copy(update=update), facts, tmp_path)


def test_where_nothing_is_written_or_compared_there_is_no_section(facts: ReportFacts) -> None:
    assert answer_form_section(facts) is None
    assert "answer-form" not in {section.anchor for section in compose(facts).sections}
    lora, *others = with_form(facts, FORM).comparisons
    void = Comparison(**{**dict(lora), "problems": ("not live",)})
    assert answer_form_section(facts.model_copy(update={"comparisons": (void, *others)})) is None


def test_without_a_task_that_could_tell_there_is_no_sentence(facts: ReportFacts, tmp_path: Path) -> None:
    page = said(FORM.model_copy(update={"losses": None}), facts, tmp_path)
    assert "geography; general | 400 | 0.00 % → 12 %" in page
    assert "lost by writing" not in page


def test_a_flipped_answer_is_labelled_with_what_was_lost(facts: ReportFacts, tmp_path: Path) -> None:
    kinds = ("format", "ability", "both", None)
    lost = [flip.model_copy(update={"loss": kind}) for flip, kind in zip(flips("loss", 4, HOSTILE), kinds, strict=True)]  # fmt: skip
    for name, page in read(with_form(facts, FORM, flips=tuple(lost)), tmp_path).items():
        for label in (
            "form: by likelihood still right",
            "ability: by likelihood wrong too",
            "form and ability",
        ):
            assert (
                page.count(f"✘ lora · lost {'' if label.startswith('form and') else 'the '}{label}") == 1
            ), (
                name,
                label,
            )


def test_a_rule_on_the_form_stands_with_the_verdict_and_not_on_the_tasks_own_row(
    facts: ReportFacts, tmp_path: Path
) -> None:
    judgement = facts.verdict.judgements[0]
    of_task = next(each for each in judgement.endpoints if each.task == "geography")
    parsed = tango_difference(2, 18, 400)
    rule = of_task.model_copy(
        update={
            "rule": "max_drop_format",
            "metric": "parsed",
            "limit": 0.05,
            "value": parsed.value,
            "low": parsed.interval90.low,
            "high": parsed.interval90.high,
            "status": EndpointStatus.INCONCLUSIVE,
            "items_needed": None,
        }
    )
    asked = Judgement(**{**dict(judgement), "endpoints": (*judgement.endpoints, rule)})
    verdict = facts.verdict.model_copy(update={"judgements": (asked, *facts.verdict.judgements[1:])})
    before = read(with_form(facts, FORM), tmp_path / "before")["markdown"]
    after = read(with_form(facts, FORM).model_copy(update={"verdict": verdict}), tmp_path / "after")[
        "markdown"
    ]

    assert "drop of answers in the asked form; max_drop_format | above −5.0 pp | −4.0 pp" in after
    assert "a tripwire: only a sure drop counts" in after
    differences = [
        page.partition("## What changed")[2].partition("## Answers")[0] for page in (before, after)
    ]
    assert "geography" in differences[0]
    assert differences[0] == differences[1]
