"""Every missing step of the making wing: convert, train or import, measure. Loads torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from harness.configurations import Configuration
from harness.data.task_rows import task_rows
from harness.data.training_rows import Mixture, TrainingRows, mixed, training_rows
from harness.errors import ConfigurationError, Problem
from harness.experiment.model_source import model_source
from harness.experiment.schema import Base, LoadedExperiment, Quantization, Replay, TrainData, Tuned
from harness.models.conversion import loadable
from harness.models.kinship import import_adapter
from harness.models.loading import load, release, settle, slow_here, tokenizer_of
from harness.plan import Plan
from harness.progress import Progress
from harness.scoring.prepared import NO_PROMPT, SuiteTask
from harness.scoring.recording import Place
from harness.scoring.session import Against, Change, Group, Target, measure_group
from harness.statistics.curves import reading
from harness.store.artifacts import Step, Store
from harness.tasks.compile import compile_task
from harness.tasks.registered import unknown_tasks
from harness.training.sft import Job, discard_checkpoints, train


def make_missing(loaded: LoadedExperiment, plan: Plan, store: Store, progress: Progress) -> None:
    """Every step that the store has not. All rows are read and checked before anything expensive starts.

    Raises ConfigurationError (rows), RunFailed (a model, a training, a measurement), UsageError.
    """
    tasks = _read_tasks(loaded)
    making = _Making(loaded, Place(store, progress), cache(partial(training_rows, root=loaded.root)))
    jobs = [
        (configuration, making.job(configuration))
        for configuration in _with_missing_changes(plan, store)
        if configuration.seed is not None
    ]
    _build_registered(tasks)
    settle()
    if slow := slow_here(loaded.experiment.base.dtype):
        progress.say(slow)
    for configuration, job in jobs:
        making.train(configuration, job)
    for configuration in _with_missing_changes(plan, store):
        making.adopt(configuration)
    for group in _groups(making, plan, tasks):
        measure_group(group, making.place)


def _with_missing_changes(plan: Plan, store: Store) -> list[Configuration]:
    """One configuration for each adapter or set of weights that is missing: strengths share theirs."""
    missing = {
        entry.change.fingerprint: entry
        for entry in plan.configurations
        if entry.change is not None and not store.has(entry.change)
    }
    return list(missing.values())


@dataclass(frozen=True)
class _Making:
    """`read` gives the rows of a source, read once however many trainings share them."""

    loaded: LoadedExperiment
    place: Place
    read: Callable[[TrainData | None], TrainingRows]

    @property
    def base(self) -> Base:
        """The base with paths that do not depend on the working directory."""
        base = self.loaded.experiment.base
        if base.chat_template is None:
            return base
        return base.model_copy(update={"chat_template": str(self.loaded.root / base.chat_template)})

    def base_of(self, configuration: Configuration) -> Base:
        """How the configuration's model is loaded: a checkpoint of its own has a revision of its own."""
        return self.base.model_copy(update={"revision": configuration.source.revision})

    def location(self, configuration: Configuration) -> str:
        """What transformers loads: the source as it is, or converted at its first use."""
        return loadable(configuration.source, configuration.conversion, self.place.store, self.place.progress)

    def job(self, configuration: Configuration) -> Job:
        """Rows and recipe of one training. Raises ConfigurationError naming the bad rows."""
        recipe, seed = configuration.recipe, configuration.seed
        assert recipe is not None
        assert seed is not None  # only trained configurations have one
        name = configuration.name.partition("@")[0]
        train_on, validation = self._rows(recipe, seed)
        return Job(name, self.base, recipe, seed, train_on, validation)

    def _rows(self, recipe: Tuned, seed: int) -> tuple[TrainingRows | Mixture, TrainingRows]:
        data = self.loaded.experiment.data
        assert data is not None  # loading has refused a training without data
        rows, validation = self.read(data.train), self.read(data.validation)
        found = rows if recipe.replay is None else self._with_replay(rows, recipe.replay, seed)
        for note in dict.fromkeys((rows.note, found.note)):
            if note:
                self.place.progress.say(note)
        return found, validation

    def _with_replay(self, rows: TrainingRows, replay: Replay, seed: int) -> Mixture:
        return mixed(rows, self.read(replay), replay.fraction, seed)

    def train(self, configuration: Configuration, job: Job) -> None:
        step = _change(configuration)
        folder = self.place.store.begin(step)
        release()
        model = load(self.location(configuration), job.base, configuration.quantization)
        done = 0

        def advance(steps: int, total: int) -> None:
            nonlocal done
            if done == 0:
                self.place.progress.begin(f"train {job.name}", 0, total)
            self.place.progress.advance(steps - done)
            done = steps

        record = train(job, model, folder, advance)
        discard_checkpoints(self.place.store.finish(step, record))
        self.place.progress.end(reading(record["train_loss"], record["validation_loss"]))

    def adopt(self, configuration: Configuration) -> None:
        """Somebody else's adapter, copied into the store and checked."""
        recipe, step = configuration.recipe, _change(configuration)
        assert recipe is not None
        assert recipe.adapter is not None  # all other changes have been trained by now
        source = model_source(recipe.adapter, recipe.revision, self.loaded.root)
        tokenizer = tokenizer_of(self.location(configuration), self.base)
        folder = self.place.store.begin(step)
        record = import_adapter(source, self.base, tokenizer, recipe.is_scaled, folder)
        self.place.store.finish(step, record)


