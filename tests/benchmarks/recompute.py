"""Every headline number of one configuration again, from the stored raw responses alone.

    python -m tests.benchmarks.recompute [--store .harness] [--configuration lora]

Uses scikit-learn and torchmetrics and none of the harness' own scoring: choices are re-ranked from
their log-likelihoods, token F1 is taken from the generated texts, bits per byte from the texts'
own bytes. Prints the harness' number beside it and the largest difference.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score
from torchmetrics.functional.text import squad

from harness.comparison.aggregates import measured_value
from harness.store.artifacts import Store
from harness.store.measurements import read_measurement
from harness.store.runs import made

Items = list[dict[str, Any]]


def choices(items: Items, labels: list[str]) -> dict[str, float]:
    """Accuracy and macro-F1 from the log-likelihood of each continuation."""
    guesses = [
        max(item["responses"], key=lambda response: response["loglikelihood"])["continuation"].strip()
        for item in items
    ]
    golds = [item["gold"].strip() for item in items]
    found = {"accuracy": accuracy_score(golds, guesses)}
    if labels:
        found["macro_f1"] = f1_score(golds, guesses, labels=labels, average="macro", zero_division=0)
    return found


def answers(items: Items) -> dict[str, float]:
    """SQuAD F1 and exact match of the generated texts, over the whole corpus in one call."""
    predictions = [
        {"prediction_text": item["responses"][0]["text"].strip(), "id": str(index)}
        for index, item in enumerate(items)
    ]
    targets = [
        {
            "answers": {"answer_start": [0] * len(golds), "text": golds},
            "id": str(index),
        }
        for index, golds in enumerate(item["gold"].split(" | ") for item in items)
    ]
    scores = squad(predictions, targets)
    return {"token_f1": float(scores["f1"]) / 100, "exact_match": float(scores["exact_match"]) / 100}


def texts(items: Items) -> dict[str, float]:
    """Bits per byte and perplexities from log-likelihoods and the lengths that were stored with them."""
    nats = -np.array([item["responses"][0]["loglikelihood"] for item in items])
    lengths = {
        name: np.array([item["weights"][name] for item in items]).sum()
        for name in ("bits_per_byte", "perplexity", "word_perplexity")
    }
    return {
        "bits_per_byte": nats.sum() / lengths["bits_per_byte"] / math.log(2),
        "perplexity": math.exp(nats.sum() / lengths["perplexity"]),
        "word_perplexity": math.exp(nats.sum() / lengths["word_perplexity"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=Path(".harness"))
    parser.add_argument("--configuration", default="lora")
    options = parser.parse_args()
    store, worst = Store(options.store), 0.0
    for folder in sorted((options.store / "measurements").glob("*")):
        if folder.suffix == ".partial":
            continue
        measurement = read_measurement(store, made("measurements", folder.name))
        if measurement.configuration != options.configuration:
            continue
        lines = (folder / "items.jsonl").read_text(encoding="utf-8").split("\n")
        items = [json.loads(line) for line in lines if line]
        again = {"qa": answers, "perplexity": texts}.get(measurement.kind)
        values = again(items) if again else choices(items, list(measurement.labels))
        for name, value in values.items():
            ours = measured_value(measurement, name)
            worst = max(worst, abs(ours - value))
            print(f"{measurement.suite}/{measurement.task:<12} {name:<16} {ours:.9f} {value:.9f}")
    print(f"largest difference {worst:.2e}")


if __name__ == "__main__":
    main()
