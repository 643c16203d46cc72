"""Did my fine-tune help my domain, what did it cost in general ability, and can I trust the answer?

The public API. Names are loaded when they are first used, so that `import harness` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.comparison.compare import compare as compare
    from harness.comparison.facts import Comparison as Comparison
    from harness.comparison.facts import Pair as Pair
    from harness.errors import ConfigurationError as ConfigurationError
    from harness.errors import HarnessError as HarnessError
    from harness.errors import NothingMeasured as NothingMeasured
    from harness.errors import RunFailed as RunFailed
    from harness.errors import UsageError as UsageError
    from harness.experiment.load import load_experiment as load_experiment
    from harness.experiment.load import load_experiments as load_experiments
    from harness.experiment.schema import Gate as Gate
    from harness.gate.judge import judge as judge
    from harness.gate.verdict import Judgement as Judgement
    from harness.gate.verdict import Verdict as Verdict
    from harness.pipeline import run as run
    from harness.plan import make_plan as make_plan
    from harness.report.render import render_report as render_report
    from harness.statistics.intruders import intruder_dimensions as intruder_dimensions
    from harness.statistics.pass_at_k import pass_at_k as pass_at_k
    from harness.store.artifacts import Store as Store
    from harness.store.columns import columns as columns
    from harness.store.lm_eval_files import read_lm_eval as read_lm_eval
    from harness.store.measurements import Item as Item
    from harness.store.measurements import Measurement as Measurement

_HOMES = {
    "Comparison": "harness.comparison.facts",
    "ConfigurationError": "harness.errors",
    "Gate": "harness.experiment.schema",
    "HarnessError": "harness.errors",
    "Item": "harness.store.measurements",
    "Judgement": "harness.gate.verdict",
    "Measurement": "harness.store.measurements",
    "NothingMeasured": "harness.errors",
    "Pair": "harness.comparison.facts",
    "RunFailed": "harness.errors",
    "Store": "harness.store.artifacts",
    "UsageError": "harness.errors",
    "Verdict": "harness.gate.verdict",
    "columns": "harness.store.columns",
    "compare": "harness.comparison.compare",
    "intruder_dimensions": "harness.statistics.intruders",
    "judge": "harness.gate.judge",
    "load_experiment": "harness.experiment.load",
    "load_experiments": "harness.experiment.load",
    "make_plan": "harness.plan",
    "pass_at_k": "harness.statistics.pass_at_k",
    "read_lm_eval": "harness.store.lm_eval_files",
    "render_report": "harness.report.render",
    "run": "harness.pipeline",
}

__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
