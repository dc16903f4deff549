"""Ordinary events: texts that differ from call to call, ids, floats with all their digits.

A benchmark that repeats one event measures caches: an event with five unrounded scores cost fourteen times what
the repeated one did (commit 97dae33), and the published tables did not show it. So every stream here is a pool of
several thousand different events, drawn once from a seed before anything is measured, and handed out in turn.

========== ==============================================================================================
stream     events
========== ==============================================================================================
retrieval  a question, five chunk ids with unrounded scores, an unrounded duration
link       a source's URL with a query string, an author's mail address, a title, an unrounded duration
mixed      what a service emits: the two above, embeddings, token usage, scores, log lines with arguments
constant   the same event again and again: what the tables showed before
========== ==============================================================================================
"""

from __future__ import annotations

from itertools import accumulate, cycle
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STREAMS", "Event", "make_stream", "words"]

Event = tuple[str, dict[str, Any]]
"""A message and its fields."""

POOL: Final = 4096
SEED: Final = 20261130
VOCABULARY: Final = 8000
_SYLLABLES: Final = "an ar be ca con de di en er es fi ga in ka la le ma men mi na ne on or pa per pro ra re ri ro se si sta ta ti tion to un ve vi".split()  # noqa: SIM905 - reads as what it is
_MODELS: Final = ("gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-flash", "small-en-v1.5")

CONSTANT_FIELDS: Final[dict[str, Any]] = {
    "document_id": "doc-7f3a91",
    "document_version": "v7",
    "file_size_bytes": 48213,
    "embedding_model": "small-en-v1.5",
    "chunk_count": 42,
    "chunker": "recursive",
    "duration_ms": 1250.4,
    "cost_usd": 0.00213,
}
"""Eight fields: with the ids, service, level and time about 485 bytes of JSON."""


class _Words:
    """Draws texts whose words are as frequent as those of English (Zipf's law)."""

    def __init__(self, random: Random) -> None:
        self._random = random
        drawn: dict[str, None] = {}
        while len(drawn) < VOCABULARY:
            drawn["".join(random.choices(_SYLLABLES, k=random.choice((1, 1, 2, 2, 2, 3, 3, 4))))] = None
            drawn[f"{random.choice(_SYLLABLES)}{len(drawn)}"] = None
        self._words = sorted(drawn, key=len)[:VOCABULARY]
        self._weights = list(accumulate(1 / (rank + 2.7) for rank in range(VOCABULARY)))

    def text(self, number: int) -> str:
        """Write a sentence of *number* words."""
        chosen = self._random.choices(self._words, cum_weights=self._weights, k=number)
        return " ".join(chosen).capitalize() + "."


def words(random: Random) -> Callable[[int], str]:
    """Return a function that writes a text of so many words, different at every call."""
    return _Words(random).text


def make_stream(name: str, pool: int = POOL) -> Callable[[], Event]:
    """Draw the events of a stream, and return what hands them out one after another, for ever.

    Args:
        name: A name of ``STREAMS``.
        pool: How many different events to draw.

    Example:
        >>> take = make_stream("retrieval", pool=10)
        >>> message, fields = take()
        >>> message, len(fields["scores"])
        ('chunks_retrieved', 5)
    """
    random = Random(SEED)
    draw, text = STREAMS[name], words(random)
    events = [draw(random, text) for _ in range(pool)]
    return cycle(events).__next__


def _constant(_random: Random, _text: Callable[[int], str]) -> Event:
    return "chunks_created", CONSTANT_FIELDS


def _retrieval(random: Random, text: Callable[[int], str]) -> Event:
    return "chunks_retrieved", {
        "query": text(random.randint(6, 18)),
        "index_name": "handbook",
        "top_k": 5,
        "chunk_ids": [_chunk(random) for _ in range(5)],
        "scores": sorted((random.random() for _ in range(5)), reverse=True),
        "embedding_model": "small-en-v1.5",
        "document_id": f"doc-{random.getrandbits(48):012x}",
        "duration_ms": random.lognormvariate(4, 1),
    }


def _link(random: Random, text: Callable[[int], str]) -> Event:
    number, page = random.randrange(100_000), random.randrange(40)
    return "document_fetched", {
        "title": text(random.randint(4, 9)),
        "source_url": f"https://docs.example.com/handbook/{number}/page-{page}?lang=en&version={page}.{number % 10}",
        "author": f"user{number}@example.com",
        "document_id": f"doc-{random.getrandbits(48):012x}",
        "file_size_bytes": random.randrange(1_000, 5_000_000),
        "content_type": "text/html",
        "revision": f"{random.getrandbits(64):016x}",
        "duration_ms": random.lognormvariate(4, 1),
    }


def _embedding(random: Random, _text: Callable[[int], str]) -> Event:
    return "embedding_complete", {
        "embedding_model": "small-en-v1.5",
        "chunk_count": random.randrange(1, 400),
        "batch_id": f"{random.getrandbits(128):032x}",
        "document_id": f"doc-{random.getrandbits(48):012x}",
        "tokens_in": random.randrange(100, 90_000),
        "cost_usd": random.random() / 100,
        "cache_hit": random.random() < 0.3,
        "duration_ms": random.lognormvariate(5, 1),
    }


def _usage(random: Random, _text: Callable[[int], str]) -> Event:
    return "token_usage_recorded", {
        "model": random.choice(_MODELS),
        "provider": "openai",
        "tokens_in": random.randrange(100, 9_000),
        "tokens_out": random.randrange(10, 900),
        "finish_reason": "stop",
        "temperature": round(random.random(), 2),
        "response_id": f"chatcmpl-{random.getrandbits(96):024x}",
        "duration_ms": random.lognormvariate(7, 1),
    }


def _score(random: Random, text: Callable[[int], str]) -> Event:
    return "score_computed", {
        "score_name": random.choice(("faithfulness", "answer_relevancy", "context_precision")),
        "score": random.random(),
        "reason": text(random.randint(8, 25)),
        "judge_model": random.choice(_MODELS),
        "question_id": f"q-{random.getrandbits(32):08x}",
        "attempt": random.randrange(3),
        "sampled": True,
        "duration_ms": random.lognormvariate(6, 1),
    }


def _line(random: Random, text: Callable[[int], str]) -> Event:
    message = f"worker {random.randrange(16)} took {random.random() * 900:.2f} ms for {text(3)}"
    return message, {"queue": "ingest", "waiting": random.randrange(200), "path": f"/srv/data/{_chunk(random)}.pdf"}


def _mixed(random: Random, text: Callable[[int], str]) -> Event:
    return random.choice((_retrieval, _retrieval, _link, _embedding, _usage, _usage, _score, _line))(random, text)


def _chunk(random: Random) -> str:
    return f"chunk-{random.getrandbits(64):016x}"


STREAMS: Final[dict[str, Callable[[Random, Callable[[int], str]], Event]]] = {
    "retrieval": _retrieval,
    "link": _link,
    "mixed": _mixed,
    "constant": _constant,
}
