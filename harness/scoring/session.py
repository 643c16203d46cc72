"""One load of a model: the base and all that is put on it, measured step by step into the store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import torch

from harness.errors import RunFailed
from harness.experiment.schema import Base, Generate, Prompting, Quantization
from harness.machine import machine_name
from harness.models.adapters import attached_adapter
from harness.models.kinship import Family, family_of, family_problems
from harness.models.loading import Attached, Loaded, load, release
from harness.models.proof import Probe, Proof, is_bare, probe, prove, prove_model
from harness.models.weights import attached_weights
from harness.scoring.budget import Budget, budget_for, recall, remember
from harness.scoring.language_model import TreeLM
from harness.scoring.measuring import Part, record_measurements
from harness.scoring.prepared import NO_PROMPT, Preparation, Split, SuiteTask
from harness.scoring.recording import Place, Subject, record_generations
from harness.store.artifacts import Step, fingerprint
from harness.store.measurements import TaskKey

ATTACH = {"adapters": attached_adapter, "weights": attached_weights}


@dataclass(frozen=True)
class Change:
    """What is put on the base: a finished step's folder, and what its record says."""

    kind: Literal["adapters", "weights"]
    folder: Path
    weights_sha256: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """One configuration of the group. `measurements` are on test items, `validation` on validation items.

    is_base: others are compared with it
    """

    name: str
    is_base: bool
    change: Change | None
    strength: float
    scales: bool
    prompting: Prompting
    proof: Step | None
    measurements: Mapping[TaskKey, Step]
    validation: Mapping[TaskKey, Step]
    generation: Step | None


@dataclass(frozen=True)
class Against:
    """The experiment's base: where it is loaded from, and how."""

    location: str
    base: Base


@dataclass(frozen=True)
class Group:
    """Configurations that share one load: the same model at the same quantisation.

    identity: what the loaded model is, for the record
    against:  the experiment's base, where the group is another checkpoint that is proved against it
    """

    location: str
    identity: str
    against: Against | None
    base: Base
    quantization: Quantization | None
    targets: tuple[Target, ...]
    tasks: tuple[SuiteTask, ...]
    prompts: tuple[Generate, ...]


@dataclass(frozen=True)
class _Reference:
    """What the group's results are proved against: the base's logits and family, and its engine."""

    probe: Probe
    family: Family
    engine: str


def measure_group(group: Group, place: Place) -> None:
    """Make every missing step of the group. Raises RunFailed; what is scored by then is kept."""
    try:
        base = _base_of(group, group.against) if group.against else None
        release()
        loaded = load(group.location, group.base, group.quantization)
        preparation = Preparation(group.tasks, loaded, group.base.apply_chat_template)
        budget = budget_for(loaded.model)
        recall(budget, _budget_file(group, place))
        session = _Session(group, place, preparation, base or _reference(loaded, preparation), budget)
        session.say_how()
        by_change = groupby(group.targets, key=lambda target: target.change)
        for number, (change, targets) in enumerate(by_change):
            if number and base is None and not is_bare(loaded, session.reference.probe):
                # Some adapters (modules_to_save) leave their weights behind when they go.
                del loaded  # two would be held while the second is loaded
                release()
                loaded = load(group.location, group.base, group.quantization)
            session.make(loaded, change, targets)
        remember(budget, _budget_file(group, place))
    except torch.OutOfMemoryError as error:
        raise RunFailed(f"measuring ran out of GPU memory: {error}") from error


def _budget_file(group: Group, place: Place) -> Path:
    """Where the budget of this model, as it is loaded, is kept for this machine."""
    quantization = None if group.quantization is None else group.quantization.model_dump(mode="json")
    of = {"model": group.identity, "dtype": group.base.dtype, "quantization": quantization}
    return place.store.root / "budgets" / f"{fingerprint({**of, 'machine': machine_name()})}.json"


def _base_of(group: Group, against: Against) -> _Reference:
    """The experiment's base, loaded for its logits alone and let go of again."""
    loaded = load(against.location, against.base, group.quantization)
    return _reference(loaded, Preparation(group.tasks, loaded, against.base.apply_chat_template))


def _reference(loaded: Loaded, preparation: Preparation) -> _Reference:
    reference = probe(loaded, preparation.probe_prompts())
    return _Reference(reference, family_of(loaded), TreeLM(loaded.model, loaded.tokenizer).engine)


