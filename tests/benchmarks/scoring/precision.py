"""How far 16 bits are from float32: of lm-eval's HFLM and of the engine, on the same requests."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.experiment.schema import Base
from harness.models.loading import Loaded, load
from tests.benchmarks.scoring.contest import engine, plain, read_tokens, responder
from tests.benchmarks.scoring.requests import REQUESTS

TASK = "arc_easy"
BATCH_SIZE = 16
MOST = 1.1  # of the engine's distance, over HFLM's


def errors(loaded: Loaded, options: argparse.Namespace) -> str:
    """Mean and 99th percentile of the distance from HFLM in float32, by scored token, in nats."""
    asked = REQUESTS[TASK](options.data, options.precision)
    read = read_tokens(asked, (), loaded, options.max_length)
    lengths = np.array([len(continuation) for ((_, continuation),) in read])
    exact = load(str(options.model), Base(model=str(options.model), dtype="float32"), None)
    reference = responder(plain(exact, BATCH_SIZE, options.max_length))(asked)
    del exact
    theirs, ours = (
        distances(responder(lm)(asked), reference, lengths)
        for lm in (plain(loaded, BATCH_SIZE, options.max_length), engine(loaded, options.max_length))
    )
    found = [f"distance from float32 on {len(asked.documents)} documents of {TASK}, nats a token:"]
    for name, one, other in (
        ("mean", ours.mean(), theirs.mean()),
        ("99th percentile", np.quantile(ours, 0.99), np.quantile(theirs, 0.99)),
    ):
        found.append(
            f"  {name}: engine {one:.2e}, HFLM {other:.2e}, {one / other:.3f} of it, asked ≤ {MOST:g}"
        )
    return "\n".join(found)


def distances(answers: Sequence[Any], reference: Sequence[Any], lengths: np.ndarray) -> Any:
    apart = [abs(one[0] - other[0]) for one, other in zip(answers, reference, strict=True)]
    return np.array(apart) / lengths
