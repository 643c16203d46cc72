"""Experiment → steps, each with its fingerprint. Needs no weights, no tokenizer and no lm-eval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from harness.comparison.facts import Pair
from harness.configurations import CHANGES, Configuration, Maker, asked_with
from harness.errors import ConfigurationError, Problem
from harness.experiment.model_source import model_source
from harness.experiment.resolved import experiment_key
from harness.experiment.schema import LoadedExperiment, Quantization, Tuned
from harness.fingerprints import SourceFingerprints, source_fingerprints, task_inputs
from harness.statistics.estimates import FEWEST_SEEDS
from harness.store.artifacts import Step
from harness.store.measurements import TaskKey


@dataclass(frozen=True)
class Plan:
    """All configurations of an experiment in the order in which they are made, and the pairs to compare.

    key: names the run record; it does not change with the gate's policy.
    """

    key: str
    configurations: tuple[Configuration, ...]
    pairs: tuple[Pair, ...]

    def steps(self) -> tuple[Step, ...]:
        """Every step once: strengths of one adapter share its training and its proof."""
        return tuple(
            {
                (entry.kind, entry.fingerprint): entry
                for configuration in self.configurations
                for entry in configuration.steps()
            }.values()
        )

    def configuration(self, name: str) -> Configuration:
        return next(entry for entry in self.configurations if entry.name == name)


def make_plan(loaded: LoadedExperiment, sources: SourceFingerprints | None = None) -> Plan:
    """Every step and its fingerprint. Raises ConfigurationError where a source is not there.

    sources: shared by the plans of several experiments, so that each source is read once
    """
    experiment = loaded.experiment
    sources = sources or source_fingerprints(loaded.root)
    tasks = {
        (entry.suite.name, name): task_inputs(task, sources)
        for entry in loaded.suites
        for name, task in entry.suite.task.items()
    }
    chosen = any(len(recipe.strengths) > 1 for recipe in experiment.tuned.values())
    source = model_source(experiment.base.model, experiment.base.revision, loaded.root)
    maker = Maker(loaded, source, tasks, _validated(loaded) if chosen else frozenset(), sources)
    configurations = [maker.base("base", experiment.base.quantization, None)]
    for name, recipe in experiment.tuned.items():
        base = _base_at(configurations, recipe.quantization or experiment.base.quantization)
        if base is None:
            base = maker.base(_quantized_name(configurations, recipe), recipe.quantization, "base")
            configurations.append(base)
        configurations += maker.tuned(name, recipe, base)
    _refuse_equal_names(configurations, loaded)
    return Plan(
        key=experiment_key(loaded),
        configurations=tuple(configurations),
        pairs=tuple(_pairs(configurations, loaded)),
    )


def _validated(loaded: LoadedExperiment) -> frozenset[TaskKey]:
    """Tasks with validation items: a registered task without rows of its own has none."""
    return frozenset(
        (entry.suite.name, name)
        for entry in loaded.suites
        for name, task in entry.suite.task.items()
        if task.data is not None and (task.kind != "lm_eval" or task.data.validation is not None)
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


def _base_at(configurations: list[Configuration], quantization: Quantization | None) -> Configuration | None:
    """The base of the same quantisation: an adapter is compared with nothing else."""
    bases = [entry for entry in configurations if entry.family is None]
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
    likelihood = {
        (entry.suite.name, name): task.likelihood
        for entry in loaded.suites
        for name, task in entry.suite.task.items()
        if task.likelihood is not None
    }
    recipes = _recipes(configurations)
    for entry in configurations:
        if entry.base is None:
            continue
        pair = Pair(
            base=entry.base,
            tuned=entry.name,
            differs_in=CHANGES[entry.recipe.method] if entry.recipe else "quantization",
            roles=roles,
            ungated=ungated,
            likelihood=likelihood,
            declared=_declared(entry),
        )
        recipe = recipes.get((entry.family, entry.strength), [])
        if entry.name in recipe[:1]:
            yield pair.model_copy(update={"tuned": _recipe_name(entry), "runs": tuple(recipe)})
        yield pair


def _recipes(configurations: list[Configuration]) -> dict[tuple[str | None, float], list[str]]:
    """The runs of each recipe with seeds enough for a claim about it, by family and strength."""
    runs: dict[tuple[str | None, float], list[str]] = {}
    for entry in configurations:
        if entry.seed is not None:
            runs.setdefault((entry.family, entry.strength), []).append(entry.name)
    return {key: names for key, names in runs.items() if len(names) >= FEWEST_SEEDS}


def _recipe_name(entry: Configuration) -> str:
    """The recipe that this run is one of: its own name without the seed."""
    return "".join(entry.name.rpartition(f"-seed{entry.seed}")[::2])


def _declared(entry: Configuration) -> tuple[str, ...]:
    if entry.recipe is None or entry.recipe.prompt is None:
        return ()
    return (
        f"{entry.name} is asked {asked_with(entry.recipe.prompt)}, the base is not: items are joined by "
        "document and target, because their prompts differ on purpose",
    )
