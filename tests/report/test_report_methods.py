"""Every way of tuning side by side: the methods, the strengths, and a report that stays readable."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest

from harness.comparison.facts import Comparison, SuiteFacts
from harness.experiment.schema import Gate
from harness.report.document import Document, Exchanges, Fold, Row, Section, Table
from harness.report.facts import ReportFacts, StrengthCurve, Training
from harness.report.markdown import MAX_CHARACTERS, write_markdown
from harness.report.render import render_report
from harness.report.sections.answers import MAX_ALL_FLIPS, flips_section
from harness.report.sections.differences import differences_section
from harness.report.sections.making import training_section
from harness.report.sections.methods import methods_section
from harness.report.sections.pareto import dominates, pareto_sentences
from harness.report.sections.seeds import estimand
from harness.report.sections.strength import strength_section
from harness.report.sections.tuning import domain_measures, training_of
from harness.report.sections.validity import validity_section
from harness.report.sections.verdict import verdict_section
from harness.report.story import compose
from harness.report.tradeoff import (
    Change,
    PlanePoint,
    StrengthMark,
    StrengthPanel,
    at_origin,
    by_strength,
    plane,
    spread,
)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def folder(ways: ReportFacts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One report of nine ways that no test changes."""
    return render_report(ways, tmp_path_factory.mktemp("ways")).parent


@pytest.fixture(scope="module")
def document(ways: ReportFacts) -> Document:
    return compose(ways)


def said(section: Section | None) -> str:
    """All of a section as a reader sees it."""
    assert section is not None
    text = write_markdown(Document("d", (section,))).replace("\u00a0", " ")
    return re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), text)


def rows_of(section: Section | None) -> dict[str, Row]:
    """The rows of a section's first table by what stands in their first cell."""
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table))
    return {row.cells[0].text: row for row in table.rows}


def texts(row: Row) -> list[str]:
    return [f"{cell.text} | {cell.note}".removesuffix(" | ").replace("\u00a0", " ") for cell in row.cells]


def changed(facts: ReportFacts, name: str, **values: object) -> ReportFacts:
    """The same report with other values in one pair."""
    pairs = tuple(
        pair.model_copy(update=values) if pair.tuned == name else pair for pair in facts.comparisons
    )
    return facts.model_copy(update={"comparisons": pairs})


def test_every_way_is_one_row_with_gain_cost_and_verdict(ways: ReportFacts) -> None:
    section = methods_section(ways)
    rows = rows_of(section)
    assert list(rows) == [
        "full",
        "partial",
        "lora-r4",
        "lora-r16@0.75",
        "lora-r64",
        "qlora",
        "lora-replay",
        "lora-kl",
        "prompt",
    ]
    assert texts(rows["lora-r64"]) == [
        "lora-r64 | lora, 15.2 M trained (5.7 %)",
        "△ +39.0 pp | +35.5 … +42.5",
        "▽ −2.6 pp | −3.8 … −1.3",
        "▽ −4.7 pp | arithmetic, −7.4 … −1.9",
        "▽ +1.57 % | prose, +1.29 … +1.85",
        "7 min 40 s",
        "3.00 GiB",
        "15,187,968",
        "29.0 MiB",
        "◐ INCONCLUSIVE",
    ]
    assert texts(rows["lora-r16@0.75"])[0].endswith("lora, strength 0.75, 3.8 M trained (1.4 %)")
    assert texts(rows["qlora"])[0].endswith("against base-nf4")
    assert texts(rows["prompt"])[5:9] == ["–"] * 4, "nothing was trained"


def test_methods_stand_right_behind_the_verdict_and_strengths_behind_them(document: Document) -> None:
    assert [section.anchor for section in document.sections][:4] == [
        "verdict",
        "methods",
        "strength",
        "validity",
    ]


def test_one_way_alone_has_no_table_of_methods(ways: ReportFacts) -> None:
    strengths = [pair for pair in ways.comparisons if pair.tuned.startswith("lora-r16@")]
    quantised = ways.comparisons[-1]
    assert len(strengths) == 5
    assert methods_section(ways.model_copy(update={"comparisons": (*strengths, quantised)})) is None


def test_way_that_is_not_comparable_has_a_reason_and_no_number(ways: ReportFacts) -> None:
    section = methods_section(changed(ways, "full", problems=("largest |B| is zero",)))
    row = rows_of(section)["full"]
    assert texts(row) == ["full | full", *["–"] * 8, "⊘ not comparable | largest |B| is zero"]
    assert "full" not in said(section).split("Pareto set")[1]


