"""The sentence that goes with a verdict: the deciding numbers with interval and limit, ready to paste."""

from __future__ import annotations

from collections.abc import Sequence

from harness.experiment.schema import Gate
from harness.gate.endpoints import Answers
from harness.gate.questions import FORM, GUARD
from harness.gate.verdict import Endpoint, EndpointStatus

_MINUS = "−"
LONGEST_VALUE = 60
# unit → (factor, digits, suffix)
_UNITS: dict[str, tuple[float, int, str]] = {
    "rate": (100.0, 1, " pp"),
    "relative": (100.0, 2, " %"),
    "bits": (1.0, 4, " bits"),
    "perplexity": (1.0, 2, ""),
    "score": (1.0, 3, ""),
}
# What a tuned model does that breaks a rule; else it loses on the place.
_VERBS = {GUARD: "raises", FORM: "loses the answer form on"}


def number(unit: str, value: float, suffix: bool = True) -> str:
    """A signed number with its unit; a rounded zero has no sign."""
    factor, digits, name = _UNITS[unit]
    text = f"{value * factor:+,.{digits}f}"
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")
    return text.replace("-", _MINUS) + (name if suffix else "")


def size(unit: str, value: float) -> str:
    """A number that has no direction, as a margin or a width."""
    return number(unit, value).lstrip("+")


def passed(tuned: str, base: str, answers: Answers, policy: Gate) -> str:
    domain, general = critical(answers.domain), critical(answers.general)
    gain = hardest(domain)
    others = f" (and on {len(domain) - 1} more)" if len(domain) > 1 else ""
    words = f"{tuned} gains on {place(gain)} over {base}{others}: {evidence(gain, policy)}"
    if not answers.general:
        return f"{words}; nothing general is gated, so nothing is said about forgetting."
    kept = [
        f"{place(endpoint)} {evidence(endpoint, policy, brief=True)}"
        for rule in ("max_drop_average", "max_drop_task", GUARD)
        for endpoint in [each for each in general if each.rule == rule]
        if endpoint == hardest([each for each in general if each.rule == rule])
    ]
    if kept:
        words += f"; general ability is kept within the limits: {', '.join(kept)}"
    return f"{words}{_beside(answers, policy)}."


def _beside(answers: Answers, policy: Gate) -> str:
    """What a pass says of supporting tasks: nobody had to show them kept, and nobody did."""
    supporting = [each for each in (*answers.domain, *answers.general) if each.tier == "supporting"]
    unsure = [each for each in supporting if not _holds(each)]
    if not unsure:
        return ""
    worst = hardest(unsure)
    sure = "beyond its limit though not after correction" if _is_beyond(worst) else "not shown"
    more = f" and {len(unsure) - 1} more" if len(unsure) > 1 else ""
    return f"; supporting only, {sure}: {place(worst)} {evidence(worst, policy, brief=True)}{more}"


def failed(tuned: str, base: str, broken: Sequence[Endpoint], policy: Gate) -> str:
    worst = min(broken, key=lambda endpoint: endpoint.p_broken)
    holm = f", Holm-adjusted p {_p(worst.p_broken_holm)}" if worst.p_broken_holm is not None else ""
    verb = _VERBS.get(worst.rule, "loses on")
    others = f"; {len(broken) - 1} more regressed" if len(broken) > 1 else ""
    return f"{tuned} {verb} {place(worst)} against {base}: {evidence(worst, policy)}{holm}{others}."


def inconclusive(tuned: str, base: str, answers: Answers, policy: Gate) -> str:
    open_ones = still_open(answers)
    words = (
        f"no interval for {answers.unanswered[0]}"
        if not open_ones
        else _undecided(tuned, base, hardest(open_ones), policy)
    )
    more = len(open_ones) + len(answers.unanswered) - 1
    if more:
        words += f" {more} more {'endpoint is' if more == 1 else 'endpoints are'} open."
    allowed = ' Allowed by on_inconclusive = "allow".' if policy.on_inconclusive == "allow" else ""
    return words.rstrip(".") + "." + allowed


