"""Policy and facts → verdict, sentence and exit code, made in one place so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from harness.comparison.facts import Comparison, TaskFacts
from harness.errors import EXIT_FAIL, EXIT_NO_VERDICT, EXIT_PASS
from harness.experiment.schema import Gate
from harness.gate import wording
from harness.gate.endpoints import Answers, answer
from harness.gate.policy import under, unfit
from harness.gate.questions import judged_metric, tier_of
from harness.gate.slices import broken_slices, unseen_slices
from harness.gate.verdict import Endpoint, GateResult, Judgement, Verdict

_WORST_FIRST = (Verdict.FAIL, Verdict.NOT_COMPARABLE, Verdict.INCONCLUSIVE, Verdict.PASS)
_EXIT_CODES = {
    Verdict.FAIL: EXIT_FAIL,
    Verdict.NOT_COMPARABLE: EXIT_NO_VERDICT,
    Verdict.INCONCLUSIVE: EXIT_NO_VERDICT,
    Verdict.PASS: EXIT_PASS,
}


def exit_code(verdict: Verdict, policy: Gate) -> int:
    """What `harness gate` exits with (architecture.md, "Verdicts and exit codes")."""
    if verdict is Verdict.INCONCLUSIVE and policy.on_inconclusive == "allow":
        return EXIT_PASS
    return _EXIT_CODES[verdict]


Judged = TypeVar("Judged", Judgement, GateResult)


def worst(judged: Sequence[Judged]) -> Judged:
    """The first of the worst, in the order FAIL, NOT COMPARABLE, INCONCLUSIVE (blocked, allowed), PASS."""
    return min(judged, key=lambda one: (_WORST_FIRST.index(one.verdict), one.exit_code == EXIT_PASS))


def judge(comparison: Comparison, policy: Gate) -> Judgement:
    """What the policy makes of one pair.

    PASS: every critical domain endpoint gains and every critical general endpoint keeps, each at alpha
    (an intersection-union test needs no correction). FAIL: an alarm, a general endpoint or a tripwire
    beyond its limit after Holm, a domain endpoint surely below 0 or a slice beyond its limit, each after a
    Holm of their own; critical and supporting alike. NOT COMPARABLE before both, where a number would mean
    nothing. Everything else is INCONCLUSIVE.
    """
    comparison = under(policy, comparison)
    gated = [task for task in comparison.tasks if task.gated]
    if comparison.problems:
        return _without_numbers(Verdict.NOT_COMPARABLE, comparison, policy, comparison.problems)
    useless = unfit(policy, comparison)
    if useless:
        return _without_numbers(Verdict.NOT_COMPARABLE, comparison, policy, useless)
    alarms = _by_text((task, alarm) for task in gated for alarm in task.alarms)
    if alarms:
        return _without_numbers(Verdict.FAIL, comparison, policy, alarms)
    problems = _by_text((task, problem) for task in gated for problem in task.problems)
    if problems:
        return _without_numbers(Verdict.NOT_COMPARABLE, comparison, policy, problems)
    if not any(task.role == "domain" and tier_of(task, policy) == "critical" for task in gated):
        reason = "no domain task decides: none is gated, critical and has a rate as its primary metric"
        return _without_numbers(Verdict.NOT_COMPARABLE, comparison, policy, (reason,))
    answers = answer(comparison, policy)
    slices = broken_slices(comparison, policy)
    verdict, sentence, decisive = _decide(comparison, answers, slices, policy)
    return Judgement(
        tuned=comparison.tuned,
        runs=comparison.runs,
        base=comparison.base,
        verdict=verdict,
        sentence=f"{verdict}: {sentence}",
        exit_code=exit_code(verdict, policy),
        endpoints=(*answers.domain, *answers.general, *answers.form),
        advisory=answers.advisory,
        slices=slices,
        decisive=tuple(decisive),
        reasons=(
            *answers.unanswered,
            *(f"{reason} (supporting)" for reason in answers.unheard),
            *wording.limits_within_noise((*answers.domain, *answers.general), comparison.base),
            *_never_asked(comparison),
            *_advisory_problems(comparison),
            *unseen_slices(comparison, policy),
        ),
    )


def gate(judgements: Sequence[Judgement], policy: Gate) -> GateResult:
    """The worst judgement wins. Only `policy.tuned` counts where it is given, and all of it must be there."""
    if policy.tuned is None:
        counted = tuple(judgements)
    else:
        known = {judgement.tuned: judgement for judgement in judgements}
        counted = tuple(known.get(name) or _unmeasured(name, policy) for name in policy.tuned)
    if not counted:
        return GateResult(
            verdict=Verdict.NOT_COMPARABLE,
            sentence=f"{Verdict.NOT_COMPARABLE}: nothing is measured yet.",
            exit_code=exit_code(Verdict.NOT_COMPARABLE, policy),
        )
    decisive = worst(counted)
    others = len(counted) - 1
    more = f" (The worst of {len(counted)} tuned configurations decides.)" if others else ""
    return GateResult(
        verdict=decisive.verdict,
        sentence=decisive.sentence + more,
        exit_code=exit_code(decisive.verdict, policy),
        judgements=counted,
    )


def _decide(
    comparison: Comparison, answers: Answers, slices: Sequence[Endpoint], policy: Gate
) -> tuple[Verdict, str, Sequence[Endpoint]]:
    """The verdict, the words for it and what decided; statuses and p-values are all that it looks at."""
    names = comparison.tuned, comparison.base
    broken = [
        each
        for each in (*answers.domain, *answers.general, *answers.form)
        if _beyond_holm(each, policy.alpha)
    ]
    broken += slices
    if broken:
        return Verdict.FAIL, wording.failed(*names, broken, policy), broken
    still_open = wording.still_open(answers)
    if not answers.unanswered and not still_open:
        return Verdict.PASS, wording.passed(*names, answers, policy), ()
    return Verdict.INCONCLUSIVE, wording.inconclusive(*names, answers, policy), still_open


def _beyond_holm(endpoint: Endpoint, alpha: float) -> bool:
    return endpoint.p_broken_holm is not None and endpoint.p_broken_holm < alpha


def _without_numbers(
    verdict: Verdict, comparison: Comparison, policy: Gate, reasons: Sequence[str]
) -> Judgement:
    more = f" ({len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return Judgement(
        tuned=comparison.tuned,
        runs=comparison.runs,
        base=comparison.base,
        verdict=verdict,
        sentence=f"{verdict}: {comparison.tuned} against {comparison.base}: {reasons[0]}{more}.",
        exit_code=exit_code(verdict, policy),
        reasons=tuple(reasons),
    )


def _unmeasured(name: str, policy: Gate) -> Judgement:
    reason = "nothing is measured yet"
    return Judgement(
        tuned=name,
        base="",
        verdict=Verdict.NOT_COMPARABLE,
        sentence=f"{Verdict.NOT_COMPARABLE}: {name}: {reason}.",
        exit_code=exit_code(Verdict.NOT_COMPARABLE, policy),
        reasons=(reason,),
    )


def _never_asked(comparison: Comparison) -> tuple[str, ...]:
    """General tasks that look as if they counted, and have no metric that a limit is known for."""
    return tuple(
        f"{task.suite}/{task.task} decides nothing: {judged_metric(task)[0].metric.title} has no limit"
        for task in comparison.tasks
        if task.gated and not task.problems and task.role == "general" and not judged_metric(task)[1]
    )


def _advisory_problems(comparison: Comparison) -> tuple[str, ...]:
    """An advisory task that cannot be compared is said, and decides nothing."""
    advisory = [task for task in comparison.tasks if not task.gated]
    return _by_text(
        (task, f"{text} (advisory)") for task in advisory for text in (*task.problems, *task.alarms)
    )


def _by_text(found: Iterable[tuple[TaskFacts, str]]) -> tuple[str, ...]:
    """One reason for each text, naming its tasks: a wrong dtype is one reason, not one for every task."""
    tasks: dict[str, list[str]] = {}
    for task, text in found:
        tasks.setdefault(text, []).append(f"{task.suite}/{task.task}")
    return tuple(f"{_places(places)}: {text}" for text, places in tasks.items())


def _places(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique) if len(unique) <= 2 else f"{unique[0]} and {len(unique) - 1} more tasks"
