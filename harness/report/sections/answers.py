"""What the models said: answers that flipped, and generations side by side."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, zip_longest
from typing import Literal

from harness.comparison.facts import Comparison, Flip, TaskFacts
from harness.report import wording
from harness.report.document import Block, Exchange, Exchanges, Fold, Heading, Section, Text
from harness.report.facts import ReportFacts
from harness.report.inert import cut
from harness.report.sections.answer_form import LOST
from harness.report.sections.noise import beyond_noise
from harness.report.sections.tuning import FEW, shown_pairs, tuning_pairs

# Of one pair and direction, and of the whole report.
MAX_FLIPS, MAX_ALL_FLIPS = 50, 300
_DIRECTIONS: tuple[Literal["loss", "win"], ...] = ("loss", "win")
_PROMPT_LIMIT, _ANSWER_LIMIT, _GENERATION_LIMIT = 600, 400, 4_000


def _flips(task: TaskFacts, direction: str) -> list[tuple[TaskFacts, Flip]]:
    return [(task, flip) for flip in task.flips if flip.direction == direction]


def _count(task: TaskFacts, direction: str) -> int:
    """How many items flipped; the facts may carry fewer of them than there were."""
    counted = task.losses if direction == "loss" else task.wins
    return max(counted or 0, len(_flips(task, direction)))


def _total(pair: Comparison, direction: Literal["loss", "win"]) -> int:
    return sum(_count(task, direction) for task in pair.tasks if not task.problems)


def _exchange(pair: Comparison, task: TaskFacts, flip: Flip) -> Exchange:
    base_mark, tuned_mark = ("✔", "✘") if flip.direction == "loss" else ("✘", "✔")
    return Exchange(
        heading=f"{task.suite} / {task.task} · item {flip.item[:12]}",
        prompt=cut(flip.prompt, _PROMPT_LIMIT),
        answers=(
            ("expected", cut(flip.gold, _ANSWER_LIMIT)),
            (f"{base_mark} {pair.base}", cut(flip.base_answer, _ANSWER_LIMIT)),
            (f"{tuned_mark} {pair.tuned}{_lost(flip)}", cut(flip.tuned_answer, _ANSWER_LIMIT)),
        ),
    )


def _lost(flip: Flip) -> str:
    return "" if flip.loss is None else f" · {LOST[flip.loss]}"


def _where(task: TaskFacts, direction: Literal["loss", "win"]) -> str:
    beyond = beyond_noise(task, direction)
    counted = f"{task.suite} / {task.task} {_count(task, direction):,}"
    return f"{counted} (beyond the noise {beyond})" if beyond else counted


def _group(pair: Comparison, direction: Literal["loss", "win"], most: int) -> Fold:
    tasks = [task for task in pair.tasks if not task.problems]
    total = _total(pair, direction)
    # In turn from every task, so that one task with many flips does not crowd out the others.
    turns = zip_longest(*(_flips(task, direction) for task in tasks))
    fair = [each for each in chain.from_iterable(turns) if each is not None][:most]
    word, mark = ("Regressed", "✘") if direction == "loss" else ("Fixed", "✔")
    where = ", ".join(_where(task, direction) for task in tasks if _count(task, direction))
    blocks: list[Block] = [Text(f"By task: {where}.")] if where else []
    if total > len(fair):
        blocks.append(
            Text(
                f"Showing {len(fair):,} of {total:,}, taken from every task in turn; "
                f"{total - len(fair):,} more are in the stored results."
            )
        )
    if fair:
        blocks.append(Exchanges(tuple(_exchange(pair, task, flip) for task, flip in fair), dense=True))
    what = (
        "right with the base, wrong when tuned"
        if direction == "loss"
        else "wrong with the base, right when tuned"
    )
    return Fold(f"{mark} {word}: {total:,} ({what})", tuple(blocks))


def flips_section(facts: ReportFacts) -> Section | None:
    """Items whose answer changed: from right to wrong (open, if the pairs are few), and back."""
    pairs = [
        pair
        for pair in shown_pairs(facts)
        if not pair.problems and any(task.flips or task.wins or task.losses for task in pair.tasks)
    ]
    most = min(MAX_FLIPS, MAX_ALL_FLIPS // (2 * len(pairs) or 1))
    many = len(tuning_pairs(facts)) > FEW
    blocks: list[Block] = []
    for pair in pairs:
        name = wording.pair_name(pair.base, pair.tuned)
        lost, won = (_group(pair, direction, most) for direction in _DIRECTIONS)
        if many:
            inside = (Heading(lost.summary), *lost.blocks, Heading(won.summary), *won.blocks)
            blocks.append(Fold(f"{name}: {_total(pair, 'loss'):,} lost, {_total(pair, 'win'):,} won", inside))
        else:
            opened = pair.differs_in != "quantization" and bool(lost.blocks)
            blocks += [Heading(name), replace(lost, open=opened), won]
    return Section("flips", "Answers that flipped", tuple(blocks)) if blocks else None


def generations_section(facts: ReportFacts) -> Section | None:
    """The prompts of the experiment and what each configuration wrote."""
    if not facts.generations:
        return None
    exchanges = tuple(
        Exchange(
            heading=f"Prompt {place}",
            prompt=cut(generation.prompt, _GENERATION_LIMIT),
            answers=tuple((name, cut(text, _GENERATION_LIMIT)) for name, text in generation.texts.items()),
        )
        for place, generation in enumerate(facts.generations, start=1)
    )
    note = Text("Illustration only: a handful of prompts shows style, never quality. Nothing here is gated.")
    return Section("generations", "In their own words", (note, Exchanges(exchanges)))