@contextlib.contextmanager
def _attached(loaded: Loaded, change: Change | None) -> Iterator[Attached]:
    """The model with the change on it. Without one it is as loaded, and has no strength but 1."""
    if change is None:
        yield Attached(loaded, contextlib.nullcontext, lambda strength: contextlib.nullcontext(), 0.0)
    else:
        with ATTACH[change.kind](loaded, change.folder) as attached:
            yield attached


@dataclass(frozen=True)
class _Session:
    """A loaded group: what is missing of its targets is proved and measured."""

    group: Group
    place: Place
    preparation: Preparation
    reference: _Reference
    budget: Budget

    def say_how(self) -> None:
        """Once a load, where the model is not measured the usual way."""
        if self.reference.engine != "tree":
            self.place.progress.say(
                f"{self.group.location} does not give its own numbers by token trees: measured by lm-eval's "
                "loop, which is slower"
            )

    def make(self, loaded: Loaded, change: Change | None, targets: Iterable[Target]) -> None:
        """What is missing of the targets that share a change."""
        with _attached(loaded, change) as attached:
            for target in targets:
                self.prove(target, attached)
                with attached.scaled(target.strength):
                    self.measure(target, attached)

    def prove(self, target: Target, attached: Attached) -> None:
        if target.proof is None or self.place.store.has(target.proof):
            return
        proof, problems = self._proof(target, attached)
        self.place.store.begin(target.proof)
        record = proof.record()
        record["problems"] = [*problems, *record["problems"]]
        self.place.store.finish(target.proof, {"tuned": target.name, **record})

    def _proof(self, target: Target, attached: Attached) -> tuple[Proof, tuple[str, ...]]:
        if target.change is not None:
            return prove(attached, self.reference.probe, target.scales), target.change.problems
        problems = family_problems(self.reference.family, family_of(attached.loaded))
        return prove_model(attached.loaded, self.reference.probe), problems

    def measure(self, target: Target, attached: Attached) -> None:
        """Every measurement and the generations that are missing."""
        store = self.place.store
        measures = any(not store.has(step) for _, steps in _splits(target) for step in steps.values())
        generation = None if target.generation and store.has(target.generation) else target.generation
        if not measures and generation is None:
            return  # a language model is not made for nothing
        subject = self._subject(target, attached)
        if measures:
            record_measurements(subject, self._parts(target, subject.lm), self.place)
        if generation is not None:
            asking = self.preparation.asking(target.prompting)
            record_generations(subject, self.group.prompts, asking, generation, store)

    def _parts(self, target: Target, lm: TreeLM) -> list[Part]:
        """Suite by suite, on test and on validation items. A step that two suites share is made once."""
        parts, made = [], set[str]()
        for split, steps in _splits(target):
            for _, keys in groupby(steps, key=lambda key: key[0]):
                tasks = list(keys)
                missing = {}
                for place, key in enumerate(tasks):
                    step = steps[key]
                    if step.fingerprint not in made and not self.place.store.has(step):
                        missing[place] = step
                        made.add(step.fingerprint)
                if missing:
                    prepared = [self.preparation.task(key, split, target.prompting) for key in tasks]
                    parts.append(Part(self.preparation.questions(prepared, lm), missing))
        return parts

    def _subject(self, target: Target, attached: Attached) -> Subject:
        configured = attached.loaded
        lm = TreeLM(configured.model, configured.tokenizer, self.reference.engine, self.budget)
        return Subject(
            name=target.name,
            lm=lm,
            conditions=self._conditions(target, lm),
            weights_sha256=target.change.weights_sha256 if target.change else None,
            off=attached.off if target.change else None,
            is_base=target.is_base,
        )

    def _conditions(self, target: Target, lm: TreeLM) -> dict[str, str]:
        """What must be equal on both sides of a pair, but for the one thing that the pair differs in."""
        group = self.group
        conditions = {
            "model": group.identity,
            "tokenizer": self.preparation.vocabulary,
            "adapter": "none",
            "weights": "as loaded",
            "quantization": "none" if group.quantization is None else group.quantization.model_dump_json(),
            "dtype": group.base.dtype,
            "engine": lm.engine,
            "device": lm.device.type,
            "prompt": "as written" if target.prompting == NO_PROMPT else target.prompting.model_dump_json(),
            "chat template": self.preparation.template or "not applied",
        }
        if target.change is not None:
            at = "" if target.strength == 1 else f" at strength {target.strength:g}"
            name = {"adapters": "adapter", "weights": "weights"}[target.change.kind]
            conditions[name] = f"{target.change.weights_sha256}{at}"
        return conditions


def _splits(target: Target) -> tuple[tuple[Split, Mapping[TaskKey, Step]], ...]:
    return ("test", target.measurements), ("validation", target.validation)
