"""Everything that an experiment measures: each base and each tuned configuration, with its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.comparison.facts import DiffersIn
from harness.experiment.model_checks import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from harness.experiment.model_source import ModelSource, model_source
from harness.experiment.schema import TRAINED, LoadedExperiment, Method, Prompting, Quantization, Tuned
from harness.fingerprints import SourceFingerprints, measured_inputs, model_inputs, training_inputs
from harness.store.artifacts import Step, file_digest, step
from harness.store.measurements import TaskKey

# What a method changes. The kind of step that keeps it is "adapters" or "weights"; the others keep nothing.
CHANGES: dict[Method, DiffersIn] = {
    "lora": "adapter",
    "qlora": "adapter",
    "adapter": "adapter",
    "partial": "weights",
    "full": "weights",
    "model": "model",
    "prompt": "prompt",
}
_KIND_OF_STEP = {"adapter": "adapters", "weights": "weights"}


@dataclass(frozen=True)
class Configuration:
    """One thing to measure: a base, or something tuned that is compared with the base named `base`.

    source, conversion: the model that is loaded, and the step that makes it loadable (a GGUF)
    family:      its table [tuned.<family>]; None, with recipe and seed, for a base
    change:      the step that keeps an adapter or trained weights; None where nothing is put on the model
    strength:    scale of the change; 1 is as trained
    validation:  measurements on validation items, made only where a strength is chosen on them
    """

    name: str
    description: str
    source: ModelSource
    conversion: Step | None
    quantization: Quantization | None
    base: str | None
    family: str | None
    recipe: Tuned | None
    seed: int | None
    strength: float
    change: Step | None
    proof: Step | None
    measurements: Mapping[TaskKey, Step]
    validation: Mapping[TaskKey, Step]
    generation: Step | None

    def steps(self) -> Iterator[Step]:
        """In the order in which they are made."""
        yield from (entry for entry in (self.conversion, self.change, self.proof) if entry)
        yield from self.measurements.values()
        yield from self.validation.values()
        yield from (entry for entry in (self.generation,) if entry)


@dataclass(frozen=True)
class _Made:
    """What the measurements of one configuration rest on."""

    name: str
    source: ModelSource
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Maker:
    """Builds configurations that share an experiment and the inputs of its tasks."""

    loaded: LoadedExperiment
    base_source: ModelSource
    tasks: Mapping[TaskKey, Mapping[str, Any]]
    validated: frozenset[TaskKey]
    sources: SourceFingerprints

    def base(self, name: str, quantization: Quantization | None, base: str | None) -> Configuration:
        source = self.base_source
        inputs = measured_inputs(model_inputs(self.loaded, source, quantization), self.loaded, None)
        made = _Made(name, source, inputs)
        what = "as loaded" if quantization is None else f"in {quantization.type.upper()}"
        return Configuration(
            name=name,
            description=f"{self.loaded.experiment.base.model}, {what}",
            source=source,
            conversion=_conversion(source),
            quantization=quantization,
            base=base,
            family=None,
            recipe=None,
            seed=None,
            strength=1.0,
            change=None,
            proof=None,
            measurements=self._measurements(made),
            validation=self._measurements(made, validation=True),
            generation=self._generation(made),
        )

    def tuned(self, family: str, recipe: Tuned, base: Configuration) -> Iterator[Configuration]:
        """One for each seed and strength."""
        seeds: tuple[int | None, ...] = recipe.seeds if recipe.method in TRAINED else (None,)
        for seed in seeds:
            name = family if len(seeds) == 1 else f"{family}-seed{seed}"
            yield from self._strengths(name, family, recipe, seed, base)

    def _strengths(
        self, named: str, family: str, recipe: Tuned, seed: int | None, base: Configuration
    ) -> Iterator[Configuration]:
        source = self._source(recipe.model, recipe.revision) if recipe.model else base.source
        model = model_inputs(self.loaded, source, base.quantization)
        change = self._change(named, model, recipe, seed)
        inputs = measured_inputs(model, self.loaded, recipe)
        several = len(recipe.strengths) > 1
        made = [
            _Made(
                f"{named}@{strength:g}" if several else named,
                source,
                {**inputs, **({"change": change.fingerprint, "strength": strength} if change else {})},
            )
            for strength in recipe.strengths
        ]
        measurements = [self._measurements(each) for each in made]
        proof = self._proof(named, recipe.method, made[0], measurements)
        for strength, each, measured in zip(recipe.strengths, made, measurements, strict=True):
            yield Configuration(
                name=each.name,
                description=_description(recipe, base.name, seed, strength),
                source=source,
                conversion=_conversion(source),
                quantization=base.quantization,
                base=base.name,
                family=family,
                recipe=recipe,
                seed=seed,
                strength=strength,
                change=change,
                proof=proof,
                measurements=measured,
                validation=self._measurements(each, validation=True) if several else {},
                generation=self._generation(each),
            )

    def _source(self, model: str, revision: str | None) -> ModelSource:
        return model_source(model, revision, self.loaded.root)

    def _change(self, name: str, model: Mapping[str, Any], recipe: Tuned, seed: int | None) -> Step | None:
        if recipe.adapter is not None:
            adapter = self._source(recipe.adapter, recipe.revision)
            base = self.loaded.experiment.base  # its names are what the adapter's own word is checked against
            names = [base.model, *base.aliases]
            return step("adapters", name, {**model, "adapter": _content(adapter), "base_names": names})
        if seed is None:
            return None
        kind = _KIND_OF_STEP[CHANGES[recipe.method]]
        return step(
            kind, name, training_inputs(model, self.loaded.experiment.data, recipe, seed, self.sources)
        )

    def _proof(
        self, name: str, method: Method, made: _Made, measurements: Sequence[Mapping[TaskKey, Step]]
    ) -> Step | None:
        """Proved again with every new measurement: a proof is about the model that was measured."""
        if method == "prompt":
            return None
        fingerprints = [each.fingerprint for measured in measurements for each in measured.values()]
        return step("proofs", f"proof that {name} is live", {**made.inputs, "measurements": fingerprints})

    def _measurements(self, made: _Made, validation: bool = False) -> dict[TaskKey, Step]:
        on, split = (" (validation)", {"split": "validation"}) if validation else ("", {})
        return {
            key: step(
                "measurements", f"{made.name} on {'/'.join(key)}{on}", {**made.inputs, **inputs, **split}
            )
            for key, inputs in self.tasks.items()
            if not validation or key in self.validated
        }

    def _generation(self, made: _Made) -> Step | None:
        prompts = [entry.model_dump(mode="json") for entry in self.loaded.experiment.generate]
        if not prompts:
            return None
        return step("generations", f"{made.name} writes", {**made.inputs, "prompts": prompts})


def _content(adapter: ModelSource) -> dict[str, str]:
    """Adapters of one rank have equal sizes, so a folder is known by the bytes of its two files."""
    files = [Path(adapter.location) / name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)]
    if adapter.kind != "folder" or not all(file.is_file() for file in files):
        return dict(adapter.identity)
    return {file.name: file_digest(file) for file in files}


def _conversion(source: ModelSource) -> Step | None:
    if not source.needs_conversion:
        return None
    return step(
        "models", f"model {Path(source.location).name}", {"source": dict(source.identity), "format": 1}
    )


def _description(recipe: Tuned, base: str, seed: int | None, strength: float) -> str:
    at = "" if strength == 1 else f", at strength {strength:g}"
    if recipe.method in TRAINED:
        return f"{recipe.method} on {base}, seed {seed}{at}"
    if recipe.prompt is not None:
        return f"{base}, asked {asked_with(recipe.prompt)}"
    return f"{recipe.adapter or recipe.model} on {base}{at}" if recipe.adapter else f"{recipe.model}"


def asked_with(prompt: Prompting) -> str:
    """The prompt of a `prompt` configuration in words."""
    parts = [f"with the system prompt {prompt.system!r}"] if prompt.system else []
    parts += [f"after {prompt.shots} solved examples"] if prompt.shots else []
    return " and ".join(parts)
