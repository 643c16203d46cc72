"""The noise floor: how much of a difference the engine's own numerics explain (statistics.md 3.5).

A part of the items is scored again with batches of another shape. Nothing else changes, so what
differs is rounding: in float32 next to nothing, in 16 bits a flip here and there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.scoring.items import Document, scored_item
from harness.scoring.language_model import TreeLM
from harness.scoring.recording import Recording
from harness.store.measurements import Item, Noise

# Of each task this share is scored again, but no fewer items than `FEWEST` and no more than `MOST`.
SHARE, FEWEST, MOST = 0.1, 8, 64


def noise_of(lm: TreeLM, recordings: Sequence[Recording]) -> dict[str, Noise]:
    """The noise of each task whose primary metric has a value for each item, by the step's fingerprint."""
    chosen = [(recording, document) for recording in recordings for document in sample(recording)]
    requests = [instance for _, document in chosen for instance in document.requests()]
    with lm.packed_otherwise():
        answers = iter(lm.answers(requests))
    pairs: dict[str, list[tuple[Item, Item]]] = {}
    for recording, document in chosen:
        document.answer([next(answers) for _ in document.requests()])
        again = scored_item(document, recording.task.compiled)
        pairs.setdefault(recording.step.fingerprint, []).append((recording.items[again.item], again))
    primary = {recording.step.fingerprint: recording.task.compiled.primary for recording in recordings}
    found = {step: _noise(both, primary[step]) for step, both in pairs.items()}
    return {step: noise for step, noise in found.items() if noise is not None}


def sample(recording: Recording) -> list[Document]:
    """The same documents in every run: the first by the hash of their content."""
    documents = sorted(recording.task.documents, key=lambda document: document.item)
    return documents[: min(MOST, max(FEWEST, round(SHARE * len(documents))))]


def _noise(pairs: Sequence[tuple[Item, Item]], metric: str) -> Noise | None:
    scores = [
        (once.scores[metric], again.scores[metric])
        for once, again in pairs
        if metric in once.scores and metric in again.scores
    ]
    if len(scores) < len(pairs):
        return None
    once, again = np.array(scores).T
    binary = bool(np.isin(once, (0.0, 1.0)).all() and np.isin(again, (0.0, 1.0)).all())
    return Noise(
        items=len(scores),
        to_wrong=int((once > again).sum()) if binary else 0,
        to_right=int((once < again).sum()) if binary else 0,
        deviation=float(np.std(again - once, ddof=1)) if len(scores) > 1 else 0.0,
    )
