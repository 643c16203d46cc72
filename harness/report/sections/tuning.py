"""Which pairs stand side by side in a report, what belongs to each, and what they are measured by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.comparison.facts import Comparison, Role
from harness.experiment.metrics import Metric
from harness.gate.verdict import Judgement
from harness.report.facts import ConfigurationFacts, ReportFacts, StrengthCurve, Training
from harness.statistics.estimates import Estimate

# With more configurations than this, the details of each are folded.
FEW = 3


def shown_pairs(facts: ReportFacts) -> tuple[Comparison, ...]:
    """Every pair; of several strengths only the chosen one, for the others stand in their own section."""
    left_out = {
        point.tuned for curve in facts.strengths for point in curve.points if point.strength != curve.chosen
    }
    return tuple(pair for pair in facts.comparisons if pair.tuned not in left_out)


def tuning_pairs(facts: ReportFacts) -> tuple[Comparison, ...]:
    """The shown pairs that ask what tuning did."""
    return tuple(pair for pair in shown_pairs(facts) if pair.differs_in != "quantization")


def configuration_of(facts: ReportFacts, name: str) -> ConfigurationFacts | None:
    return next((each for each in facts.configurations if each.name == name), None)


def judgement_of(facts: ReportFacts, pair: Comparison) -> Judgement | None:
    """What the gate made of the pair; None where it was not asked."""
    sides = (pair.base, pair.tuned)
    return next((each for each in facts.verdict.judgements if (each.base, each.tuned) == sides), None)


def judged_pair(facts: ReportFacts, judgement: Judgement) -> Comparison | None:
    """What a judgement is about; None where nothing is measured."""
    sides = (judgement.base, judgement.tuned)
    return next((each for each in facts.comparisons if (each.base, each.tuned) == sides), None)


def training_of(facts: ReportFacts, name: str) -> Training | None:
    """The training run behind a configuration: all strengths of one family and seed share it."""
    own = configuration_of(facts, name)
    names = {name}
    if own is not None and own.family is not None:
        names |= {own.family}
        names |= {
            each.name for each in facts.configurations if (each.family, each.seed) == (own.family, own.seed)
        }
    seed = own.seed if own else None
    runs = [run for run in facts.trainings if run.name in names and seed in (None, run.seed)]
    return next(iter(sorted(runs, key=lambda run: run.name != name)), None)


def curve_of(facts: ReportFacts, name: str) -> StrengthCurve | None:
    """The strengths that a configuration was chosen from."""
    return next((curve for curve in facts.strengths if name in {point.tuned for point in curve.points}), None)


@dataclass(frozen=True)
class Measure:
    """What stands for many tasks: one task's primary metric, or an average (`task` is None)."""

    role: Role
    suite: str
    task: str | None
    metric: Metric

    @property
    def title(self) -> str:
        return f"{self.suite} average" if self.task is None else f"{self.task} · {self.metric.title}"


AVERAGE = Metric(name="average", title="average of rates")
GENERAL = Measure("general", "general", None, AVERAGE)


def domain_measures(pairs: Iterable[Comparison]) -> tuple[Measure, ...]:
    """The one gated domain task with a rate, or the average of each domain suite that has such tasks.

    Without any rate, every gated domain task by itself.
    """
    primaries = {
        (task.suite, task.task): task.metrics[task.primary].metric
        for pair in pairs
        if not pair.problems
        for task in pair.tasks
        if task.role == "domain" and task.gated and not task.problems
    }
    rates = {key: metric for key, metric in primaries.items() if metric.unit == "rate"}
    if len(rates) > 1:
        return tuple(
            Measure("domain", suite, None, AVERAGE) for suite in dict.fromkeys(suite for suite, _ in rates)
        )
    return tuple(Measure("domain", *key, metric) for key, metric in (rates or primaries).items())


def difference(pair: Comparison, measure: Measure) -> Estimate | None:
    """Tuned minus base by this measure; None where there is no such number."""
    if pair.problems:
        return None
    if measure.role == "general":
        return pair.general_average
    if measure.task is None:
        return next((suite.average for suite in pair.suites if suite.suite == measure.suite), None)
    for task in pair.tasks:
        if (task.suite, task.task) == (measure.suite, measure.task) and not task.problems:
            return task.metrics[task.primary].difference
    return None
