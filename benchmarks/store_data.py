"""Events as a RAG service would have stored them in a month: ``python -m benchmarks.store_data DSN EVENTS``.

Traces of 25 events, eight of them spans, over thirty days with a quiet night; users by Zipf's law; questions, answers
and passages in words that are as frequent as those of English (Zipf over 20,000 words); errors with stack traces in
three of a hundred traces. Three words are planted at known frequencies, so that a search can be measured at each:

============== =========================
``quasarfault`` one event of 100,000
``throttled``   one of 200
``retrieved``   one of ten
============== =========================

The same seed gives the same events. They are written by the binary ``COPY`` of the sink.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from msgspec import json
from psycopg import sql
from psycopg.types.json import Jsonb

from clew.event import LEVELS
from clew.store.postgres.rows import COLUMNS
from clew.store.postgres.upkeep.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["COMMON", "DAYS", "END", "MEDIUM", "RARE", "Writer", "copy_rows", "fill", "make_rows"]

END: Final = datetime(2026, 11, 23, tzinfo=UTC)
DAYS: Final = 30
RARE, MEDIUM, COMMON = "quasarfault", "throttled", "retrieved"
EVENTS_PER_TRACE = 25
VOCABULARY = 20_000
USERS = 5_000

Row = tuple[Any, ...]

_COPY = sql.SQL("COPY events ({}) FROM STDIN (FORMAT binary)").format(
    sql.SQL(", ").join(sql.Identifier(name) for name, _ in COLUMNS)
)
_SYLLABLES = "an ar be ca con de di en er es fi ga in is ka la le ma men mi na ne on or pa per pro ra re ri ro se si sta ta te ti tion to tra un ve vi".split()  # noqa: SIM905 - reads as what it is
_STEPS: Final = (
    ("log", "query_received", "retrieval"), ("span", "check_cache", "retrieval"), ("log", "cache_checked", "retrieval"),
    ("span", "embed_query", "retrieval"), ("log", "embedding_complete", "retrieval"), ("span", "search", "retrieval"),
    ("log", "hybrid_search_complete", "retrieval"), ("span", "rerank", "retrieval"),
    ("log", "reranking_complete", "retrieval"), ("log", "prompt_assembled", "generation"),
    ("span", "generate", "generation"), ("log", "api_call_started", "generation"),
    ("log", "first_token_received", "generation"), ("log", "token_usage_recorded", "generation"),
    ("log", "generation_complete", "generation"), ("span", "evaluate", "evaluation"),
    ("log", "score_computed", "evaluation"), ("log", "score_computed", "evaluation"),
    ("log", "score_computed", "evaluation"), ("log", "metrics_evaluated", "evaluation"),
    ("log", "quality_tier_assigned", "evaluation"), ("log", "passage looked at", "retrieval"),
    ("log", "passage looked at", "retrieval"), ("span", "stream_answer", "generation"), ("span", "ask", "other"),
)  # fmt: skip
_ERRORS: Final = (
    ("RateLimitError", "429 Too Many Requests: rate limit reached for small-1"),
    ("ReadTimeout", "no answer within 30 s"),
    ("ValueError", "embedding dimension mismatch: 768 is not 1024"),
    ("ConnectionError", "connection reset by peer"),
)


class Writer:
    """Draws what events hold."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        words: dict[str, None] = {}
        while len(words) < VOCABULARY:
            words["".join(self.random.choices(_SYLLABLES, k=self.random.choice((1, 1, 2, 2, 2, 3, 3, 4))))] = None
            words[f"{self.random.choice(_SYLLABLES)}{len(words)}"[: 3 + len(words) % 9]] = None
        self._words = sorted(words, key=len)[:VOCABULARY]
        self._weights = list(accumulate(1 / (rank + 2.7) for rank in range(VOCABULARY)))
        self._users = list(accumulate(1 / (rank + 1) for rank in range(USERS)))

    def text(self, words: int) -> str:
        """Write a sentence."""
        return " ".join(self.random.choices(self._words, cum_weights=self._weights, k=words)).capitalize() + "."

    def user(self) -> str:
        """Draw a user."""
        return f"user-{self.random.choices(range(USERS), cum_weights=self._users)[0]}"

    def stack(self) -> str:
        """Write a stack of a dozen frames."""
        return "\n".join(
            f'  File "/srv/app/rag/{self.random.choice(_SYLLABLES)}/{name}.py", line {self.random.randrange(400)}, in {name}_{step}'
            for step, name in enumerate(("serve", "answer", "retrieve", "call", "request", "send") * 2)
        )

    def fields(self, message: str) -> tuple[dict[str, Any], dict[str, float]]:
        """Draw the context and the metrics of an event."""
        draw = self.random
        chunk = f"chunk-{draw.getrandbits(64):016x}"
        measured = {"duration_ms": round(draw.lognormvariate(4, 1), 3)}
        match message:
            case "query_received":
                return {"query": self.text(12), "query_chars": 70, "top_k": draw.choice((5, 10))}, {}
            case "hybrid_search_complete" | "reranking_complete":
                hits = [
                    {"chunk_id": f"chunk-{draw.getrandbits(64):016x}", "score": round(draw.random(), 4)}
                    for _ in range(5)
                ]
                return {
                    "search_mode": "hybrid",
                    "index_name": "handbook",
                    "top_k": 5,
                    "hit_count": 5,
                    "hits": hits,
                }, measured
            case "passage looked at":
                return {"chunk_id": chunk, "passage": self.text(40), "document_id": f"doc-{draw.randrange(5000)}"}, {}
            case "generation_complete":
                return {
                    "model": "small-1",
                    "finish_reason": "stop",
                    "answer": self.text(60),
                    "answer_id": chunk,
                }, measured
            case "token_usage_recorded":
                used = {
                    "tokens_in": draw.randrange(500, 4000),
                    "tokens_out": draw.randrange(20, 400),
                    "cost_usd": round(draw.random() / 100, 6),
                }
                return {"provider": "local", "model": "small-1"}, used
            case "score_computed":
                told = {
                    "metric_name": draw.choice(("faithfulness", "answer_relevancy")),
                    "judge": "judge-1",
                    "reason": self.text(10),
                }
                return told, {"score": round(draw.random(), 3)}
            case _:
                return {
                    "model": "small-1",
                    "document_version": "v7",
                    "chunker_config_hash": f"{draw.getrandbits(64):016x}",
                }, measured


