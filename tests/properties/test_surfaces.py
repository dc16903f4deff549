"""All surfaces tell the same of what was spent, and what they tell is what a person would count."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew.ids import uuid7
from clew.sinks.base import Delivered, Producer
from clew.sinks.prometheus.sink import PrometheusSink
from clew.spool.directory import create_producer_directory, new_producer_id
from clew.store.postgres.costs import CostFilter, fetch_costs
from clew.store.postgres.reading import read
from clew.store.postgres.sink import PostgresSink
from clew.store.postgres.traces import fetch_trace
from clew.store.postgres.upkeep.compaction import compact, compact_ledger
from support.metrics import NOW, TRACE, batch, log, samples, span, start
from support.nine_traces import NINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.sinks.base import Batch

PRODUCER = Producer(new_producer_id(1_700_000_000_000_000_000), "rag-api")
BEGIN = datetime.fromtimestamp(NOW, UTC) - timedelta(hours=1)
MOST_MS = 60  # the first batch of a process takes the store 8 to 50 ms, then Prometheus 3 ms
FOR_EVER = datetime(2200, 1, 1, tzinfo=UTC)
_pause = threading.Event()
STEPS = ("chain", "tool", "llm")

Step = dict[str, Any]
"""A step of a made-up trace: its kind, what it and its logs report, and the steps inside it."""


def steps(children: st.SearchStrategy[list[Step]]) -> st.SearchStrategy[Step]:
    """Make up a step around others."""
    amounts = st.none() | st.integers(1, 50)
    return st.fixed_dictionaries(
        {
            "kind": st.sampled_from(STEPS),
            "reports": amounts,
            "uses": st.lists(st.integers(1, 50), max_size=2),
            "sums": amounts,
            "repeats": st.booleans(),
            "outlives": st.booleans(),
            "inside": children,
        }
    )


trees = st.recursive(steps(st.just([])), lambda inner: steps(st.lists(inner, max_size=3)), max_leaves=6)


def told(tree: Step) -> tuple[list[bytes], int]:
    """Tell a trace as an application does, and count it naively: (events, what it cost)."""
    numbers = iter(range(10_000))
    tell_apart(tree, iter(range(1, 10_000)))
    late: list[bytes] = []

    def tell(step: Step, parent: str | None) -> Iterator[bytes]:
        id_ = uuid7(1_700_000_000_000_000_000 + next(numbers))
        yield start(id_, parent, run_type=step["kind"], stage="generation")
        inside = 0
        for inner in step["inside"]:
            events = tell(inner, id_)
            *before, end = list(events)
            yield from before
            late.append(end) if inner["outlives"] else (yield end)
            inside += naive(inner)
        for cost in step["uses"]:
            yield log("token_usage_recorded", span_id=id_, stage="generation", metrics={"cost_usd": cost})
        if step["sums"] is not None:
            yield log("summed_up", span_id=id_, stage="generation", metrics={"cost_usd": step["sums"]})
        metrics = {} if step["reports"] is None else {"cost_usd": step["reports"]}
        yield span(id_, parent, run_type=step["kind"], stage="generation", metrics=metrics)

    events = list(tell(tree, None))
    return [*events, *late], naive(tree)


def tell_apart(step: Step, numbers: Iterator[int]) -> None:
    """Let no two uses cost the same: equal ones of a step and one inside it would be one use, told twice."""
    step["uses"] = [1_000_000 * cost + next(numbers) ** 2 for cost in step["uses"]]
    for name in ("reports", "sums"):
        step[name] = None if step[name] is None else 1_000_000 * step[name]
    for inner in step["inside"]:
        tell_apart(inner, numbers)


def naive(step: Step) -> int:
    """Count what a step and everything inside it cost: what is reported inside, or outside if that is more."""
    return max(sum(map(naive, step["inside"])) + sum(step["uses"]), step["sums"] or 0, step["reports"] or 0)


kills = st.integers(0, MOST_MS).map(lambda ms: f"killed after {ms} ms")
faults = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from(["none", "dies after", "comes again", "compaction"]) | kills)
)


def ship(dsn: str, spool: Path, payloads: list[bytes], faults_: list[tuple[int, str]]) -> dict[str, float]:
    """Ship events into both sinks in batches, with faults; return Prometheus' samples."""
    create_producer_directory(spool, PRODUCER.service, PRODUCER.id)
    store, metrics = PostgresSink(dsn), PrometheusSink(spool / ".sinks" / "prometheus", now=lambda: NOW)
    whole = batch(*payloads, producer=PRODUCER)
    at = 0
    for number, fault in [*faults_, (len(payloads), "none")]:
        part = whole.events[at : at + number]
        if not part:
            break
        at += number
        end = whole.events[at][0] if at < len(whole.events) else whole.end
        some = whole._replace(events=part, start=part[0][0], end=end)
        if fault.startswith("killed"):
            store.close()
            metrics.close()
            ship_and_be_killed(dsn, spool, some, int(fault.split()[2]) / 1000)
            store, metrics = PostgresSink(dsn), PrometheusSink(spool / ".sinks" / "prometheus", now=lambda: NOW)
        for _ in range(2 if fault == "comes again" else 1):
            assert (store.deliver(some), metrics.deliver(some)) == (Delivered(), Delivered())
        if fault == "dies after":
            store.close()
            metrics.close()
            store, metrics = PostgresSink(dsn), PrometheusSink(spool / ".sinks" / "prometheus", now=lambda: NOW)
        if fault == "compaction":
            compact_everything(dsn)
    found = samples(metrics.families())
    debts = sum(series.debt for some in metrics._series._series.values() for series in some.values())
    store.close()
    metrics.close()
    return {**found, "debt": debts}


