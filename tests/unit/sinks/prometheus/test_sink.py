"""The Prometheus sink: every event counted once, whatever happens between two steps."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from clew.sinks.base import Delivered, Producer
from clew.sinks.prometheus.sink import PrometheusSink
from clew.spool.directory import create_producer_directory, new_producer_id
from support.metrics import NOW, PRODUCER, TRACE, batch, exemplars, log, samples, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOLD_LOCK = """
import pathlib, sys
from clew.spool.directory import make_private_directory
from clew.spool.life.lock import FileLock
path = pathlib.Path(sys.argv[1])
make_private_directory(path.parent)
print(FileLock(path).acquire(), flush=True)
sys.stdin.read()
"""
OTHER_PRODUCER = Producer(new_producer_id(1_700_000_001_000_000_000), "rag-api")
CACHED = log("cache_checked", context={"cache_hit": True}, metrics={"duration_ms": 3.0})
HITS = "clew_cache_requests_total{rag-api,true}"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Have another process hold a lock for the length of a block."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        yield
        holder.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], PrometheusSink]]:
    """Give a function that starts a sink on this test's spool, as an agent does after a crash of the one before."""
    started: list[PrometheusSink] = []
    for producer in (PRODUCER, OTHER_PRODUCER):
        create_producer_directory(tmp_path, producer.service, producer.id)

    def start() -> PrometheusSink:
        for dead in started:
            dead.close()  # as the kernel does with the files of a process; nothing is saved by it
        started.append(PrometheusSink(tmp_path / ".sinks" / "prometheus", now=lambda: NOW))
        return started[-1]

    yield start
    for sink in started:
        sink.close()


def test_a_log_feeds_the_metrics_that_the_catalogue_names(start: Callable[[], PrometheusSink]) -> None:
    """Counters add up, histograms observe in base units, and both parts of a ratio are there."""
    sink = start()

    outcome = sink.deliver(batch(CACHED, CACHED))

    told = samples(sink.families())
    assert outcome == Delivered()
    assert told[HITS] == 2
    assert told["clew_cache_requests_total{rag-api,false}"] == 0
    assert told["clew_stage_duration_seconds_count{rag-api,other,cache_checked}"] == 2
    assert told["clew_stage_duration_seconds_sum{rag-api,other,cache_checked}"] == pytest.approx(0.006)


def test_an_exemplar_leads_to_the_trace(start: Callable[[], PrometheusSink]) -> None:
    """It carries trace and span as W3C writes them, within OpenMetrics' 128 characters."""
    sink = start()
    span_id = "f4dfc083-0000-7000-8000-00000000abcd"

    sink.deliver(batch(span(span_id)))

    (found,) = exemplars(sink.families(), "clew_request_duration_seconds_bucket")
    assert found == {"trace_id": TRACE.replace("-", ""), "span_id": "800000000000abcd"}
    assert sum(len(name) + len(value) for name, value in found.items()) <= 128


def test_counters_go_on_after_a_crash(start: Callable[[], PrometheusSink]) -> None:
    """What was delivered before stands, a replay of it adds nothing, and the sink tells where it was."""
    before = start()
    same = batch(CACHED, CACHED)
    before.deliver(same)

    after = start()
    resumed = after.resume(PRODUCER)
    after.deliver(same)
    after.deliver(batch(CACHED, first=1000))

    assert resumed == same.end
    assert samples(after.families())[HITS] == 3


def test_one_absurd_amount_does_not_take_the_counters_away(start: Callable[[], PrometheusSink]) -> None:
    """Sums too large for a number would make the saved state unreadable, and every counter begin at zero."""
    absurd = log("token_usage_recorded", context={"model": "m"}, metrics={"cost_usd": 1.7e308, "tokens_in": 1.7e308})
    start().deliver(batch(CACHED, absurd, absurd))

    told = samples(start().families())

    assert told[HITS] == 1
    assert told["clew_llm_tokens_input_total{rag-api,m}"] == 2e15


def test_an_agent_goes_on_where_another_one_was(start: Callable[[], PrometheusSink], tmp_path: Path) -> None:
    """A log that comes from an agent with a slot of its own is counted from where that one stopped."""
    directory = tmp_path / ".sinks" / "prometheus"
    other = start()
    other.deliver(batch(CACHED))
    other.close()
    (directory / "0.state").rename(directory / "7.state")

    sink = start()
    resumed = sink.resume(PRODUCER)
    sink.deliver(batch(CACHED, CACHED))

    assert resumed == batch(CACHED).end
    assert samples(sink.families())[HITS] == 1


def test_the_counters_of_a_second_agent_are_told_apart(start: Callable[[], PrometheusSink], tmp_path: Path) -> None:
    """Agents that swap counters at a restart would look like one that was reset and one that counted them at once."""
    with held(tmp_path / ".sinks" / "prometheus" / "0.lock"):
        second = start()
    second.deliver(batch(CACHED))
    second.close()

    first = start()
    first.deliver(batch(CACHED, CACHED, producer=OTHER_PRODUCER))

    assert (first.slot, second.slot) == (0, 1)
    assert samples(second.families())["clew_cache_requests_total{rag-api,true,1}"] == 1
    assert samples(first.families())[HITS] == 2


def test_producers_that_are_gone_are_forgotten(start: Callable[[], PrometheusSink], tmp_path: Path) -> None:
    """The state does not grow with every process that ever was."""
    sink = start()
    sink.deliver(batch(CACHED))
    (tmp_path / PRODUCER.service / PRODUCER.id).rmdir()

    sink.resume(OTHER_PRODUCER)
    sink.deliver(batch(CACHED, producer=OTHER_PRODUCER))

    assert start().resume(PRODUCER) is None
    assert samples(sink.families())[HITS] == 2


def test_a_damaged_state_begins_at_zero_and_says_so(
    start: Callable[[], PrometheusSink], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An agent does not fail for want of its past."""
    start().deliver(batch(CACHED))
    path = tmp_path / ".sinks" / "prometheus" / "0.state"
    path.write_bytes(b"\xff" * path.stat().st_size)

    sink = start()
    sink.deliver(batch(CACHED, first=1000))

    assert samples(sink.families())[HITS] == 1
    assert "was damaged: its counters begin at zero" in capsys.readouterr().err
    assert samples(start().families())[HITS] == 1


@pytest.mark.parametrize("offset_s", [-301.0, 61.0])
def test_late_and_early_events_count_apart(start: Callable[[], PrometheusSink], offset_s: float) -> None:
    """They would show as a burst of now; a span counts by its end, not by its beginning."""
    sink = start()
    long = span("f4dfc083-0000-7000-8000-00000000abcd", at=NOW - 900, metrics={"duration_ms": 899_000})

    sink.deliver(batch(log("cache_checked", NOW + offset_s, context={"cache_hit": True}), long))

    told = samples(sink.families())
    assert told["clew_late_events_total{rag-api}"] == 1
    assert HITS not in told
    assert told["clew_requests_total{rag-api,ok}"] == 1


def test_logs_outside_the_catalogue_feed_nothing(start: Callable[[], PrometheusSink]) -> None:
    """A log like any other is delivered, and that is all."""
    sink = start()

    outcome = sink.deliver(batch(log("hello", metrics={"duration_ms": 3})))

    assert outcome == Delivered()
    assert sink.families() == []
