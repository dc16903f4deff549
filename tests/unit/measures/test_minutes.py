"""Partial sums of a batch: of what, by what, and how many."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from clew.catalog.series import METRICS, OVERFLOW_METRIC, ROLLUPS
from clew.ids import uuid7
from clew.measures.buckets import ZERO, bucket_of
from clew.measures.counting import Followed
from clew.measures.labels import MAX_LABEL_CHARS, OTHER
from clew.measures.minutes import COLUMNS, MAX_SETS, Rollups
from clew.sinks.base import Delivered, Rejected
from clew.spool.format import Position
from clew.store.postgres.rows import Sorter
from clew.store.postgres.sink import PostgresSink
from support.metrics import NOW, batch, log, span, start

if TYPE_CHECKING:
    from collections.abc import Iterable

MINUTE = datetime.fromtimestamp(NOW - NOW % 60, UTC)
ROOT = uuid7(1_700_000_000_000_000_000)


def count(*payloads: bytes, rollups: Rollups | None = None) -> list[dict[str, Any]]:
    """Add events up; return the rows as the table has them."""
    tally = (rollups or Rollups(lambda: NOW)).begin(Followed())
    for _ in Sorter(batch(*payloads), Position(0), tally).slices():
        pass
    return [dict(zip([name for name, _ in COLUMNS], row, strict=True)) for row in tally.rows()]


def of(metric: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a metric."""
    return [row for row in rows if row["metric"] == metric]


def lookup(**told: Any) -> bytes:
    """Tell a look-up in the cache."""
    return log("cache_checked", context={"cache_hit": True}, **told)


def call(model: str, **told: Any) -> bytes:
    """Tell what a call to a model used."""
    return log("token_usage_recorded", context={"model": model}, metrics={"cost_usd": 0.5}, **told)


def test_every_metric_that_is_added_up_is_declared_with_its_label() -> None:
    """The table of roll-ups names metrics of the catalogue, each once, and labels that they have."""
    names = [name for rollup in ROLLUPS.values() for name in rollup.metrics]

    assert len(names) == len(set(names))
    for rollup in ROLLUPS.values():
        for name in rollup.metrics:
            assert not rollup.label or rollup.label in METRICS[name].labels, name


def test_a_sum_is_kept_apart_by_minute_and_all_that_is_told() -> None:
    """Service, environment, version, stage, model and label stand in the row, with the time by the minute."""
    (cost,) = of(
        "clew_cost_usd_total",
        count(*(call("gpt-x", stage="generation", environment="prod", version="7") for _ in range(3))),
    )

    assert cost == {
        "minute": MINUTE,
        "metric": "clew_cost_usd_total",
        "service": "rag-api",
        "environment": "prod",
        "version": "7",
        "stage": "generation",
        "model": "gpt-x",
        "label": "generation",
        "count": 3,
        "sum": 1.5,
        "buckets": None,
        "counts": None,
    }


def test_a_span_counts_for_the_minute_it_began_in() -> None:
    """However long it took: so it is found by the time that the store has of it."""
    rows = count(start(ROOT, at=NOW), span(ROOT, at=NOW, metrics={"duration_ms": 600_000.0}))

    (latency,) = of("clew_request_duration_seconds", rows)
    assert (latency["minute"], latency["sum"]) == (MINUTE, 600.0)
    assert (latency["buckets"], latency["counts"]) == ([bucket_of(600.0)], [1])


def test_a_parent_in_another_process_makes_a_request_and_one_in_this_does_not() -> None:
    """Requests are spans without a parent in their own process, as for Prometheus."""
    inner, far = uuid7(1_700_000_000_000_000_001), "00000000-0000-0000-8f41-62b9d07a5c33"

    rows = count(start(ROOT, far), start(inner, ROOT), span(inner, ROOT), span(ROOT, far))

    (requests,) = of("clew_requests_total", rows)
    assert requests["count"] == 1