def _undecided(tuned: str, base: str, endpoint: Endpoint, policy: Gate) -> str:
    kept = endpoint.rule != "min_gain"
    told = evidence(endpoint, policy)
    if _is_beyond(endpoint):
        return (
            f"{tuned} is beyond the limit on {place(endpoint)} against {base}, though not after "
            f"correction for several endpoints (Holm-adjusted p {_p(endpoint.p_broken_holm or 1.0)}): {told}."
        )
    if not kept and endpoint.items_needed is None and endpoint.high < endpoint.limit:
        return f"{tuned} gains less on {place(endpoint)} than the gate asks for: {told}."
    claim = f"keeps {place(endpoint)} within its limit" if kept else f"gains enough on {place(endpoint)}"
    few = "training seeds" if endpoint.items_needed is None and endpoint.seeds_needed else "items"
    words = f"too few {few} to tell whether {tuned} {claim} against {base}: {told}"
    noise = _noise(endpoint, base)
    if noise:
        words = f"these items cannot show that {tuned} {claim} against {base}: {told}; {noise}"
    if kept and endpoint.measurable_drop:
        words += "; the drop itself is measurable"
    if not noise and _interval_alone_holds(endpoint):
        decides = "with changes this few or this skewed the exact or corrected test decides"
        words += f"; {decides}, p {_p(endpoint.p_holds)}"
    return f"{words}; {settled_by(endpoint)}."


def settled_by(endpoint: Endpoint) -> str:
    """What would decide an open endpoint at the values seen."""
    seeds = endpoint.seeds_needed
    if endpoint.items_needed is None and seeds is None:
        return "at this value no number of items would settle it"
    if endpoint.items_needed is None:
        return f"no number of items would settle it, about {seeds:,} training seeds would"
    also = f", or {seeds:,} training seeds on these items" if seeds is not None else ""
    return f"about {endpoint.items_needed:,} items would settle it{also}"


def evidence(endpoint: Endpoint, policy: Gate, brief: bool = False) -> str:
    """Value, interval and limit, as "−1.2 pp (90 % interval −3.0 to +0.6, limit −6.5 pp)"."""
    unit = endpoint.unit
    low, high = number(unit, endpoint.low, False), number(unit, endpoint.high, False)
    level = "" if brief else f"{100 * (1 - 2 * policy.alpha):.4g} % interval "
    word = "required more than" if endpoint.rule == "min_gain" else "limit"
    return f"{number(unit, endpoint.value)} ({level}{low} to {high}, {word} {_limit(endpoint)})"


def limits_within_noise(endpoints: Sequence[Endpoint], base: str) -> tuple[str, ...]:
    """Limits of the policy that certify nothing on these items, each with why."""
    return tuple(
        f"{place(endpoint)}: the limit {_limit(endpoint)} certifies nothing; {noise}"
        for endpoint in endpoints
        if (noise := _noise(endpoint, base))
    )


def _noise(endpoint: Endpoint, base: str) -> str:
    """Where the limit lies within the noise: how far that reaches."""
    if endpoint.within_noise is None:
        return ""
    reach = size(endpoint.unit, endpoint.within_noise)
    return f"scoring {base} twice may alone change this by ±{reach}"


def _limit(endpoint: Endpoint) -> str:
    is_drop = endpoint.rule == FORM or endpoint.rule.startswith("max_drop")
    limit = -endpoint.limit if is_drop else endpoint.limit
    return number(endpoint.unit, limit)


def place(endpoint: Endpoint) -> str:
    if endpoint.rule == "max_drop_average":
        return "the general average"
    name = f"{endpoint.suite}/{endpoint.task}"
    if endpoint.slice is not None:
        field, value = endpoint.slice
        return f'{name} where {field} is "{_one_line(value)}"'
    return f"bits per byte of {name}" if endpoint.rule == GUARD else name


def hardest(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The endpoint that holds with the least evidence: an intersection-union test is decided by it."""
    return max(endpoints, key=lambda endpoint: endpoint.p_holds)


def critical(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Those that a pass has to show."""
    return [each for each in endpoints if each.tier == "critical"]


def still_open(answers: Answers) -> list[Endpoint]:
    """Critical endpoints that are not shown to hold: any of them keeps the gate from passing."""
    return [each for each in critical((*answers.domain, *answers.general)) if not _holds(each)]


def _one_line(text: str) -> str:
    """A value of the data, which must not break the sentence."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= LONGEST_VALUE else f"{line[:LONGEST_VALUE]}…"


def _is_beyond(endpoint: Endpoint) -> bool:
    return endpoint.status is EndpointStatus.REGRESSED


def _holds(endpoint: Endpoint) -> bool:
    return endpoint.status in (EndpointStatus.IMPROVED, EndpointStatus.RETAINED)


def _interval_alone_holds(endpoint: Endpoint) -> bool:
    if endpoint.rule == GUARD:
        return endpoint.high < endpoint.limit
    return endpoint.low > (endpoint.limit if endpoint.rule == "min_gain" else -endpoint.limit)


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.0001 else "< 0.0001"
