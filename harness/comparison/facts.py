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
    likelihood: (suite, task) whose answers are written → the task of that suite which scores the same items
                by likelihood.
    problems:   what the making wing found ("the adapter is not live"); any makes the pair NOT COMPARABLE.
    runs:       the configurations that are training runs of one recipe, at least three; `tuned` then names
                the recipe, and the claim is about it. Empty: `tuned` is one configuration
    """

    base: str
    tuned: str
    differs_in: DiffersIn
    roles: Mapping[str, Role]
    ungated: frozenset[tuple[str, str]] = frozenset()
    likelihood: Mapping[tuple[str, str], str] = {}
    declared: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


# What was lost with an answer: the form (by likelihood it is still right), the ability, or both.
Loss = Literal["format", "ability", "both"]


class Flip(_Fact):
    """An item whose primary answer changed. Texts are model output: escape them wherever shown.

    loss: of a lost written answer whose item is scored by likelihood too; None where that is not known
    """

    item: str
    direction: Literal["loss", "win"]
    prompt: str
    gold: str
    base_answer: str
    tuned_answer: str
    loss: Loss | None = None


class MetricFacts(_Fact):
    """One metric on both sides. `difference` is None when it could not be computed, and `reason` says why.

    Of a recipe `tuned` is the mean over its seeds.

    p_any: two-sided p of "nothing changed at all"; None where no test of that fits. Exact where few draws
           changed, so there may be one without an interval.
    """

    metric: Metric
    base: float
    tuned: float
    base_interval95: Interval | None = None
    difference: Estimate | None = None
    reason: str | None = None
    p_any: float | None = None


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


class FormRates(_Fact):
    """How the written answers of one side look, as shares of its items; None where it is not known.

    empty:     nothing but blanks
    truncated: cut at the limit of tokens, so nothing that the model wrote ended them
    unparsed:  no answer can be read in them
    """

    empty: float
    truncated: float | None
    unparsed: float | None


class LossCounts(_Fact):
    """Answers that the base got right by writing and the tuned side did not, by what was lost.

    format:  no option can be read in what was written, and by likelihood it still picks the right one
    ability: an option was written, a wrong one
    both:    no option can be read, and by likelihood it picks a wrong one
    likelihood: the task that scored the items by likelihood
    """

    likelihood: str
    format: int
    ability: int
    both: int


class FormFacts(_Fact):
    """Whether written answers have the form that was asked for, on both sides.

    parsed:    tuned - base of the share in which an answer can be read; None where that is not known
    losses:    lost answers by what was lost; None where no task scores the same items by likelihood
    no_losses: why there are none though there is such a task
    """

    base: FormRates
    tuned: FormRates
    parsed: Estimate | None = None
    losses: LossCounts | None = None
    no_losses: str | None = None


class ForgettingFacts(_Fact):
    """What tuning lost and kept of a task's primary metric, a rate (statistics.md 3.3 and 3.4). Fractions.

    Of a recipe each is the mean over its seeds.

    forgetting, transfer: shares of items that went from right to wrong, and from wrong to right (F and BT of
                          Harmon et al. 2025); None where the metric is not binary
    by_chance:            the share of either that guessing explains; None, as the rest of these, where
                          nothing can be guessed
    forgetting_beyond_chance, transfer_beyond_chance: what is left of each. Too little where scoring is
                          deterministic and so repeats its guesses
    most_forgetting, most_transfer: what these can be at most
    retention:            (tuned - chance) / (base - chance); None where the base is not surely above chance
    retention_interval90: None where there is no retention, or too little changed for an interval
    note:                 why there is none of them, or why the interval is approximate
    """

    forgetting: float | None = None
    transfer: float | None = None
    by_chance: float | None = None
    forgetting_beyond_chance: float | None = None
    transfer_beyond_chance: float | None = None
    most_forgetting: float | None = None
    most_transfer: float | None = None
    retention: float | None = None
    retention_interval90: Interval | None = None
    note: str | None = None


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
    wins, losses:       items whose binary primary score changed; `flips` shows them. A recipe has none: each
                        of its seeds has its own
    noise:              of the base; None where it was not measured
    wins_excess, losses_excess: share of items that changed less the share that noise alone changes
                        (statistics.md 3.5). Negative where noise changes more: clipped at 0 they would be
                        biased upward (3.4)
    forgetting:         None where the primary metric is no mean of rates
    divergence:         of the tuned side from the base; None where no or not every document has one
    no_divergence:      why there is none though it was measured
    form:               of written answers; None where the model writes nothing
    certifiable_margin: smallest drop the items can exclude with 80 % power, in the primary metric's unit
    alarms:             what no margin excuses: non-finite scores, nothing but empty generations
    likelihood:         the task of the suite that scores by likelihood the items that are written here
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
    forgetting: ForgettingFacts | None = None
    divergence: DivergenceFacts | None = None
    no_divergence: str | None = None
    flips: tuple[Flip, ...] = ()
    form: FormFacts | None = None
    certifiable_margin: float | None = None
    problems: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    likelihood: str | None = None
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
    `runs` are the training runs that a recipe was judged by.
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
    runs: tuple[str, ...] = ()
