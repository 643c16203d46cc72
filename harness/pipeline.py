"""The story on one screen: plan → train → measure → compare → gate.

The only file where the two wings meet. It reaches for the making wing inside the step that needs
it, so a run with nothing missing never loads torch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from harness.comparison.compare import compare
from harness.comparison.facts import Pair
from harness.configurations import Configuration
from harness.errors import MissingExtra
from harness.estimate.amounts import Amounts
from harness.estimate.prospects import refuse_impossible
from harness.experiment.schema import LoadedExperiment
from harness.fingerprints import source_fingerprints
from harness.gate.stored import judged
from harness.gate.verdict import GateResult
from harness.plan import Plan, make_plan
from harness.progress import Progress
from harness.provenance import Compared, run_record
from harness.store.artifacts import Step, Store, step
from harness.store.measurements import Measurement, TaskKey, read_measurement
from harness.store.runs import RunRecord, read_run, write_run

# Part of every comparison's fingerprint: raise it when the statistics change.
STATISTICS = 7


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `made` names the steps that were not in the store before."""

    record: RunRecord
    result: GateResult
    made: tuple[str, ...]
    seconds: float


def run(loaded: LoadedExperiment, store: Store, progress: Progress, force: bool = False) -> Outcome:
    """Make every missing step, then compare and judge.

    Raises ConfigurationError before anything is made, UsageError too where no result could pass the gate
    (unless `force`), and RunFailed where training or measuring fails.
    """
    started = time.monotonic()
    sources = source_fingerprints(loaded.root)
    plan = make_plan(loaded, sources)
    with store.locked():
        missing = [step for step in plan.steps() if not store.has(step)]
        if all(step.kind == "models" for step in missing):
            missing = []  # a model that nothing has to be trained or measured with
        if missing and not force:
            refuse_impossible(loaded, Amounts(store, loaded.root), sources)
        if missing:
            _make(loaded, plan, store, progress)
        reader = Reader(store)
        compared = {pair.tuned: _compared(pair, plan, reader) for pair in plan.pairs}
        record = run_record(loaded, plan, compared)
        previous = read_run(store, plan.key)
        if previous is not None and not missing:  # these versions made nothing
            record = record.model_copy(update={"versions": previous.versions})
        write_run(store, plan.key, record)
    result = judged(record, store, loaded.experiment.gate)
    return Outcome(record, result, tuple(step.name for step in missing), time.monotonic() - started)


def _make(loaded: LoadedExperiment, plan: Plan, store: Store, progress: Progress) -> None:
    if find_spec("torch") is None:
        raise MissingExtra("models", "torch")
    from harness.models.quiet import quiet_libraries

    quiet_libraries()  # before they are imported: some speak on import
    from harness.making import make_missing

    make_missing(loaded, plan, store, progress)


def _compared(pair: Pair, plan: Plan, reader: Reader) -> Compared:
    """The fingerprints of the pair's comparisons, each made and stored if it is missing."""
    base = plan.configuration(pair.base)
    runs = [plan.configuration(name) for name in pair.runs or (pair.tuned,)]
    problems = dict.fromkeys(problem for run in runs for problem in _problems(run, reader.store))
    pair = pair.model_copy(update={"problems": tuple(problems)})
    measured = {run.name: run.measurements for run in runs}
    return Compared(
        test=_comparison(pair, base.measurements, measured, reader),
        validation=_on_validation(pair, base, runs, reader),
    )


def _problems(tuned: Configuration, store: Store) -> tuple[str, ...]:
    found = tuple(store.read(tuned.proof)["problems"]) if tuned.proof else ()
    return (*found, *_stale(tuned, store))


def _on_validation(
    pair: Pair, base: Configuration, runs: Sequence[Configuration], reader: Reader
) -> str | None:
    tasks = runs[0].validation
    if not tasks:
        return None
    suites = {suite for suite, _ in tasks}
    roles = {suite: role for suite, role in pair.roles.items() if suite in suites}
    measured = {key: base.validation[key] for key in tasks}
    of_runs = {run.name: run.validation for run in runs}
    return _comparison(pair.model_copy(update={"roles": roles}), measured, of_runs, reader)


def _comparison(
    pair: Pair, base: Mapping[TaskKey, Step], runs: Mapping[str, Mapping[TaskKey, Step]], reader: Reader
) -> str:
    store = reader.store
    comparison = step(
        "comparisons",
        f"{pair.tuned} against {pair.base}",
        {
            "statistics": STATISTICS,
            "pair": {**pair.model_dump(mode="json"), "ungated": sorted(map(list, pair.ungated))},
            "tasks": [list(key) for key in base],
            "base": [each.fingerprint for each in base.values()],
            "tuned": [each.fingerprint for measured in runs.values() for each in measured.values()],
        },
    )
    if not store.has(comparison):
        tuned = [each for name, steps in runs.items() for each in _measurements(name, steps, store)]
        facts = compare(reader.base(pair.base, base), tuned, pair)
        store.begin(comparison)
        store.finish(comparison, {"comparison": facts.model_dump(mode="json")})
    return comparison.fingerprint


def _stale(tuned: Configuration, store: Store) -> tuple[str, ...]:
    """Measurements of weights that were deleted and trained again: equal inputs, other weights."""
    if tuned.change is None:
        return ()
    weights = store.read(tuned.change)["weights_sha256"]
    return tuple(
        f"{step.name} was measured with other weights than those in the store; delete {store.folder(step)}"
        for step in (*tuned.measurements.values(), *tuned.validation.values())
        if store.read(step)["weights_sha256"] != weights
    )


class Reader:
    """Reads measurements, those of a base once: every pair of it is compared with the same items."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._kept: tuple[Mapping[TaskKey, Step], list[Measurement]] | None = None

    def base(self, name: str, steps: Mapping[TaskKey, Step]) -> list[Measurement]:
        if self._kept is None or self._kept[0] != steps:
            self._kept = (steps, _measurements(name, steps, self.store))
        return self._kept[1]


def _measurements(name: str, steps: Mapping[TaskKey, Step], store: Store) -> list[Measurement]:
    """Under this experiment's names: the store may have the same result from another experiment."""
    return [
        replace(read_measurement(store, step), configuration=name, suite=suite, task=task)
        for (suite, task), step in steps.items()
    ]
