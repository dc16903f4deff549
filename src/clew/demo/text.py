"""Text as this service sees it: sentences, terms, and fingerprints of content."""

from __future__ import annotations

import hashlib
import re
from typing import Final

__all__ = ["content_terms", "fingerprint", "sentences", "squeeze", "terms"]

_WORD: Final = re.compile(r"[^\W_]+")
_SPACE: Final = re.compile(r"\s+")
_SENTENCE_END: Final = re.compile(r"[.!?…][\"'”’)\]]*(?P<gap>\s+)(?=[\"'“‘(\[`]*[^\W_a-zß-öø-ÿ])")
_ABBREVIATION: Final = re.compile(r"\b(?:(?i:e\.g|i\.e|etc|cf|vs|approx|fig|dr|mr|mrs|st)|[A-Z])\.$")
_SUFFIXES: Final = ("ings", "ing", "ies", "ed", "es", "s")

# What a question says without being about it.
_STOP_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        a about after all also an and any are as at be been before being but by can could did do does doing
        for from get gets given had has have how i if in into is it its itself make makes me my no not of
        off on one only or other our out over own same should so some such tell than that the their them
        then there these they this those through to too under until up us use used using very was we were
        what when where which while who whom why will with would you your
        """,
    )
)


def sentences(text: str) -> list[str]:
    r"""Cut a text into sentences; a line end always ends one.

    Example:
        >>> sentences("It ships, e.g. to PostgreSQL. Nothing is lost!\nA new line")
        ['It ships, e.g. to PostgreSQL.', 'Nothing is lost!', 'A new line']
    """
    return [sentence for line in text.split("\n") for sentence in _cut_line(line.strip())]


def terms(text: str) -> list[str]:
    """Return the words of a text in their order, lower-case, without common English endings.

    Example:
        >>> terms("The agent ships; agents shipped.")
        ['the', 'agent', 'ship', 'agent', 'shipp']
    """
    return [_stem(word) for word in _WORD.findall(text.lower())]


def content_terms(text: str) -> list[str]:
    """Return the terms that say what a text is about, each once, in their order.

    Example:
        >>> content_terms("How does the agent ship what the agent has read?")
        ['agent', 'ship', 'read']
    """
    words = (word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS)
    return list(dict.fromkeys(_stem(word) for word in words))


def squeeze(text: str) -> str:
    """Make every run of white space one space, and cut it off at both ends."""
    return _SPACE.sub(" ", text).strip()


def fingerprint(*parts: str | bytes, length: int = 16) -> str:
    """Return a stable id of some content: hex digits of its SHA-256.

    Args:
        parts: The content; where one part ends and the next begins matters.
        length: How many digits.

    Example:
        >>> fingerprint("ab", "c") == fingerprint("a", "bc")
        False
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:length]


def _cut_line(line: str) -> list[str]:
    found: list[str] = []
    begin = 0
    for match in _SENTENCE_END.finditer(line):
        end = match.start("gap")
        if not _ABBREVIATION.search(line, begin, end):
            found.append(line[begin:end])
            begin = match.end("gap")
    return [*found, line[begin:]] if line[begin:] else found


def _stem(word: str) -> str:
    """Cut a common ending off, so that "caches", "cached" and "cache" meet; a stem keeps three letters."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            word = word[: -len(suffix)] + ("y" if suffix == "ies" else "")
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word
