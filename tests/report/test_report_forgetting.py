"""How a report tells of forgetting: each task, the mean, and the worst task beside it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.comparison.compare import compare
from harness.comparison.facts import Comparison, NoiseFacts, Pair, TaskFacts
from harness.experiment.metrics import METRICS
from harness.report.document import Document, Section, Table, Text
from harness.report.facts import ReportFacts
from harness.report.html import write_html
from harness.report.markdown import write_markdown
from harness.report.sections.differences import differences_section
from harness.report.sections.forgetting import forgetting_blocks
from harness.store.measurements import Item, Measurement


def side(name: str, task: str, right: list[float], chance: float = 0.25, **about: Any) -> Measurement:
    return Measurement(
        **{
            "configuration": name,
            "suite": "general",
            "task": task,
            "kind": "multiple_choice",
            "primary": "accuracy",
            "metrics": {"accuracy": METRICS["accuracy"]},
            "conditions": {},
            "items": tuple(
                Item(str(n), "", "", {"accuracy": score}, chance=chance) for n, score in enumerate(right)
            ),
            **about,
        }
    )


def task(name: str, right: int, wins: int, losses: int, n: int = 200, chance: float = 0.25) -> TaskFacts:
    """The facts of real measurements, of which so many items are right before."""
    base = [1.0] * right + [0.0] * (n - right)
    tuned = [0.0] * losses + [1.0] * (right - losses + wins) + [0.0] * (n - right - wins)
    pair = Pair(base="base", tuned="lora", differs_in="adapter", roles={"general": "general"})
    (facts,) = compare([side("base", name, base, chance)], [side("lora", name, tuned, chance)], pair).tasks
    return facts


def shown(*tasks: TaskFacts) -> dict[str, list[tuple[str, str]]]:
    """First cell → the other cells, text and note."""
    table = forgetting_blocks(tasks)[0]
    assert isinstance(table, Table)
    return {
        row.cells[0].text: [(cell.text.replace("\u00a0", " "), cell.note.replace("\u00a0", " ")) for cell in row.cells[1:]]
        for row in table.rows
    }  # fmt: skip


def test_a_task_tells_flips_the_part_of_chance_and_what_is_retained() -> None:
    cells = shown(task("facts", right=160, wins=10, losses=30))["facts"]

    assert cells[:5] == [
        ("15.0 %", ""),
        ("5.0 %", ""),
        ("2.0 %", "of either"),
        ("13.0 %", "of at most 73.3 %"),
        ("3.0 %", "of at most 60.0 %"),
    ]
    value, interval = cells[5]
    assert value == "81.8 %"
    assert interval == "73.0 % … 90.6 %"


def test_the_worst_task_stands_beside_the_mean_and_on_top() -> None:
    rows = shown(
        task("kept", 160, 10, 12), task("lost", 160, 0, 80), task("guessed", 50, 20, 20), task("grew", 120, 30, 6)
    )  # fmt: skip

    assert list(rows) == ["lost", "kept", "grew", "guessed", "mean"]
    assert rows["mean"][0][1] == "worst: lost, 40.0 %"
    assert rows["mean"][5][1] == "of 3 of them; worst: lost, 27.3 %"
    assert rows["guessed"][5] == (
        "⊘ not shown",
        "the base is not surely above chance, so there is nothing that could be retained",
    )


def test_what_scoring_twice_changes_is_told_apart() -> None:
    noisy = task("facts", 160, 10, 30).model_copy(
        update={
            "noise": NoiseFacts(items=100, to_wrong=0.01, to_right=0.02, deviation=0.001),
            "losses_excess": 0.14,
            "wins_excess": 0.03,
        }
    )

    cells = shown(noisy)["facts"]

    assert (cells[0][1], cells[1][1]) == ("+14.0 pp beyond the noise", "+3.0 pp beyond the noise")


def test_answers_that_cannot_be_guessed_have_no_part_of_chance() -> None:
    cells = shown(task("open", 160, 10, 30, chance=0.0))["open"]

    assert [text for text, _ in cells[2:5]] == ["–", "–", "–"]
    assert cells[5][0] == "87.5 %"


def test_one_task_alone_has_no_mean_and_text_has_no_row() -> None:
    assert list(shown(task("facts", 160, 10, 30))) == ["facts"]
    texts = task("prose", 160, 10, 30).model_copy(update={"forgetting": None})
    assert forgetting_blocks([texts]) == []


def test_domain_tasks_are_not_told_as_forgotten() -> None:
    assert forgetting_blocks([task("chapter", 160, 10, 30).model_copy(update={"role": "domain"})]) == []


def test_the_report_says_that_a_repeated_guess_is_subtracted_too_often() -> None:
    reading = forgetting_blocks([task("facts", 160, 10, 30)])[1]

    assert isinstance(reading, Text)
    assert "repeats its guesses" in reading.text
    assert "rather higher than the one shown" in reading.text


@pytest.fixture
def section(facts: ReportFacts) -> Section:
    pair = Comparison(
        base="base", tuned="lora", differs_in="adapter", tasks=(task("facts", 160, 10, 30), task("<i>|x", 150, 3, 9))
    )  # fmt: skip
    return differences_section(facts.model_copy(update={"comparisons": (pair,)}))


def test_both_writings_tell_of_forgetting_and_of_any_difference(section: Section) -> None:
    document = Document("d", (section,))
    for written in (write_markdown(document), write_html(document)):
        assert "What was forgotten, and what is retained" in written
        assert "Tango, p 0.0022" in written
        assert "<i>" not in written


def test_a_difference_without_an_interval_still_has_its_exact_p(facts: ReportFacts) -> None:
    scores = [0.5] * 40
    moved = [0.75] * 3 + scores[3:]
    about = {"kind": "qa", "primary": "token_f1", "metrics": {"token_f1": METRICS["token_f1"]}}

    def answers(name: str, values: list[float]) -> Measurement:
        items = tuple(Item(str(n), "", "", {"token_f1": value}) for n, value in enumerate(values))
        return side(name, "qa", [], **about, items=items)

    pair = compare(
        [answers("base", scores)],
        [answers("lora", moved)],
        Pair(base="base", tuned="lora", differs_in="adapter", roles={"general": "general"}),
    )
    told = write_markdown(
        Document("d", (differences_section(facts.model_copy(update={"comparisons": (pair,)})),))
    )

    assert "<sub>p 0.25</sub>" in told
