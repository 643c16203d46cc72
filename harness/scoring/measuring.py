"""One configuration measured on every task of which items are missing, a suite's requests in one forest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.scoring.engine import Off
from harness.scoring.halves import Halves
from harness.scoring.items import scored_item, with_truncation
from harness.scoring.language_model import Response, TreeLM
from harness.scoring.noise import noise_of, sample
from harness.scoring.prepared import Prepared, Questions
from harness.scoring.recording import Place, Recording, Subject, begin, finish
from harness.store.artifacts import Step
from harness.store.measurements import Divergence, Item


@dataclass(frozen=True)
class Part:
    """A suite of which something is missing. steps: by the place of their task, the unfinished ones."""

    questions: Questions
    steps: Mapping[int, Step]


@dataclass(frozen=True)
class _Under:
    """A part under way. wanted: the places of the documents that are not on the disk."""

    questions: Questions
    recordings: Mapping[int, Recording]
    wanted: frozenset[int]

    def requests(self) -> frozenset[int]:
        return self._of(self.wanted)

    def cost_of_noise(self, lm: TreeLM) -> float:
        """Of scoring a sample once more: its part of the suite's tokens."""
        work, chosen = (
            self.questions.work,
            {id(each) for one in self.recordings.values() for each in sample(one)},
        )
        documents = enumerate(self.questions.documents)
        sampled = self._of(place for place, (_, document) in documents if id(document) in chosen)
        share = sum(work.tokens[k] for k in sampled) / max(1, sum(work.tokens))
        return share * lm.cost(work, range(len(work.requests)))

    def _of(self, places: Iterable[int]) -> frozenset[int]:
        return frozenset(k for place in places for k in self.questions.requests[place])


@dataclass(frozen=True)
class _Done:
    """Items of one pass with the recordings that they belong to, and the tokens of each."""

    items: Sequence[tuple[Recording, Item, int]]
    work: float


def record_measurements(subject: Subject, parts: Sequence[Part], place: Place) -> None:
    """Score the items that are missing, appending those of each pass; the records come last.

    Raises RunFailed where nothing fits into memory; what is scored by then is kept.
    """
    under = [_begun(subject, part, place) for part in parts]
    recordings = [recording for part in under for recording in part.recordings.values()]
    off = _beside_base(subject)
    total = sum(len(recording.task.documents) for recording in recordings)
    missing = sum(len(part.wanted) for part in under)
    work = sum(subject.lm.cost(part.questions.work, part.requests(), off) for part in under)
    again = sum(part.cost_of_noise(subject.lm) for part in under) if subject.is_base else 0.0
    place.progress.begin(f"measure {subject.name}", total - missing, total, work + again)
    before = time.monotonic()
    for part in under:
        for done in _scored(subject, part, off):
            now = time.monotonic()
            tokens = _keep(done, now - before)
            place.progress.advance(len(done.items), done.work, tokens)
            if done.items:  # else the pass was the beginning of a text, and belongs to the next items
                before = now
    noise = noise_of(subject.lm, recordings) if subject.is_base else {}
    place.progress.advance(0, again)
    for recording in recordings:
        finish(subject, recording, noise.get(recording.step.fingerprint), place.store)
    place.progress.end(f"{total:,} items of {len(recordings)} task{'s' * (len(recordings) != 1)}")


def _begun(subject: Subject, part: Part, place: Place) -> _Under:
    tasks: Sequence[Prepared] = part.questions.tasks
    recordings = {k: begin(subject, tasks[k], step, place.store) for k, step in part.steps.items()}
    wanted = frozenset(
        place
        for place, (task, document) in enumerate(part.questions.documents)
        if task in recordings and document.item not in recordings[task].items
    )
    return _Under(part.questions, recordings, wanted)


def _beside_base(subject: Subject) -> Off | None:
    """Within it the model is the base, which reads texts too. Only a plain head can be given its weight."""
    if subject.off is None or subject.lm.engine != "tree" or not Halves(subject.lm.model).head_is_plain:
        return None
    return subject.off


def _scored(subject: Subject, part: _Under, off: Off | None) -> Iterator[_Done]:
    """Documents as the last of their requests is answered."""
    questions = part.questions
    waiting: dict[int, dict[int, Response]] = {}
    for responses in subject.lm.respond(questions.work, part.requests(), off):
        finished = []
        for response in responses.found:
            place = questions.owners[response.request]
            if place not in part.wanted:  # it was in one pass with some that are
                continue
            mine = waiting.setdefault(place, {})
            mine[response.request] = response
            if len(mine) == len(questions.requests[place]):
                task, document = questions.documents[place]
                in_order = [mine[request] for request in questions.requests[place]]
                document.answer([each.value for each in in_order])
                item = scored_item(document, questions.tasks[task].compiled)
                item = with_truncation(item, document, [each.truncated for each in in_order])
                item = _diverged(item, in_order)
                finished.append((part.recordings[task], item, sum(each.tokens for each in in_order)))
                del waiting[place]
        yield _Done(finished, responses.work)


def _diverged(item: Item, responses: Sequence[Response]) -> Item:
    found = [each.divergence for each in responses if each.divergence is not None]
    if not found:
        return item
    nats, tokens = (sum(parts) for parts in zip(*found, strict=True))
    return replace(item, divergence=Divergence(nats, int(tokens)))


def _keep(done: _Done, seconds: float) -> int:
    """Onto the disk, task by task; the time of a pass is shared by the tokens of what it finished.

    Returns these tokens.
    """
    tokens = sum(count for _, _, count in done.items)
    by_step: dict[str, tuple[Recording, list[Item]]] = {}
    for recording, item, count in done.items:
        recording.tokens += count
        recording.seconds += seconds * count / max(1, tokens)
        by_step.setdefault(recording.step.fingerprint, (recording, []))[1].append(item)
    for recording, items in by_step.values():
        recording.add(items)
    return tokens
