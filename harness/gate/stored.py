"""The gate on a stored run: reads the store, and of data only whether it is still what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.comparison.facts import Comparison
from harness.data.fingerprint import source_fingerprint
from harness.errors import ConfigurationError, NothingMeasured, RunFailed
from harness.experiment.overrides import command_line
from harness.experiment.resolved import experiment_key
from harness.experiment.schema import Gate, LoadedExperiment
from harness.gate.judge import gate, judge
from harness.gate.policy import under
from harness.gate.strength import StrengthCurve, StrengthPoint, strength_curve
from harness.gate.verdict import GateResult
from harness.store.artifacts import Store
from harness.store.runs import RecordedConfiguration, RecordedPair, RunRecord, made, read_run


def stored_run(loaded: LoadedExperiment, store: Store) -> RunRecord:
    """The record of this experiment's last run.

    Raises NothingMeasured where there was none, or where rows have changed since: a verdict on other
    data than those that lie there would be a wrong one. A source that is not here is not looked at,
    because a job that only judges has no use for data.
    """
    record = read_run(store, experiment_key(loaded))
    if record is None:
        raise NothingMeasured(
            f"nothing is measured yet for {loaded.experiment.name} ({loaded.path.name}) as it now stands. "
            f"Run it first: {command_line('run', loaded.path, loaded.overrides)}"
        )
    changed = [name for source, parts in record.data.items() for name in _changed(source, parts, loaded.root)]
    if changed:
        raise NothingMeasured(
            f"{', '.join(dict.fromkeys(changed))} changed since {loaded.experiment.name} was measured. "
            f"Run it again: {command_line('run', loaded.path, loaded.overrides)}"
        )
    return record


def _changed(source: str, parts: Mapping[str, str], root: Path) -> list[str]:
    """Files of a source whose bytes are not those that were measured."""
    try:
        now = source_fingerprint(source, root)
    except ConfigurationError:
        return []
    return [
        name for name, digest in now.items() if digest.startswith("sha256:") and parts.get(name) != digest
    ]


def stored_comparisons(record: RunRecord, store: Store, policy: Gate) -> tuple[Comparison, ...]:
    """The comparisons on test items that a run stored, with this policy's advisory tasks set aside."""
    return tuple(
        under(policy, stored_comparison(pair.tuned, pair.comparison, store)) for pair in record.pairs
    )


def stored_comparison(tuned: str, fingerprint: str, store: Store) -> Comparison:
    """One of them. Raises RunFailed where its file is damaged."""
    facts = store.read(made("comparisons", fingerprint))
    try:
        return Comparison.model_validate(facts["comparison"])
    except (ValidationError, KeyError) as error:
        raise RunFailed(
            f"the comparison of {tuned} is of another version or damaged; "
            f"delete {store.folder(made('comparisons', fingerprint))} and run again"
        ) from error


def strength_curves(record: RunRecord, store: Store, policy: Gate) -> tuple[StrengthCurve, ...]:
    """For every recipe, and every seed of it, that was measured at several strengths: all of them, and which
    to use."""
    groups: dict[tuple[str, int | None], list[RecordedPair]] = {}
    for pair in record.pairs:
        entry = _measured_for(pair, record)
        if entry.family is not None and entry.change is not None:
            seed = None if pair.runs else entry.seed
            groups.setdefault((entry.family, seed), []).append(pair)
    return tuple(
        strength_curve(family, seed, [_point(pair, record, store, policy) for pair in pairs], policy)
        for (family, seed), pairs in groups.items()
        if len(pairs) > 1
    )


def _measured_for(pair: RecordedPair, record: RunRecord) -> RecordedConfiguration:
    """The tuned configuration of a pair; of a recipe, its first."""
    name = (*pair.runs, pair.tuned)[0]
    return next(entry for entry in record.configurations if entry.name == name)


def _point(pair: RecordedPair, record: RunRecord, store: Store, policy: Gate) -> StrengthPoint:
    """Without validation items its comparison on them is there and empty."""
    nothing = Comparison(base=pair.base, tuned=pair.tuned, differs_in=pair.differs_in)
    return StrengthPoint(
        strength=_measured_for(pair, record).strength,
        tuned=pair.tuned,
        validation=under(policy, stored_comparison(pair.tuned, pair.validation, store))
        if pair.validation
        else nothing,
        test=under(policy, stored_comparison(pair.tuned, pair.comparison, store)),
    )


def judged(record: RunRecord, store: Store, policy: Gate) -> GateResult:
    """The gate on every tuning pair, of several strengths on the chosen one, of several seeds on the recipe;
    quantisation is never judged."""
    curves = strength_curves(record, store, policy)
    passed_over = {
        point.tuned for curve in curves for point in curve.points if point.strength != curve.chosen
    }
    passed_over |= {seed for pair in record.pairs for seed in pair.runs}
    judgements = [
        judge(entry, policy)
        for entry in stored_comparisons(record, store, policy)
        if entry.differs_in != "quantization" and entry.tuned not in passed_over
    ]
    return gate(judgements, _by_configuration(policy, record, [entry.tuned for entry in judgements]))


def _by_configuration(policy: Gate, record: RunRecord, judged_names: Sequence[str]) -> Gate:
    """`tuned = ["lora"]` means its recipe, or every seed of it, at the chosen strength."""
    if policy.tuned is None:
        return policy
    chosen: list[str] = []
    for wanted in policy.tuned:
        family = [
            pair.tuned
            for pair in record.pairs
            if _measured_for(pair, record).family == wanted and pair.tuned in judged_names
        ]
        chosen += family or [wanted]
    return policy.model_copy(update={"tuned": tuple(chosen)})
