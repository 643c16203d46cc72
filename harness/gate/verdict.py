"""Verdicts and what stands behind them. One function (judge) makes verdict, words and exit code."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from harness.experiment.gate_schema import Tier


class Verdict(StrEnum):
    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_COMPARABLE = "NOT COMPARABLE"
    FAIL = "FAIL"


class EndpointStatus(StrEnum):
    IMPROVED = "improved"
    RETAINED = "retained"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"


class Endpoint(BaseModel):
    """One rule of the gate on one comparison.

    `rule` is min_gain, max_drop_task, max_drop_average, max_bits_per_byte_increase, max_drop_format or
    max_drop_slice;
    `limit` its value, the task's own where the policy has one; `tier` how far it counts;
    bounds are those of the two-sided interval at 1 - 2·alpha (90 %).
    `value` and bounds run in the rule's own direction: a gain, a change (a drop is negative), or an
    increase in bits per byte. `unit` is what they are in: "rate" is shown in pp, "relative" is a
    fraction of the base's value (0.02 is 2 %), the others are the metric's own.
    `p_holds` is small when the rule is shown to hold, `p_broken` when it is shown to be broken
    (for min_gain: a loss); they decide, so that few discordant items get an exact test.
    `items_needed` would settle what is open, at the values seen; of a recipe `seeds_needed` would on the same
    items.
    `within_noise` is set where the limit does not exceed what scoring the base twice may change (two
    standard deviations, in the rule's unit): keeping such a limit certifies nothing, whatever p_holds.
    `slice` is the field and the value of a part of the task, where the rule is about one. Hostile text.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    suite: str
    task: str
    slice: tuple[str, str] | None = None
    metric: str
    tier: Tier = "critical"
    limit: float
    value: float
    low: float
    high: float
    unit: Literal["rate", "relative", "bits", "perplexity", "score"] = "rate"
    p_holds: float
    p_broken: float
    p_broken_holm: float | None = None
    status: EndpointStatus
    measurable_drop: bool = False
    items_needed: int | None = None
    seeds_needed: int | None = None
    within_noise: float | None = None


class Judgement(BaseModel):
    """The gate's answer for one tuned configuration.

    slices: those whose loss surely exceeds max_drop_slice; the others decide nothing
    runs:   the training runs that a recipe is judged by; empty for one configuration
    decisive: of a FAIL what is broken, of INCONCLUSIVE what is open; empty where that is no endpoint
    """

    model_config = ConfigDict(frozen=True)

    tuned: str
    base: str
    verdict: Verdict
    sentence: str
    exit_code: int
    endpoints: tuple[Endpoint, ...] = ()
    advisory: tuple[Endpoint, ...] = ()
    slices: tuple[Endpoint, ...] = ()
    reasons: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    decisive: tuple[Endpoint, ...] = ()


class GateResult(BaseModel):
    """Several tuned configurations: the worst verdict wins (FAIL, NOT COMPARABLE, INCONCLUSIVE, PASS)."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    sentence: str
    exit_code: int
    judgements: tuple[Judgement, ...] = ()
