"""Who asks what of the demo, without an end: users with sessions, some questions that come often, and always new ones.

About a third of the questions are asked often, in one of two wordings, and are answered from the cache after the first
time; few are answered by no document; all others join words of two passages and are hardly ever asked twice. So the
cache serves some, the model most, and both go on for as long as anybody asks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from clew.demo.ingestion.parse import UnreadableError, UnsupportedError, choose_parser
from clew.demo.questions import UNANSWERABLE, known_questions
from clew.demo.text import content_terms, sentences

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from clew.demo.corpus import Document

__all__ = ["VISITORS", "Visit", "visits"]

VISITORS: Final = ("ann", "bob", "chandra", "dana", "emre", "fatou", "grace", "hiro", "inga", "jan", "kofi", "lena")

OFTEN: Final = 0.32  # of the questions; the cache then serves some 30 %
UNANSWERED: Final = 0.04
MAX_OFTEN: Final = 8
NEW_SESSION: Final = 0.15
MIN_SENTENCE_TERMS: Final = 4
WORDS: Final = 2  # of a passage, in a new question
MIN_WORD_CHARS: Final = 4
_WORD: Final = re.compile(r"[^\W\d_][\w-]*")
_NEW: Final = (
    "What do {one} and {other} have to do with each other?",
    "How does {one} go together with {other}?",
    "Which part does {one} play for {other}?",
    "What is said about {one}, and what about {other}?",
)


class Visit(NamedTuple):
    """One question of one user.

    Attributes:
        user: Who asks.
        session_id: The session.
        question: The question.
    """

    user: str
    session_id: str
    question: str


def visits(documents: Sequence[Document], random: Random) -> Iterator[Visit]:
    """Make up visits, as many as are wanted.

    Args:
        documents: What the questions are about.
        random: Source of randomness.
    """
    often = known_questions(documents)[:MAX_OFTEN]
    passages = [words for document in documents for words in _words_of(document)]
    sessions = dict.fromkeys(VISITORS, 1)
    while True:
        user = random.choice(VISITORS)
        if random.random() < NEW_SESSION:
            sessions[user] += 1
        yield Visit(user, f"session-{user}-{sessions[user]}", _question(often, passages, random))


def _question(often: Sequence[tuple[str, str]], passages: Sequence[list[str]], random: Random) -> str:
    drawn = random.random()
    if drawn < UNANSWERED:
        return random.choice(UNANSWERABLE)
    if drawn < UNANSWERED + OFTEN or not passages:
        return random.choice(random.choice(often))
    one, other = (" ".join(_some(random.choice(passages), random)) for _ in range(2))
    return random.choice(_NEW).format(one=one, other=other)


def _some(words: list[str], random: Random) -> list[str]:
    """Choose some words, in the order of their text."""
    chosen = sorted(random.sample(range(len(words)), min(WORDS, len(words))))
    return [words[place] for place in chosen]


def _words_of(document: Document) -> Iterator[list[str]]:
    """Return what each sentence of a document is about."""
    try:
        parsed = choose_parser(document.name, document.content_type, document.data).parse(document.data)
    except (UnreadableError, UnsupportedError):
        return
    for block in parsed.blocks:
        for sentence in () if block.is_code else sentences(block.text):
            words = [word for word in _WORD.findall(sentence) if len(word) >= MIN_WORD_CHARS and content_terms(word)]
            if len(words) >= MIN_SENTENCE_TERMS:
                yield list(dict.fromkeys(words))