def test_way_without_its_domain_task_says_why(ways: ReportFacts) -> None:
    pair = ways.comparisons[0]
    lost = pair.tasks[0].model_copy(update={"problems": ("4 items stand on one side only",), "metrics": {}})
    section = methods_section(changed(ways, "full", tasks=(lost, *pair.tasks[1:])))
    assert texts(rows_of(section)["full"])[1] == "⊘ | 4 items stand on one side only"


def test_way_that_the_gate_does_not_judge_says_so(ways: ReportFacts) -> None:
    judged = ways.verdict.model_copy(update={"judgements": ways.verdict.judgements[:1]})
    rows = rows_of(methods_section(ways.model_copy(update={"verdict": judged})))
    assert texts(rows["full"])[-1] == "✘ FAIL"
    assert texts(rows["prompt"])[-1] == "– | not judged"


def with_second_domain_task(pair: Comparison) -> Comparison:
    second = pair.tasks[0].model_copy(update={"task": "title"})
    average = pair.tasks[0].metrics["accuracy"].difference
    suite = SuiteFacts(suite="medical", role="domain", tasks=("chapter", "title"), average=average)
    return pair.model_copy(update={"tasks": (second, *pair.tasks), "suites": (*pair.suites, suite)})


def test_gain_is_the_one_gated_rate_else_the_average_of_the_suite(ways: ReportFacts) -> None:
    pair = ways.comparisons[0]
    assert [measure.title for measure in domain_measures([pair])] == ["chapter · accuracy"]
    two = with_second_domain_task(pair)
    assert [measure.title for measure in domain_measures([two])] == ["medical average"]
    advisory = two.tasks[0].model_copy(update={"gated": False})
    back = two.model_copy(update={"tasks": (advisory, *two.tasks[1:])})
    assert [measure.title for measure in domain_measures([back])] == ["chapter · accuracy"]
    text = pair.tasks[-1].model_copy(update={"role": "domain", "suite": "medical"})
    prose = pair.model_copy(update={"tasks": (text,)})
    assert [measure.title for measure in domain_measures([prose])] == ["prose · bits per byte"]


def test_average_of_the_suite_is_shown_as_the_gain(ways: ReportFacts) -> None:
    pairs = tuple(with_second_domain_task(pair) for pair in ways.comparisons[:2])
    section = methods_section(ways.model_copy(update={"comparisons": pairs, "strengths": ()}))
    assert "Gain: medical average ↑" in said(section)
    assert texts(rows_of(section)["full"])[1] == "△ +41.0 pp | +37.4 … +44.6"


def point(label: str, x: tuple[float, float], y: tuple[float, float]) -> PlanePoint:
    def change(low: float, high: float) -> Change:
        return Change((low + high) / 2, low, high)

    return PlanePoint(label, change(*x), change(*y), "plain")


def test_dominance_needs_intervals_apart_in_both_directions() -> None:
    weak = point("weak", (-6, -4), (10, 20))
    strong = point("strong", (-2, 0), (25, 35))
    assert dominates(strong, weak)
    assert not dominates(weak, strong)
    assert not dominates(point("a", (-2, 0), (19, 35)), weak), "the gains overlap"
    assert not dominates(point("b", (-5, 0), (25, 35)), weak), "the costs overlap"
    assert not dominates(point("c", (-9, -7), (25, 35)), weak), "better in one, worse in the other"
    assert not dominates(point("d", (-4, 0), (25, 35)), weak), "touching is not apart"


def test_pareto_set_names_who_is_dominated_by_whom_and_counts_what_is_open() -> None:
    points = [
        at_origin("base"),
        point("weak", (-6, -4), (10, 20)),
        point("strong", (-2, 0.5), (25, 35)),
        point("alike", (-2.2, 0.4), (24, 33)),
        point("harmful", (-3, -1), (-9, -5)),
    ]
    assert pareto_sentences(points) == (
        "Pareto set, as far as the intervals can tell: base, strong, alike. "
        "weak is dominated by strong, alike: worse in both, with 90 % intervals apart. "
        "harmful is dominated by base: worse in both, with 90 % intervals apart. "
        "Taken two by two, 5 of 10 are not separated: their intervals overlap in the gain or in the general "
        "average, so neither is said to dominate."
    )


def test_ways_with_different_bases_are_not_ordered(ways: ReportFacts) -> None:
    text = said(methods_section(ways))
    assert "Against base: Pareto set, as far as the intervals can tell: base, full, partial" in text
    assert "Against base-nf4: Pareto set, as far as the intervals can tell: base-nf4, qlora.\n" in text
    assert "29 of 36 are not separated" in text


