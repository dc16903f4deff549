"""The agent over real spools, with a sink that records."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from msgspec import json

from clew import config
from clew.agent.sinks import make_sinks
from clew.agent.supervisor import Supervisor
from clew.delivery.dead_letters import DEAD_DIRECTORY, DeadLetter
from clew.delivery.status import read_statuses
from clew.emit.shipping import agent_is_alive
from clew.errors import ConfigError
from clew.sinks.base import Batch, Delivered, Outcome, Rejected, Retry
from clew.spool.directory import producer_directories, segment_name
from clew.spool.format import HEADER_BYTES
from clew.spool.writer import Writer, spool_bytes
from support.accounting import wait_for
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clew.config import Settings

SMALL = 64 * 1024
LOOK_FOR_AGENT = """
import sys, pathlib
from clew.emit.shipping import agent_is_alive
sys.exit(not any(agent_is_alive(pathlib.Path(sys.argv[1])) for _ in range(200)))
"""
PRODUCER = """
import os, sys
import clew
clew.configure(service="killed", data_dir=sys.argv[1], agent="external")
log = clew.get_logger()
outer = clew.span("outer", inputs={"question": "why"}); outer.begin()
inner = clew.span("inner", stage="ingestion"); inner.begin()
for i in range(100):
    log.info("chunks_created", chunk_count=i)
sys.stdout.write("ready"); sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings whose data directory is temporary."""
    return config.load(data_dir=tmp_path, service="agent-test")


@pytest.fixture
def supervise(settings: Settings) -> Iterator[Callable[..., Supervisor]]:
    """Give a function that starts supervisors, which are stopped afterwards."""
    started: list[Supervisor] = []

    def start(*sinks: RecordingSink) -> Supervisor:
        supervisor = Supervisor(settings, sinks=list(sinks), report=lambda _: None)
        supervisor.start()
        started.append(supervisor)
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop()


def open_writer(settings: Settings) -> Writer:
    """Open a producer's log in this process."""
    return Writer(settings.spool_dir, service="rag-api", segment_bytes=SMALL)


def producers(settings: Settings) -> list[Path]:
    """List the directories of producers whose logs are not shipped whole."""
    return list(producer_directories(settings.spool_dir))


def test_every_thread_runs_when_start_returns(supervise: Callable[..., Supervisor]) -> None:
    """An application that ends right after it could not start one any more, from Python 3.12 on."""
    before = set(threading.enumerate())
    supervise(RecordingSink())

    names = {thread.name for thread in set(threading.enumerate()) - before}

    assert names == {"clew-agent", f"clew-{RecordingSink().name}"}