@pytest.mark.parametrize(
    ("amount", "told"),
    [(-5.0, (0.0, ZERO)), (0, (0.0, ZERO)), (10**200, (1e15, bucket_of(1e15))), (1e308, (1e15, bucket_of(1e15)))],
)
def test_amounts_that_nobody_can_mean_do_no_harm(amount: float, told: tuple[float, int]) -> None:
    """Negative ones add nothing, and huge ones not more than a sum can hold."""
    payload = log("generation_complete", context={"model": "m"}, metrics={"duration_ms": 1.0})
    payload = payload.replace(b"1.0", str(amount).encode())

    (duration,) = of("clew_llm_duration_seconds", count(payload))

    assert (duration["count"], duration["sum"], duration["buckets"]) == (1, told[0], [told[1]])


def test_what_is_no_number_and_what_is_no_object_feeds_nothing() -> None:
    """The store takes such events, and so must the sums."""
    rows = count(
        log("generation_complete", metrics={"duration_ms": "long"}),
        log("generation_complete", metrics={"duration_ms": 1}).replace(b":1}", b":1" + b"0" * 400 + b"}"),
        log("search_failed", error="not an object"),
        log("generation_complete", metrics=["not an object"]),
        span(ROOT, status="error", error=7),
    )

    assert {row["metric"] for row in rows} <= {"clew_requests_total"}


def test_thousands_of_models_are_told_apart_up_to_a_bound() -> None:
    """Beyond it they are one, which is counted, and the sum over all is right."""
    rows = count(*(call(f"model-{number}") for number in range(3 * MAX_SETS)))

    costs = of("clew_cost_usd_total", rows)
    (overflow,) = [row for row in of(OVERFLOW_METRIC, rows) if row["label"] == "clew_cost_usd_total"]
    assert len(costs) == MAX_SETS + 1
    assert sum(row["count"] for row in costs) == 3 * MAX_SETS
    assert {row["model"]: row["count"] for row in costs}[OTHER] == 2 * MAX_SETS
    assert overflow["count"] == 2 * MAX_SETS


def test_thousands_of_services_come_to_an_end_too() -> None:
    """When not even services can be told apart, everything is other, and nothing is lost."""
    rows = count(*(lookup(service=f"service-{number}", version=str(number)) for number in range(5 * MAX_SETS)))

    lookups = of("clew_cache_requests_total", rows)
    assert len(lookups) == 2 * MAX_SETS + 1
    assert sum(row["count"] for row in lookups) == 5 * MAX_SETS
    assert {row["service"] for row in lookups} >= {"service-0", OTHER}
    assert {row["label"] for row in lookups} == {"true"}


def test_what_was_told_apart_is_remembered_from_batch_to_batch_and_for_an_hour() -> None:
    """The bound is one for all batches; a new hour has room for other values."""
    hour = [0.0]
    rollups = Rollups(lambda: hour[0])
    count(*(call(f"model-{number}") for number in range(MAX_SETS)), rollups=rollups)

    known = count(call("model-7"), rollups=rollups)
    beyond = count(call("new"), rollups=rollups)
    hour[0] = 3600.0
    later = count(call("new"), rollups=rollups)

    assert [of("clew_cost_usd_total", rows)[0]["model"] for rows in (known, beyond, later)] == ["model-7", OTHER, "new"]


def test_texts_that_postgresql_refuses_are_made_fit(postgres: str) -> None:
    """No model's name keeps the events of its batch out of the store."""
    names = ["a\x00b", "x" * 1000, "ümlaut ☃"]
    sink = PostgresSink(postgres)
    fit = [call("model", version="v" * 1000), call(names[1]), call(names[2])]

    whole = batch(*fit)
    outcome = sink.deliver(whole)
    with_nul = sink.deliver(batch(call(names[0]), first=10_000)._replace(start=whole.end))
    sink.close()

    assert outcome == Delivered()
    assert isinstance(with_nul, Rejected)  # by the column of the context, as ever
    assert {row["model"] for row in of("clew_cost_usd_total", count(*map(call, names)))} == {
        "a?b",
        "x" * MAX_LABEL_CHARS,
        "ümlaut ☃",
    }


def test_a_refused_batch_leaves_no_sums(postgres: str) -> None:
    """Sums stand in the store exactly if their events do."""
    sink = PostgresSink(postgres)

    refused = sink.deliver(batch(lookup(), b"{"))
    taken = sink.deliver(batch(lookup()))
    sink.close()

    assert isinstance(refused, Rejected)
    assert taken == Delivered()
    with psycopg.connect(postgres) as connection:
        assert connection.execute('SELECT "count" FROM rollups').fetchall() == [(1,)]
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)
