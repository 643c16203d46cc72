"""The scoring engine behind lm-eval's `LM` interface.

The rules are lm-eval's own HFLM's: tokenisation of context and continuation, truncation, rolling
windows, stop strings. The passes are ours (engine.py, generation.py); a model that they do not fit
is left to HFLM's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import postprocess_generated_text

from harness.models.quiet import quiet_lm_eval
from harness.scoring.budget import Budget, budget_for
from harness.scoring.engine import score
from harness.scoring.generation import Prompt, generate
from harness.scoring.halves import Halves
from harness.scoring.sampling import is_plain, sampling_of
from harness.scoring.selfcheck import equals_plain
from harness.scoring.workload import Continuation, Workload, workload

# Where HFLM's own loop is used.
PLAIN_BATCH = 32
REQUESTS_PER_CALL = 64


@dataclass(frozen=True)
class Responses:
    """Finished requests of one pass: (index, response). `work`: the share of the workload's cost it was."""

    found: tuple[tuple[int, Any], ...]
    work: float


class TreeLM(HFLM):  # type: ignore[misc]
    """lm-eval's HFLM with prefix-tree scoring and generation in slots.

    engine: which path produces the numbers: "tree", or "hflm" where the model takes no tree. Left out, it
            is found out on a probe batch; adapters of one base are given the base's, so that both sides of
            a pair are scored the same way.
    budget: what a pass may hold; left out, it starts from the free memory.
    tokens: what was read and written so far, as a plain pass over every request would read it.
    """

    def __init__(
        self, model: Any, tokenizer: Any, engine: str | None = None, budget: Budget | None = None
    ) -> None:
        self.tokens = 0
        with quiet_lm_eval():  # it warns about every pre-loaded model
            super().__init__(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=PLAIN_BATCH)
        self.budget = budget or budget_for(model)
        self.engine = engine or ("tree" if equals_plain(model, self.budget, self.max_length) else "hflm")

    def workload(self, requests: Sequence[Any]) -> Workload:
        """Requests made ready for `respond`, of this model and of every other with its tokenizer."""
        return workload(requests, self, self.budget.shape)

    def respond(self, work: Workload) -> Iterator[Responses]:
        """Responses as they finish, in the engine's order. Raises RunFailed where nothing fits."""
        self.tokens += work.tokens
        if self.engine == "tree":
            yield from self._scored(work)
        else:
            scoring = [k for k, each in enumerate(work.requests) if each.request_type != "generate_until"]
            yield from self._plainly(work, scoring)
        yield from self._continued(work)

    def _scored(self, work: Workload) -> Iterator[Responses]:
        parts: dict[int, list[Any]] = {}
        wanted: dict[int, int] = {}
        for owner in work.owners:
            wanted[owner] = wanted.get(owner, 0) + 1
        for finished in score(Halves(self.model), work.forest, self.budget):
            found = []
            for answer in finished.answers:
                owner = work.owners[answer.index]
                parts.setdefault(owner, []).append(answer)
                if len(parts[owner]) == wanted[owner]:
                    answers = parts.pop(owner)
                    total = sum(answer.loglikelihood for answer in answers)
                    rolls = work.requests[owner].request_type == "loglikelihood_rolling"
                    found.append((owner, total if rolls else (total, answers[0].greedy)))
            yield Responses(tuple(found), work.cost(finished.nodes, finished.scored))

    def _plainly(self, work: Workload, indices: Sequence[int]) -> Iterator[Responses]:
        """HFLM's own loop, a few requests of one kind at a time."""
        kinds: dict[str, list[int]] = {}
        for k in indices:
            kinds.setdefault(work.requests[k].request_type, []).append(k)
        for kind, members in kinds.items():
            for start in range(0, len(members), REQUESTS_PER_CALL):
                some = members[start : start + REQUESTS_PER_CALL]
                with quiet_lm_eval():
                    answers = getattr(super(), kind)([work.requests[k] for k in some], disable_tqdm=True)
                yield Responses(tuple(zip(some, answers, strict=True)), work.share(len(some)))

    def _continued(self, work: Workload) -> Iterator[Responses]:
        config = self.model.generation_config
        ours = self.engine == "tree" and is_plain(config)
        plain = [text.request for text in work.texts if not (ours and text.is_plain)]
        yield from self._plainly(work, plain)
        texts = {text.request: text for text in work.texts if ours and text.is_plain}
        prompts = [self._prompt(text) for text in texts.values()]
        end = config.eos_token_id
        ends = frozenset(end if isinstance(end, list) else [] if end is None else [end])
        for batch in generate(Halves(self.model), prompts, self.budget, ends):
            self.tokens += sum(len(text.tokens) for text in batch)
            found = tuple((text.index, self._shown(text.tokens, texts[text.index])) for text in batch)
            yield Responses(found, sum(work.cost_of_text(texts[text.index]) for text in batch))

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

    def _all(self, requests: Sequence[Any]) -> list[Any]:
        found: dict[int, Any] = {}
        for responses in self.respond(self.workload(requests)):
            found.update(responses.found)
        return [found[k] for k in range(len(requests))]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return self._all(requests)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        return self._all(requests)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        return self._all(requests)
