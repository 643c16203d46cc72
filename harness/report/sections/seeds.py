"""Whom the numbers are about: this adapter or this recipe; and how far its seeds lie apart."""

from __future__ import annotations

from statistics import stdev

from harness.comparison.facts import Comparison
from harness.report import wording
from harness.report.document import Block, Cell, Column, Row, Table
from harness.report.facts import ReportFacts
from harness.report.sections.tuning import configuration_of, judged_pair, training_of
from harness.statistics.estimates import Estimate


def estimand(facts: ReportFacts) -> str:
    """A training run is not its recipe, and a prompt was never trained."""
    seeds: dict[str, set[int]] = {}
    given: list[str] = []
    words: list[str] = []
    for judgement in facts.verdict.judgements:
        pair = judged_pair(facts, judgement)
        if pair is not None and pair.runs:
            words.append(_recipe(pair))
            continue
        own, run = configuration_of(facts, judgement.tuned), training_of(facts, judgement.tuned)
        if run is not None:
            family = own.family if own is not None and own.family is not None else judgement.tuned
            seeds.setdefault(family, set()).add(run.seed)
        elif own is not None:
            given.append(judgement.tuned)
    once = [family for family, used in seeds.items() if len(used) == 1]
    words += [_one_seed(once, {seed for family in once for seed in seeds[family]})] if once else []
    words += [_two_seeds(family, used) for family, used in seeds.items() if len(used) > 1]
    if given:
        were, them = ("was", "it") if len(given) == 1 else ("were", "them")
        words.append(
            f"{wording.listed(given)} {were} not trained here: statements about {them} are about exactly "
            "what was measured, and no seed plays a part."
        )
    return " ".join(words)


def _recipe(pair: Comparison) -> str:
    return (
        f"Every statement about {pair.tuned} is about its recipe: {len(pair.runs)} training runs with other "
        "seeds answered the same items, values are means over them, and the intervals hold what another "
        "seed and other items would change."
    )


def _one_seed(families: list[str], seeds: set[int]) -> str:
    seed = f" (seed {min(seeds)})" if len(seeds) == 1 else ""
    one = len(families) == 1
    each, recipes = ("one training run", "its recipe") if one else ("one training run each", "their recipes")
    return (
        f"Every statement about {wording.listed(families)} is about {each}{seed}, not about {recipes}: "
        "another seed makes other weights with other numbers. A claim about a recipe needs at least three "
        "seeds."
    )


def _two_seeds(family: str, seeds: set[int]) -> str:
    return (
        f"{family} was trained with seeds {wording.listed([str(seed) for seed in sorted(seeds)])}: each "
        "statement is about one of these runs, and its interval is about the items. How far the runs lie "
        "apart shows what another seed may change. A claim about a recipe needs at least three seeds."
    )


def seeds_blocks(pair: Comparison) -> list[Block]:
    """What each training run of a recipe changed, and how far they lie apart; nothing for a single run."""
    if not pair.runs:
        return []
    columns = (
        Column("Task"),
        *(Column(name, numeric=True) for name in pair.runs),
        Column("Spread of the seeds", numeric=True),
    )
    rows = [
        _row(Cell(task.task, f"{task.suite} · {wording.titled(facts.metric)}"), facts.metric.unit, estimate)
        for task in pair.tasks
        if not task.problems
        for facts in (task.metrics[task.primary],)
        if (estimate := facts.difference) is not None
    ]
    if pair.general_average is not None:
        rows.append(_row(Cell("general average"), "rate", pair.general_average))
    return [Table(f"Δ under each seed: {wording.pair_name(pair.base, pair.tuned)}", columns, tuple(rows))]


def _row(name: Cell, unit: wording.ChangeUnit, estimate: Estimate) -> Row:
    values = estimate.seeds.values if estimate.seeds else ()
    return Row(
        (
            name,
            *(Cell(wording.change(unit, value)) for value in values),
            Cell(wording.change(unit, stdev(values), signed=False), "standard deviation"),
        )
    )
