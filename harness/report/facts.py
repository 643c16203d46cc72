"""Everything a report is made from: stored facts and the verdict, nothing that has to be computed again."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from harness.comparison.facts import Comparison
from harness.experiment.metrics import Metric
from harness.experiment.schema import Gate
from harness.gate.strength import StrengthCurve as StrengthCurve
from harness.gate.strength import StrengthPoint as StrengthPoint
from harness.gate.verdict import GateResult
from harness.statistics.estimates import Interval

Curve = tuple[tuple[int, float], ...]
Labelled = tuple[tuple[str, str], ...]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Training(_Fact):
    """How one tuned model came to be. Curves are (step, mean loss per token); None means it was not measured.

    reading:           the curve in plain words: still falling, flat, validation rising from which step
    batch:             rows in one optimiser step and in one forward pass, in words
    gradient_norm:     (step, norm before clipping)
    packed:            whether several rows shared one sequence
    """

    name: str
    seed: int
    steps: int
    method: str = "lora"
    reading: str = ""
    batch: str = ""
    packed: bool = False
    gradient_norm: Curve = ()
    train_loss: Curve = ()
    validation_loss: Curve = ()
    tokens_per_second: float | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    trainable_parameters: int | None = None
    adapter_bytes: int | None = None


class Proof(_Fact):
    """Evidence that what was tuned is live: its weights, what it does to the logits, the engine's own noise.

    largest_b and off_equals_base are None where there is no such thing: a prompt, a separate model; so is
    logit_difference for a model of another vocabulary, and zero_equals_base where there is one strength.
    """

    tuned: str
    largest_b: float | None
    logit_difference: float | None
    noise_floor: float
    off_equals_base: bool | None
    zero_equals_base: bool | None = None


class Generation(_Fact):
    """One prompt and what each configuration wrote after it, by configuration name. Hostile text."""

    prompt: str
    texts: dict[str, str]


class TaskValue(_Fact):
    """One metric of one configuration on one task, apart from any pair."""

    suite: str
    task: str
    metric: Metric
    value: float
    n: int
    interval95: Interval | None = None


class ConfigurationFacts(_Fact):
    """One measured configuration; `description` says in words what it is.

    family:   the [tuned.<name>] that it comes from, None for a base; seeds and strengths share one
    method:   that table's method
    strength: scale of what was trained: 1 as trained, 0 the base
    parameters: of the whole model, trained or not
    """

    name: str
    description: str
    dtype: str
    family: str | None = None
    method: str | None = None
    seed: int | None = None
    strength: float = 1.0
    quantization: str | None = None
    adapter_digest: str | None = None
    trainable_parameters: int | None = None
    parameters: int | None = None
    values: tuple[TaskValue, ...] = ()


class Cost(_Fact):
    """What one step took when it ran; `reused` when this run found its result in the store."""

    step: str
    seconds: float
    tokens: int | None = None
    peak_memory_bytes: int | None = None
    reused: bool = False


class ReportFacts(_Fact):
    """The whole report. `provenance` names the model and its terms, data sources and their licences."""

    name: str
    verdict: GateResult
    policy: Gate
    comparisons: tuple[Comparison, ...]
    configurations: tuple[ConfigurationFacts, ...] = ()
    proofs: tuple[Proof, ...] = ()
    trainings: tuple[Training, ...] = ()
    strengths: tuple[StrengthCurve, ...] = ()
    generations: tuple[Generation, ...] = ()
    costs: tuple[Cost, ...] = ()
    resolved: str = ""
    command: str = ""
    provenance: Labelled = ()
    versions: Labelled = ()
