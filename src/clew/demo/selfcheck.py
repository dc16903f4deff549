"""The self-check: is every step of every request in PostgreSQL, once?

What to expect of a request follows from what its client saw of it: that a document was taken, for
which reason it was refused, how an answer ended. Nothing of what the service logs is asked for it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, LiteralString
from uuid import UUID

from msgspec import Struct

from clew.store.postgres.connect import connect, explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from clew.demo.driver import Exchange
    from clew.demo.generation.answer import AnswerOutcome

__all__ = ["CheckRow", "EventKey", "Report", "check", "expected", "kind_of"]

EventKey = tuple[str, str]
"""Kind (``"log"`` or ``"span"``) and message."""

POLL_S = 0.1

# Counts the events of some traces by kind and message; an index scan on the trace id.
_COUNT: Final[LiteralString] = """
SELECT trace_id, kind, message, count(*) AS events, count(DISTINCT event_id) AS ids
FROM logs
WHERE trace_id = ANY(%(trace_ids)s)
GROUP BY trace_id, kind, message
"""

_INGEST_LOGS: Final = (
    "file_upload_started",
    "parsing_complete",
    "chunking_complete",
    "embedding_complete",
    "storage_complete",
    "chunks_created",
)
_INGEST_SPANS: Final = (
    "POST /documents",
    "ingest_document",
    "parse_document",
    "chunk_document",
    "embed_chunks",
    "store_chunks",
)
_CACHED_LOGS: Final = ("query_received", "cache_checked")
_CACHED_SPANS: Final = ("POST /ask", "embed_query", "check_cache")
_ANSWER_LOGS: Final = (
    *_CACHED_LOGS,
    "hybrid_search_complete",
    "reranking_complete",
    "prompt_assembled",
    "first_token_received",
    "generation_complete",
)
_ANSWER_SPANS: Final = (
    *_CACHED_SPANS,
    "retrieve",
    "hybrid_search",
    "rerank",
    "assemble_prompt",
    "generate_answer",
    "evaluate_answer",
)


class CheckRow(Struct):
    """What was found of the requests of one kind.

    Attributes:
        kind: The kind.
        requests: How many there were.
        expected: Events that there have to be.
        found: Events that there are.
        missing: Expected and not there.
        duplicates: There and not expected, or there more often than expected.
    """

    kind: str
    requests: int = 0
    expected: int = 0
    found: int = 0
    missing: int = 0
    duplicates: int = 0


class Report(Struct):
    """What the check found.

    Attributes:
        rows: A row for each kind of request.
        faults: Each thing that is wrong, in a line.
        failed: Requests that ended in a way that says nothing of their events, such as a service that
            was killed; these are only looked at for duplicates.
        excused: How many of those failed while the demo had a fault.
    """

    rows: list[CheckRow]
    faults: list[str]
    failed: int = 0
    excused: int = 0

    @property
    def is_good(self) -> bool:
        """Whether every event of every request is there, once, and no request failed without a fault of the demo."""
        return not self.faults and self.failed <= self.excused


def kind_of(exchange: Exchange) -> str:
    """Name the kind of a request by what its client saw."""
    if exchange.kind == "upload":
        return {201: "upload", 422: "upload, unreadable", 415: "upload, refused", 413: "upload, refused"}.get(
            exchange.status or 0, "failed"
        )
    if exchange.outcome is None:
        return "failed"
    if exchange.outcome.is_cached:
        return "question, from the cache"
    return "question" if exchange.outcome.is_given else "question, no answer"


def expected(exchange: Exchange) -> Counter[EventKey] | None:
    """Say which events a request has to have left, and how often; None when its end does not say."""
    kind = kind_of(exchange)
    if kind == "failed":
        return None
    if kind == "upload":
        return _events(_INGEST_LOGS, _INGEST_SPANS)
    if kind == "upload, unreadable":
        return _events(("file_upload_started", "parsing_failed"), _INGEST_SPANS[:3])
    if kind == "upload, refused":
        return _events(("file_upload_started", "file_upload_failed"), _INGEST_SPANS[:2])
    assert exchange.outcome is not None
    if exchange.outcome.is_cached:
        return _events(_CACHED_LOGS, _CACHED_SPANS)
    return _events(_ANSWER_LOGS, _ANSWER_SPANS) + _variable_events(exchange.outcome)


def check(dsn: str, exchanges: Sequence[Exchange], *, timeout_s: float = 20.0) -> Report:
    """Compare what has to be in the store with what is there, until it agrees.

    Args:
        dsn: The store.
        exchanges: The requests.
        timeout_s: How long events may take to arrive, in seconds.

    Returns:
        The last comparison.

    Raises:
        StoreError: The store does not answer.
    """
    traced = [exchange for exchange in exchanges if exchange.trace_id is not None]
    trace_ids = [UUID(exchange.trace_id) for exchange in traced]
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    with connect(dsn, is_reader=True, application_name="clew-demo") as connection, explained(dsn):
        while True:
            rows = connection.execute(_COUNT, {"trace_ids": trace_ids}).fetchall()
            found: dict[str, Counter[EventKey]] = {}
            repeated: list[str] = []
            for trace_id, kind, message, events, ids in rows:
                found.setdefault(str(trace_id), Counter())[kind, message] = events
                if events != ids:
                    repeated.append(f"{kind} {message} of trace {trace_id} has {events - ids} ids twice")
            report = _compare(exchanges, found)
            report.faults += repeated
            if not report.faults or time.monotonic() > deadline:
                return report
            pause.wait(POLL_S)


def _compare(exchanges: Iterable[Exchange], found: Mapping[str, Counter[EventKey]]) -> Report:
    rows: dict[str, CheckRow] = {}
    faults: list[str] = []
    failed = 0
    for exchange in exchanges:
        kind = kind_of(exchange)
        row = rows.setdefault(kind, CheckRow(kind))
        row.requests += 1
        is_there = found.get(exchange.trace_id or "", Counter())
        row.found += is_there.total()
        wanted = expected(exchange)
        if wanted is None:
            failed += 1
            continue
        missing, more = wanted - is_there, is_there - wanted
        row.expected += wanted.total()
        row.missing += missing.total()
        row.duplicates += more.total()
        for what, events in (("misses", missing), ("has too many of", more)):
            if events:
                names = ", ".join(f"{message} ({event_kind})" for event_kind, message in events)
                faults.append(f"{kind} {exchange.subject!r}, trace {exchange.trace_id}, {what} {names}")
    return Report(list(rows.values()), faults, failed)


def _variable_events(outcome: AnswerOutcome) -> Counter[EventKey]:
    """Return the events of an answer whose number depends on how it went."""
    logs = {
        "api_call_started": outcome.attempts,
        "api_call_failed": outcome.attempts - 1,
        "token_usage_recorded": int(outcome.has_usage),
        "score_computed": len(outcome.scores),
        "metrics_evaluated": int(outcome.quality_tier is not None),
        "quality_tier_assigned": int(outcome.quality_tier is not None),
        "evaluation_failed": int(outcome.quality_tier is None),
        "issue_detected": len(outcome.issues),
    }
    return Counter({("log", message): count for message, count in logs.items() if count})


def _events(logs: Iterable[str], spans: Iterable[str]) -> Counter[EventKey]:
    return Counter([("log", message) for message in logs] + [("span", message) for message in spans])