def _change(configuration: Configuration) -> Step:
    assert configuration.change is not None
    return configuration.change


def _read_tasks(loaded: LoadedExperiment) -> list[SuiteTask]:
    """Rows of every task. Raises ConfigurationError with the problems of all of them at once."""
    found, problems = [], list[Problem]()
    for entry in loaded.suites:
        problems += unknown_tasks(entry.suite, loaded.root / entry.path)
        for name, task in entry.suite.task.items():
            try:
                found.append(SuiteTask(entry.suite.name, name, task, task_rows(task, loaded.root)))
            except ConfigurationError as error:
                problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return found


def _build_registered(tasks: Sequence[SuiteTask]) -> None:
    """Hub data and metric names of registered tasks are found wanting before a training, not after."""
    for entry in tasks:
        if entry.task.kind == "lm_eval":
            compile_task(entry.name, entry.task, entry.rows.test, entry.rows.validation, len)


def _groups(making: _Making, plan: Plan, tasks: Sequence[SuiteTask]) -> list[Group]:
    """One load for each model and quantisation of which something is missing."""
    base = plan.configuration("base")
    gathered: dict[tuple[str, str | None, Quantization | None], list[Configuration]] = {}
    for configuration in plan.configurations:
        # A conversion alone is no reason to load a model: it is made where one is loaded.
        if any(step.kind != "models" and not making.place.store.has(step) for step in configuration.steps()):
            key = (making.location(configuration), configuration.source.revision, configuration.quantization)
            gathered.setdefault(key, []).append(configuration)
    return [
        Group(
            location=location,
            identity=", ".join(f"{key} {value}" for key, value in members[0].source.identity.items()),
            against=None
            if members[0].source == base.source
            else Against(making.location(base), making.base_of(base)),
            base=making.base_of(members[0]),
            quantization=quantization,
            targets=tuple(_target(each, making.place.store) for each in members),
            tasks=tuple(tasks),
            prompts=making.loaded.experiment.generate,
        )
        for (location, _, quantization), members in gathered.items()
    ]


def _target(configuration: Configuration, store: Store) -> Target:
    recipe = configuration.recipe
    prompting = recipe.prompt if recipe and recipe.prompt else NO_PROMPT
    return Target(
        name=configuration.name,
        is_base=configuration.family is None,
        change=_stored_change(configuration, store),
        strength=configuration.strength,
        scales=recipe is not None and recipe.is_scaled,
        prompting=prompting,
        proof=configuration.proof,
        measurements=configuration.measurements,
        validation=configuration.validation,
        generation=configuration.generation,
    )


def _stored_change(configuration: Configuration, store: Store) -> Change | None:
    step = configuration.change
    if step is None:
        return None
    record = store.read(step)
    return Change(
        "adapters" if step.kind == "adapters" else "weights",
        Path(store.folder(step)),
        record["weights_sha256"],
        tuple(record.get("problems", ())),
    )
