"""Rows about ICD-10-CM, read from the package simple-icd-10-cm (NCHS and CMS, public domain).

Every row belongs to one three-character category. Each chapter's categories are divided into
test, validation and training by hash, so the splits share no category and every chapter is in
all three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, zip_longest

from suites.sampling import shuffled

Row = dict[str, str]

# One short word a chapter, in the order of the classification. A summed log-likelihood favours
# short labels, so all are single tokens of the Gemma tokenizer except "neoplasm" (two).
# Chapter 22 (codes for special purposes) holds no diagnoses of its own kind and is left out.
LABELS = (
    "infection", "neoplasm", "blood", "endocrine", "mental", "nervous", "eye", "ear",
    "circulatory", "respiratory", "digestive", "skin", "musculoskeletal", "urinary", "pregnancy",
    "perinatal", "congenital", "symptom", "injury", "external", "encounter",
)  # fmt: skip

CHAPTER_PROMPT = "Diagnosis: {title}\nBody system or chapter:"
INCLUSION_PROMPT = "Clinical term: {term}\nOfficial ICD-10-CM title:"
TEXT_HEADING = "ICD-10-CM category {category}: {title}\n"

TEST_SHARE, TEST_CAP = 0.32, 22
VALIDATION_SHARE, VALIDATION_CAP = 0.09, 6
# Collisions of vehicles alone would be a seventh of the training rows.
LABEL_CAP = 90
TITLE_WORDS = range(1, 13)
TEXT_WORDS = range(35, 90)


@dataclass(frozen=True)
class Category:
    """A three-character category: its label, its split and the codes below it."""

    code: str
    title: str
    label: str
    split: str
    codes: tuple[str, ...]


@cache
def categories() -> tuple[Category, ...]:
    """All categories of the labelled chapters, in the order of the classification."""
    # Slow to import: the package parses the whole classification.
    import simple_icd_10_cm as icd

    found = []
    for number, label in enumerate(LABELS, start=1):
        # A block of one category has that category's code, so the code comes twice.
        below = dict.fromkeys(icd.get_descendants(str(number)))
        members = [code for code in below if icd.is_category(code)]
        splits = _splits(members)
        for code in members:
            codes = (code, *(c for c in icd.get_descendants(code) if not icd.is_extended_subcategory(c)))
            found.append(Category(code, icd.get_description(code), label, splits[code], codes))
    return tuple(found)


def _splits(members: list[str]) -> dict[str, str]:
    """The split of each category of one chapter: shares with a cap, in the order of their hashes."""
    test = min(round(TEST_SHARE * len(members)), TEST_CAP)
    validation = min(round(VALIDATION_SHARE * len(members)), VALIDATION_CAP)
    names = ["test"] * test + ["validation"] * validation
    names += ["train"] * (len(members) - len(names))
    return dict(zip(shuffled(members, "category"), names, strict=True))


def _of(split: str) -> list[Category]:
    return [category for category in categories() if category.split == split]


def _is_short(text: str) -> bool:
    return len(text.split()) in TITLE_WORDS


# --- chapter: a diagnosis title and the chapter that it stands in ---------------------------


def _chapter_rows(category: Category, limit: int) -> list[Row]:
    """Up to `limit` titles of the category, chosen by hash; titles that are in it twice count once."""
    import simple_icd_10_cm as icd

    titles = {icd.get_description(code): code for code in reversed(category.codes)}
    chosen = shuffled(filter(_is_short, titles), "title")[:limit]
    return [
        {"id": titles[title], "title": title, "label": category.label, "category": category.code}
        for title in chosen
    ]


def _one_title_each(split: str) -> list[Row]:
    rows = chain.from_iterable(_chapter_rows(category, 1) for category in _of(split))
    return shuffled(rows, "chapter", key=lambda row: row["title"])


def chapter_test() -> list[Row]:
    """One diagnosis title of every test category, shuffled by hash: the first N of them are a fair sample."""
    return _one_title_each("test")


def chapter_validation() -> list[Row]:
    """One diagnosis title of every validation category."""
    return _one_title_each("validation")


# --- inclusion: a term as clinicians write it and the official title ------------------------


def _inclusion_rows(category: Category, limit: int) -> list[Row]:
    """Up to `limit` inclusion terms of the category; only terms that differ from the title."""
    import simple_icd_10_cm as icd

    rows: dict[str, Row] = {}
    for code in category.codes:
        title = icd.get_description(code)
        for term in icd.get_inclusion_term(code):
            if _is_short(term) and _is_short(title) and term.lower() != title.lower():
                rows.setdefault(term, {"id": code, "term": term, "title": title, "category": category.code})
    return shuffled(rows.values(), "term", key=lambda row: row["term"])[:limit]


def _one_term_each(split: str, limit: int) -> list[Row]:
    rows = chain.from_iterable(_inclusion_rows(category, 1) for category in _of(split))
    return shuffled(rows, "inclusion", key=lambda row: row["term"])[:limit]


def inclusion_test() -> list[Row]:
    """One inclusion term from each of 64 test categories."""
    return _one_term_each("test", 64)


def inclusion_validation() -> list[Row]:
    """One inclusion term from each of 40 validation categories."""
    return _one_term_each("validation", 40)


# --- text: a category as a page of the classification ---------------------------------------


def _page(category: Category, exclusions: bool = True) -> tuple[str, str]:
    """The heading and the body of a category's page, cut at the end of a line."""
    import simple_icd_10_cm as icd

    lines = [f"Includes: {term}." for term in icd.get_includes(category.code)]
    if exclusions:
        excluded = icd.get_excludes1(category.code) + icd.get_excludes2(category.code)
        lines += [f"Excludes: {term}." for term in excluded]
    for code in category.codes[1:]:
        terms = "; ".join(icd.get_inclusion_term(code))
        title = icd.get_description(code)
        lines.append(f"{code} {title}. Also: {terms}." if terms else f"{code} {title}.")
    heading = TEXT_HEADING.format(category=category.code, title=category.title)
    return heading, "\n".join(_within(lines, TEXT_WORDS.stop - len(heading.split())))