def test_labels_stand_apart_in_order_and_inside() -> None:
    places = spread([200.0, 12.0, 10.0, 11.0, 390.0, 389.0], 390.0)
    assert sorted(range(6), key=lambda index: places[index]) == [2, 3, 1, 0, 5, 4]
    ordered = sorted(places)
    gaps = [later - earlier for earlier, later in pairwise(ordered)]
    assert min(gaps) >= 14.99
    assert ordered[0] >= 0
    assert ordered[-1] <= 390
    assert places[0] == 200.0, "what has room stays where it belongs"
    crowd = spread([5.0] * 100, 300.0)
    assert max(crowd) <= 300.0001
    assert min(crowd) >= -0.0001


def test_plane_is_inert_and_draws_endless_intervals_up_to_its_edge() -> None:
    endless = PlanePoint("a<b", Change(-1.0, -math.inf, math.inf), Change(3.0, -math.inf, math.inf), "better")
    long = point("x" * 80, (-1, 1), (2, 4))
    for narrow in (False, True):
        svg = plane((endless, long), [[(0.0, 0.0), (-1.0, 3.0)]], ("across", "up"), narrow)
        assert "a&lt;b" in svg
        assert "x" * 23 + "…" in svg
        assert "x" * 24 not in svg
        assert "NaN" not in svg
        assert "Infinity" not in svg


def test_picture_by_strength_marks_every_strength() -> None:
    marks = tuple(
        StrengthMark(strength, Change(strength, -math.inf, 2.0), Change(strength, 0.0, 2.0))
        for strength in (0.0, 0.25, 1.0)
    )
    panels = (StrengthPanel("gain", marks), StrengthPanel("cost", marks, limit=-2.5))
    for narrow in (False, True):
        svg = by_strength(panels, 0.25, narrow)
        assert svg.count(">0.25<") == 2
        assert "gain" in svg
        assert "cost" in svg
        assert "NaN" not in svg


def test_strengths_read_from_the_base_to_as_trained(ways: ReportFacts) -> None:
    section = strength_section(ways)
    rows = {
        row.cells[0].text: row for block in section.blocks if isinstance(block, Table) for row in block.rows
    }  # type: ignore[union-attr]
    assert texts(rows["0"]) == ["0 | the base", *["equal to the base"] * 4]
    assert texts(rows["▶ 0.75"]) == [
        "▶ 0.75 | chosen",
        "△ +37.1 pp | +31.5 … +42.7",
        "○ −1.2 pp | −3.0 … +0.5",
        "△ +36.0 pp | +32.5 … +39.5",
        "▽ −1.3 pp | −2.4 … −0.1",
    ]
    assert list(rows) == ["0", "0.25", "0.5", "▶ 0.75", "1"]
    text = said(section)
    assert "Chosen on validation items, judged on test items" in text
    assert "▶ Strength 0.75: the greatest gain on validation items" in text
    assert "chapter · accuracy: 240 validation and 600 test items" in text


def altered(curve: StrengthCurve, place: int, **values: object) -> StrengthCurve:
    points = list(curve.points)
    points[place] = points[place].model_copy(update=values)
    return curve.model_copy(update={"points": tuple(points)})


def test_strength_zero_that_differs_from_the_base_is_called_out(ways: ReportFacts) -> None:
    (curve,) = ways.strengths
    test = curve.points[0].test
    flipped = test.tasks[0].model_copy(update={"wins": 1, "losses": 1})
    strange = altered(curve, 0, test=test.model_copy(update={"tasks": (flipped, test.tasks[1])}))
    section = strength_section(ways.model_copy(update={"strengths": (strange,)}))
    text = said(section)
    assert text.count("✘ not equal to the base") == 2
    assert text.count("| equal to the base") == 2


def test_strength_zero_that_measured_nothing_is_not_called_equal(ways: ReportFacts) -> None:
    (curve,) = ways.strengths
    empty = curve.points[0].test.model_copy(update={"tasks": (), "general_average": None})
    section = strength_section(ways.model_copy(update={"strengths": (altered(curve, 0, test=empty),)}))
    assert "<sub>the base</sub> | equal to the base | equal to the base | – | – |" in said(section)


