"""The scoring engine behind lm-eval's `LM` interface.

The rules are lm-eval's own HFLM's: tokenisation of context and continuation, truncation, rolling
windows, stop strings. The passes are ours (engine.py, generation.py); a model that they do not fit
is left to HFLM's.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import postprocess_generated_text

from harness.errors import RunFailed
from harness.models.quiet import quiet_lm_eval
from harness.scoring.budget import FEWEST_NODES, Budget, budget_for
from harness.scoring.engine import Answer, Asked, Off, expected, score
from harness.scoring.forest import Shape
from harness.scoring.generation import BLOCK, Block, Prompt, blocks, generate
from harness.scoring.halves import Halves
from harness.scoring.sampling import is_plain, sampling_of
from harness.scoring.selfcheck import equals_plain
from harness.scoring.workload import Continuation, Workload, workload

# Where HFLM's own loop is used.
PLAIN_BATCH = 32
REQUESTS_PER_CALL = 64


@dataclass(frozen=True)
class Response:
    """To one request of a workload.

    tokens:     what was read and written for it, as a plain pass would
    divergence: KL(base ‖ tuned) in nats over a text's positions, and how many these are
    truncated:  of a generated text, whether nothing but the limit of tokens ended it; None where that is not
                known, as HFLM's own loop does not tell
    """

    request: int
    value: Any
    tokens: int
    divergence: tuple[float, int] | None = None
    truncated: bool | None = None


@dataclass(frozen=True)
class Responses:
    """What one pass finished. work: its part of the workload's cost."""

    found: tuple[Response, ...]
    work: float


def _response(work: Workload, owner: int, answers: Sequence[Answer]) -> Response:
    """Of a request whose sequences are all scored: a long text has several windows."""
    # The order of passes must not change a sum.
    answers = sorted(answers, key=lambda answer: answer.index)
    total = sum(answer.loglikelihood for answer in answers)
    if work.requests[owner].request_type != "loglikelihood_rolling":
        return Response(owner, (total, answers[0].greedy), work.tokens[owner])
    nats = [answer.divergence for answer in answers if answer.divergence is not None]
    positions = sum(answer.positions for answer in answers)
    return Response(owner, total, work.tokens[owner], (sum(nats), positions) if nats else None)


def _asked(work: Workload, wanted: Collection[int], off: Off | None) -> Asked:
    return Asked(frozenset(index for index, owner in enumerate(work.owners) if owner in wanted), off)


