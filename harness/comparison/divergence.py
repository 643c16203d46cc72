"""How far the tuned side moved from the base on text: KL in nats per token (statistics.md 3.6)."""

from __future__ import annotations

import numpy as np

from harness.comparison.aggregates import clusters_of
from harness.comparison.facts import DivergenceFacts
from harness.statistics.estimates import Interval
from harness.statistics.rates import ratio_interval
from harness.statistics.ratio import weighted_ratio
from harness.store.measurements import Measurement, field_of


def divergence_facts(tuned: Measurement) -> tuple[DivergenceFacts | None, str | None]:
    """The divergence over all documents, or why there is none; neither where none was measured.

    A document without one would count as unchanged if it were left out, so one is enough for a reason.
    """
    found = [divergence for divergence in field_of(tuned, "divergence") if divergence is not None]
    if not found:
        return None, None
    lacking = len(tuned.items) - len(found)
    if lacking:
        return None, f"the divergence is missing on {lacking} of {len(tuned.items)} documents"
    nats = np.array([each.nats for each in found], dtype=np.float64)
    broken = int(np.sum(~np.isfinite(nats)))
    if broken:
        return None, f"the divergence is not finite on {broken} of {len(found)} documents"
    tokens = np.array([each.tokens for each in found], dtype=np.float64)
    per_token = nats / tokens
    value = weighted_ratio(per_token, tokens)
    return DivergenceFacts(
        nats_per_token=value,
        interval95=_not_below_zero(ratio_interval(per_token, tokens, clusters_of(tuned)), value),
        documents=len(found),
        tokens=int(tokens.sum()),
    ), None


def _not_below_zero(interval: Interval | None, value: float) -> Interval | None:
    """KL is never negative, but for rounding where it is nothing."""
    if interval is None:
        return None
    return interval.model_copy(update={"low": max(interval.low, min(value, 0.0))})
