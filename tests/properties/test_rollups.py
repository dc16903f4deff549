"""Roll-ups are what a naive count over the events gives, whatever becomes of agents, batches and minutes."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew.ids import uuid7
from clew.measures.buckets import bucket_of
from clew.measures.counting import Followed
from clew.measures.minutes import Rollups
from clew.sinks.base import Batch, Delivered, Moved, Producer
from clew.spool.directory import new_producer_id
from clew.spool.format import HEADER_BYTES, Position, position_of
from clew.store.postgres.rows import Sorter
from clew.store.postgres.sink import PostgresSink
from clew.store.postgres.upkeep.compaction import compact
from support.metrics import NOW, log, span, start
from support.programs import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clew.store.postgres.sink import _Cursor  # pyright: ignore[reportPrivateUsage]

MINUTE = NOW - NOW % 60
PRODUCERS = [Producer(new_producer_id(1_700_000_000_000_000_000 + n), "rag-api") for n in range(2)]
SPANS = [uuid7(1_700_000_000_000_000_000 + number) for number in range(4)]
ERROR = {"type": "TimeoutError", "message": "no answer", "stack": ""}
CALL = {"model": "gpt-x", "provider": "acme"}
FOR_EVER = datetime(2200, 1, 1, tzinfo=UTC)

Sums = dict[tuple[Any, ...], tuple[int, float, dict[int, int]]]

moments = st.floats(0, 179).map(lambda seconds: MINUTE + seconds)  # in any order: some come late
versions = st.sampled_from([None, "1", "2"])
ids = st.sampled_from(SPANS)
parents = st.sampled_from([None, *SPANS])
durations = st.fixed_dictionaries({"duration_ms": st.floats(0, 1e6)})
anything = st.one_of(
    st.builds(start, ids, parents, moments),
    st.builds(span, ids, parents, moments, run_type=st.sampled_from(["chain", "llm"]), metrics=durations, version=versions),
    st.builds(span, ids, parents, moments, run_type=st.just("llm"), context=st.just(CALL), metrics=st.just({"tokens_in": 3})),
    st.builds(span, ids, parents, moments, status=st.sampled_from(["error", "aborted"]), error=st.just(ERROR)),
    st.builds(
        log,
        st.just("token_usage_recorded"),
        moments,
        span_id=st.one_of(st.none(), ids),
        context=st.just(CALL),
        metrics=st.just({"tokens_in": 3, "cost_usd": 0.1}),
        version=versions,
    ),
    st.builds(log, st.just("search_failed"), moments, span_id=ids, error=st.just(ERROR)),
    st.builds(log, st.just("cache_checked"), moments, context=st.fixed_dictionaries({"cache_hit": st.booleans()})),
    st.builds(log, st.just("something else"), moments),
)  # fmt: skip
faults = st.sampled_from(
    ["none", "none", "dies before the commit", "dies after the commit", "another agent", "compaction"]
)
steps = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 6), faults), max_size=12)


class Dies(Exception):  # noqa: N818 - what happens, not what is wrong
    """The agent is gone."""


class Dying(PostgresSink):
    """A sink whose process dies when all is told and nothing is committed."""

    def _store(self, cursor: _Cursor, batch: Batch) -> Followed:
        super()._store(cursor, batch)
        raise Dies


class Logs:
    """The logs of some producers, and how far agents think that they have come.

    Args:
        dsn: The store.
        payloads: The events, by producer.
    """

    def __init__(self, dsn: str, payloads: list[list[bytes]]) -> None:
        self._dsn = dsn
        self._sink = PostgresSink(dsn)
        self.whole = [whole(producer, events) for producer, events in zip(PRODUCERS, payloads, strict=False)]
        self._cursors = [log.start for log in self.whole]

    def step(self, number: int, events: int, fault: str) -> None:
        """Ship some events of a log, and meet a fault."""
        log_ = self.whole[number]
        taken = [event for event in log_.events if event[0] >= self._cursors[number]][:events]
        following = [position for position, _ in log_.events if taken and position > taken[-1][0]]
        end = following[0] if following else log_.end
        part = log_._replace(events=taken, start=self._cursors[number], end=end)
        if fault == "dies before the commit":
            dying = Dying(self._dsn)
            with contextlib.suppress(Dies):
                assert isinstance(
                    dying.deliver(part), Moved
                )  # it died before, after a commit that went further than this
            dying.close()
            return
        if fault == "another agent":
            self.close()
            self._sink = PostgresSink(self._dsn)
        outcome = self._sink.deliver(part)
        if isinstance(outcome, Moved):  # as an agent does, which places the log anew by the cursor of the store
            self._cursors[number] = self._sink.resume(log_.producer) or self._cursors[number]
            self.step(number, events, fault)
            return
        assert isinstance(outcome, Delivered)
        if fault == "dies after the commit":
            self.close()
            self._sink = PostgresSink(self._dsn)  # which reads on from the cursor of before
        else:
            self._cursors[number] = part.end
        if fault == "compaction":
            compact_all(self._dsn)

    def finish(self) -> None:
        """Ship what is left."""
        for number, log_ in enumerate(self.whole):
            self.step(number, len(log_.events), "none")
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._sink.close()


def whole(producer: Producer, payloads: list[bytes]) -> Batch:
    """Make the log of a producer."""
    places = [Position(position_of(1, HEADER_BYTES + 100 * index)) for index in range(len(payloads) + 1)]
    return Batch(producer, list(zip(places, payloads, strict=False)), places[0], places[-1])


def compact_all(dsn: str) -> None:
    """Compact every minute there is."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in compact(connection, FOR_EVER):
            pass


