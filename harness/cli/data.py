"""`harness data`: what is trained on, row by row, as the tokenizer and the loss see it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from harness.cli.places import experiment_argument, for_each, open_store, store_option
from harness.cli.progress import progress_to, quiet_environment
from harness.data.overlaps import TaskOverlap, task_overlaps
from harness.data.training_rows import Mixture, TrainingRows, mixed, training_rows
from harness.errors import MissingExtra, UsageError
from harness.experiment.load import load_experiments
from harness.experiment.schema import TRAINED, LoadedExperiment, Tuned
from harness.experiment.validate import suggestion
from harness.plan import make_plan
from harness.report.inert import cut, visible
from harness.store.artifacts import Store

if TYPE_CHECKING:
    from harness.training.rendering import Counts, Piece

SCHEMA = "harness.data/1"
QUOTED = 100  # characters of a text that is an example


@dataclass(frozen=True)
class Wanted:
    """Which rows, how many of them, and whose max_length and replay; None is the first that trains."""

    rows: int
    split: str
    tuned: str | None


@dataclass(frozen=True)
class Shown:
    """The rows that are shown, in stretches with a loss and without, and what all rows came to."""

    experiment: str
    tuned: str
    split: str
    max_length: int
    notes: tuple[str, ...]
    counts: Counts
    rows: tuple[tuple[Piece, ...], ...]
    overlaps: tuple[TaskOverlap, ...]


@click.command("data")
@experiment_argument
@store_option
@click.option("--rows", default=3, show_default=True, type=click.IntRange(min=0), help="How many to show.")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "replay"]),
    default="train",
    show_default=True,
    help="`train` has the replayed rows among its own, as the recipe mixes them.",
)
@click.option(
    "--tuned", metavar="NAME", help="Whose max_length and replay to use.  [default: the first that trains]"
)
@click.option("--json", "as_json", is_flag=True, help="For programs: one line for each experiment.")
def command(
    experiment: Path, overrides: tuple[str, ...], store: Path | None, as_json: bool, **wanted: Any
) -> int:
    """Print training rows as tokens see them, what has no loss dimmed, the counts, and what is tested too.

    Loads the tokenizer and no weights. Without colours, what has no loss stands in ⟦…⟧.
    """
    quiet_environment()

    def show(loaded: LoadedExperiment) -> None:
        shown = _shown(loaded, open_store(loaded, store), Wanted(**wanted))
        if as_json:
            print(json.dumps({"schema": SCHEMA, **asdict(shown)}))
        else:
            _print(shown, Console(highlight=False))

    return for_each(load_experiments(experiment, overrides), show)


def _shown(loaded: LoadedExperiment, store: Store, wanted: Wanted) -> Shown:
    """Rows are read and checked before the tokenizer's libraries are loaded."""
    name, recipe = _recipe(loaded, wanted.tuned)
    found = _rows(loaded, name, recipe, wanted.split)
    overlaps = task_overlaps(loaded.suites, loaded.root, [row.values for row in found])
    if find_spec("torch") is None:
        raise MissingExtra("models", "torch")
    from harness.training.rendering import pieces, render

    tokenizer = _tokenizer(loaded, store)
    rendered = render(found, tokenizer, recipe.max_length)
    return Shown(
        loaded.experiment.name,
        name,
        wanted.split,
        recipe.max_length,
        tuple(note for note in (found.note, *rendered.notes) if note),
        rendered.counts,
        tuple(pieces(row, tokenizer) for row in rendered.rows[: wanted.rows]),
        overlaps,
    )


def _recipe(loaded: LoadedExperiment, wanted: str | None) -> tuple[str, Tuned]:
    trained = {name: one for name, one in loaded.experiment.tuned.items() if one.method in TRAINED}
    if not trained:
        raise UsageError(f"no configuration of {loaded.path.name} trains, so it has no training rows")
    name = wanted or next(iter(trained))
    if name not in trained:
        raise UsageError(f"[tuned.{name}] is not a configuration that trains; {suggestion(name, trained)}")
    return name, trained[name]


def _rows(loaded: LoadedExperiment, name: str, recipe: Tuned, split: str) -> TrainingRows | Mixture:
    data, replay = loaded.experiment.data, recipe.replay
    sources = {
        "train": ("data.train", data.train if data else None),
        "validation": ("data.validation", data.validation if data else None),
        "replay": (f"tuned.{name}.replay", replay),
    }
    table, source = sources[split]
    if source is None:
        raise UsageError(f"there are no {split} rows: {loaded.path.name} has no table [{table}]")
    rows = training_rows(source, loaded.root)
    if split == "train" and replay is not None:
        return mixed(rows, training_rows(replay, loaded.root), replay.fraction, recipe.seeds[0])
    return rows


def _tokenizer(loaded: LoadedExperiment, store: Store) -> Any:
    from harness.models.conversion import loadable
    from harness.models.loading import tokenizer_of
    from harness.models.quiet import quiet_libraries

    quiet_libraries()
    base, source = loaded.experiment.base, make_plan(loaded).configuration("base")
    converts = source.conversion is not None and not store.has(source.conversion)
    with store.locked() if converts else nullcontext(), progress_to(Console(stderr=True)) as progress:
        location = loadable(source.source, source.conversion, store, progress)
    if base.chat_template is not None:
        base = base.model_copy(update={"chat_template": str(loaded.root / base.chat_template)})
    return tokenizer_of(location, base)


def _print(shown: Shown, console: Console) -> None:
    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=True)

    about = f"{shown.experiment}: {shown.split} rows as [tuned.{shown.tuned}] sees them"
    line(f"{about}, max_length = {shown.max_length}", "bold")
    for note in shown.notes:
        line(f"· {visible(note)}")
    for number, row in enumerate(shown.rows, 1):
        line(f"\nrow {number}", "bold")
        console.print(_painted(row, plain=console.color_system is None), soft_wrap=True)
    counts = shown.counts
    share = counts.trained_tokens / max(counts.tokens, 1)
    trained = f"{counts.trained_tokens:,} with a loss ({share:.1%})"
    line(f"\n{counts.rows:,} rows, {counts.tokens:,} tokens, {trained}")
    line(f"{counts.truncated:,} truncated, {counts.dropped:,} dropped, {counts.duplicates:,} duplicates")
    line("\ntest items that stand in these rows, by shared runs of words", "bold")
    for overlap in shown.overlaps:
        for text in _overlap_lines(overlap):
            line(visible(text))


def _overlap_lines(overlap: TaskOverlap) -> Iterator[str]:
    place = f"{overlap.suite}/{overlap.task}"
    if overlap.unchecked is not None:
        yield f"· {place} ({overlap.role}): not checked, {overlap.unchecked}"
        return
    share = overlap.flagged / max(overlap.items, 1)
    counted = f"{overlap.flagged:,} of {overlap.items:,} ({share:.1%})"
    memory = "; a gain may be memory: take these rows out of the training data" if overlap.too_many else ""
    yield f"{'⚠' if overlap.too_many else '·'} {place} ({overlap.role}): {counted}{memory}"
    for example in overlap.examples:
        yield f"    {cut(example.item, QUOTED)!r} shares {example.reason} with row {example.row:,}:"
        yield f"    {cut(example.row_text, QUOTED)!r} ({example.longest} words in a row)"


def _painted(row: Sequence[Piece], plain: bool) -> Text:
    text = Text()
    for piece in row:
        if piece.trained:
            text.append(visible(piece.text))
        else:
            text.append(f"⟦{visible(piece.text)}⟧" if plain else visible(piece.text), style="dim")
    return text
