"""The story on one screen: plan → train → measure → compare → gate.

The only file where the two wings meet. It reaches for the making wing inside the step that needs
it, so a run with nothing missing never loads torch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pydantic import ValidationError

from harness.comparison.compare import compare
from harness.comparison.facts import Comparison, Pair
from harness.data.task_rows import task_rows
from harness.data.training_rows import TrainingRows, training_rows
from harness.errors import ConfigurationError, MissingExtra, NothingMeasured, Problem, RunFailed
from harness.experiment.schema import Gate, LoadedExperiment, Quantization
from harness.gate.judge import gate, judge
from harness.gate.verdict import GateResult
from harness.plan import Configuration, Plan, make_plan
from harness.progress import Progress
from harness.provenance import run_record
from harness.store.artifacts import Store, step
from harness.store.measurements import Measurement, read_measurement
from harness.store.runs import RunRecord, made, read_run, write_run

if TYPE_CHECKING:
    from harness.scoring.session import SuiteTask

# Part of every comparison's fingerprint: raise it when the statistics change.
STATISTICS = 2


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `made` names the steps that were not in the store before."""

    record: RunRecord
    result: GateResult
    made: tuple[str, ...]
    seconds: float


def run(loaded: LoadedExperiment, store: Store, progress: Progress) -> Outcome:
    """Make every missing step, then compare and judge.

    Raises ConfigurationError before anything is made, RunFailed where training or measuring fails.
    """
    started = time.monotonic()
    plan = make_plan(loaded)
    with store.locked():
        missing = [step for step in plan.steps() if not store.has(step)]
        if missing:
            _make(loaded, plan, store, progress)
        comparisons = {pair.tuned: _compare(pair, plan, store) for pair in plan.pairs}
        record = run_record(loaded, plan, comparisons)
        previous = read_run(store, plan.key)
        if previous is not None and not missing:  # these versions made nothing
            record = record.model_copy(update={"versions": previous.versions})
        write_run(store, plan.key, record)
    result = judged(record, store, loaded.experiment.gate)
    return Outcome(record, result, tuple(step.name for step in missing), time.monotonic() - started)


def stored_run(loaded: LoadedExperiment, store: Store, key: str) -> RunRecord:
    """The record of this experiment's last run. Raises NothingMeasured where there was none."""
    record = read_run(store, key)
    if record is None:
        raise NothingMeasured(
            f"nothing is measured yet for {loaded.path.name} as it now stands. "
            f"Run it first: harness run {loaded.path}"
        )
    return record


def stored_comparisons(record: RunRecord, store: Store) -> tuple[Comparison, ...]:
    """The comparisons that a run stored."""
    found = []
    for pair in record.pairs:
        facts = store.read(made("comparisons", pair.comparison))
        try:
            found.append(Comparison.model_validate(facts["comparison"]))
        except (ValidationError, KeyError) as error:
            raise RunFailed(
                f"the comparison of {pair.tuned} is of another version or damaged; "
                f"delete {store.folder(made('comparisons', pair.comparison))} and run again"
            ) from error
    return tuple(found)


def judged(record: RunRecord, store: Store, policy: Gate) -> GateResult:
    """The gate on every tuning pair; what quantisation costs is shown and never judged."""
    judgements = [
        judge(entry, policy) for entry in stored_comparisons(record, store) if entry.differs_in == "adapter"
    ]
    return gate(judgements, _by_configuration(policy, [entry.tuned for entry in judgements]))


def _by_configuration(policy: Gate, names: Sequence[str]) -> Gate:
    """`tuned = ["lora"]` means every seed of it."""
    if policy.tuned is None:
        return policy
    chosen: list[str] = []
    for wanted in policy.tuned:
        seeds = [name for name in names if name == wanted or name.startswith(f"{wanted}-seed")]
        chosen += seeds or [wanted]
    return policy.model_copy(update={"tuned": tuple(chosen)})


def _compare(pair: Pair, plan: Plan, store: Store) -> str:
    """The fingerprint of the pair's comparison, made and stored if it is missing."""
    sides = {entry.name: entry for entry in plan.configurations}
    base, tuned = sides[pair.base], sides[pair.tuned]
    problems = tuple(store.read(tuned.proof)["problems"]) if tuned.proof else ()
    problems += _stale(tuned, store)
    pair = pair.model_copy(update={"problems": problems})
    comparison = step(
        "comparisons",
        f"{pair.tuned} against {pair.base}",
        {
            "statistics": STATISTICS,
            "pair": {**pair.model_dump(mode="json"), "ungated": sorted(map(list, pair.ungated))},
            "tasks": [list(key) for key in base.measurements],
            "base": [each.fingerprint for each in base.measurements.values()],
            "tuned": [each.fingerprint for each in tuned.measurements.values()],
        },
    )
    if not store.has(comparison):
        facts = compare(_measurements(base, store), _measurements(tuned, store), pair)
        store.begin(comparison)
        store.finish(comparison, {"comparison": facts.model_dump(mode="json")})
    return comparison.fingerprint


