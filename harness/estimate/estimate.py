"""What the steps of a plan come to before any of them is made: tokens, time and memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.configurations import Configuration
from harness.estimate.memory import Memory
from harness.estimate.prospects import gate_prospects
from harness.estimate.quantities import Note, Quantity, told, total
from harness.estimate.records import read_records
from harness.estimate.work import Forecast, Machine, Work, this_machine
from harness.experiment.schema import TRAINED, LoadedExperiment, Method, Tuned
from harness.fingerprints import source_fingerprints
from harness.gate.lint import Prospect
from harness.plan import Plan, make_plan
from harness.store.artifacts import Step, Store

NOT_TIMED = Note("loading and converting models, proofs and generations are not in the time")
UNREAD = "records of the store are damaged or of another version, and were not used"
# What lowers the memory of a training: key, value, and the methods that have a use for it.
_REMEDIES: tuple[tuple[str, object, tuple[Method, ...]], ...] = (
    ("optimizer", "paged_adamw_8bit", ("partial", "full")),
    ("weights_dtype", "bfloat16", ("partial", "full")),
    ("gradient_checkpointing", True, TRAINED),
    ("method", "qlora", ("lora", "partial", "full")),
)


@dataclass(frozen=True)
class PlannedStep:
    """A step of the plan, and whether the store has it."""

    kind: str
    name: str
    fingerprint: str
    stored: bool


@dataclass(frozen=True)
class Group:
    """A base, or all that one [tuned.…] table makes, seeds and strengths together.

    method: as declared, or "base"
    steps:  those that no group before it has
    train_tokens, score_tokens, seconds: of its steps that are to do
    memory: the largest of them; None where nothing is to do that needs a model
    """

    name: str
    method: str
    seeds: int
    strengths: int
    steps: tuple[PlannedStep, ...]
    train_tokens: Quantity
    score_tokens: Quantity
    seconds: Quantity
    memory: Memory | None


@dataclass(frozen=True)
class PlannedExperiment:
    """prospects: what the rules of its gate can say of the items that are known"""

    name: str
    key: str
    groups: tuple[Group, ...]
    prospects: tuple[Prospect, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """Of all experiments of one file.

    warnings: what the memory of this machine does not hold
    notes:    what was estimated and how, and what is not known
    """

    experiments: tuple[PlannedExperiment, ...]
    machine: Machine
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def groups(self) -> tuple[Group, ...]:
        return tuple(group for experiment in self.experiments for group in experiment.groups)


def estimate(
    experiments: Sequence[LoadedExperiment], store: Store, machine: Machine | None = None
) -> Estimate:
    """Loads no model, downloads nothing, and writes nothing but how much text each source holds.

    experiments: those of one file; machine: where they are to run, this one if left out
    Raises ConfigurationError where a source is not there.
    """
    sources = source_fingerprints(experiments[0].root)  # all cells of a file have the same
    plans = [make_plan(loaded, sources) for loaded in experiments]
    forecast = Forecast(store, read_records(store), machine or this_machine())
    planning = _Planning(store, forecast, set())
    planned = tuple(
        PlannedExperiment(
            loaded.experiment.name,
            plan.key,
            tuple(planning.groups(loaded, plan)),
            gate_prospects(loaded, forecast.amounts(loaded), sources),
        )
        for loaded, plan in zip(experiments, plans, strict=True)
    )
    groups = [group for experiment in planned for group in experiment.groups]
    notes = [note for group in groups for note in _notes(group)]
    if any(group.seconds.value for group in groups):
        notes.append(NOT_TIMED)
    if forecast.records.unread:
        notes.append(Note(f"{forecast.records.unread:,} {UNREAD}"))
    warnings = [
        _too_large(group, loaded.experiment.tuned.get(group.name), forecast.machine)
        for loaded, experiment in zip(experiments, planned, strict=True)
        for group in experiment.groups
        if group.memory is not None and not forecast.fits(group.memory)
    ]
    return Estimate(planned, forecast.machine, tuple(dict.fromkeys(warnings)), told(notes))


def largest(memories: Iterable[Memory | None]) -> Memory | None:
    """The largest that is known, with the notes of all; None where none is needed."""
    each = [memory for memory in memories if memory is not None]
    if not each:
        return None
    notes = dict.fromkeys(note for memory in each for note in memory.notes)
    return replace(max(each, key=lambda memory: memory.value or 0), notes=tuple(notes))


def _notes(group: Group) -> Iterator[Note]:
    yield from total([group.train_tokens, group.score_tokens, group.seconds]).notes
    yield from group.memory.notes if group.memory else ()


def _too_large(group: Group, recipe: Tuned | None, machine: Machine) -> str:
    assert group.memory is not None
    needed, there = (group.memory.value or 0) / 1e9, (machine.memory or 0) / 1e9
    said = f"{group.name} needs about {needed:.1f} GB, and {machine.memory_of} has {there:.1f} GB"
    if recipe is None or "gradients" not in group.memory.parts:
        return f"{said}: set `quantization`, or take a smaller model"
    remedies = [
        f"{key} = {json.dumps(value)}"
        for key, value, methods in _REMEDIES
        if recipe.method in methods and getattr(recipe, key) != value
    ]
    return f"{said}: {' or '.join(remedies) or 'max_length lower'} takes less"


@dataclass(frozen=True)
class _Planning:
    """Steps are counted where they are first met: `met` holds those that were."""

    store: Store
    forecast: Forecast
    met: set[tuple[str, str]]

    def groups(self, loaded: LoadedExperiment, plan: Plan) -> Iterator[Group]:
        families: dict[str, list[Configuration]] = {}
        for configuration in plan.configurations:
            families.setdefault(configuration.family or configuration.name, []).append(configuration)
        for name, members in families.items():
            yield self._group(name, members, loaded)

    def _group(self, name: str, members: Sequence[Configuration], loaded: LoadedExperiment) -> Group:
        steps: list[PlannedStep] = []
        train: list[Work] = []
        score: list[Work] = []
        for configuration in members:
            for step in self._first_met(configuration):
                stored = self.store.has(step)
                steps.append(PlannedStep(step.kind, step.name, step.fingerprint, stored))
                if stored:
                    continue
                if step == configuration.change and configuration.seed is not None:
                    train.append(self.forecast.training(configuration, loaded))
                if step.kind == "measurements":
                    score.append(self.forecast.measuring(configuration, step, loaded))
        recipe = members[0].recipe
        return Group(
            name=name,
            method=recipe.method if recipe else "base",
            seeds=len({configuration.seed for configuration in members}),
            strengths=len({configuration.strength for configuration in members}),
            steps=tuple(steps),
            train_tokens=total(work.tokens for work in train),
            score_tokens=total(work.tokens for work in score),
            seconds=total(work.seconds for work in train + score),
            memory=largest(work.memory for work in train + score),
        )

    def _first_met(self, configuration: Configuration) -> Iterator[Step]:
        for step in configuration.steps():
            if (step.kind, step.fingerprint) not in self.met:
                self.met.add((step.kind, step.fingerprint))
                yield step
