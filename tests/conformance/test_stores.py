"""What every store promises, over one corpus: put in, fetched, searched, added up, erased, retained."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from clew.errors import NotFoundError
from clew.query import parse
from clew.store.postgres.upkeep.retention import Policy
from conformance.stores import CORPUS, NOW, STORES, USERS, Spent, Store
from support.naive_search import holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENTS = [event for trace in CORPUS for event in trace.events]
QUERIES = [
    "level>=error",
    "stage:generation cost>1.5",
    '"rate limit"',
    "labyrinth OR thread",
    "NOT user:ann",
    "user:cléo level:info",
    "model:acme-2 duration>=12",
    "context.top_k>3 context.top_k<=9",
    "context.tags:t7",
    "error:TimeoutError",
    'message:ask service:"rag-1"',
    "session:s2 -status:ok",
    "nothing_is_called_so",
]
KEYS: dict[str, Callable[[dict[str, Any]], str]] = {
    "user": lambda event: event["user_id"],
    "service": lambda event: event["service"],
    "model": lambda event: event["context"]["model"],
    "stage": lambda event: event["stage"],
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Give a store that holds nothing."""
    store = STORES[request.param](request)
    yield store
    store.close()


def spent(events: list[dict[str, Any]], by: str) -> dict[str, Spent]:
    """Add up what was spent, in plain Python."""
    parts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if "cost_usd" in event["metrics"]:
            parts[KEYS[by](event)].append(event["metrics"])
    return {
        key: Spent(
            pytest.approx(sum(metrics["cost_usd"] for metrics in told)),
            sum(metrics["tokens_in"] for metrics in told),
            sum(metrics["tokens_out"] for metrics in told),
            len(told),
        )
        for key, told in parts.items()
    }


def test_what_is_put_in_is_found_with_every_field(store: Store) -> None:
    """Each event comes back once, the newest first, with what it was put in with and the id that its place gives."""
    ids = store.insert(EVENTS)

    found = store.search(None)

    assert {event["event_id"]: _as_emitted(event) for event in found} == {
        id_: event | {"event_id": id_} for id_, event in zip(ids, EVENTS, strict=True)
    }
    assert len(found) == len(EVENTS)
    times = [event["timestamp"] for event in found]
    assert times == sorted(times, reverse=True)


def test_a_trace_is_fetched_as_a_tree(store: Store) -> None:
    """Spans inside of each other, logs inside of spans, and what the whole comes to; no trace where none is."""
    store.insert(EVENTS)

    for told in CORPUS:
        trace = store.trace(told.id)

        (root,) = trace.spans
        assert root.event["message"] == "ask"
        assert [child.event["message"] for child in root.children] == ["generate"]
        assert [log["context"] for log in root.logs] == [told.events[0]["context"]]
        assert (trace.summary.user_id, trace.summary.event_count) == (told.user_id, 3)
        assert trace.summary.status == ("error" if told.is_failed else "ok")
        assert trace.summary.cost_usd == pytest.approx(told.events[1]["metrics"]["cost_usd"])
    with pytest.raises(NotFoundError):
        store.trace("019a0000-0000-7000-8000-00000000dead")


def test_a_query_finds_what_it_means(store: Store) -> None:
    """As a plain walk over the events says, whatever the size of a page; nothing twice, the newest first."""
    ids = store.insert(EVENTS)

    for text, limit in [*((text, 7) for text in QUERIES), (QUERIES[0], 1), (QUERIES[4], 100)]:
        query = parse(text, now=NOW)
        found = [event["event_id"] for event in store.search(query, limit=limit)]

        meant = [id_ for id_, event in zip(ids, EVENTS, strict=True) if holds(query, event)]
        assert sorted(found) == sorted(meant), text
        assert meant or text == QUERIES[-1], f"{text} finds nothing in the corpus: it proves nothing"


def test_sums_are_those_of_the_events(store: Store) -> None:
    """Cost, tokens and calls, by whatever they are told apart."""
    store.insert(EVENTS)

    for by in KEYS:
        assert store.spent(by) == spent(EVENTS, by)


def test_a_person_is_erased_and_nobody_else(store: Store) -> None:
    """Their events and traces are gone, what they spent is nobody's; of the others all is as it was, and nothing is left."""
    store.insert(EVENTS)
    theirs = [trace for trace in CORPUS if trace.user_id == USERS[0]]
    rest = [event for event in EVENTS if event["user_id"] != USERS[0]]

    erased = store.erase(USERS[0])

    assert erased == sum(len(trace.events) for trace in theirs)
    assert sorted(map(_identity, store.search(None))) == sorted(map(_identity, rest))
    nobodys = [event | {"user_id": ""} for trace in theirs for event in trace.events]
    assert store.spent("user") == spent(rest + nobodys, "user")
    for trace in theirs:
        with pytest.raises(NotFoundError):
            store.trace(trace.id)
    assert store.erase(USERS[0]) == 0


def test_retention_keeps_whole_traces_and_all_sums(store: Store) -> None:
    """Hot days stay whole, of warm ones the traces that tell something, of older ones nothing; what was spent stays known."""
    store.insert(EVENTS)
    policy = Policy(hot_days=7, warm_days=25, sample=0.0, slow_ms=1e9)
    kept = [
        event
        for trace in CORPUS
        if trace.age_days <= 7 or (trace.age_days <= 25 and trace.is_failed)
        for event in trace.events
    ]
    before = store.spent("service")

    store.retain(policy)

    assert 0 < len(kept) < len(EVENTS)
    assert sorted(map(_identity, store.search(None))) == sorted(map(_identity, kept))
    assert store.spent("service") == before == spent(EVENTS, "service")
    store.retain(policy)
    assert len(store.search(None)) == len(kept)


def _identity(event: dict[str, Any]) -> tuple[str, str]:
    return event["trace_id"], event["message"]


def _as_emitted(event: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the store adds: what of an event counts."""
    return {name: value for name, value in event.items() if name != "counted"}