def make_rows(count: int, *, seed: int = 1, end: datetime = END, days: int = DAYS) -> Iterator[Row]:
    """Make *count* events, in the order of their traces, as rows in the order of ``COLUMNS``."""
    writer = Writer(seed)
    draw = writer.random
    traces = max(1, count // EVENTS_PER_TRACE)
    start = end - timedelta(days=days)
    made = 0
    for number in range(traces):
        begun = _by_day(start + timedelta(days=days) * number / traces)
        ids = _uuid7(begun, draw), writer.user(), f"req-{draw.getrandbits(48):012x}", f"session-{draw.randrange(20000)}"
        failing = draw.randrange(len(_STEPS)) if draw.random() < 0.03 else None
        for step, (kind, message, stage) in enumerate(_STEPS):
            if made == count:
                return
            made += 1
            yield _row(
                writer,
                begun + timedelta(milliseconds=40 * step + draw.random()),
                ids,
                kind,
                message,
                stage,
                is_failing=step == failing,
            )


def _row(
    writer: Writer,
    moment: datetime,
    ids: tuple[UUID, str, str, str],
    kind: str,
    message: str,
    stage: str,
    *,
    is_failing: bool,
) -> Row:
    draw = writer.random
    trace, user, request, session = ids
    context, metrics = writer.fields(message)
    for word, one_of in ((RARE, 100_000), (MEDIUM, 200), (COMMON, 10)):
        if draw.randrange(one_of) == 0:
            context["note"] = f"{context.get('note', '')} {writer.text(3)} {word} {writer.text(2)}".strip()
    error = None
    if is_failing:
        type_, told = draw.choice(_ERRORS)
        error = Jsonb(
            {
                "type": type_,
                "message": f"{told} ({draw.getrandbits(32):x})",
                "stack": f"{writer.stack()}\n{type_}: {told}",
            }
        )
    return (
        moment, metrics.get("duration_ms"), metrics.get("cost_usd"), LEVELS["ERROR" if is_failing else "INFO"],
        _uuid7(moment, draw), trace, _uuid7(moment, draw), None, kind, stage, message, "rag-api", "prod", "1.4.2", "rag.app",
        user, request, session, "chain" if kind == "span" else None,
        ("error" if is_failing else "ok") if kind == "span" else None, Jsonb(context), Jsonb(metrics), error, None,
    )  # fmt: skip


def copy_rows(connection: psycopg.Connection[Any], rows: Iterable[Row]) -> int:
    """Copy rows into ``events``, in one statement; return how many."""
    copied = 0
    with connection.cursor().copy(_COPY) as copy:
        copy.set_types([kind for _, kind in COLUMNS])
        for row in rows:
            copy.write_row(row)
            copied += 1
    return copied


def fill(dsn: str, count: int, *, end: datetime = END, days: int = DAYS) -> None:
    """Migrate a database and fill it with *count* events of the days before *end*."""
    psycopg.types.json.set_json_dumps(json.encode)
    migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for day in range(days + 1):
            connection.execute("SELECT ensure_partition(%s)", [(end - timedelta(days=day)).date()])
        copy_rows(connection, make_rows(count, end=end, days=days))
        connection.execute("VACUUM ANALYZE events")


def _by_day(moment: datetime) -> datetime:
    """Move a moment of an even day to where there is more to do: noon has four times as much as midnight."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    part = (moment - midnight) / timedelta(days=1)
    return midnight + timedelta(days=1) * (part + 0.12 * (1 - 2 * part) * part * (1 - part) * 4)


def _uuid7(moment: datetime, draw: Random) -> UUID:
    return UUID(
        int=int(moment.timestamp() * 1000) << 80 | 7 << 76 | draw.getrandbits(12) << 64 | 2 << 62 | draw.getrandbits(62)
    )


if __name__ == "__main__":
    fill(sys.argv[1], int(sys.argv[2]))
