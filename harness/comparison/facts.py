"""The facts about a pair. Nothing here judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from harness.experiment.metrics import Metric
from harness.statistics.estimates import Estimate, Interval

Role = Literal["domain", "general"]
# What the two sides of a pair differ in, and nothing else.
DiffersIn = Literal["adapter", "weights", "model", "prompt", "quantization"]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pair(_Fact):
    """What is compared and on what terms.

    differs_in: the one thing that may differ: an adapter, trained weights, another checkpoint, the
                prompt (all four are tuning, at one quantisation), or the quantisation itself.
    declared:   declared differences that the reader has to know of, in sentences.
    roles:      suite → what the experiment wants of it; every suite named here must be measured.
    ungated:    (suite, task) of tasks that are shown but decide nothing.
    problems:   what the making wing found ("the adapter is not live"); any makes the pair NOT COMPARABLE.
    """

    base: str
    tuned: str
    differs_in: DiffersIn
    roles: Mapping[str, Role]
    ungated: frozenset[tuple[str, str]] = frozenset()
    declared: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Flip(_Fact):
    """An item whose primary answer changed. Texts are model output: escape them wherever shown."""

    item: str
    direction: Literal["loss", "win"]
    prompt: str
    gold: str
    base_answer: str
    tuned_answer: str


class MetricFacts(_Fact):
    """One metric on both sides. `difference` is None when it could not be computed, and `reason` says why."""

    metric: Metric
    base: float
    tuned: float
    base_interval95: Interval | None = None
    tuned_interval95: Interval | None = None
    difference: Estimate | None = None
    reason: str | None = None


class NoiseFacts(_Fact):
    """What scoring the base twice changes with no change of weights: the floor under a task's numbers.

    items:              how many were scored twice
    to_wrong, to_right: shares of them whose binary primary score changed; None where it is not binary
    deviation:          standard deviation of the task's difference that numerics alone explain, in the
                        primary metric's unit; None where its items have no score or it is not finite
    """

    items: int
    to_wrong: float | None
    to_right: float | None
    deviation: float | None


class DivergenceFacts(_Fact):
    """KL(base ‖ tuned) on a task's documents: Σ nats / Σ tokens; 0 means unchanged.

    `interval95` is None where documents are too few or do not vary.
    """

    nats_per_token: float
    interval95: Interval | None
    documents: int
    tokens: int


class SliceFacts(_Fact):
    """The items of a task with one value of one field, in the task's primary metric. `value` is hostile text.

    difference:   None where the slice is too small for one, and `reason` says why
    wins, losses: items whose binary primary score changed; None where it is not binary
    p_adjusted:   two-sided p of "nothing changed", after Benjamini and Hochberg over the task's slices
    """

    value: str
    n: int
    base: float
    tuned: float
    difference: Estimate | None = None
    reason: str | None = None
    wins: int | None = None
    losses: int | None = None
    p_adjusted: float | None = None


class SlicedField(_Fact):
    """One field and its most frequent values, the largest slice first, with how many values are left out."""

    field: str
    values: tuple[SliceFacts, ...]
    left_out_values: int = 0
    left_out_items: int = 0


class TaskFacts(_Fact):
    """One task on both sides. `problems` non-empty: not comparable, and `metrics` is empty.

    chance:             mean probability of a right answer by guessing
    clusters:           number of independent draws, None when every item is its own
    wins, losses:       items whose binary primary score changed; `flips` shows them
    noise:              of the base; None where it was not measured
    wins_excess, losses_excess: share of items that changed less the share that noise alone changes
                        (statistics.md 3.5). Negative where noise changes more: clipped at 0 they would be
                        biased upward (3.4)
    divergence:         of the tuned side from the base; None where no or not every document has one
    no_divergence:      why there is none though it was measured
    certifiable_margin: smallest drop the items can exclude with 80 % power, in the primary metric's unit
    alarms:             what no margin excuses: non-finite scores, nothing but empty generations
    gated:              False for tasks that the suite (or the gate's policy) declares advisory
    slices:             the same difference on parts of the task, for each field that the suite names
    """

    suite: str
    task: str
    role: Role
    kind: str
    primary: str
    metrics: dict[str, MetricFacts]
    n: int
    clusters: int | None = None
    chance: float = 0.0
    wins: int | None = None
    losses: int | None = None
    wins_excess: float | None = None
    losses_excess: float | None = None
    noise: NoiseFacts | None = None
    divergence: DivergenceFacts | None = None
    no_divergence: str | None = None
    flips: tuple[Flip, ...] = ()
    certifiable_margin: float | None = None
    problems: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    gated: bool = True
    slices: tuple[SlicedField, ...] = ()


class SuiteFacts(_Fact):
    """Mean difference over the suite's gated tasks whose primary metric is a rate (statistics.md 4.12).

    `tasks` names them; `average` is None where one of them has no estimate.
    """

    suite: str
    role: Role
    tasks: tuple[str, ...]
    average: Estimate | None


class Comparison(_Fact):
    """One pair. `problems` non-empty means NOT COMPARABLE: no number may be shown.

    `general_average` is the unweighted mean over all gated general tasks whose primary is a rate,
    `general_noise` its standard deviation that numerics alone explain, None where a task's is not known.
    """

    base: str
    tuned: str
    differs_in: DiffersIn
    declared: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    tasks: tuple[TaskFacts, ...] = ()
    general_average: Estimate | None = None
    general_noise: float | None = None
    suites: tuple[SuiteFacts, ...] = ()
