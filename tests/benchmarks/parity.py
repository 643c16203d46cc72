"""The engine against lm-eval's HFLM on real items: largest difference and time, in one run.

    python -m tests.benchmarks.parity MODEL_FOLDER [--items 40] [--dtype float32]

The suites are those of experiments/medical.toml; HFLM runs at each of several batch sizes and the
best counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from lm_eval.models.huggingface import HFLM

from harness.data.task_rows import task_rows
from harness.experiment.load import load_experiment
from harness.experiment.schema import Base
from harness.models.loading import load
from harness.models.quiet import quiet_libraries, quiet_lm_eval
from harness.scoring.language_model import TreeLM
from harness.scoring.measure import documents
from harness.tasks.compile import compile_task

BATCH_SIZES = (4, 16, 64)


def timed(call: Any, requests: list[Any]) -> tuple[float, list[Any]]:
    started = time.monotonic()
    with quiet_lm_eval():
        answers = call(requests, disable_tqdm=True)
    return time.monotonic() - started, answers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    quiet_libraries()
    loaded = load(options.model, Base(model=options.model, dtype=options.dtype), None)
    ours = TreeLM(loaded.model, loaded.tokenizer)
    with quiet_lm_eval():
        theirs = {
            size: HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=size)
            for size in BATCH_SIZES
        }
    print(f"engine {ours.engine}, {options.dtype}, {options.items} items a task")
    print(f"{'task':<22} {'requests':>8} {'HFLM s':>8} {'ours s':>8} {'ratio':>6} {'largest difference':>19}")
    experiment = load_experiment(Path("experiments/medical.toml"))
    for entry in experiment.suites:
        for name, task in entry.suite.task.items():
            rows = task_rows(task, experiment.root).test[: options.items]
            compiled = compile_task(name, task, rows, (), lambda text: len(text))
            requests = [instance for document in documents(compiled, None) for instance in document.instances]
            kind = requests[0].request_type
            seconds, answers = timed(getattr(ours, kind), requests)
            runs = {size: timed(getattr(lm, kind), requests) for size, lm in theirs.items()}
            best = min(run[0] for run in runs.values())
            print(
                f"{entry.suite.name + '/' + name:<22} {len(requests):>8} {best:>8.1f} {seconds:>8.1f} "
                f"{best / seconds:>6.1f} {difference(answers, runs[BATCH_SIZES[0]][1], kind):>19}"
            )


def difference(ours: list[Any], theirs: list[Any], kind: str) -> str:
    if kind == "generate_until":
        return f"{sum(a != b for a, b in zip(ours, theirs, strict=True))} texts"
    pairs = [(a, b) if kind.endswith("rolling") else (a[0], b[0]) for a, b in zip(ours, theirs, strict=True)]
    return f"{max(abs(a - b) for a, b in pairs):.2e} nats"


if __name__ == "__main__":
    main()
