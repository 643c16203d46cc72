"""Hostile text made harmless: model output may hold control codes, bidi overrides, markup, CI commands."""

from __future__ import annotations

import re
import unicodedata

# Joiners shape ordinary words in many scripts and emoji, so they stay.
_ALLOWED = frozenset("\n\t\u200c\u200d")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# All that Markdown, GitHub (mentions, issues, maths) or a CI runner (`::error`) may act on. Left alone, for
# the sake of people who read the raw file: a colon before a space, an underscore inside a word.
_SPECIAL_IN_MARKDOWN = re.compile(r"[&<>|`*~\[\]\\#@${}]|:(?!\s|$)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LEADING = re.compile(r"^\s*(?:[-+=]|\d+[.)](?=\s))")
_AUTOLINK = re.compile(r"(?i)www\.")


def visible(text: str) -> str:
    """The text with every control, bidi and other invisible character shown as a visible sign.

    >>> visible("\\x1b[31mred")
    '⟨U+001B⟩[31mred'
    """
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in _ALLOWED or unicodedata.category(character) not in _INVISIBLE
        else f"⟨U+{ord(character):04X}⟩"
        for character in text
    )


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, and a note of how many are missing."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … [cut here: {len(text) - limit:,} more characters]"


def _reference(sign: re.Match[str]) -> str:
    """The last character of the match as a character reference: those never start markup."""
    return f"{sign[0][:-1]}&#{ord(sign[0][-1])};"


def markdown_text(text: str) -> str:
    """One line that no Markdown reader takes for markup, a table border, a link or a CI command."""
    escaped = _SPECIAL_IN_MARKDOWN.sub(_reference, visible(text))
    escaped = _AUTOLINK.sub(_reference, escaped)
    return _LEADING.sub(_reference, escaped.replace("\n", " ⏎ ").replace("\t", " ⇥ "))


def markdown_verbatim(text: str) -> str:
    """Text for a `<pre>` block, where Markdown is off: HTML is inert and no line starts a CI command."""
    escaped = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("::", "&#58;:").replace("##[", "&#35;#[")
