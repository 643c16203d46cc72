"""Is an item of a suite in the training rows? By shared n-grams of words (statistics.md, section 5).

Texts are lowercased, lose their punctuation and are split at white space. Paraphrases, translations and
what the base saw in its own pretraining are not found. The thresholds are a choice of this project after
published rules (GPT-3: a shared 13-gram; PaLM: 70 % of the 8-grams).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field

Words = tuple[str, ...]

LONG, MEDIUM, SHORT = 13, 8, 5
MOST_COVERED = 0.7
MOST_SIMILAR = 0.5
_PUNCTUATION = re.compile(r"[^\w\s]|_")


@dataclass(frozen=True)
class Finding:
    """One item that is in the training rows, by its place among the items, and the row that says so most.

    reason: which rule it broke, for a sentence that starts with "item … shares"
    """

    item: int
    row: int
    reason: str


def words_of(text: str) -> Words:
    return tuple(_PUNCTUATION.sub("", text.lower()).split())


def ngrams(words: Words, n: int) -> set[int]:
    """Hashes of all runs of n words; they are good for this process only."""
    return set(map(hash, _runs(words, n)))


def containment(item: Words, rows: Iterable[Words], n: int) -> float:
    """Share of the item's distinct n-grams that stand in the rows; 0 where it has none."""
    own = ngrams(item, n)
    return len(own & _seen(rows, n)) / len(own) if own else 0.0


def coverage(item: Words, rows: Iterable[Words], n: int) -> float:
    """Share of the item's words that lie in an n-gram that stands in the rows."""
    return _covered(item, _seen(rows, n), n)


def jaccard(one: Words, other: Words, n: int) -> float:
    """Shared n-grams over all n-grams of two texts; 0 where there are none."""
    return _similarity(ngrams(one, n), ngrams(other, n))


def longest_match(item: Words, row: Words) -> int:
    """Words of the longest run that both have."""
    longest, ending = 0, [0] * (len(row) + 1)
    for word in item:
        before = ending
        ending = [0] * (len(row) + 1)
        for place, other in enumerate(row):
            if word == other:
                ending[place + 1] = before[place] + 1
        longest = max(longest, *ending)
    return longest


def contaminated(items: Sequence[str], rows: Iterable[str]) -> tuple[Finding, ...]:
    """The items that are in the training rows.

    One is if it shares a 13-gram with a row, if 70 % of its words lie in 8-grams of the rows, if its 5-grams
    and those of one row have a Jaccard similarity of 0.5, or, below 13 words, if a row has its whole text.
    """
    index = _Index([words_of(text) for text in items])
    for number, row in enumerate(rows):
        index.look_through(words_of(row), number)
    found = (index.finding(place) for place in range(len(items)))
    return tuple(finding for finding in found if finding is not None)


@dataclass
class _Index:
    """The items' n-grams, and where rows were seen to have them: items are few, rows are many."""

    items: list[Words]
    seen: dict[int, dict[int, int]] = field(default_factory=lambda: {MEDIUM: {}, LONG: {}})
    similar: dict[int, tuple[float, int]] = field(default_factory=dict)
    whole: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = {n: _seen(self.items, n) for n in (SHORT, MEDIUM, LONG)}
        self.short = [ngrams(item, SHORT) for item in self.items]
        self.telling = _telling(self.short)
        self.brief: dict[str, dict[Words, list[int]]] = defaultdict(dict)
        for place, item in enumerate(self.items):
            if 0 < len(item) < LONG:
                self.brief[item[0]].setdefault(item, []).append(place)
        self.lengths = {first: sorted(set(map(len, items))) for first, items in self.brief.items()}

    def look_through(self, row: Words, number: int) -> None:
        self._look_for_whole_items(row, number)
        own = ngrams(row, SHORT)
        for place in {place for gram in own & self.telling.keys() for place in self.telling[gram]}:
            similarity = _similarity(self.short[place], own)
            if similarity > self.similar.get(place, (0.0, 0))[0]:
                self.similar[place] = similarity, number
        # A longer run needs the shorter one in it, which most rows do not have.
        if own.isdisjoint(self.known[SHORT]):
            return
        for n in (MEDIUM, LONG):
            shared = ngrams(row, n) & self.known[n]
            if not shared:
                return
            for gram in shared:
                self.seen[n].setdefault(gram, number)

    def _look_for_whole_items(self, row: Words, number: int) -> None:
        for start, word in enumerate(row):
            for length in self.lengths.get(word, ()):
                for place in self.brief[word].get(row[start : start + length], ()):
                    self.whole.setdefault(place, number)

    def finding(self, place: int) -> Finding | None:
        item = self.items[place]
        if place in self.whole:
            return Finding(place, self.whole[place], "its whole text")
        long, medium = self.seen[LONG], self.seen[MEDIUM]
        shared = [long[gram] for gram in map(hash, _runs(item, LONG)) if gram in long]
        if shared:
            return Finding(place, _most_often(shared), f"{LONG} words in a row")
        covered = _covered(item, medium.keys(), MEDIUM)
        if covered >= MOST_COVERED:
            rows = [medium[gram] for gram in map(hash, _runs(item, MEDIUM)) if gram in medium]
            return Finding(place, _most_often(rows), f"{covered:.0%} of its words in runs of {MEDIUM}")
        similarity, row = self.similar.get(place, (0.0, 0))
        if similarity >= MOST_SIMILAR:
            return Finding(place, row, f"{similarity:.0%} of the {SHORT}-word runs of both")
        return None


def _telling(items: Sequence[set[int]]) -> dict[int, list[int]]:
    """n-gram → items, of every item the rarer half and one more.

    A row that shares half of an item's n-grams shares one of these, and what all items have in common
    does not make every row a candidate for every item.
    """
    counts = Counter(gram for grams in items for gram in grams)
    telling: dict[int, list[int]] = defaultdict(list)
    for place, grams in enumerate(items):
        rarest = sorted(grams, key=lambda gram: (counts[gram], gram))
        for gram in rarest[: len(grams) // 2 + 1]:
            telling[gram].append(place)
    return telling


def _runs(words: Words, n: int) -> Iterable[Words]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _seen(rows: Iterable[Words], n: int) -> set[int]:
    return set().union(*(ngrams(row, n) for row in rows))


def _covered(item: Words, seen: Set[int], n: int) -> float:
    within = [False] * len(item)
    for start, gram in enumerate(map(hash, _runs(item, n))):
        if gram in seen:
            within[start : start + n] = [True] * n
    return sum(within) / len(item) if item else 0.0


def _similarity(one: set[int], other: set[int]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if shared else 0.0


def _most_often(rows: Sequence[int]) -> int:
    return Counter(rows).most_common(1)[0][0]
