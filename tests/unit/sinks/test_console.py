"""The smallest sink, and the way to name sinks."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from msgspec import json

from clew import config
from clew.agent.sinks import make_sinks
from clew.errors import AgentError, ConfigError
from clew.sinks.base import Batch, Delivered, Outcome, Producer, Retry
from clew.sinks.console import ConsoleSink, make
from clew.spool.directory import new_producer_id
from clew.spool.format import position_of
from clew.spool.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

PRODUCER = Producer(new_producer_id(1_700_000_000_000_000_000), "rag-api")
START, END = position_of(1, 64), position_of(1, 164)


def test_a_line_is_the_event_with_its_id(tmp_path: Path) -> None:
    """Every event becomes one line of JSON in the public format."""
    sink = make(config.load(data_dir=tmp_path, console=tmp_path / "events.jsonl"))

    outcome = sink.deliver(Batch(PRODUCER, [(START, b'{"message":"told"}')], START, END))
    sink.close()

    assert outcome == Delivered()
    (line,) = (tmp_path / "events.jsonl").read_bytes().splitlines()
    event = json.decode(line)
    assert event["message"] == "told"
    assert event["event_id"].startswith(PRODUCER.id[:24])


def test_a_closed_stream_means_try_again(tmp_path: Path) -> None:
    """Trouble with the stream holds the events."""
    stream = (tmp_path / "events.jsonl").open("ab")
    stream.close()

    assert isinstance(ConsoleSink(stream).deliver(Batch(PRODUCER, [(START, b"{}")], START, END)), Retry)


def batch_of(events: int, size: int, producer: Producer = PRODUCER) -> Batch:
    """Make a batch of events, each with its number and so many bytes."""
    run = [(position_of(1, 64 + 1000 * i), b'{"n":%d,"pad":"%s"}' % (i, b"x" * size)) for i in range(events)]
    return Batch(producer, run, START, position_of(1, 64 + 1000 * events))


def deliver_to_pipe(sink: ConsoleSink, batch: Batch, end: int) -> tuple[list[Outcome], bytes]:
    """Deliver again and again to a pipe that does not wait, and read a little of it after each attempt."""
    outcomes, found = [sink.deliver(batch)], b""
    while not isinstance(outcomes[-1], Delivered):
        found += os.read(end, 5000)
        outcomes.append(sink.deliver(batch))
    os.set_blocking(end, False)
    with contextlib.suppress(BlockingIOError):
        while part := os.read(end, 1 << 20):
            found += part
    return outcomes, found


@pytest.mark.parametrize("size", [20, 3000, 200_000])
def test_a_full_pipe_gets_each_line_once_and_whole(size: int) -> None:
    """A write that was cut goes on where it was cut, in the middle of a line as well; one that waits sees the same."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    sink = ConsoleSink(os.fdopen(writing, "wb"))
    batch = batch_of(max(3, 200_000 // size), size)

    outcomes, found = deliver_to_pipe(sink, batch, reading)
    sink.close()
    os.close(reading)

    assert len(outcomes) > 10
    assert {type(outcome) for outcome in outcomes} == {Retry, Delivered}
    assert [json.decode(line)["n"] for line in found.splitlines()] == list(range(len(batch.events)))


def test_a_batch_that_is_cut_into_parts_after_a_short_write_gets_each_line_once() -> None:
    """A breaker that lets a few through first, and another log between: both begin behind what was written."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    sink, other = ConsoleSink(os.fdopen(writing, "wb")), Producer(new_producer_id(1), "other")
    whole = batch_of(100, 3000)
    assert isinstance(sink.deliver(whole), Retry)
    found = os.read(reading, 1 << 20)
    os.set_blocking(writing, True)

    lines: list[bytes] = []
    gather = threading.Thread(target=lambda: lines.extend(os.fdopen(reading, "rb").read().splitlines()))
    gather.start()
    first, second = (
        whole._replace(events=whole.events[:10], end=whole.events[10][0]),
        whole._replace(events=whole.events[10:], start=whole.events[10][0]),
    )
    outcomes = [sink.deliver(part) for part in (batch_of(0, 0, other), first, second, batch_of(1, 0, other))]
    sink.close()
    gather.join(30)

    head, *rest = lines
    numbers = [json.decode(line)["n"] for line in [*(found + head).splitlines(), *rest]]
    assert outcomes == [Delivered()] * 4
    assert numbers == [*range(100), 0]


def test_a_pipe_whose_reader_is_gone_holds_the_events(tmp_path: Path) -> None:
    """Nothing is taken for delivered, and closing raises nothing."""
    reading, writing = os.pipe()
    sink = ConsoleSink(os.fdopen(writing, "wb"))
    os.close(reading)

    outcomes = [sink.deliver(batch_of(3, 10)) for _ in range(2)]
    sink.close()

    assert [type(outcome) for outcome in outcomes] == [Retry, Retry]
    assert "BrokenPipeError" in outcomes[0].reason  # type: ignore[union-attr]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit of file sizes here")
def test_a_disk_that_takes_half_a_batch_gets_the_other_half_later(tmp_path: Path) -> None:
    """The first write is cut short, the second refused."""
    sink = make(config.load(data_dir=tmp_path, console=tmp_path / "events.jsonl"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1234, hard))
        refused = [sink.deliver(batch_of(100, 20)) for _ in range(3)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    taken = sink.deliver(batch_of(100, 20))
    sink.close()

    assert {type(outcome) for outcome in refused} == {Retry}
    assert taken == Delivered()
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert [json.decode(line)["n"] for line in lines] == list(range(100))


def test_half_a_line_of_a_killed_process_stays_by_itself(tmp_path: Path) -> None:
    """Its event comes again, and can be read."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"n":0}\n{"n":')
    for _ in range(2):
        sink = make(config.load(data_dir=tmp_path, console=path))
        assert sink.deliver(batch_of(1, 0)) == Delivered()
        sink.close()

    assert [line[:5] for line in path.read_bytes().splitlines()] == [b'{"n":', b'{"n":', b'{"eve', b'{"eve']


def test_the_agent_ships_to_sinks_named_in_the_environment(tmp_path: Path) -> None:
    """CLEW_SINKS=console prints what producers left, without any store."""
    writer = Writer(tmp_path / "spool", service="rag-api", segment_bytes=64 * 1024)
    for i in range(3):
        writer.append(b'{"kind":"log","i":%d}' % i)
    writer.close()

    ran = subprocess.run(
        [sys.executable, "-m", "clew.agent", "--until-idle"],
        env={"CLEW_DATA_DIR": str(tmp_path), "CLEW_SINKS": "console", "PATH": ""},
        capture_output=True,
        check=True,
        timeout=30,
    )

    assert [json.decode(line)["i"] for line in ran.stdout.splitlines()] == [0, 1, 2]


def test_a_sink_that_is_not_installed_is_told_with_those_that_are(tmp_path: Path) -> None:
    """A wrong name is the operator's mistake, and the right ones are named."""
    with pytest.raises(ConfigError, match="console"):
        make_sinks(config.load(data_dir=tmp_path, sinks=["kafka"]))


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """A console file in a directory that is not there ends in one clear error."""
    with pytest.raises(AgentError, match="cannot be made"):
        make_sinks(config.load(data_dir=tmp_path, sinks=["console"], console=tmp_path / "none" / "x.jsonl"))