def test_strength_that_is_not_comparable_shows_the_reason(ways: ReportFacts) -> None:
    (curve,) = ways.strengths
    broken = curve.points[2].test.model_copy(update={"problems": ("prompt hashes differ",), "tasks": ()})
    section = strength_section(ways.model_copy(update={"strengths": (altered(curve, 2, test=broken),)}))
    text = said(section)
    assert text.count("⊘ not comparable<br><sub>prompt hashes differ") == 2
    assert "+27.0 pp" not in text


def test_only_the_chosen_strength_is_told_task_by_task(ways: ReportFacts, document: Document) -> None:
    summaries = [block.summary for block in differences_section(ways).blocks if isinstance(block, Fold)]
    assert "lora-r16@0.75 against base" in summaries
    assert not [summary for summary in summaries if "@0.5" in summary or "@1" in summary]


def test_no_strengths_no_section(facts: ReportFacts) -> None:
    assert strength_section(facts) is None


def test_training_tells_method_batch_packing_gradient_norm_and_reading(ways: ReportFacts) -> None:
    section = training_section(ways)
    row = texts(rows_of(section)["lora-r4"])
    assert row[0] == "lora-r4 | lora, 16 rows a step, 4 at a time, packed"
    assert row[5] == "2.03"
    assert row[-1] == "1.8 MiB"
    text = said(section)
    assert "| Stored |" in text
    assert "lora-r4, seed 0: Both losses are flat over the last quarter." in text
    few = training_section(ways.model_copy(update={"trainings": ways.trainings[:1]}))
    assert few is not None
    kinds = [block.kind for block in few.blocks]
    assert kinds == ["table", "picture", "text", "fold"], "the reading stands under the curve"
    assert "| 1 | 5.205 | – | 10.000 |" in said(few)


def test_strengths_of_one_run_share_its_training(ways: ReportFacts) -> None:
    run = training_of(ways, "lora-r16@0.75")
    assert run is not None
    assert run.name == "lora-r16"
    assert training_of(ways, "prompt") is None


def seeded(ways: ReportFacts, seeds: tuple[int, ...]) -> ReportFacts:
    """lora-r4 alone, trained with several seeds, all judged."""
    pair = ways.comparisons[2]
    own = next(each for each in ways.configurations if each.name == "lora-r4")
    run = training_of(ways, "lora-r4")
    assert run is not None
    judgement = ways.verdict.judgements[2]
    names = {seed: f"lora-r4-seed{seed}" for seed in seeds}
    update = {
        "comparisons": tuple(pair.model_copy(update={"tuned": name}) for name in names.values()),
        "configurations": tuple(
            own.model_copy(update={"name": name, "seed": seed}) for seed, name in names.items()
        ),
        "trainings": tuple(
            run.model_copy(update={"name": name, "seed": seed}) for seed, name in names.items()
        ),
        "verdict": ways.verdict.model_copy(
            update={
                "judgements": tuple(judgement.model_copy(update={"tuned": name}) for name in names.values())
            }
        ),
        "strengths": (),
    }
    return ways.model_copy(update=update)


def test_every_seed_has_its_own_training_and_the_recipe_needs_three(ways: ReportFacts) -> None:
    two = seeded(ways, (0, 1))
    run = training_of(two, "lora-r4-seed1")
    assert run is not None
    assert run.seed == 1
    assert estimand(two) == (
        "lora-r4 was trained with seeds 0 and 1: each statement is about one of these runs, and its interval "
        "is about the items. How far the runs lie apart shows what another seed may change. A claim about a "
        "recipe needs at least three seeds."
    )
    three = seeded(ways, (0, 1, 2))
    runs = tuple(pair.tuned for pair in three.comparisons)
    recipe = three.comparisons[0].model_copy(update={"tuned": "lora-r4", "runs": runs})
    judgement = three.verdict.judgements[0].model_copy(update={"tuned": "lora-r4"})
    verdict = three.verdict.model_copy(update={"judgements": (judgement,)})
    judged = three.model_copy(update={"comparisons": (recipe, *three.comparisons), "verdict": verdict})
    assert estimand(judged).startswith("Every statement about lora-r4 is about its recipe: 3 training runs")
    assert estimand(seeded(ways, (7,))).startswith(
        "Every statement about lora-r4 is about one training run (seed 7), not about its recipe:"
    )


def test_what_was_not_trained_here_has_no_seed(ways: ReportFacts) -> None:
    words = estimand(ways)
    assert (
        "lora-r16, lora-r64, qlora, lora-replay and lora-kl is about one training run each (seed 0)" in words
    )
    assert words.endswith(
        "prompt was not trained here: statements about it are about exactly what was measured, and no seed "
        "plays a part."
    )


