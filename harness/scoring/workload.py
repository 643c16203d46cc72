"""Requests as the engine runs them: tokenised as lm-eval does, in one forest, made once for all."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval import utils
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs

from harness.scoring.forest import Forest, Shape, plant
from harness.scoring.sampling import KNOWN
from harness.scoring.tree import IntArray, Scored

PARALLEL = "TOKENIZERS_PARALLELISM"


@dataclass(frozen=True)
class Continuation:
    """A request to generate: the prompt's tokens, the most new ones, stop strings, options of sampling."""

    request: int
    tokens: IntArray
    most: int
    until: tuple[str, ...]
    options: Mapping[str, Any]
    repeat: int

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked for that only `model.generate` can do."""
        return set(self.options) <= KNOWN


@dataclass(frozen=True)
class Workload:
    """owners: for each sequence of the forest the request that it belongs to (rolling ones have several).
    texts: requests to generate. tokens: how many a plain pass over each request would read."""

    requests: Sequence[Any]
    forest: Forest
    owners: Sequence[int]
    texts: tuple[Continuation, ...]
    tokens: Sequence[int]
    of_a_read: float

    def cost_of_plain(self, wanted: Collection[int]) -> float:
        """Of requests that run one by one, by their tokens; those to be generated are not among them."""
        return sum(self.cost(self.tokens[k], 0) for k in wanted)

    def cost_of_texts(self, wanted: Collection[int]) -> float:
        return sum(self.cost_of_text(text) for text in self.texts if text.request in wanted)

    def cost(self, nodes: int, scored: int) -> float:
        """Of running a node 1, of reading a position `of_a_read`."""
        return nodes + self.of_a_read * scored

    def cost_of_text(self, text: Continuation) -> float:
        """Of all tokens that a text may have: how many it has is known when it is over."""
        return len(text.tokens) + text.most * (1 + self.of_a_read)


def workload(requests: Sequence[Any], lm: Any, shape: Shape) -> Workload:
    """Tokens and trees of requests of all kinds. `lm`: an HFLM, for its tokenizer, lengths and rules."""
    pairs = [k for k, request in enumerate(requests) if request.request_type == "loglikelihood"]
    rolling = [k for k, request in enumerate(requests) if request.request_type == "loglikelihood_rolling"]
    asked = _pairs([requests[k].args for k in pairs], lm)
    owned = list(zip(pairs, asked, strict=True))
    for k, text in zip(rolling, _texts_encoded([requests[k].args[0] for k in rolling], lm), strict=True):
        owned += [(k, window) for window in _windows(text, lm)]
    longest, rolls = lm.max_length, set(rolling)
    sequences = [
        _scored(index, context, continuation, longest, k in rolls)
        for index, (k, (context, continuation)) in enumerate(owned)
    ]
    texts = _texts(requests, lm)
    tokens = np.zeros(len(requests), dtype=np.int64)
    for k, (context, continuation) in owned:
        tokens[k] += len(context) + len(continuation)
    for asked_text in texts:
        tokens[asked_text.request] += len(asked_text.tokens)
    return Workload(
        requests=requests,
        forest=plant(sequences, shape),
        owners=[k for k, _ in owned],
        texts=texts,
        tokens=tokens.tolist(),
        of_a_read=_of_a_read(lm.model),
    )


def _of_a_read(model: Any) -> float:
    """Operations of the head at a position over those of the decoder."""
    config = model.config.get_text_config()
    head = config.vocab_size * config.hidden_size
    embedding = model.get_input_embeddings().weight.numel()
    return float(head / max(1, model.num_parameters() - embedding))


def encoded(strings: Sequence[str], lm: Any, begins: str | None, otherwise: bool | None) -> list[list[int]]:
    """Tokens of many strings, each distinct one once.

    A string that starts with `begins` has its special tokens already; `otherwise` says whether the
    tokenizer adds them to the others (None: as it is set up).
    """
    by_flag: dict[bool | None, list[str]] = {}
    for string in dict.fromkeys(strings):
        flag = False if has_bos_prefix(string, begins) else otherwise
        by_flag.setdefault(flag, []).append(string)
    found: dict[str, list[int]] = {}
    for flag, members in by_flag.items():
        options = {} if flag is None else {"add_special_tokens": flag}
        with _on_all_cores():
            found.update(zip(members, lm.tokenizer(members, **options).input_ids, strict=True))
    return [found[string] for string in strings]


def _texts_encoded(strings: Sequence[str], lm: Any) -> list[list[int]]:
    """As lm-eval's `tok_encode` has contexts, continuations and texts."""
    return encoded(strings, lm, lm.tokenizer.decode(lm.prefix_token_id), lm.add_bos_token)


