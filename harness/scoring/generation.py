"""Generation in slots: a short answer makes room for the next prompt, long ones are not waited for.

Greedy texts are those of `model.generate`. A sampled text depends on its prompt and on how often that
prompt was asked, not on what is generated beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from harness.scoring.budget import Budget
from harness.scoring.engine import padded, stem_cache
from harness.scoring.forest import Shape, plant
from harness.scoring.halves import Halves, StemCache, tree_masks
from harness.scoring.reading import to_device
from harness.scoring.sampling import Sampling, choose
from harness.scoring.slots import WIDTH_STEP, FillingCache, SlotCache
from harness.scoring.steps import Steps
from harness.scoring.tree import IntArray, Scored

# Steps between two looks at what was generated: a look waits for the GPU, and costs a CPU nothing.
STEPS_PER_LOOK = {"cpu": 1, "cuda": 8}
# Texts that are generated in one go, some times as many as there are slots: after a kill those of a block
# that was not finished are all generated again, because rounding depends on the company.
BLOCK = {"cpu": 256, "cuda": 2048}
# New prompts are read in company: once this share of the slots is free.
FREE_SHARE = 0.25
# … and moved into shorter slots where that gives this many times as many.
MORE_SLOTS = 1.5


@dataclass(frozen=True)
class Prompt:
    """What is continued. `is_over`: whether the tokens so far hold a stop string; `repeat`: how often the
    same prompt was asked before."""

    index: int
    tokens: IntArray
    most: int
    is_over: Callable[[list[int]], bool]
    sampling: Sampling | None = None
    repeat: int = 0

    @property
    def needs(self) -> int:
        return len(self.tokens) + self.most


@dataclass(frozen=True)
class Text:
    """A finished continuation: its tokens, up to and with the one that ended it.

    truncated: nothing ended it; it has as many tokens as it may have
    """

    index: int
    tokens: list[int]
    truncated: bool


@dataclass
class _Running:
    """A prompt in a slot."""

    prompt: Prompt
    generator: torch.Generator | None
    tokens: list[int] = field(default_factory=list)
    truncated: bool = False

    def take(self, token: int, ends: frozenset[int]) -> bool:
        """Add a token; whether the text is over with it."""
        self.tokens.append(token)
        over = token in ends or self.prompt.is_over(self.tokens)
        self.truncated = not over and len(self.tokens) >= self.prompt.most
        return over or self.truncated

    def text(self) -> Text:
        return Text(self.prompt.index, self.tokens, self.truncated)


Block = list[tuple[Prompt, IntArray]]


def blocks(prompts: Sequence[Prompt], shape: Shape, size: int, wanted: Collection[int]) -> list[Block]:
    """Prompts with their stems, in blocks of which something is wanted. What is in a block depends on all the
    prompts, not on what is wanted: numbers do not change with what an earlier run has done."""
    queue = _queue(prompts, shape)
    cut = [queue[max(0, end - size) : end] for end in range(len(queue), 0, -size)]
    return [block for block in cut if any(prompt.index in wanted for prompt, _ in block)]


def generate(
    halves: Halves, chosen: Sequence[Block], budget: Budget, ends: frozenset[int]
) -> Iterator[list[Text]]:
    """Continuations as they finish. `ends`: tokens that end a text. Raises RunFailed where no slot fits."""
    with halves.fused():
        for block in chosen:
            waiting = list(block)
            while waiting:
                try:
                    yield from _Generation(halves, budget, ends).run(waiting)
                except torch.OutOfMemoryError as error:
                    budget.shrink(error)


def _queue(prompts: Sequence[Prompt], shape: Shape) -> list[tuple[Prompt, IntArray]]:
    """Prompts with the stem that each continues, to be popped from the end: stem by stem, long ones first."""
    forest = plant([Scored(k, prompt.tokens, prompt.tokens[-1:]) for k, prompt in enumerate(prompts)], shape)
    by_stem = [
        sorted(
            ((prompts[each.index], grove.stem) for row in grove.rows for each in row.sequences),
            key=lambda pair: pair[0].needs,
        )
        for grove in forest.groves
    ]
    return [pair for pairs in sorted(by_stem, key=lambda pairs: pairs[-1][0].needs) for pair in pairs]


class _Generation:
    """Slots as long as the longest text needs. What runs when memory runs out goes back into the queue."""

    def __init__(self, halves: Halves, budget: Budget, ends: frozenset[int]) -> None:
        self.halves, self.budget, self.ends = halves, budget, ends
        self.look = STEPS_PER_LOOK.get(halves.device.type, 1)
        self.running: list[_Running] = []
        self.stem: tuple[bytes, StemCache | None] = (b"", None)

    @torch.inference_mode()
    def run(self, waiting: list[tuple[Prompt, IntArray]]) -> Iterator[list[Text]]:
        steps = Steps(self.halves, SlotCache(*self._size(waiting)))
        taken: list[tuple[Prompt, IntArray]] = []
        try:
            while waiting or self.running:
                slots = steps.cache.slots
                free = slots - len(self.running)
                if waiting and (not self.running or free >= FREE_SHARE * slots):
                    more, capacity = self._size(waiting)
                    if more >= MORE_SLOTS * slots:
                        steps.resize(more, capacity)
                        free = steps.cache.slots - len(self.running)
                    taken = self._take(waiting, free)
                    finished = self._fill(steps, taken)
                    taken = []
                else:
                    finished = self._advance(steps)
                if finished:
                    yield finished
        except torch.OutOfMemoryError:
            nothing = np.empty(0, dtype=np.int64)
            again = {prompt.index for prompt, _ in taken}  # some may stand among the running already
            running = [each.prompt for each in self.running if each.prompt.index not in again]
            waiting += [*reversed(taken), *((prompt, nothing) for prompt in running)]
            self.running = []
            raise

    def _size(self, waiting: Sequence[tuple[Prompt, IntArray]]) -> tuple[int, int]:
        """How many slots, and of what capacity: more of them once the long texts are done."""
        texts = [*(prompt for prompt, _ in waiting), *(each.prompt for each in self.running)]
        longest = max(prompt.needs for prompt in texts) + self.look
        capacity = -(-longest // WIDTH_STEP) * WIDTH_STEP
        return max(len(self.running), min(len(texts), self.budget.slots(capacity))), capacity

    def _take(self, waiting: list[tuple[Prompt, IntArray]], free: int) -> list[tuple[Prompt, IntArray]]:
        """The next prompts of one stem that fill the free slots and fit into a pass."""
        taken = [waiting.pop()]
        stem = taken[0][1]
        longest = len(taken[0][0].tokens) - len(stem)
        while waiting and len(taken) < free and np.array_equal(waiting[-1][1], stem):
            longest = max(longest, len(waiting[-1][0].tokens) - len(stem))
            if (len(taken) + 1) * longest > self.budget.nodes:
                break
            taken.append(waiting.pop())
        return taken

    def _fill(self, steps: Steps, taken: Sequence[tuple[Prompt, IntArray]]) -> list[Text]:
        """Read prompts into the slots after the running ones, and choose their first tokens."""
        prompts, stem = [prompt for prompt, _ in taken], self._stem_of(taken[0][1])
        below = 0 if stem is None else stem.length
        rows = [prompt.tokens[below:] for prompt in prompts]
        lengths = [len(row) for row in rows]
        first = len(self.running)
        slots = list(range(first, first + len(prompts)))
        cache = FillingCache(steps.cache, slots, lengths, stem)
        device = self.halves.device
        tokens = to_device(padded(rows, max(lengths), 0), device)
        if stem is None:
            hidden = self.halves.hidden(tokens, past_key_values=cache)
        else:
            depths = torch.arange(below, below + max(lengths), device=device).expand(len(rows), -1)
            ends = torch.full_like(depths, max(lengths))
            masks = tree_masks(self.halves, depths, ends, stem)
            hidden = self.halves.hidden(
                tokens, attention_mask=masks, position_ids=depths, past_key_values=cache
            )
        last = hidden[torch.arange(len(rows), device=device), torch.tensor(lengths, device=device) - 1]
        logits = self.halves.logits(last, 0, self.halves.vocabulary)
        running = [_Running(prompt, _generator(prompt, device)) for prompt in prompts]
        chosen = choose(logits, [(each.prompt.sampling, each.generator) for each in running])
        self.running += running
        steps.begin(first, chosen, [below + length for length in lengths])
        return self._look(steps, [[token] for token in chosen.tolist()], first)

    def _stem_of(self, tokens: IntArray) -> StemCache | None:
        if tokens.tobytes() != self.stem[0]:
            self.stem = (tokens.tobytes(), stem_cache(self.halves, tokens, self.budget))
        return self.stem[1]

    def _advance(self, steps: Steps) -> list[Text]:
        ways = [(each.prompt.sampling, each.generator) for each in self.running]
        chosen = [steps.step(ways) for _ in range(self.look)]
        return self._look(steps, torch.stack(chosen, dim=1).tolist(), 0)

    def _look(self, steps: Steps, tokens: Sequence[Sequence[int]], first: int) -> list[Text]:
        """Take the tokens of the slots from `first` on; texts that are over leave, the last ones move up."""
        over = [
            first + place
            for place, new in enumerate(tokens)
            if any(self.running[first + place].take(token, self.ends) for token in new)
        ]
        finished = [self.running[slot].text() for slot in over]
        for slot in reversed(over):
            last = len(self.running) - 1
            if slot != last:
                steps.move(last, slot)
                self.running[slot] = self.running[last]
            self.running.pop()
        steps.rows = len(self.running)
        return finished


def _generator(prompt: Prompt, device: torch.device) -> torch.Generator | None:
    """Seeded by the prompt itself, so that its text is the same in any company and after a kill."""
    if prompt.sampling is None:
        return None
    digest = hashlib.sha256(prompt.tokens.tobytes() + prompt.repeat.to_bytes(8, "big")).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