def _stale(tuned: Configuration, store: Store) -> tuple[str, ...]:
    """Measurements of an adapter that was deleted and trained again: equal inputs, other weights."""
    if tuned.adapter is None:
        return ()
    weights = store.read(tuned.adapter)["weights_sha256"]
    return tuple(
        f"{step.name} was measured with other weights than the adapter's; delete {store.folder(step)}"
        for step in tuned.measurements.values()
        if store.read(step)["conditions"]["adapter"] != weights
    )


def _measurements(configuration: Configuration, store: Store) -> list[Measurement]:
    """Under this experiment's names: the store may have the same result from another experiment."""
    return [
        replace(read_measurement(store, step), configuration=configuration.name, suite=suite, task=task)
        for (suite, task), step in configuration.measurements.items()
    ]


def _make(loaded: LoadedExperiment, plan: Plan, store: Store, progress: Progress) -> None:
    """Every missing step of the making wing: rows are checked before anything expensive starts."""
    if find_spec("torch") is None:
        raise MissingExtra("models", "torch")
    from harness.models.quiet import quiet_libraries

    quiet_libraries()
    tasks = _read_tasks(loaded)
    train, validation = _read_training(loaded)
    _build_registered(tasks)
    from harness.models.conversion import loadable
    from harness.models.loading import release

    release()
    location = loadable(plan.source, plan.model, store, progress)
    for configuration in plan.configurations:
        if configuration.adapter is not None and not store.has(configuration.adapter):
            _train(loaded, configuration, location, (train, validation), _Where(store, progress))
    _measure(loaded, plan, location, tasks, _Where(store, progress))


@dataclass(frozen=True)
class _Where:
    store: Store
    progress: Progress


def _read_tasks(loaded: LoadedExperiment) -> list[SuiteTask]:
    """Rows of every task. Raises ConfigurationError with the problems of all of them at once."""
    from harness.scoring.session import SuiteTask
    from harness.tasks.registered import unknown_tasks

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


def _build_registered(tasks: list[SuiteTask]) -> None:
    """Hub data and metric names of registered tasks are found wanting before a training, not after."""
    from harness.tasks.compile import compile_task

    for entry in tasks:
        if entry.task.kind == "lm_eval":
            compile_task(entry.name, entry.task, entry.rows.test, entry.rows.validation, len)


def _read_training(loaded: LoadedExperiment) -> tuple[TrainingRows, TrainingRows]:
    data = loaded.experiment.data
    if data is None:
        return TrainingRows(()), TrainingRows(())
    return training_rows(data.train, loaded.root), training_rows(data.validation, loaded.root)


def _train(
    loaded: LoadedExperiment,
    configuration: Configuration,
    location: str,
    rows: tuple[TrainingRows, TrainingRows],
    where: _Where,
) -> None:
    from harness.models.loading import load, release
    from harness.training.sft import Job, discard_checkpoints, train

    if configuration.adapter is None or configuration.recipe is None or configuration.seed is None:
        return
    base = loaded.experiment.base
    job = Job(configuration.name, base, configuration.recipe, configuration.seed, rows[0].rows, rows[1].rows)
    folder = where.store.begin(configuration.adapter)
    release()
    model = load(location, base, configuration.quantization)
    done = 0

    def advance(step: int, total: int) -> None:
        nonlocal done
        if done == 0:
            where.progress.begin(f"train {configuration.name}", total)
        where.progress.advance(step - done)
        done = step

    record = train(job, model, folder, advance)
    discard_checkpoints(where.store.finish(configuration.adapter, record))
    where.progress.end(f"loss {record['train_loss'][-1][1]:.3f}" if record["train_loss"] else "")


def _measure(
    loaded: LoadedExperiment, plan: Plan, location: str, tasks: list[SuiteTask], where: _Where
) -> None:
    """One load for each quantisation that has something missing."""
    from harness.models.loading import release
    from harness.scoring.session import Group, Target, measure_group

    by_quantization: dict[Quantization | None, list[Configuration]] = {}
    for configuration in plan.configurations:
        by_quantization.setdefault(configuration.quantization, []).append(configuration)
    for quantization, configurations in by_quantization.items():
        targets = tuple(
            Target(
                name=entry.name,
                adapter=where.store.folder(entry.adapter) if entry.adapter else None,
                proof=entry.proof,
                measurements=entry.measurements,
                generation=entry.generation,
            )
            for entry in configurations
            if _is_missing(entry, where.store)
        )
        if targets:
            release()
            measure_group(
                Group(
                    location,
                    loaded.experiment.base,
                    quantization,
                    targets,
                    tuple(tasks),
                    loaded.experiment.generate,
                ),
                where.store,
                where.progress,
            )


def _is_missing(configuration: Configuration, store: Store) -> bool:
    steps = [*configuration.measurements.values(), configuration.proof, configuration.generation]
    return any(step is not None and not store.has(step) for step in steps)