def test_a_thread_that_cannot_be_started_leaves_no_agent_behind(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever starts an agent where no thread can be is told, and no lock says that one lives."""
    sink, before = RecordingSink(), set(threading.enumerate())
    supervisor, start = Supervisor(settings, sinks=[sink], report=lambda _: None), threading.Thread.start

    def refuse_the_last(thread: threading.Thread) -> None:
        if thread.name == "clew-agent":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_the_last)
    with pytest.raises(RuntimeError, match="new thread"):
        supervisor.start()

    wait_for(lambda: set(threading.enumerate()) <= before, "the sink's thread to end")
    assert not agent_is_alive(settings.spool_dir)


def test_what_is_emitted_is_shipped_in_order_while_the_producer_lives(
    settings: Settings, supervise: Callable[..., Supervisor]
) -> None:
    """A living producer's events reach the sink, across segments, in order."""
    sink, writer = RecordingSink(), open_writer(settings)
    supervise(sink)
    sent = [b'{"kind":"log","i":%d,"pad":"%s"}' % (i, b"x" * 200) for i in range(2000)]

    for payload in sent:
        writer.append(payload)

    assert sink.wait(lambda s: len(s.taken) == len(sent))
    assert sink.payloads() == sent
    writer.close()


def test_a_finished_producer_leaves_nothing_behind(settings: Settings, supervise: Callable[..., Supervisor]) -> None:
    """Once everything is shipped, the directory of a producer that ended is removed."""
    sink, writer = RecordingSink(), open_writer(settings)
    writer.append(b'{"kind":"log"}')
    writer.close()

    supervisor = supervise(sink)

    assert supervisor.drain(20.0)
    assert sink.payloads() == [b'{"kind":"log"}']
    assert producers(settings) == []


def test_segments_are_removed_behind_the_slowest_sink(settings: Settings, supervise: Callable[..., Supervisor]) -> None:
    """A sink that is down keeps its events on the disk and does not delay the other one."""
    is_down = [True]
    fast = RecordingSink("fast")
    slow = RecordingSink("slow", lambda _: Retry("down", after_s=0.01) if is_down[0] else Delivered())
    writer = open_writer(settings)
    supervise(fast, slow)
    for i in range(2000):
        writer.append(b'{"kind":"log","i":%d,"pad":"%s"}' % (i, b"x" * 100))

    assert fast.wait(lambda s: len(s.taken) == 2000)
    assert slow.taken == []
    assert len(list(writer.directory.glob("*.seg"))) > 2

    is_down[0] = False
    assert slow.wait(lambda s: len(s.taken) == 2000)
    assert slow.payloads() == fast.payloads()
    writer.close()


def test_the_open_spans_of_a_killed_process_are_closed_as_aborted(
    settings: Settings, supervise: Callable[..., Supervisor]
) -> None:
    """After SIGKILL every returned event is there once, and the open spans end as aborted."""
    sink = RecordingSink()
    supervisor = supervise(sink)
    process = subprocess.Popen(
        [sys.executable, "-c", PRODUCER, str(settings.data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.read(5) == b"ready"

    process.kill()
    process.communicate()
    assert supervisor.drain(20.0)

    events = [json.decode(payload) for payload in sink.payloads()]
    logs = [event["context"]["chunk_count"] for event in events if event["kind"] == "log"]
    ended = {event["message"]: event for event in events if event["kind"] == "span"}
    assert logs == list(range(100))
    assert set(ended) == {"outer", "inner"}
    assert {event["status"] for event in ended.values()} == {"aborted"}
    assert ended["inner"]["error"]["type"] == "ProcessAborted"
    assert str(process.pid) in ended["inner"]["error"]["message"]
    assert ended["outer"]["context"]["inputs"] == {"question": "why"}
    assert ended["inner"]["parent_span_id"] == ended["outer"]["span_id"]


def test_a_killed_process_takes_little_room_during_an_outage(
    settings: Settings, supervise: Callable[..., Supervisor]
) -> None:
    """A crash loop while a backend is down does not fill the spool with segments that hold next to nothing."""
    is_down = [True]
    sink = RecordingSink("down", lambda _: Retry("down", after_s=0.01) if is_down[0] else Delivered())
    process = subprocess.Popen(
        [sys.executable, "-c", PRODUCER, str(settings.data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.read(5) == b"ready"
    before = spool_bytes(settings.spool_dir)
    process.kill()
    process.communicate()

    supervisor = supervise(sink)

    wait_for(lambda: spool_bytes(settings.spool_dir) < 128 * 1024, "the room to be given back")
    assert before >= settings.segment_bytes
    is_down[0] = False
    assert supervisor.drain(20.0)
    assert len(sink.payloads()) == 2 + 100 + 2


def test_a_process_that_ended_well_has_its_spans_closed_too(
    settings: Settings, supervise: Callable[..., Supervisor]
) -> None:
    """A program that exits inside a span is told apart from one that was killed."""
    sink = RecordingSink()
    subprocess.run([sys.executable, "-c", PRODUCER, str(settings.data_dir)], input=b"", capture_output=True, check=True)

    supervisor = supervise(sink)

    assert supervisor.drain(20.0)
    ended = [json.decode(payload) for payload in sink.payloads() if b'"kind":"span"' in payload]
    assert {event["status"] for event in ended} == {"aborted"}
    assert all("ended in good order" in event["error"]["message"] for event in ended)


def test_an_agent_that_is_replaced_repeats_nothing(settings: Settings) -> None:
    """A second agent goes on where the first one stopped."""
    writer = open_writer(settings)
    first, second = RecordingSink("same"), RecordingSink("same")
    writer.append(b'{"kind":"log","i":1}')
    one = Supervisor(settings, sinks=[first], report=lambda _: None)
    one.start()
    assert first.wait(lambda s: len(s.taken) == 1)
    one.stop()
    writer.append(b'{"kind":"log","i":2}')
    writer.close()

    two = Supervisor(settings, sinks=[second], report=lambda _: None)
    two.start()

    assert two.drain(20.0)
    two.stop()
    assert first.payloads() + second.payloads() == [b'{"kind":"log","i":1}', b'{"kind":"log","i":2}']
    assert first.is_closed


def test_two_agents_share_a_spool_without_shipping_twice(
    settings: Settings, supervise: Callable[..., Supervisor]
) -> None:
    """Each log is shipped by the one agent that holds its lock: here, an agent in another process is simulated by its lock."""
    sink, writer = RecordingSink(), open_writer(settings)
    writer.append(b'{"kind":"log"}')
    hold = (
        "import sys; from pathlib import Path; from clew.spool.life.lock import FileLock; "
        "lock = FileLock(Path(sys.argv[1])); print(lock.acquire(), flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(writer.directory / "agent.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"True\n"

    supervise(sink)
    assert not sink.wait(lambda s: bool(s.taken), timeout_s=0.5)
    other.kill()
    other.communicate()

    assert sink.wait(lambda s: len(s.taken) == 1)
    writer.close()


def test_a_refused_event_becomes_a_dead_letter_and_the_rest_arrives(
    settings: Settings, supervise: Callable[..., Supervisor]
) -> None:
    """What a sink will never take is kept with its reason, and delays nothing."""

    def answer(batch: Batch) -> Outcome:
        bad = tuple(i for i, (_, payload) in enumerate(batch.events) if b"poison" in payload)
        return Rejected(bad, "it is poison") if bad else Delivered()

    sink, writer = RecordingSink("picky", answer), open_writer(settings)
    for payload in (b'{"i":1}', b'{"poison":2}', b'{"i":3}'):
        writer.append(payload)
    writer.close()

    supervisor = supervise(sink)

    assert supervisor.drain(20.0)
    assert sink.payloads() == [b'{"i":1}', b'{"i":3}']
    lines = (settings.spool_dir / DEAD_DIRECTORY / "picky.jsonl").read_bytes().splitlines()
    letters = [json.decode(line, type=DeadLetter) for line in lines]
    assert [(letter.event, letter.reason) for letter in letters] == [('{"poison":2}', "it is poison")]
    assert supervisor.healths()[0].quarantined == 1


class SilentSink(RecordingSink):
    """A sink whose backend takes the request and never answers; an attempt ends when it is given up."""

    def __init__(self) -> None:
        super().__init__("silent", self._wait)
        self.asked = threading.Event()
        self.given_up = threading.Event()

    def interrupt(self) -> None:
        """Cut the attempt under way."""
        self.given_up.set()

    def _wait(self, _batch: Batch) -> Outcome:
        self.asked.set()
        return Retry("cut") if self.given_up.wait(60) else Delivered()


def test_an_agent_that_ends_gives_up_an_attempt_that_nobody_answers(
    settings: Settings, supervise: Callable[..., Supervisor]
) -> None:
    """Its attempt is cut, and what it was about is shipped by the next agent."""
    sink = SilentSink()
    writer = open_writer(settings)
    for number in range(3):
        writer.append(b'{"kind":"log","i":%d}' % number)
    supervisor = supervise(sink)
    assert sink.asked.wait(20)

    supervisor.stop(timeout_s=60)

    assert sink.is_closed
    assert sink.taken == []  # and nothing is taken for delivered
    writer.close()
    after = RecordingSink("silent")
    supervise(after)
    assert after.wait(lambda sink: len(sink.taken) == 3)


def test_an_agent_is_seen_while_it_runs(settings: Settings, supervise: Callable[..., Supervisor]) -> None:
    """Its lock and its status file say that it runs, and are gone when it has ended."""
    supervisor, writer = supervise(RecordingSink()), open_writer(settings)
    seen = subprocess.run(
        [
            sys.executable,
            "-c",
            LOOK_FOR_AGENT,
            str(settings.spool_dir),
        ],
        check=False,
    )
    statuses = read_statuses(settings.spool_dir)

    supervisor.stop()
    writer.close()

    assert seen.returncode == 0
    assert [status.pid for status in statuses] == [os.getpid()]
    assert not agent_is_alive(settings.spool_dir)
    assert read_statuses(settings.spool_dir) == []


def test_a_log_from_the_future_keeps_no_agent_alive(settings: Settings) -> None:
    """Only a later clew can ship it, so an agent that is to end when all is shipped ends; the log stays."""
    writer = open_writer(settings)
    writer.append(b'{"kind":"log"}')
    writer.close()
    (segment,) = writer.directory.glob(segment_name(1))
    raw = bytearray(segment.read_bytes())
    raw[8:10] = (2).to_bytes(2, "little")
    raw[HEADER_BYTES - 4 : HEADER_BYTES] = crc32(raw[: HEADER_BYTES - 4]).to_bytes(4, "little")
    segment.write_bytes(raw)
    present, sink = open_writer(settings), RecordingSink("recording")
    present.append(b'{"kind":"log","i":1}')
    present.close()

    Supervisor(settings, sinks=[sink], report=lambda _: None).run(until_idle=True)

    assert sink.payloads() == [b'{"kind":"log","i":1}']
    assert segment.read_bytes() == raw


def test_an_agent_without_a_sink_says_what_to_set(settings: Settings) -> None:
    """Nowhere to ship to is a mistake of the operator, told with the way out."""
    with pytest.raises(ConfigError, match="CLEW_DSN"):
        make_sinks(settings)
