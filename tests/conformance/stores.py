"""The stores that pass through the conformance suite, and the corpus they are asked about: ``STORES`` is the list.

A store takes events by its sink, and answers in the terms of ``clew.store``: public events, traces, costs. What the answers
have to be is worked out from the corpus itself, in plain Python.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from msgspec import json

from clew.sinks.base import Delivered, Producer
from clew.spool.directory import new_producer_id
from clew.spool.format import event_id
from clew.store.events import format_timestamp
from clew.store.postgres.connect import connect
from clew.store.postgres.costs import CostFilter, fetch_costs
from clew.store.postgres.logs import LogFilter, fetch_logs
from clew.store.postgres.reading import read
from clew.store.postgres.sink import PostgresSink
from clew.store.postgres.traces import fetch_trace
from clew.store.postgres.upkeep.erasure import begin_erasure, count_theirs, erase_from_store
from clew.store.postgres.upkeep.retention import Policy, enforce
from conformance.sinks import batch_of

if TYPE_CHECKING:
    import pytest

    from clew.query.tree import Query
    from clew.sinks.base import Sink
    from clew.store.trace_tree import Trace

__all__ = ["CORPUS", "NOW", "STORES", "Spent", "Store", "Told", "corpus"]

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
AGES_DAYS = (0, 3, 10, 20, 28)
USERS = ("ann", "ben", "cléo")
MODELS = ("acme-1", "acme-2")
TEXTS = ("the rate limit was hit", "a chunk of the labyrinth", 'naïve "quotes"\n\tand tabs', "Ariadne's thread")


class Told(NamedTuple):
    """A trace of the corpus.

    Attributes:
        id: Its id.
        user_id: Whose it is.
        age_days: How long ago it was.
        is_failed: Whether something in it went wrong.
        events: Its events as they are emitted, the newest last.
    """

    id: str
    user_id: str
    age_days: int
    is_failed: bool
    events: list[dict[str, Any]]


class Spent(NamedTuple):
    """What calls of models came to."""

    cost_usd: float
    tokens_in: int
    tokens_out: int
    calls: int


def corpus() -> list[Told]:
    """Make fifteen traces of three people over four weeks, every fourth of them failed."""
    traces: list[Told] = []
    for number in range(15):
        age, user, is_failed = AGES_DAYS[number % 5], USERS[number % 3], number % 4 == 0
        begins = NOW - timedelta(days=age) + timedelta(minutes=number)
        trace, root, call = (str(UUID(int=(0x0199 << 112) + number * 10 + which)) for which in range(3))
        shared = {"trace_id": trace, "user_id": user, "service": f"rag-{number % 2}", "session_id": f"s{number % 3}"}
        model = MODELS[number % 2]
        failure = {"error": {"type": "TimeoutError", "message": "too slow", "stack": "…"}} if is_failed else {}
        level = "ERROR" if is_failed else "INFO"
        traces.append(
            Told(
                trace,
                user,
                age,
                is_failed,
                [
                    _event(begins, shared, "log", "query_received", span_id=root, stage="retrieval", logger="rag",
                           context={"query": TEXTS[number % 4], "top_k": number, "tags": ["a", f"t{number}"]}),
                    _event(begins + timedelta(seconds=1), shared, "span", "generate", span_id=call, parent_span_id=root,
                           run_type="llm", stage="generation", status="error" if is_failed else "ok", level=level,
                           context={"model": model, "provider": "acme"},
                           metrics={"duration_ms": 10.0 + number, "cost_usd": 0.25 * (number + 1),
                                    "tokens_in": 100 + number, "tokens_out": 10 + number}, **failure),
                    _event(begins, shared, "span", "ask", span_id=root, run_type="chain",
                           status="error" if is_failed else "ok", level=level, metrics={"duration_ms": 2000.0}),
                ],
            )
        )  # fmt: skip
    return traces


def _event(at: datetime, shared: dict[str, Any], kind: str, message: str, **values: Any) -> dict[str, Any]:
    return {
        "timestamp": format_timestamp(at),
        "kind": kind,
        "level": "INFO",
        "message": message,
        "stage": "other",
        "context": {},
        "metrics": {},
        **shared,
        **values,
    }


CORPUS = corpus()
PRODUCER = Producer(new_producer_id(1_700_000_000_000_000_000), "rag-api")


class Store(ABC):
    """A store of its own for one test."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.start(request)

    @abstractmethod
    def start(self, request: pytest.FixtureRequest) -> None:
        """Start it, or make a fresh part of one that runs; *request* gives the fixtures of the suite."""

    @abstractmethod
    def sink(self) -> Sink:
        """Make the sink that fills it."""

    @abstractmethod
    def trace(self, trace_id: str) -> Trace:
        """Fetch a trace.

        Raises:
            NotFoundError: There is none of this id.
        """

    @abstractmethod
    def page(self, query: Query | None, *, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Fetch a page of the events that a query asks for, the newest first, and where the next one begins."""

    @abstractmethod
    def spent(self, by: str) -> dict[str, Spent]:
        """Add up what was spent from before the corpus begins until after it ends, by user, service, model or stage."""

    @abstractmethod
    def erase(self, user_id: str) -> int:
        """Erase a person; return how many events that were."""

    @abstractmethod
    def retain(self, policy: Policy) -> None:
        """Enforce a policy, as of ``NOW``."""

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """End it."""

    def insert(self, events: list[dict[str, Any]]) -> list[str]:
        """Put events in, as an agent does; return the ids that they get."""
        batch = batch_of(PRODUCER, *map(json.encode, events))
        sink = self.sink()
        try:
            assert sink.deliver(batch) == Delivered()
        finally:
            sink.close()
        producer = UUID(PRODUCER.id).int
        return [str(UUID(int=event_id(producer, position))) for position, _ in batch.events]

    def search(self, query: Query | None, *, limit: int = 7) -> list[dict[str, Any]]:
        """Fetch all events that a query asks for, page by page."""
        found, cursor = self.page(query, limit=limit, cursor=None)
        while cursor is not None:
            more, cursor = self.page(query, limit=limit, cursor=cursor)
            assert len(more) <= limit
            found += more
        return found


class Postgres(Store):
    """A real PostgreSQL."""

    def start(self, request: pytest.FixtureRequest) -> None:
        self._dsn: str = request.getfixturevalue("postgres")

    def sink(self) -> Sink:
        return PostgresSink(self._dsn)

    def trace(self, trace_id: str) -> Trace:
        with connect(self._dsn, is_reader=True) as connection:
            return read(connection, fetch_trace(trace_id))

    def page(self, query: Query | None, *, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        with connect(self._dsn, is_reader=True) as connection:
            page = read(connection, fetch_logs(LogFilter(query=query), limit=limit, cursor=cursor))
        return page.logs, page.next_cursor

    def spent(self, by: str) -> dict[str, Spent]:
        wanted = CostFilter(since=NOW - timedelta(days=60), until=NOW + timedelta(days=1))
        with connect(self._dsn, is_reader=True) as connection:
            costs = read(connection, fetch_costs(wanted, by=by))  # type: ignore[arg-type]
        return {
            part.key: Spent(part.cost_usd or 0.0, part.tokens_in or 0, part.tokens_out or 0, part.calls)
            for part in costs.costs
        }

    def erase(self, user_id: str) -> int:
        with connect(self._dsn) as connection:
            found = count_theirs(connection, user_id, with_mentions=False)
            begin_erasure(connection, found)
            assert erase_from_store(connection, user_id, found, with_mentions=False) == []
        return found.events

    def retain(self, policy: Policy) -> None:
        with connect(self._dsn) as connection:
            deque(enforce(connection, policy, NOW), maxlen=0)


STORES: dict[str, type[Store]] = {"postgres": Postgres}
"""Every store there is. A new one begins with its line here, and with one in ``conformance.sinks.SINKS``."""
