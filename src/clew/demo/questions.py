"""What the demo's users ask: about the documents, some of it again, and some that nothing answers."""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from clew.demo.ingestion.parse import HEADING_SEPARATOR, UnreadableError, UnsupportedError, choose_parser
from clew.demo.text import sentences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.demo.corpus import Document

__all__ = ["UNANSWERABLE", "USERS", "CorpusQuestion", "known_questions", "plan"]

USERS: Final = ("ann", "bob", "chandra", "dana")

_ASKED: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "clew-words.md": (
        ("What is a clew?", "What does the word clew mean?"),
        ("When is a segment of the spool deleted?", "When does a spool segment get deleted?"),
        ("How often is the spool flushed to the disk?", "How often is the spool flushed to disk?"),
    ),
    "clew-questions.html": (
        ("Which port does the server listen at?", "What port is the server listening on?"),
        ("Where does clew keep its data?", "Where is the data of clew kept?"),
        ("What happens when the store is down?", "What happens when the store is down?"),
    ),
    "clew-decisions.pdf": (
        ("How does the agent close the spans of a dead process?", "How does the agent close a dead process's spans?"),
        ("How are the ids of events made?", "How are event ids made?"),
        ("Is there a lock on the path of an append?", "Is there a lock on an append's path?"),
    ),
    "httpx-README.md": (("Does HTTPX support HTTP/2?", "Is HTTP/2 supported by HTTPX?"),),
    "uvicorn-README.md": (("What does uvicorn[standard] install?", "What is installed by uvicorn[standard]?"),),
    "starlette-README.md": (("What does Starlette depend on?", "What are the dependencies of Starlette?"),),
    "msgspec-README.md": (("How fast does msgspec decode JSON?", "How fast is JSON decoding with msgspec?"),),
    "anyio-README.rst": (("On top of which event loops does AnyIO work?", "Which event loops does AnyIO work on?"),),
}
"""Questions to the default documents, each with another way to ask it."""

UNANSWERABLE: Final = (
    "What is the boiling point of tungsten?",
    "Who won the chess olympiad in 1998?",
    "How long does sourdough bread have to bake?",
    "What is the capital of Peru?",
)
"""Questions that no document of the demo answers."""

MAX_HEADINGS = 3  # of one document, to ask about
MIN_HEADING_WORDS = 2
MAX_QUOTED_CHARS = 120


class CorpusQuestion(Struct, frozen=True):
    """A question to ask.

    Attributes:
        text: The question.
        purpose: What it is to show: ``"new"``, ``"again"`` (the cache), or ``"unanswerable"``.
    """

    text: str
    purpose: Literal["new", "again", "unanswerable"]


def plan(documents: Sequence[Document], count: int) -> list[CorpusQuestion]:
    """Plan what is asked.

    Args:
        documents: What was brought in.
        count: How many questions, at least 1.

    Returns:
        The questions in the order in which they are to be asked: about half of them new, three in ten
        of those again, in other words where there are any, and one in five that nothing answers.
    """
    known = known_questions(documents)
    unanswerable = round(count * 0.2) if count >= 3 else 0
    again = round(count * 0.3) if count >= 2 else 0
    new = min(count - unanswerable - again, len(known))
    again = count - unanswerable - new
    return [
        *(CorpusQuestion(asked, "new") for asked, _ in known[:new]),
        *(CorpusQuestion(asked, "unanswerable") for asked in islice(cycle(UNANSWERABLE), unanswerable)),
        *(CorpusQuestion(other, "again") for _, other in islice(cycle(known[:new]), again)),
    ]


def known_questions(documents: Sequence[Document]) -> list[tuple[str, str]]:
    """Return questions about documents, each with another way to ask it; at least one."""
    known = _interleave([list(_about(document)) for document in documents])
    return known or [("What are these documents about?", "What are these documents about?")]


def _about(document: Document) -> Sequence[tuple[str, str]]:
    """Return questions about a document, each with another way to ask it."""
    if document.name in _ASKED:
        return _ASKED[document.name]
    try:
        parsed = choose_parser(document.name, document.content_type, document.data).parse(document.data)
    except (UnreadableError, UnsupportedError):
        return ()
    headings = dict.fromkeys(block.heading.rpartition(HEADING_SEPARATOR)[2] for block in parsed.blocks)
    topics = [heading for heading in headings if len(heading.split()) >= MIN_HEADING_WORDS][:MAX_HEADINGS]
    if not topics:
        first = next((text for block in parsed.blocks if not block.is_code for text in sentences(block.text)), "")
        topics = [first.rstrip(".!?")[:MAX_QUOTED_CHARS]] if first else []
    return [(f"What is said about: {topic}?", f"What is said about {topic}?") for topic in topics]


def _interleave(lists: list[list[tuple[str, str]]]) -> list[tuple[str, str]]:
    """Take the first of each list, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [found[place] for place in range(longest) for found in lists if place < len(found)]
