"""Whether the pairs may be compared at all: what differs, what proves it, what stands against it."""

from __future__ import annotations

from dataclasses import replace

from harness.comparison.facts import Comparison, TaskFacts
from harness.report import wording
from harness.report.document import Block, Bullets, Cell, Column, Heading, Row, Section, Table, Tone
from harness.report.facts import Proof, ReportFacts
from harness.report.sections.noise import noise_blocks
from harness.report.sections.tuning import configuration_of

_NOT_APPLICABLE = Cell(wording.NONE)


def _differences(facts: ReportFacts, pair: Comparison) -> str:
    """Only what is not the same on both sides; a prompt and a separate model leave no digest."""
    base, tuned = configuration_of(facts, pair.base), configuration_of(facts, pair.tuned)
    if base is None or tuned is None:
        return wording.NONE
    digest = "adapter" if pair.differs_in == "adapter" else "weights"
    sides = (
        ("dtype", base.dtype, tuned.dtype),
        ("quantisation", base.quantization or "none", tuned.quantization or "none"),
        (digest, base.adapter_digest or "none", tuned.adapter_digest or "none"),
    )
    found = [f"{name}: {left} → {right}" for name, left, right in sides if left != right]
    if tuned.strength != 1:
        found.append(f"strength: {tuned.strength:g}")
    if pair.differs_in in ("model", "prompt"):
        found.append(f"{pair.differs_in}: {tuned.description}")
    return "; ".join(found) or "nothing"


def _pair_row(facts: ReportFacts, pair: Comparison) -> Row:
    answer = Cell("⊘ not comparable", tone="void") if pair.problems else Cell("✔ comparable", tone="better")
    excluded = sum(bool(task.problems) for task in pair.tasks)
    if excluded and not pair.problems:
        answer = Cell("◐ comparable in part", f"{excluded} of {len(pair.tasks)} tasks left out", "unsure")
    return Row(
        (
            Cell(wording.pair_name(pair.base, pair.tuned)),
            Cell(wording.WHAT_DIFFERS[pair.differs_in]),
            Cell(_differences(facts, pair), "; ".join(pair.declared)),
            answer,
        )
    )


def _check(holds: bool, text: str) -> Cell:
    tone: Tone = "better" if holds else "worse"
    return Cell(f"{'✔' if holds else '✘'} {text}", tone=tone)


def _same(equal: bool) -> str:
    return "equal to the base" if equal else "differs from the base"


def _proof_row(proof: Proof) -> Row:
    largest, change, off = proof.largest_b, proof.logit_difference, proof.off_equals_base
    zero = "" if proof.zero_equals_base is None else f"at strength 0 {_same(proof.zero_equals_base)}"
    return Row(
        (
            Cell(proof.tuned),
            _NOT_APPLICABLE if largest is None else _check(largest > 0, wording.small(largest)),
            _NOT_APPLICABLE if change is None else _check(change > proof.noise_floor, wording.small(change)),
            Cell(wording.small(proof.noise_floor)),
            _NOT_APPLICABLE if off is None else replace(_check(off, _same(off)), note=zero),
        )
    )


def _problems(facts: ReportFacts) -> list[Block]:
    blocks: list[Block] = []
    for pair in facts.comparisons:
        name = wording.pair_name(pair.base, pair.tuned)
        left_out = [(task, problem) for task in pair.tasks for problem in task.problems]
        alarms = [(task, alarm) for task in pair.tasks for alarm in task.alarms]
        if pair.problems:
            blocks += [Heading(f"Not comparable: {name}"), Bullets(pair.problems, "void")]
            continue
        if left_out:
            blocks += [Heading(f"Left out: {name}"), Bullets(_by_task(left_out), "void")]
        if alarms:
            blocks += [Heading(f"Alarms, which no limit excuses: {name}"), Bullets(_by_task(alarms), "worse")]
    return blocks


def _by_task(found: list[tuple[TaskFacts, str]]) -> tuple[str, ...]:
    return tuple(f"{task.suite} / {task.task}: {text}" for task, text in found)


def validity_section(facts: ReportFacts) -> Section:
    """Everything that speaks for or against comparing, before any number is shown."""
    blocks = _problems(facts)
    pairs = (Column("Pair"), Column("Measures"), Column("What differs"), Column("Answer"))
    rows = tuple(_pair_row(facts, pair) for pair in facts.comparisons)
    blocks.append(Table("Pairs: one thing differs in each", pairs, rows))
    if facts.proofs:
        columns = (
            Column("Tuned"),
            Column("Largest |B|", numeric=True),
            Column("Largest logit change against the base", numeric=True),
            Column("Noise of the engine", numeric=True),
            Column("Switched off"),
        )
        proofs = tuple(_proof_row(proof) for proof in facts.proofs)
        blocks.append(Table("Proof that each tuned configuration is live", columns, proofs))
    blocks += noise_blocks(facts.comparisons)
    return Section("validity", "Can these be compared?", tuple(blocks))
