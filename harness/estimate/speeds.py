"""How long it takes: from what this machine has trained and measured before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.estimate.quantities import Note, Quantity, estimated, unknown
from harness.estimate.records import Measured, MeasuringInputs, Records, Trained, TrainingInputs
from harness.experiment.schema import Tuned

ParametersOf = Callable[[str], int | None]
SCALED = "the time is scaled by parameters, from other models on this machine"
NO_RATE = "the time is unknown, because no rate is measured on this machine yet"


@dataclass(frozen=True)
class _Sample:
    """Tokens a second, how many tokens that was measured on, and with which model."""

    speed: float
    tokens: int
    identity: str


@dataclass(frozen=True)
class _Speed:
    """Tokens a second; None where none was measured. `note` says which, where that is not obvious."""

    value: float | None
    note: Note | None = None

    def seconds(self, tokens: Quantity) -> Quantity:
        said = tokens.notes if self.note is None else (*tokens.notes, self.note)
        if tokens.value is None or self.value is None:
            return unknown(*said)
        return estimated(tokens.value / self.value, *said)


class Speeds:
    """Seconds of work, at the speed of the earlier work on this machine that is most like it.

    parameters_of: parameters of a model by its identity, to scale the speed of another one
    """

    def __init__(self, records: Records, machine: str, parameters_of: ParametersOf) -> None:
        self._parameters_of = parameters_of
        self._trained = [each for each in records.trained if each.machine == machine]
        self._measured = [each for each in records.measured if each.machine == machine and each.cost.tokens]
        self._known: dict[tuple[object, ...], _Speed] = {}

    def of_training(self, tokens: Quantity, recipe: Tuned, made: TrainingInputs) -> Quantity:
        """Seconds of a training, its validations and checkpoints included."""
        manner = (bool(recipe.kl), recipe.packing, recipe.gradient_checkpointing)

        def find() -> _Speed:
            known = [
                each
                for each in self._trained
                if each.method == recipe.method and each.made_from.precision == made.precision
            ]
            same = [each for each in known if each.made_from.loading == made.loading]
            alike = [each for each in same if each.manner == manner]
            near, far = [_of_training(each) for each in alike or same], map(_of_training, known)
            return self._speed(near, far, made.identity, f"training with {recipe.method}")

        return self._remembered((recipe.method, manner, made.loading), find).seconds(tokens)

    def of_measuring(self, tokens: Quantity, kind: str, made: MeasuringInputs) -> Quantity:
        """Seconds of a measurement. Tasks of other kinds are no guide: answers are written word by word."""

        def find() -> _Speed:
            known = [
                each
                for each in self._measured
                if each.kind == kind and each.made_from.precision == made.precision
            ]
            same = [each for each in known if each.made_from.loading == made.loading]
            alike = [each for each in same if each.made_from.rows == made.rows]
            near, far = [_of_measuring(each) for each in alike or same], map(_of_measuring, known)
            return self._speed(near, far, made.identity, f"measuring {kind} tasks")

        return self._remembered((kind, made.loading, made.rows), find).seconds(tokens)

    def _remembered(self, key: tuple[object, ...], find: Callable[[], _Speed]) -> _Speed:
        """Sixty configurations ask for the same few speeds."""
        if key not in self._known:
            self._known[key] = find()
        return self._known[key]

    def _speed(self, near: Sequence[_Sample], far: Iterable[_Sample], identity: str, doing: str) -> _Speed:
        """Of the same model, else of other models as this one would have it: slower by its parameters."""
        if near:
            return _Speed(_median([(each.speed, each.tokens) for each in near]))
        own = self._parameters_of(identity)
        sizes = [(each, self._parameters_of(each.identity)) for each in far]
        scaled = [(each.speed * size / own, each.tokens) for each, size in sizes if size and own]
        if scaled:
            return _Speed(_median(scaled), Note(SCALED, doing))
        return _Speed(None, Note(NO_RATE, doing))


def _of_training(record: Trained) -> _Sample:
    return _Sample(record.tokens / record.seconds, record.tokens, record.made_from.identity)


def _of_measuring(record: Measured) -> _Sample:
    cost = record.cost
    return _Sample(cost.tokens / cost.seconds, cost.tokens, record.made_from.identity)


def _median(samples: Sequence[tuple[float, int]]) -> float:
    """The speed that half of all tokens were not faster than: a smoke run of a few rows hardly counts."""
    half = sum(tokens for _, tokens in samples) / 2
    passed = 0
    for speed, tokens in sorted(samples):
        passed += tokens
        if passed >= half:
            return speed
    raise ValueError("no samples")
