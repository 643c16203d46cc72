"""The noise of scoring and the divergence from the base, as a reader sees them in both files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.comparison.facts import Comparison, DivergenceFacts, NoiseFacts, TaskFacts
from harness.gate.verdict import EndpointStatus
from harness.report.facts import ReportFacts
from harness.report.markdown import write_markdown
from harness.report.render import render_report
from harness.report.sections.divergence import divergences_of_all
from harness.report.sections.noise import noise_blocks
from harness.report.story import compose
from harness.statistics.estimates import Interval

pytestmark = pytest.mark.filterwarnings("error")

TO_WRONG, NONE_SEEN = (
    NoiseFacts(items=200, to_wrong=0.01, to_right=0.005, deviation=0.0031),
    NoiseFacts(items=400, to_wrong=0.0, to_right=0.0, deviation=0.0),
)
PROSE = NoiseFacts(items=60, to_wrong=None, to_right=None, deviation=0.000021)
KL = DivergenceFacts(
    nats_per_token=0.0312,
    interval95=Interval(low=0.0251, high=0.0380, level=0.95),
    documents=120,
    tokens=31_207,
)
ADDED: dict[str, dict[str, object]] = {
    "geography": {"noise": TO_WRONG, "wins_excess": 0.03, "losses_excess": -0.0025},
    "grammar": {"noise": NONE_SEEN, "wins_excess": 0.0225, "losses_excess": 0.0275},
    "official_title": {"noise": NoiseFacts(items=9, to_wrong=None, to_right=None, deviation=None)},
    "held_out_text": {"no_divergence": "the divergence is missing on 1 of 180 documents"},
    "prose": {"noise": PROSE, "divergence": KL},
}


def with_facts(pair: Comparison) -> Comparison:
    tasks = tuple(task.model_copy(update=ADDED.get(task.task, {})) for task in pair.tasks)
    return pair.model_copy(update={"tasks": tasks})


@pytest.fixture(scope="module")
def measured(facts: ReportFacts) -> ReportFacts:
    """The usual report; noise and divergence are measured in its only pair of tuning that is comparable."""
    lora, *others = facts.comparisons
    return facts.model_copy(update={"comparisons": (with_facts(lora), *others)})


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


def test_both_files_show_the_noise_of_every_task_once(measured: ReportFacts, tmp_path: Path) -> None:
    expected = (
        "The noise of scoring: each base against itself",
        "geography; general · accuracy ↑ | base | 200; of 400 | 2; 1.0 % | 1; 0.50 % | ±0.62 pp | "
        "◐ some noise; a difference within ±0.62 pp may be noise alone |",
        "grammar; general · accuracy ↑ | base | 400 | 0 | 0 | ±0 pp | "
        "✔ none seen; both scorings agree on every item that was scored twice |",
        "prose; general · bits per byte ↓ | base | 60; of 120 | – | – | ±4.2e−05 bits | "
        "◐ some noise; a difference within ±4.2e−05 bits may be noise alone |",
        "official_title; medical · token F1 ↑ | base | 9; of 250 | – | – | – | ○ unknown; there is no deviation",
        "a limit of the gate within it certifies nothing",
    )
    for name, page in read(measured, tmp_path).items():
        assert [text for text in expected if text not in page] == [], name
        assert page.count("some noise") == 2, name


def test_flips_stand_beside_their_excess_where_noise_flips_answers(
    measured: ReportFacts, tmp_path: Path
) -> None:
    for name, page in read(measured, tmp_path).items():
        assert "14 / 19; beyond the noise +3.0 pp / −0.2 pp |" in page, name
        assert "9 / 11 |" in page, f"{name}: noise flips none of these"
        assert "general / geography 19 (beyond the noise −0.2 pp), general / grammar 11," in page, name
        assert "general / geography 14 (beyond the noise +3.0 pp), general / grammar 9," in page, name


def test_both_files_show_the_divergence_or_why_there_is_none(measured: ReportFacts, tmp_path: Path) -> None:
    expected = (
        "KL from the base, nats per token",
        "prose; general · general text | 120 | 31,207 | 0.0312 | 0.0251 … 0.038 |",
        "held_out_text; medical · domain text | – | – | "
        "⊘ no number; the divergence is missing on 1 of 180 documents | – |",
        "0 means unchanged",
        "is never gated",
    )
    for name, page in read(measured, tmp_path).items():
        assert [text for text in expected if text not in page] == [], name


def test_every_way_of_tuning_stands_in_one_table_of_divergences(ways: ReportFacts, tmp_path: Path) -> None:
    def diverged(pair: Comparison) -> Comparison:
        if pair.tuned == "full":
            return with_facts(pair)
        if pair.tuned == "lora-r4":
            unchanged = KL.model_copy(update={"nats_per_token": 0.0, "interval95": None})
            tasks = [
                task.model_copy(update={"divergence": unchanged}) if task.task == "prose" else task
                for task in pair.tasks
            ]
            return pair.model_copy(update={"tasks": tuple(tasks)})
        return pair

    pairs = tuple(diverged(pair) for pair in ways.comparisons)
    for name, page in read(ways.model_copy(update={"comparisons": pairs}), tmp_path).items():
        assert "general text: general / prose" in page, name
        assert "full | 0.0312; 0.0251 … 0.038 |" in page, name
        assert "lora-r4 | 0 |" in page, name
        assert "prompt | – |" in page, name


def test_a_limit_within_the_noise_is_marked_in_the_rules(measured: ReportFacts) -> None:
    lora, *others = measured.verdict.judgements
    unsure = {"status": EndpointStatus.INCONCLUSIVE, "within_noise": 0.08}
    endpoints = tuple(
        each.model_copy(update=unsure) if each.task == "grammar" else each for each in lora.endpoints
    )
    reason = "general/grammar: the limit −6.5 pp certifies nothing; scoring base twice …"
    judged = lora.model_copy(update={"endpoints": endpoints, "reasons": (reason,)})
    verdict = measured.verdict.model_copy(update={"judgements": (judged, *others)})
    text = write_markdown(compose(measured.model_copy(update={"verdict": verdict})))
    assert "inconclusive<br><sub>the limit lies within the noise of scoring" in text
    assert f"- {reason}" in text


def test_noise_of_pairs_and_tasks_that_are_not_comparable_is_not_shown(measured: ReportFacts) -> None:
    pair = measured.comparisons[0]

    def broken(task: TaskFacts) -> TaskFacts:
        return task.model_copy(update={"problems": ("4 items stand on one side only",), "metrics": {}})

    tasks = tuple(broken(task) for task in pair.tasks)
    for unusable in (
        pair.model_copy(update={"problems": ("not live",)}),
        pair.model_copy(update={"tasks": tasks}),
    ):
        assert noise_blocks([unusable]) == []
        assert divergences_of_all([unusable]) == []


def test_results_without_noise_and_divergence_show_neither(facts: ReportFacts, tmp_path: Path) -> None:
    for page in read(facts, tmp_path).values():
        assert "noise of scoring" not in page
        assert "beyond the noise" not in page
        assert "KL from the base" not in page


def test_a_report_with_noise_and_divergence_survives_being_stored(measured: ReportFacts) -> None:
    assert ReportFacts.model_validate_json(measured.model_dump_json()) == measured