@contextlib.contextmanager
def _on_all_cores() -> Iterator[None]:
    """Tokenizers work in parallel; our command line tells them not to, to keep them quiet at forks."""
    before = os.environ.get(PARALLEL)
    os.environ[PARALLEL] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PARALLEL]
        else:
            os.environ[PARALLEL] = before


def _pairs(pairs: Sequence[tuple[str, str]], lm: Any) -> list[tuple[list[int], list[int]]]:
    """lm-eval's `_encode_pair`: the blanks that end a context belong to the continuation."""
    moved = []
    for context, continuation in pairs:
        kept = context.rstrip()
        # A context of nothing but blanks is moved as a whole, as lm-eval does.
        moved.append((kept, context[len(kept) :] + continuation))
    contexts = _texts_encoded([context for context, _ in moved], lm)
    wholes = _texts_encoded([context + continuation for context, continuation in moved], lm)
    alone = encoded([second for first, second in pairs if first == ""], lm, None, False)
    without = iter(alone)
    found = []
    for (context, _), before, whole in zip(pairs, contexts, wholes, strict=True):
        if context:
            found.append((before, whole[len(before) :]))
            continue
        tokens, prefix = next(without), lm.prefix_token_id
        found.append(([prefix], tokens) if tokens[:1] != [prefix] else (tokens[:1], tokens[1:]))
    return found


def _windows(tokens: list[int], lm: Any) -> list[tuple[list[int], list[int]]]:
    windows = utils.get_rolling_token_windows(
        token_list=tokens, prefix_token=lm.prefix_token_id, max_seq_len=lm.max_length, context_len=1
    )
    return [utils.make_disjoint_window(window) for window in windows]


def _scored(index: int, context: list[int], continuation: list[int], longest: int, is_text: bool) -> Scored:
    """As HFLM truncates: the last `longest` + 1 tokens, of which the last is only a target."""
    whole = np.array((context + continuation)[-(longest + 1) :], dtype=np.int64)
    targets = np.array(continuation, dtype=np.int64)
    return Scored(index, whole[:-1], targets[max(0, len(targets) - len(whole) + 1) :], is_text)


def _texts(requests: Sequence[Any], lm: Any) -> tuple[Continuation, ...]:
    generating = [k for k, request in enumerate(requests) if request.request_type == "generate_until"]
    end = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    # As lm-eval's `tok_batch_encode` has them, which asks the tokenizer itself how a text begins.
    prompts = [requests[k].args[0] for k in generating]
    tokens = encoded(prompts, lm, lm.tokenizer.bos_token, lm.add_bos_token)
    asked: Counter[tuple[str, str]] = Counter()
    found = []
    for k, prompt in zip(generating, tokens, strict=True):
        text, given = requests[k].args
        options = normalize_gen_kwargs(given, lm.max_gen_toks)
        until = handle_stop_sequences(options.pop("until", None), eos=end)
        most = options.pop("max_gen_toks")
        room = lm.max_length - most
        if room <= 0:
            raise ValueError(
                f"max_gen_toks = {most} leaves no room for a prompt in {lm.max_length} tokens of context"
            )
        found.append(
            Continuation(k, np.array(prompt[-room:]), most, tuple(until), options, asked[text, str(given)])
        )
        asked[text, str(given)] += 1
    return tuple(found)