class TreeLM(HFLM):  # type: ignore[misc]
    """lm-eval's HFLM with prefix-tree scoring and generation in slots.

    engine: which path produces the numbers: "tree", or "hflm" where the model takes no tree. Left out, it
            is found out on a probe batch; adapters of one base are given the base's, so that both sides of
            a pair are scored the same way.
    budget: what a pass may hold; left out, it starts from the free memory.
    """

    def __init__(
        self, model: Any, tokenizer: Any, engine: str | None = None, budget: Budget | None = None
    ) -> None:
        with quiet_lm_eval():  # it warns about every pre-loaded model
            super().__init__(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=PLAIN_BATCH)
        self.budget = budget or budget_for(model)
        self.engine = engine or ("tree" if equals_plain(model, self.budget, self.max_length) else "hflm")

    def workload(self, requests: Sequence[Any]) -> Workload:
        """Requests made ready for `respond`, of this model and of every other with its tokenizer."""
        return workload(requests, self, self.budget.shape)

    def cost(self, work: Workload, wanted: Collection[int], off: Off | None = None) -> float:
        """The work that `respond` will report, but for what a shrinking budget changes."""
        generated = {prompt.index for block in self._blocks(work, wanted) for prompt, _ in block}
        texts = work.cost_of_texts(generated.union(wanted))
        if self.engine == "tree":
            return work.cost(*expected(work.forest, self.budget, _asked(work, wanted, off))) + texts
        return work.cost_of_plain(set(wanted).intersection(work.owners)) + texts

    def respond(
        self, work: Workload, wanted: Collection[int] | None = None, off: Off | None = None
    ) -> Iterator[Responses]:
        """Responses as they finish, in the engine's order; those of the `wanted` requests are among them.

        off: within it the model is the base that texts are held against. Raises RunFailed where nothing fits.
        """
        wanted = frozenset(range(len(work.requests)) if wanted is None else wanted)
        if self.engine == "tree":
            yield from self._scored(work, wanted, off)
        else:
            kinds = {k: work.requests[k].request_type for k in sorted(wanted)}
            yield from self._plainly(work, [k for k, kind in kinds.items() if kind != "generate_until"])
        yield from self._continued(work, wanted)

    def _scored(self, work: Workload, wanted: Collection[int], off: Off | None) -> Iterator[Responses]:
        parts: dict[int, list[Answer]] = {}
        windows = Counter(work.owners)
        for finished in score(Halves(self.model), work.forest, self.budget, _asked(work, wanted, off)):
            found = []
            for answer in finished.answers:
                owner = work.owners[answer.index]
                parts.setdefault(owner, []).append(answer)
                if len(parts[owner]) == windows[owner]:
                    found.append(_response(work, owner, parts.pop(owner)))
            yield Responses(tuple(found), work.cost(finished.nodes, finished.scored))

    def _plainly(self, work: Workload, indices: Sequence[int]) -> Iterator[Responses]:
        """HFLM's own loop, a few requests of one kind at a time."""
        kinds: dict[str, list[int]] = {}
        for k in indices:
            kinds.setdefault(work.requests[k].request_type, []).append(k)
        for kind, members in kinds.items():
            for start in range(0, len(members), REQUESTS_PER_CALL):
                some = members[start : start + REQUESTS_PER_CALL]
                pairs = zip(some, self._by_hflm(kind, [work.requests[k] for k in some]), strict=True)
                found = tuple(Response(k, answer, work.tokens[k]) for k, answer in pairs)
                continued = kind == "generate_until"
                yield Responses(found, (work.cost_of_texts if continued else work.cost_of_plain)(some))

    def _by_hflm(self, kind: str, requests: list[Any]) -> list[Any]:
        """With as many side by side as the memory holds, from then on too."""
        while True:
            try:
                with quiet_lm_eval():
                    return getattr(super(), kind)(requests, disable_tqdm=True)  # type: ignore[no-any-return]
            except torch.OutOfMemoryError as error:
                if self.batch_size == 1:
                    raise RunFailed(
                        f"not even one request fits into memory beside the model: {error}"
                    ) from error
            self.batch_size_per_gpu = int(self.batch_size) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _continued(self, work: Workload, wanted: Collection[int]) -> Iterator[Responses]:
        texts = {text.request: text for text in work.texts}
        if not texts.keys() & wanted:
            return
        yield from self._plainly(
            work, [k for k, text in texts.items() if k in wanted and not self._is_ours(text)]
        )
        end = self.model.generation_config.eos_token_id
        ends = frozenset(end if isinstance(end, list) else [] if end is None else [end])
        for batch in generate(Halves(self.model), self._blocks(work, wanted), self.budget, ends):
            found = [
                Response(
                    text.index,
                    self._shown(text.tokens, texts[text.index]),
                    work.tokens[text.index] + len(text.tokens),
                    truncated=text.truncated,
                )
                for text in batch
            ]
            yield Responses(tuple(found), sum(work.cost_of_text(texts[text.index]) for text in batch))

    def _is_ours(self, text: Continuation) -> bool:
        return self.engine == "tree" and text.is_plain and is_plain(self.model.generation_config)

    def _blocks(self, work: Workload, wanted: Collection[int]) -> list[Block]:
        prompts = [self._prompt(text) for text in work.texts if self._is_ours(text)]
        size = BLOCK.get(self.model.device.type, BLOCK["cpu"])
        return blocks(prompts, self.budget.shape, size, wanted)

    def _prompt(self, text: Continuation) -> Prompt:
        def is_over(tokens: list[int]) -> bool:
            # A stop string ends in what was added last, but may have begun some tokens before.
            tail = self.tok_decode(tokens[-longest:])
            return any(stop in tail for stop in stops)

        stops = [stop for stop in text.until if stop]
        longest = max((len(stop) for stop in stops), default=0) + 1
        sampling = sampling_of(text.options, self.model.generation_config)
        return Prompt(text.request, text.tokens, text.most, is_over, sampling, text.repeat)

    def _shown(self, tokens: list[int], text: Continuation) -> str:
        return postprocess_generated_text(self.tok_decode(tokens), list(text.until), self.think_end_token)  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def packed_otherwise(self) -> Iterator[None]:
        """Within it passes are of another shape, as they would be on another machine."""
        budget, batch = self.budget, self.batch_size
        shape = Shape(max(1, budget.shape.row // 3), budget.shape.longest)
        self.budget = replace(budget, nodes=max(FEWEST_NODES, budget.nodes // 3), shape=shape)
        self.batch_size_per_gpu = 1
        try:
            yield
        finally:
            self.budget, self.batch_size_per_gpu = budget, batch

    def answers(self, requests: Sequence[Any]) -> list[Any]:
        """Responses to requests of any kinds, in their order."""
        found: dict[int, Any] = {}
        for responses in self.respond(self.workload(requests)):
            found.update((response.request, response.value) for response in responses.found)
        return [found[k] for k in range(len(requests))]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return self.answers(requests)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        return self.answers(requests)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        return self.answers(requests)