def empty(dsn: str) -> None:
    """Forget everything."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE events, open_spans, cursors, rollups")


def stored(dsn: str) -> Sums:
    """Return the sums in the store."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        names = 'minute, metric, service, environment, version, stage, model, label, "count", "sum", buckets, counts'
        return add_up(connection.execute(f"SELECT {names} FROM rollups").fetchall())


def add_up(rows: Iterable[tuple[Any, ...]]) -> Sums:
    """Add rows up by what they are kept apart by."""
    sums: dict[tuple[Any, ...], tuple[int, float, Counter[int]]] = {}
    for *key, count, total, buckets, counts in rows:
        before = sums.get(tuple(key), (0, 0.0, Counter()))
        cells = before[2] + Counter(dict(zip(buckets or [], counts or [], strict=True)))
        sums[tuple(key)] = before[0] + count, before[1] + total, cells
    return {key: (count, total, dict(cells)) for key, (count, total, cells) in sums.items()}


def assert_same(found: Sums, wanted: Sums) -> None:
    """Compare sums: to the last one what is counted, to the rounding of floating-point numbers what is added."""
    assert {key: (count, cells) for key, (count, _, cells) in found.items()} == {
        key: (count, cells) for key, (count, _, cells) in wanted.items()
    }
    assert {key: total for key, (_, total, _) in found.items()} == pytest.approx(
        {key: total for key, (_, total, _) in wanted.items()}
    )


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(anything, min_size=1, max_size=20), st.lists(anything, min_size=1, max_size=10), steps)
def test_no_fault_changes_a_sum(
    postgres: str, one: list[bytes], other: list[bytes], faults: list[tuple[int, int, str]]
) -> None:
    """Whatever is told, in whatever batches, and whoever dies: the sums are those of each log read once, at once."""
    empty(postgres)
    logs = Logs(postgres, [one, other])

    for number, events, fault in faults:
        logs.step(number, events, fault)
    logs.finish()

    expected: list[tuple[Any, ...]] = []
    for log_ in logs.whole:
        tally = Rollups().begin(Followed())
        for _ in Sorter(log_, log_.start, tally).slices():
            pass
        expected += tally.rows()
    assert_same(stored(postgres), add_up(expected))


requests = st.lists(
    st.fixed_dictionaries(
        {
            "at": moments,
            "version": st.sampled_from(["1", "2"]),
            "duration_ms": st.floats(0.001, 1e6),
            "has_failed": st.booleans(),
            "lookups": st.lists(st.booleans(), max_size=2),
            "calls": st.lists(
                st.fixed_dictionaries(
                    {
                        "tokens": st.integers(0, 10**6),
                        "model": st.sampled_from(["a", "b"]),
                        "has_log": st.booleans(),
                        "has_failed": st.booleans(),
                    }
                ),
                max_size=2,
            ),
            "scores": st.lists(st.floats(0, 1), max_size=2),
        }
    ),
    min_size=1,
    max_size=4,
)


