"""The scoring engine against lm-eval's HFLM at its best batch size, in one run.

    python -m tests.benchmarks.scoring MODEL_FOLDER [--device cpu|cuda] [--tasks …] [--limit N] [--json FILE]

`HFLM s` and `engine s` are wall time of the same requests, tokenising included (`configurations`: of
five whole runs, loading excluded; `adapters`: of the base alone, and of the base and four adapters).
`worst/token` is the largest difference of a log-likelihood by its number of scored tokens, in nats;
`greedy` and `texts` count answers that differ. `of limit` is how near the engine came to the device:
operations that are needed when every distinct prefix of tokens runs once and the output head only
where a token is scored, over time, over the rate of a large matrix product measured in this run.
--precision loads the model in float32 as well.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from harness.experiment.schema import Base
from harness.models.loading import Loaded, load, settle
from harness.models.quiet import quiet_libraries, quiet_lm_eval
from tests.benchmarks.scoring.needed import matrix_rate
from tests.benchmarks.scoring.precision import errors
from tests.benchmarks.scoring.requests import REQUESTS
from tests.benchmarks.scoring.results import COLUMNS, Result, adapters, configurations, line, scoring

BATCH_SIZES = {"cpu": [4, 16, 64], "cuda": [16, 64, 128, 256]}
SEVERAL = {"configurations": configurations, "adapters": adapters}
DTYPE = {"cpu": "float32", "cuda": "bfloat16"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = [*REQUESTS, *SEVERAL]
    parser.add_argument("model", type=Path, help="a folder with weights and tokenizer")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="left out, the GPU where there is one")
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks)
    parser.add_argument("--limit", type=int, help="documents of each task")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="of HFLM; the best counts")
    parser.add_argument("--max-length", type=int, default=2048, help="of both, in tokens")
    parser.add_argument("--repeats", type=int, default=1, help="medians of the best size and the engine")
    parser.add_argument("--precision", type=int, metavar="N", help="hold N documents against float32 as well")
    parser.add_argument("--json", type=Path, help="all that was measured, written after each task")
    options = parser.parse_args()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here")
    if not options.data.is_dir():
        parser.error(f"{options.data} is no folder: name the one with arc_easy, piqa, … by --data")
    options.dtype = options.dtype or DTYPE[options.device]
    if options.precision and options.dtype == "float32":
        parser.error("--precision holds 16 bits against float32: give --dtype bfloat16 or float16")
    options.batch_sizes = options.batch_sizes or BATCH_SIZES[options.device]
    return options


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """lm-eval draws some of its bars whatever it is told."""
    with quiet_lm_eval(), contextlib.redirect_stderr(io.StringIO()):
        yield


def measured(task: str, loaded: Loaded, options: argparse.Namespace, rate: float) -> Result:
    with tempfile.TemporaryDirectory() as folder, quiet():
        if task in SEVERAL:
            return SEVERAL[task](loaded, options, rate, Path(folder))
        return scoring(task, loaded, options, rate)


def main() -> int:
    options = arguments()
    quiet_libraries()
    settle()
    loaded = load(str(options.model), Base(model=str(options.model), dtype=options.dtype), None)
    rate = matrix_rate(loaded.device, loaded.model.dtype)
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    weights = sum(weight.numel() for weight in loaded.model.parameters())
    print(
        f"{options.model}: {weights / 1e6:,.0f} million weights, {options.dtype}, {options.device} ({where}), "
        f"a large matrix product at {rate / 1e12:.2f} TFLOP/s"
    )
    print(COLUMNS, flush=True)
    about = {
        "model": str(options.model),
        "dtype": options.dtype,
        "device": options.device,
        "where": where,
        "matrix_rate": rate,
        "max_length": options.max_length,
        "limit": options.limit,
    }
    found: list[Result] = []
    for task in options.tasks:
        found.append(measured(task, loaded, options, rate))
        print(line(found[-1]), flush=True)
        if options.json:
            text = json.dumps({**about, "results": [asdict(each) for each in found]}, indent=1)
            options.json.write_text(text + "\n", encoding="utf-8")
    if options.precision:
        with quiet():
            told = errors(loaded, options)
        print(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