def test_validity_names_what_differs_and_what_was_declared(ways: ReportFacts) -> None:
    model = changed(ways, "partial", differs_in="model")
    text = said(validity_section(model))
    assert "| full against base | the trained weights | weights: none → 0f3ac1e07b55 |" in text
    assert "| partial against base | the model | weights: none → 1f3ac1e07b55; model: partial, as" in text
    assert "adapter: none → 3f3ac1e07b55; strength: 0.75" in text
    assert (
        "| prompt against base | the prompt | prompt: prompt, as declared"
        "<br><sub>prompts differ, joined by document</sub> |"
    ) in text
    assert "| prompt | – | ✔ 3.2 | 2e−05 | – |" in text


def folds(document: Document, anchor: str) -> list[Fold]:
    section = next(section for section in document.sections if section.anchor == anchor)
    return [block for block in section.blocks if isinstance(block, Fold)]


def test_many_ways_are_folded_and_a_fold_holds_no_fold(document: Document) -> None:
    for anchor, count in (("verdict", 9), ("differences", 9), ("flips", 10), ("training", 8)):
        assert [fold.open for fold in folds(document, anchor)] == [False] * count, anchor
    inside = [
        block
        for section in document.sections
        for fold in folds(document, section.anchor)
        for block in fold.blocks
    ]
    assert inside
    assert not [block for block in inside if isinstance(block, Fold)]


def test_few_that_are_judged_stay_open(ways: ReportFacts) -> None:
    judged = ways.verdict.model_copy(update={"judgements": ways.verdict.judgements[2:3]})
    section = differences_section(ways.model_copy(update={"verdict": judged}))
    opened = [block.summary for block in section.blocks if isinstance(block, Fold) and block.open]
    assert opened == ["lora-r4 against base"]
    verdict = verdict_section(ways.model_copy(update={"verdict": judged}))
    assert "Rules of the gate: lora-r4 against base" in said(verdict)


def test_flips_of_many_pairs_share_a_limit(ways: ReportFacts) -> None:
    section = flips_section(ways)
    assert section is not None
    shown = [
        len(block.items)
        for fold in section.blocks
        if isinstance(fold, Fold)
        for block in fold.blocks
        if isinstance(block, Exchanges)
    ]
    assert len(shown) == 18, "the quantised base has flips to count but none to show"
    assert sum(shown) <= MAX_ALL_FLIPS


def test_report_of_nine_ways_is_of_a_size_to_send(folder: Path) -> None:
    assert (folder / "report.html").stat().st_size < 1_500_000
    markdown = (folder / "report.md").read_text("utf-8")
    assert len(markdown) <= MAX_CHARACTERS
    assert "Too long for this file" not in markdown
    assert "▸ full against base: 95 lost, 285 won (in report.html)" in markdown


def test_report_of_nine_ways_has_its_pictures_and_unique_names(folder: Path) -> None:
    names = {path.name for path in (folder / "pictures").iterdir()}
    assert {"methods-medical-chapter.svg", "strength-lora-r16-0.svg", "differences-full-base.svg"} <= names
    identities = re.findall(r' id="([^"]+)"', (folder / "report.html").read_text("utf-8"))
    assert len(identities) == len(set(identities))


def test_same_ways_same_bytes(ways: ReportFacts, folder: Path, tmp_path: Path) -> None:
    again = ReportFacts.model_validate_json(ways.model_dump_json())
    assert again == ways
    render_report(again, tmp_path)
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert files
    assert all((folder / path).read_bytes() == (tmp_path / path).read_bytes() for path in files)


def test_pictures_of_methods_and_strengths_go_when_they_do(
    ways: ReportFacts, facts: ReportFacts, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("methods-medical-chapter.svg", "strength-lora-0.svg"):
        (tmp_path / "pictures" / name).write_text("<svg/>")
    bare = ReportFacts(name="bare", verdict=facts.verdict, policy=Gate(), comparisons=())
    render_report(bare, tmp_path)
    assert not list((tmp_path / "pictures").iterdir())


def test_run_without_losses_has_a_row_and_no_curve(ways: ReportFacts) -> None:
    silent = Training(name="odd", seed=0, steps=3, reading="stopped before the first loss was recorded.")
    section = training_section(ways.model_copy(update={"trainings": (silent,)}))
    assert section is not None
    assert [block.kind for block in section.blocks] == ["table", "text"]
    assert texts(rows_of(section)["odd"])[3:] == ["–"] * 8