def tell(request: dict[str, Any], number: int) -> list[bytes]:
    """Tell a request as an application would that traces and logs; some of it is told twice."""
    root, at, version = uuid7(1_700_000_000_000_000_000 + 100 * number), request["at"], request["version"]
    told = [start(root, at=at)]
    told += [log("cache_checked", at, context={"cache_hit": hit}, version=version) for hit in request["lookups"]]
    error: dict[str, Any] = {}
    for place, call in enumerate(request["calls"]):
        inner = uuid7(1_700_000_000_000_000_000 + 100 * number + 1 + place)
        used: dict[str, Any] = {"context": {"model": call["model"]}, "metrics": {"tokens_in": call["tokens"]}}
        told.append(start(inner, root, at))
        if call["has_log"]:
            told.append(log("token_usage_recorded", at, span_id=inner, version=version, **used))
        failed = {"status": "error", "error": {**ERROR, "message": str(place)}} if call["has_failed"] else {}
        error = failed or error
        told.append(span(inner, root, at, run_type="llm", version=version, **used, **failed))
    told += [
        log("score_computed", at, context={"metric_name": "faithfulness"}, metrics={"score": score}, version=version)
        for score in request["scores"]
    ]
    # Of what has failed inside, if anything has.
    error = (error or {"status": "error", "error": ERROR}) if request["has_failed"] else {}
    told.append(span(root, None, at, version=version, metrics={"duration_ms": request["duration_ms"]}, **error))
    return told


