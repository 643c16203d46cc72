"""Slices as a reader sees them in both files."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.comparison.facts import SlicedField, SliceFacts
from harness.gate.verdict import Endpoint, EndpointStatus, Verdict
from harness.report.document import Fold, Table, Text
from harness.report.facts import ReportFacts
from harness.report.markdown import write_markdown
from harness.report.render import render_report
from harness.report.sections.slices import OPEN, slices_section
from harness.report.story import compose
from harness.statistics.tango import tango_difference

pytestmark = pytest.mark.filterwarnings("error")

HOSTILE = "<img src=x onerror=alert(1)>\n::error file=a::pwned|`x`\u202e"


def part(value: str, wins: int, losses: int, n: int, p: float) -> SliceFacts:
    difference = tango_difference(wins, losses, n)
    return SliceFacts(
        value=value,
        n=n,
        base=0.5,
        tuned=0.5 + difference.value,
        difference=difference,
        wins=wins,
        losses=losses,
        p_adjusted=p,
    )


SMALL = SliceFacts(value="Malta", n=3, base=1.0, tuned=0.667, reason="only 3 clusters")
FIELD = SlicedField(
    field="about",
    values=(
        part("river", 9, 10, 100, 0.99),
        part("capital", 1, 24, 80, 0.0001),
        part("city", 14, 3, 60, 0.02),
        part(HOSTILE, 2, 9, 60, 0.3),
        SMALL,
    ),
    left_out_values=85,
    left_out_items=120,
)


def with_slices(facts: ReportFacts, *fields: SlicedField) -> ReportFacts:
    """The usual report; geography is sliced in its only pair of tuning that is comparable."""
    lora, *others = facts.comparisons
    tasks = tuple(
        task.model_copy(update={"slices": fields}) if task.task == "geography" else task
        for task in lora.tasks
    )
    return facts.model_copy(update={"comparisons": (lora.model_copy(update={"tasks": tasks}), *others)})


def failed(facts: ReportFacts) -> ReportFacts:
    """The same with a slice that the gate failed."""
    policy = facts.policy.model_copy(update={"max_drop_slice": 0.1})
    lora, *others = facts.verdict.judgements
    broken = Endpoint(
        rule="max_drop_slice",
        suite="general",
        task="geography",
        slice=("about", "capital"),
        metric="accuracy",
        limit=0.1,
        value=-0.2875,
        low=-0.37,
        high=-0.19,
        p_holds=1.0,
        p_broken=0.0002,
        p_broken_holm=0.0008,
        status=EndpointStatus.REGRESSED,
    )
    lora = lora.model_copy(update={"slices": (broken,), "verdict": Verdict.FAIL})
    verdict = facts.verdict.model_copy(update={"judgements": (lora, *others)})
    return facts.model_copy(update={"policy": policy, "verdict": verdict})


def tables(facts: ReportFacts) -> list[Table]:
    section = slices_section(facts)
    assert section is not None
    found = []
    for block in section.blocks:
        found += [
            each
            for each in (block.blocks if isinstance(block, Fold) else (block,))
            if isinstance(each, Table)
        ]
    return found


def words(facts: ReportFacts) -> str:
    section = slices_section(facts)
    assert section is not None
    return " ".join(block.text for block in section.blocks if isinstance(block, Text))


def test_a_report_without_slices_has_no_section(facts: ReportFacts) -> None:
    assert slices_section(facts) is None
    assert "slices" not in {section.anchor for section in compose(facts).sections}


def test_slices_are_read_worst_first_with_what_they_say(facts: ReportFacts) -> None:
    (table,) = tables(with_slices(facts, FIELD))

    assert table.caption == "Slices of general / geography: accuracy\u00a0↑"
    shown = [(row.cells[0].text, row.cells[-1].text) for row in table.rows]
    assert shown == [
        ("capital", "▽ worse"),
        (HOSTILE, "○ not separated"),
        ("river", "○ not separated"),
        ("city", "△ better"),
        ("Malta", "⊘ no interval"),
    ]
    worst = [cell.text for cell in table.rows[0].cells]
    assert worst[:5] == ["capital", "80", "0.500", "0.213", "−28.7 pp"]
    assert worst[6:8] == ["1 / 24", "0.0001"]
    assert table.rows[1].cells[-1].note == "apart before the adjustment"
    assert table.rows[4].cells[-1].note == "only 3 clusters"


def test_what_was_cut_is_said(facts: ReportFacts) -> None:
    assert "about: the 5 most frequent values; 85 more with 120 items together are left out." in words(
        with_slices(facts, FIELD)
    )


def test_only_the_worst_slices_stand_open(facts: ReportFacts) -> None:
    many = SlicedField(field="id", values=tuple(part(f"v{k}", 5, k, 60, 0.5) for k in range(20)))
    section = slices_section(with_slices(facts, many))

    assert section is not None
    (open_table,) = [block for block in section.blocks if isinstance(block, Table)]
    (fold,) = [block for block in section.blocks if isinstance(block, Fold)]
    assert [row.cells[0].text for row in open_table.rows] == [f"v{k}" for k in range(19, 19 - OPEN, -1)]
    assert fold.summary == "12 more slices of general / geography"
    assert not fold.open


def test_a_slice_that_failed_the_gate_is_marked_and_stands_among_its_rules(facts: ReportFacts) -> None:
    sliced = failed(with_slices(facts, FIELD))

    assert tables(sliced)[0].rows[0].cells[-1].text == "▼ beyond the limit"
    assert "One that surely loses more than 10.0 pp fails the gate" in words(sliced)
    assert "They decide nothing" in words(with_slices(facts, FIELD))
    page = write_markdown(compose(sliced)).replace("\u00a0", " ")
    assert "geography<br><sub>general · accuracy ↑ · about: capital</sub> | drop on a slice" in page


def test_both_files_show_a_hostile_value_as_text(facts: ReportFacts, tmp_path: Path) -> None:
    html = render_report(with_slices(facts, FIELD), tmp_path).read_text("utf-8")
    markdown = (tmp_path / "report.md").read_text("utf-8")

    for page in (html, markdown):
        assert "<img src=x" not in page
        assert "\u202e" not in page
        assert "Slices" in page
    assert "::error" not in markdown
