"""What an experiment allows, typed: the policy of its gate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.experiment.declared import Declared, SomeTexts

Tier = Literal["critical", "supporting", "advisory"]
Limit = Annotated[float, Field(gt=0)]
Drop = Annotated[float, Field(gt=0, lt=1)]  # 6.5 for 6.5 pp would allow everything
# The keys of a task's table that hold a number; which of them has a use follows from what the task measures.
Bound = Literal["min_gain", "max_drop", "max_bits_per_byte_increase"]
BOUNDS: tuple[Bound, ...] = ("min_gain", "max_drop", "max_bits_per_byte_increase")


class TaskRule(Declared):
    """What the gate asks of one task, in place of what it asks of all.

    tier:                       "critical" must be shown to gain or to be kept; of "supporting" only a shown
    loss counts; "advisory" is shown and decides nothing
    min_gain:                   what this domain task must surely gain
    max_drop:                   what this general task may lose
    max_bits_per_byte_increase: how much worse this general text may be predicted, as a share of the base's
    """

    tier: Tier = "critical"
    min_gain: float | None = None
    max_drop: Drop | None = None
    max_bits_per_byte_increase: Limit | None = None


class Gate(Declared):
    """The policy. Margins and gains are fractions: 0.065 is 6.5 percentage points.

    tuned:                      the tuned configurations that are judged; left out, all
    alpha:                      level of each test
    min_gain:                   what every domain task must surely gain
    max_drop_average:           what the general tasks may lose on average
    max_drop_task:              what one general task may lose
    max_bits_per_byte_increase: how much worse a general text may be predicted, as a share of the base's
    max_drop_format:            how many answers fewer may come in the asked form, as a share of all
    max_drop_slice:             what one slice of a gated task may lose; left out, slices decide nothing
    on_inconclusive:            whether too little evidence blocks
    task:                       one table `[gate.task."suite/task"]` for each task with rules of its own
    """

    tuned: SomeTexts | None = None
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    min_gain: float = 0.0
    max_drop_average: Drop = 0.025
    max_drop_task: Drop = 0.065
    max_bits_per_byte_increase: Limit = 0.02
    max_drop_format: Drop = 0.05
    max_drop_slice: Drop | None = None
    on_inconclusive: Literal["block", "allow"] = "block"
    task: dict[str, TaskRule] = Field(default_factory=dict)

    def rule(self, suite: str, task: str) -> TaskRule:
        """What it asks of this task; nothing of its own where it has no table."""
        return self.task.get(f"{suite}/{task}", _NO_RULE)

    def bound(self, suite: str, task: str, of: Bound) -> float:
        """The task's own number, or that of all."""
        every: dict[Bound, float] = {
            "min_gain": self.min_gain,
            "max_drop": self.max_drop_task,
            "max_bits_per_byte_increase": self.max_bits_per_byte_increase,
        }
        own: float | None = getattr(self.rule(suite, task), of)
        return every[of] if own is None else own


_NO_RULE = TaskRule()


def bound_of(role: Literal["domain", "general"], unit: str) -> Bound | None:
    """The number that has a use for a task of this role, judged in a metric of this unit; None: none has.

    Domain text is shown only, and other scores of a general task have no margin.
    """
    if unit == "rate":
        return "min_gain" if role == "domain" else "max_drop"
    return "max_bits_per_byte_increase" if role == "general" and unit == "bits" else None
