"""Experiment → steps, each with its fingerprint. Needs no weights, no tokenizer and no lm-eval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.comparison.facts import Pair
from harness.data.fingerprint import source_fingerprint
from harness.errors import ConfigurationError, Problem
from harness.experiment.model_source import ModelSource, model_source
from harness.experiment.resolved import experiment_key
from harness.experiment.schema import LoadedExperiment, Quantization, Task, Tuned
from harness.store.artifacts import Step, step

# Part of every measurement's fingerprint: raise it when scores may change at equal inputs.
ENGINE = "tree-1"
# Part of every adapter's fingerprint: raise it when equal inputs train another adapter.
TRAINING = 1
KEY_LENGTH = 24


@dataclass(frozen=True)
class Configuration:
    """One thing to measure: the base, the base at an adapter's quantisation, or an adapter on it.

    recipe, seed and adapter are None for a base; `base` names the configuration it is compared with.
    """

    name: str
    description: str
    quantization: Quantization | None
    base: str | None
    recipe: Tuned | None
    seed: int | None
    adapter: Step | None
    proof: Step | None
    measurements: Mapping[tuple[str, str], Step]
    generation: Step | None


@dataclass(frozen=True)
class Plan:
    """All steps of an experiment in the order in which they are made, and the pairs to compare.

    key: names the run record; it does not change with the gate's policy.
    """

    key: str
    source: ModelSource
    model: Step | None
    configurations: tuple[Configuration, ...]
    pairs: tuple[Pair, ...]

    def steps(self) -> Iterator[Step]:
        if self.model is not None:
            yield self.model
        yield from (entry.adapter for entry in self.configurations if entry.adapter)
        for entry in self.configurations:
            if entry.proof:
                yield entry.proof
            yield from entry.measurements.values()
            if entry.generation:
                yield entry.generation


def make_plan(loaded: LoadedExperiment) -> Plan:
    """Every step and its fingerprint. Raises ConfigurationError where a source is not there."""
    experiment = loaded.experiment
    source = model_source(experiment.base, loaded.root)
    tasks = {
        (entry.suite.name, name): _task_inputs(task, loaded)
        for entry in loaded.suites
        for name, task in entry.suite.task.items()
    }
    maker = _Maker(loaded, source, tasks)
    configurations = [maker.base("base", experiment.base.quantization, None)]
    for name, recipe in experiment.tuned.items():
        base = _base_at(configurations, recipe.quantization or experiment.base.quantization)
        if base is None:
            base = maker.base(_quantized_name(configurations, recipe), recipe.quantization, "base")
            configurations.append(base)
        configurations += [maker.tuned(name, recipe, seed, base) for seed in recipe.seeds]
    _refuse_equal_names(configurations, loaded)
    model = step("models", "model", {"source": dict(source.identity), "format": 1})
    return Plan(
        key=experiment_key(loaded)[:KEY_LENGTH],
        source=source,
        model=model if source.needs_conversion else None,
        configurations=tuple(configurations),
        pairs=tuple(_pairs(configurations, loaded)),
    )


def _refuse_equal_names(configurations: list[Configuration], loaded: LoadedExperiment) -> None:
    counts = Counter(entry.name for entry in configurations)
    problems = [
        Problem(
            f"two configurations would be called `{name}`",
            loaded.path,
            help="rename the [tuned.…] table (`base` and `base-nf4` are taken), and list each seed once",
        )
        for name, count in counts.items()
        if count > 1
    ]
    if problems:
        raise ConfigurationError(problems)


@dataclass(frozen=True)
class _Maker:
    """Builds configurations that share an experiment, a model source and the inputs of its tasks."""

    loaded: LoadedExperiment
    source: ModelSource
    tasks: Mapping[tuple[str, str], Mapping[str, Any]]

    def base(self, name: str, quantization: Quantization | None, base: str | None) -> Configuration:
        state = {"engine": ENGINE, **self._state(quantization, None)}
        what = "as loaded" if quantization is None else f"in {quantization.type.upper()}"
        return Configuration(
            name=name,
            description=f"{self.loaded.experiment.base.model}, {what}",
            quantization=quantization,
            base=base,
            recipe=None,
            seed=None,
            adapter=None,
            proof=None,
            measurements=self._measurements(name, state),
            generation=self._generation(name, state),
        )

    def tuned(self, name: str, recipe: Tuned, seed: int, base: Configuration) -> Configuration:
        named = name if len(recipe.seeds) == 1 else f"{name}-seed{seed}"
        adapter = step("adapters", named, self._training_inputs(recipe, seed, base.quantization))
        state = {"engine": ENGINE, **self._state(base.quantization, adapter.fingerprint)}
        measurements = self._measurements(named, state)
        return Configuration(
            name=named,
            description=f"{recipe.method} adapter on {base.name}, seed {seed}",
            quantization=base.quantization,
            base=base.name,
            recipe=recipe,
            seed=seed,
            adapter=adapter,
            # Proved again with every new measurement: a proof is about the model that was measured.
            proof=step(
                "proofs",
                f"proof that {named} is live",
                {**state, "measurements": [each.fingerprint for each in measurements.values()]},
            ),
            measurements=measurements,
            generation=self._generation(named, state),
        )

    def _state(self, quantization: Quantization | None, adapter: str | None) -> dict[str, Any]:
        """What the model is while it is measured."""
        base = self.loaded.experiment.base
        return {
            "model": dict(self.source.identity),
            "dtype": base.dtype,
            "trust_remote_code": base.trust_remote_code,
            "quantization": None if quantization is None else quantization.model_dump(mode="json"),
            "adapter": adapter,
        }

    def _measurements(self, name: str, state: Mapping[str, Any]) -> dict[tuple[str, str], Step]:
        return {
            key: step("measurements", f"{name} on {'/'.join(key)}", {**state, **inputs})
            for key, inputs in self.tasks.items()
        }

    def _generation(self, name: str, state: Mapping[str, Any]) -> Step | None:
        prompts = [entry.model_dump(mode="json") for entry in self.loaded.experiment.generate]
        return step("generations", f"{name} writes", {**state, "prompts": prompts}) if prompts else None

    def _training_inputs(self, recipe: Tuned, seed: int, quantization: Quantization | None) -> dict[str, Any]:
        data = self.loaded.experiment.data
        sources = [entry for entry in (data.train, data.validation) if entry] if data else []
        declared = recipe.model_dump(mode="json", exclude={"seeds", "quantization"})
        return {
            "training": TRAINING,
            **self._state(quantization, None),
            "recipe": declared,
            "seed": seed,
            "data": [
                {**entry.model_dump(mode="json"), "is": source_fingerprint(entry.source, self.loaded.root)}
                for entry in sources
            ],
        }


def _task_inputs(task: Task, loaded: LoadedExperiment) -> dict[str, Any]:
    """The task's settings and data. Whether it is gated changes no score."""
    sources = [] if task.data is None else [task.data.test, task.data.validation]
    return {
        "task": task.model_dump(mode="json", exclude={"gate"}),
        "data": [source_fingerprint(source, loaded.root) for source in sources if source],
    }


def _base_at(configurations: list[Configuration], quantization: Quantization | None) -> Configuration | None:
    """The base of the same quantisation: an adapter is compared with nothing else."""
    bases = [entry for entry in configurations if entry.adapter is None]
    return next((entry for entry in bases if entry.quantization == quantization), None)


def _quantized_name(configurations: list[Configuration], recipe: Tuned) -> str:
    name = f"base-{recipe.quantization.type}" if recipe.quantization else "base-unquantized"
    taken = sum(entry.name.startswith(name) for entry in configurations)
    return f"{name}-{taken + 1}" if taken else name


def _pairs(configurations: list[Configuration], loaded: LoadedExperiment) -> Iterator[Pair]:
    roles = {entry.suite.name: entry.role for entry in loaded.suites}
    ungated = frozenset(
        (entry.suite.name, name)
        for entry in loaded.suites
        for name, task in entry.suite.task.items()
        if not task.gate
    )
    for entry in configurations:
        if entry.base is not None:
            yield Pair(
                base=entry.base,
                tuned=entry.name,
                differs_in="adapter" if entry.adapter else "quantization",
                roles=roles,
                ungated=ungated,
            )
