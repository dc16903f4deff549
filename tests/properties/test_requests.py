"""How many requests used a line, a model, or both: what a naive count over the events gives, whenever sums are made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew.ids import uuid7
from clew.sinks.base import Delivered, Producer
from clew.spool.directory import new_producer_id
from clew.store.postgres.costs import CostFilter, Key, fetch_costs
from clew.store.postgres.reading import read
from clew.store.postgres.sink import PostgresSink
from clew.store.postgres.upkeep.compaction import compact_ledger
from support.metrics import NOW, batch, log, span

if TYPE_CHECKING:
    from collections.abc import Iterable

MIDNIGHT = datetime.fromtimestamp(NOW, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
END = MIDNIGHT + timedelta(days=1)
DAYS = MIDNIGHT - timedelta(days=1)
EVENING = MIDNIGHT - timedelta(minutes=30)  # from here, the first day's events are asked, and the second day's sums
COMPACTIONS = {
    "during the first day": timedelta(hours=-1),
    "when the first day may get more": timedelta(hours=1),
    "during the second day": timedelta(hours=5),
    "when both are over": timedelta(days=3),
}
PRODUCERS = [Producer(new_producer_id(1_700_000_000_000_000_000 + n), "rag-api") for n in range(2)]
TRACES = [uuid7(1_700_000_000_000_000_000 + number) for number in range(5)]
OWNERS: list[str | None] = [None, "ann", "ann", "bob"]  # of the last one, each event says whose it is
SPANS = [uuid7(1_700_000_000_000_000_000 + number) for number in range(20, 30)]
ASKED: tuple[dict[str, Any], ...] = (
    {"since": DAYS},
    {"since": EVENING},
    {"since": DAYS, "user_id": "ann"},
    {"since": DAYS, "service": "billing"},
)
KEYS: tuple[Key, ...] = ("line", "stage", "model", "user", "service", "version", "day")


class Shipped(NamedTuple):
    """What is done next: events come in from a producer, or sums are made."""

    producer: int
    events: list[bytes]
    compaction: str


@st.composite
def uses(draw: st.DrawFn) -> bytes:
    """Make up an event that reports a use, of any trace and at any time of the two days."""
    number = draw(st.integers(0, len(TRACES) - 1))
    names = [OWNERS[number], None] if number < len(OWNERS) else ["ann", "bob"]
    fields: dict[str, Any] = {
        "trace_id": TRACES[number],
        "user_id": draw(st.sampled_from(names)),
        "service": draw(st.sampled_from(["rag-api", "billing"])),
        "version": draw(st.sampled_from([None, "1"])),
        "context": draw(st.sampled_from([{}, {"model": "gpt-x"}, {"model": "llama", "price_source": "unknown"}])),
        "metrics": {"cost_usd": draw(st.integers(1, 30)), "tokens_in": draw(st.integers(1, 1000))},
    }
    at = MIDNIGHT.timestamp() + draw(st.sampled_from([-9000, -600, 600, 9000, 30_000]))
    mine = SPANS[2 * number : 2 * number + 2]
    if draw(st.booleans()):  # what comes later inside of it takes over from it, also across midnight
        parent = draw(st.sampled_from([None, mine[0]]))
        fields |= {"run_type": draw(st.sampled_from(["chain", "llm"])), "stage": "generation"}
        return span(mine[1] if parent else mine[0], parent, at, **fields)
    message = draw(st.sampled_from(["token_usage_recorded", "embedding_complete", "summed_up"]))
    return log(message, at, span_id=draw(st.sampled_from([None, *mine])), stage="generation", **fields)


steps = st.lists(
    st.builds(
        Shipped, st.integers(0, 1), st.lists(uses(), min_size=1, max_size=4), st.sampled_from(["", *COMPACTIONS])
    ),
    min_size=1,
    max_size=5,
)


def ship(dsn: str, shipped: Iterable[Shipped]) -> None:
    """Ship the events that name users, then those that are made up, and make sums in between."""
    ends = [64, 64]
    sink = PostgresSink(dsn)

    def deliver(producer: int, *events: bytes) -> None:
        assert sink.deliver(batch(*events, first=ends[producer], producer=PRODUCERS[producer])) == Delivered()
        ends[producer] += 100 * len(events)

    begun = MIDNIGHT.timestamp() - 20_000
    named = [
        log("query_received", begun, trace_id=trace, user_id=user)
        for trace, user in zip(TRACES, OWNERS, strict=False)
        if user
    ]
    deliver(0, *named)
    for part in shipped:
        deliver(part.producer, *part.events)
        if part.compaction:
            with psycopg.connect(dsn, autocommit=True) as connection:
                list(compact_ledger(connection, MIDNIGHT + COMPACTIONS[part.compaction]))
    sink.close()


class Use(NamedTuple):
    """What of an event counts, by the names that costs are asked for by."""

    line: str
    stage: str
    model: str
    user: str
    service: str
    version: str
    day: str
    trace: str
    cost: float
    at: datetime


def counted_uses(dsn: str) -> list[Use]:
    """Read what of each event counts, and on whose behalf, out of the events themselves."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT paid_line, paid_stage, paid_model, coalesce(user_id, ''), service, coalesce(version, ''),"
            " to_char(\"timestamp\" AT TIME ZONE 'UTC', 'YYYY-MM-DD'), trace_id::text, coalesce(counted_cost_usd, 0), \"timestamp\""
            " FROM events WHERE counted_cost_usd IS NOT NULL OR counted_tokens_in IS NOT NULL"
        ).fetchall()
    owners = dict(zip(TRACES, OWNERS, strict=False))
    found = [Use(*row) for row in rows]
    return [use if use.user else use._replace(user=owners.get(use.trace) or "") for use in found]


def naive(found: Iterable[Use], by: Key) -> dict[str, tuple[int, int, float]]:
    """Count by a property: calls, requests, cost."""
    parts: dict[str, list[Use]] = {}
    for use in found:
        parts.setdefault(getattr(use, by), []).append(use)
    return {
        key: (len(some), len({use.trace for use in some}), pytest.approx(sum(use.cost for use in some)))
        for key, some in parts.items()
    }


def answered(dsn: str, by: Key, **wanted: Any) -> tuple[dict[str, tuple[int, int, float]], int]:
    """Ask the store by a property; return the parts, and the requests of all of them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = read(connection, fetch_costs(CostFilter(until=END, **wanted), by=by, limit=1000))
    return {part.key: (part.calls, part.requests, part.cost_usd or 0.0) for part in found.costs}, found.total.requests


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps)
def test_every_part_says_how_many_requests_used_it(postgres: str, shipped: list[Shipped]) -> None:
    """By whatever costs are asked for, and of whomever: by one line and two models a request counts once in the line."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("TRUNCATE events, open_spans, cursors, rollups, ledger, ledger_requests")
    ship(postgres, shipped)
    every = counted_uses(postgres)

    for by in KEYS:
        for wanted in ASKED:
            some = [
                use
                for use in every
                if use.at >= wanted["since"]
                and wanted.get("user_id", use.user) == use.user
                and wanted.get("service", use.service) == use.service
            ]
            expected = naive(some, by), len({use.trace for use in some})
            assert answered(postgres, by, **wanted) == expected, (by, wanted)