def ship_and_be_killed(dsn: str, spool: Path, some: Batch, after_s: float) -> None:
    """Ship a batch from another process, and kill that with SIGKILL wherever it is by then."""
    child = os.fork()
    if child == 0:
        try:
            store, metrics = PostgresSink(dsn), PrometheusSink(spool / ".sinks" / "prometheus", now=lambda: NOW)
            store.deliver(some)
            metrics.deliver(some)
            signal.pause()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    _pause.wait(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def compact_everything(dsn: str) -> None:
    """Add up every minute and every day."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        list(compact(connection, FOR_EVER))
        list(compact_ledger(connection, BEGIN + timedelta(days=3)))  # late parts of a request are known for 31 days


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(trees, faults)
def test_all_surfaces_agree_with_a_naive_count(postgres: str, tree: Step, faults_: list[tuple[int, str]]) -> None:
    """The trace, its costs by rows and by the ledger, the minutes and Prometheus, whatever is told in whatever batches."""
    payloads, cost = told(tree)

    assert_agree(postgres, payloads, faults_, cost)


@pytest.mark.parametrize("fault", ["none", "dies after", "comes again", "compaction", "killed after 20 ms"])
@pytest.mark.parametrize("name", NINE)
def test_all_surfaces_agree_on_the_nine_traces(postgres: str, name: str, fault: str) -> None:
    """Each of the traces that they once did not agree on, in one batch for each event, with the fault after each."""
    payloads, _, cost = NINE[name]

    assert_agree(postgres, list(payloads), [(1, fault)] * len(payloads), cost)


def assert_agree(postgres: str, payloads: list[bytes], faults_: list[tuple[int, str]], cost: float) -> None:
    """Ship a trace with faults, and ask every surface what it cost, and those that count requests for their number."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("TRUNCATE events, open_spans, cursors, rollups, ledger, ledger_requests")
    with tempfile.TemporaryDirectory() as home:
        scraped = ship(postgres, Path(home), payloads, faults_)

    with psycopg.connect(postgres, autocommit=True) as connection:
        trace = read(connection, fetch_trace(TRACE))
        hours = CostFilter(since=BEGIN, until=BEGIN + timedelta(hours=2))
        days = CostFilter(since=BEGIN - timedelta(days=3), until=BEGIN + timedelta(days=3))
        rows = read(connection, fetch_costs(hours, by="trace")).total
        by_line = read(connection, fetch_costs(days, by="line"))
        ledger, lines = by_line.total, by_line.costs
        [(minutes,)] = connection.execute(
            "SELECT sum(sum) FROM rollups WHERE metric = 'clew_cost_usd_total'"
        ).fetchall()
    counters = sum(value for name, value in scraped.items() if name.startswith("clew_cost_usd_total"))

    found = {
        "trace": trace.summary.cost_usd,
        "costs of hours": rows.cost_usd,
        "costs of days": ledger.cost_usd,
        "minutes": minutes,
        "prometheus": counters - scraped["debt"],
    }
    assert {name: value or 0 for name, value in found.items()} == pytest.approx(dict.fromkeys(found, cost))
    assert rows.calls == ledger.calls
    assert {rows.requests, ledger.requests} == {int(rows.calls > 0)}
    assert {part.requests for part in lines} <= {1}