def _within(lines: list[str], words: int) -> Iterator[str]:
    """The first lines, as many as have fewer words than `words` together."""
    for line in lines:
        words -= len(line.split())
        if words <= 0:
            return
        yield line


def _text_rows(split: str, limit: int) -> Iterator[Row]:
    pages = [(category.code, "".join(_page(category))) for category in _of(split)]
    long_enough = [page for page in pages if len(page[1].split()) in TEXT_WORDS]
    for code, text in shuffled(long_enough, "text")[:limit]:
        yield {"id": code, "text": text, "category": code}


def text_test() -> Iterator[Row]:
    """14 pages, each of another test category."""
    return _text_rows("test", 14)


def text_validation() -> Iterator[Row]:
    """10 pages, each of another validation category."""
    return _text_rows("validation", 10)


# --- training: the same prompts as in the evaluation, from other categories -----------------


def _training_text(category: Category) -> Iterator[Row]:
    # No exclusions here: they name diagnoses of other categories, test categories among them.
    heading, body = _page(category, exclusions=False)
    start = list(_within(body.splitlines(), 20))
    if len(start) > 1:
        yield {"prompt": heading, "completion": "\n".join(start)}


def _pairs(split: str, titles: int, terms: int, pages: int) -> list[Row]:
    """Prompt and completion for the split; every kind and every category comes early."""
    chapter = [
        {"prompt": CHAPTER_PROMPT.format(title=row["title"]), "completion": " " + row["label"]}
        for label in LABELS
        for row in islice(
            _spread([_chapter_rows(c, titles) for c in _of(split) if c.label == label]), LABEL_CAP
        )
    ]
    inclusion = [
        {"prompt": INCLUSION_PROMPT.format(term=row["term"]), "completion": " " + row["title"]}
        for row in _spread([_inclusion_rows(category, 3) for category in _of(split)])
    ]
    text = shuffled(chain.from_iterable(map(_training_text, _of(split))), "page")
    return shuffled(chapter + inclusion[:terms] + text[:pages], "training")


def _spread(groups: list[list[Row]]) -> Iterator[Row]:
    """The first row of every group, then the second of every group, and so on."""
    rows = chain.from_iterable(zip_longest(*groups))
    return (row for row in rows if row is not None)


def training_rows() -> list[Row]:
    """About 2,400 pairs, shuffled by hash: the first N of them are a fair sample."""
    return _pairs("train", titles=3, terms=550, pages=100)


def validation_rows() -> list[Row]:
    """About 150 pairs of validation categories, for the loss during training."""
    return _pairs("validation", titles=1, terms=40, pages=8)
