"""The gate's answer for machines. The schema's number changes only when a key changes its meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.gate.judge import worst
from harness.gate.verdict import GateResult, Judgement

SCHEMA = "harness.gate/1"


def as_json(result: GateResult) -> str:
    """Strict JSON (no NaN), two-space indented, ending with a newline; fractions, not percent."""
    return json.dumps(as_document(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def several_as_json(results: Mapping[str, GateResult]) -> str:
    """The answers for the experiments of a matrix, by name; the worst of them is the answer to all."""
    decisive = worst(list(results.values()))
    experiments = []
    for name, result in results.items():
        document = as_document(result)
        del document["schema"]
        experiments.append({"name": name, **document})
    document = {
        "schema": SCHEMA,
        "verdict": decisive.verdict.value,
        "exit_code": decisive.exit_code,
        "experiments": experiments,
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_document(result: GateResult) -> dict[str, Any]:
    """The document behind `--json` (README, "The gate's JSON").

    `rules` are what the verdict rests on, `advisory` what it does not, `slices` those that surely lost more
    than they may, `comparability` why there is no number where there is none.
    """
    return {
        "schema": SCHEMA,
        "verdict": result.verdict.value,
        "exit_code": result.exit_code,
        "sentence": result.sentence,
        "judgements": [_judgement(judgement) for judgement in result.judgements],
    }


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "tuned": judgement.tuned,
        "base": judgement.base,
        "runs": list(judgement.runs),
        "verdict": judgement.verdict.value,
        "exit_code": judgement.exit_code,
        "sentence": judgement.sentence,
        "rules": [endpoint.model_dump(mode="json") for endpoint in judgement.endpoints],
        "advisory": [endpoint.model_dump(mode="json") for endpoint in judgement.advisory],
        "slices": [endpoint.model_dump(mode="json") for endpoint in judgement.slices],
        "comparability": list(judgement.reasons),
    }