def count_naively(requests: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """Count what a person would."""
    found: Counter[tuple[Any, ...]] = Counter()
    for request in requests:
        minute = datetime.fromtimestamp(request["at"] // 60 * 60, UTC)
        version, calls = request["version"], request["calls"]
        status = "error" if request["has_failed"] else "ok"
        found[minute, "clew_requests_total", version, "", status, "count"] += 1
        found[minute, "clew_request_duration_seconds", version, "", "", bucket_of(request["duration_ms"] / 1e3)] += 1
        for is_hit in request["lookups"]:
            found[minute, "clew_cache_requests_total", version, "", str(is_hit).lower(), "count"] += 1
        for call in calls:
            found[minute, "gen_ai_client_token_usage", version, call["model"], "input", "sum"] += call["tokens"]
            found[minute, "gen_ai_client_token_usage", version, call["model"], "input", "count"] += 1
            if call["has_failed"]:
                found[minute, "clew_errors_total", version, call["model"], "TimeoutError", "count"] += 1
        if request["has_failed"] and not any(call["has_failed"] for call in calls):
            found[minute, "clew_errors_total", version, "", "TimeoutError", "count"] += 1
        for score in request["scores"]:
            found[minute, "clew_score", version, "", "faithfulness", bucket_of(score)] += 1
    return +found


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(requests, requests, steps)
def test_sums_are_what_a_person_would_count(
    postgres: str, one: list[dict[str, Any]], other: list[dict[str, Any]], faults: list[tuple[int, int, str]]
) -> None:
    """Requests, look-ups, tokens, errors and scores, each once, in the minute and of the version it belongs to."""
    empty(postgres)
    payloads = [
        [payload for number, request in enumerate(some) for payload in tell(request, 10 * which + number)]
        for which, some in enumerate((one, other))
    ]
    logs = Logs(postgres, payloads)

    for number, events, fault in faults:
        logs.step(number, events, fault)
    logs.finish()

    wanted = count_naively(one + other)
    found: Counter[tuple[Any, ...]] = Counter()
    for (minute, metric, _, _, version, _, model, label), (count, total, buckets) in stored(postgres).items():
        key = (minute, metric, version, model, label)
        found[(*key, "count")] += count
        found[(*key, "sum")] += round(total)
        for bucket, number in buckets.items():
            found[(*key, bucket)] += number
    metrics = {key[1] for key in wanted}
    kinds = {(key[1], key[-1] if isinstance(key[-1], str) else "bucket") for key in wanted}
    told = {
        key: value
        for key, value in found.items()
        if value and (key[1], key[-1] if isinstance(key[-1], str) else "bucket") in kinds
    }
    assert told == wanted
    assert metrics <= {key[1] for key in found}


def test_agents_and_compaction_at_once_lose_nothing(postgres: str) -> None:
    """Two agents ship, two compact all the while: in the end every request is in the sums once."""
    requests, stop, failures = 150, threading.Event(), list[BaseException]()

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - told in the test's own thread
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def ship(number: int) -> None:
        sink = PostgresSink(postgres)
        for request in range(requests):
            at = MINUTE + request % 3 * 60
            id_ = uuid7(1_700_000_000_000_000_000 + 10_000 * number + request)
            log_ = whole(PRODUCERS[number], [start(id_, at=at), span(id_, at=at)] * (request + 1))
            part = log_._replace(events=log_.events[-2:], start=log_.events[-2][0])
            assert sink.deliver(part) == Delivered()
        sink.close()

    def keep_compacting() -> None:
        while not stop.is_set():
            compact_all(postgres)

    compacting = [guarded(keep_compacting) for _ in range(2)]
    shipping = [guarded(lambda number=number: ship(number)) for number in range(2)]
    for thread in shipping:
        thread.join()
    stop.set()
    for thread in compacting:
        thread.join()
    compact_all(postgres)

    assert failures == []
    sums = {key: count for key, (count, _, _) in stored(postgres).items() if key[1] == "clew_requests_total"}
    assert sorted(sums.values()) == [100, 100, 100]
    with psycopg.connect(postgres, autocommit=True) as connection:
        rows = connection.execute("SELECT count(*), bool_and(is_whole) FROM rollups").fetchone()
    assert rows == (len(stored(postgres)), True)


def test_who_compacts_waits_for_who_is_at_it(postgres: str) -> None:
    """One who has looked before another's sums were there would leave sums of its own beside them."""
    logs = Logs(postgres, [[*(log("cache_checked", MINUTE, context={"cache_hit": True}) for _ in range(3))]])
    logs.step(0, 2, "none")
    with psycopg.connect(postgres) as first, psycopg.connect(postgres, autocommit=True) as watching:
        for _ in compact(first, FOR_EVER):
            pass
        logs.step(0, 1, "none")
        second = threading.Thread(target=compact_all, args=[postgres])
        second.start()
        waiting = "SELECT true FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        waited = until(lambda: watching.execute(waiting).fetchone() is not None)
        first.commit()
        second.join()
        rows = watching.execute('SELECT "count", is_whole FROM rollups').fetchall()

    logs.close()
    assert waited
    assert rows == [(3, True)]


def test_a_late_event_adds_to_a_minute_that_is_whole(postgres: str) -> None:
    """After the compaction of its minute a late event is one more part, and then part of the whole."""
    logs = Logs(postgres, [[*(log("cache_checked", MINUTE, context={"cache_hit": True}) for _ in range(3))]])
    logs.step(0, 2, "compaction")

    logs.finish()

    with psycopg.connect(postgres, autocommit=True) as connection:
        parts = connection.execute('SELECT "count" FROM rollups ORDER BY is_whole').fetchall()
        done = list(compact(connection, FOR_EVER))
        sums = connection.execute('SELECT "count", is_whole FROM rollups').fetchall()
    assert (parts, sums) == ([(1,), (2,)], [(3, True)])
    assert done == [datetime.fromtimestamp(MINUTE, UTC)]


def test_a_minute_that_is_not_over_is_left_alone(postgres: str) -> None:
    """Compaction begins where most events of a minute have come."""
    now = datetime.now(UTC)
    logs = Logs(postgres, [[log("cache_checked", now.timestamp(), context={"cache_hit": True})]])

    logs.finish()

    with psycopg.connect(postgres, autocommit=True) as connection:
        assert list(compact(connection)) == []
        assert len(list(compact(connection, now + timedelta(minutes=3)))) == 1


def test_the_sums_of_an_example_are_readable(postgres: str) -> None:
    """A person who looks into the table finds what the events say."""
    logs = Logs(
        postgres, [[log("cache_checked", MINUTE, context={"cache_hit": True}, environment="prod", version="7")]]
    )

    logs.finish()

    assert stored(postgres) == {
        (
            datetime.fromtimestamp(MINUTE, UTC),
            "clew_cache_requests_total",
            "rag-api",
            "prod",
            "7",
            "other",
            "",
            "true",
        ): (
            1,
            1.0,
            {},
        )
    }
