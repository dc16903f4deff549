"""One worker and one sink that answers as it is told: order, quarantine, halving, and where the cursor is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from clew.agent.log import ProducerLog
from clew.agent.worker import LONGEST_RETRY_AFTER_S, Worker
from clew.delivery.dead_letters import DeadLetters
from clew.sinks.base import Batch, Delivered, Outcome, Rejected, Retry
from clew.spool.writer import Writer
from support.accounting import wait_for
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

EVENTS = [b'{"n":%d}' % number for number in range(8)]


@pytest.fixture
def log(tmp_path: Path) -> Generator[ProducerLog]:
    """Give the log of eight events, which its writer has open."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=64 * 1024)
    for payload in EVENTS:
        writer.append(payload)
    log = ProducerLog(writer.directory)
    assert log.take()
    yield log
    log.release()
    writer.close()


@contextmanager
def working(sink: RecordingSink, log: ProducerLog, spool: Path, said: list[str] | None = None) -> Generator[Worker]:
    """Have a worker ship the log for the length of a block."""
    report = [].append if said is None else said.append
    worker = Worker(sink, logs=lambda: [log], spool=spool, report=report, enrich=lambda payload: payload, seed=1)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
        worker.join(10.0)
    assert sink.is_closed


def test_events_come_in_order_and_the_cursor_follows(log: ProducerLog, tmp_path: Path) -> None:
    """Each once, and the cursor counts what was taken."""
    sink = RecordingSink()

    with working(sink, log, tmp_path):
        wait_for(lambda: log.cursor(sink.name).delivered == len(EVENTS))

    assert sink.payloads() == EVENTS


def test_a_sink_that_does_not_know_which_it_refuses_gets_halves(log: ProducerLog, tmp_path: Path) -> None:
    """Until it is known which one it is: that one is a dead letter, all others are taken, in their order."""

    def answer(batch: Batch) -> Outcome:
        payloads = [payload for _, payload in batch.events]
        return Rejected(tuple(range(len(payloads))), "no fives") if EVENTS[5] in payloads else Delivered()

    sink, said = RecordingSink(answer=answer), list[str]()

    with working(sink, log, tmp_path, said):
        wait_for(lambda: log.cursor(sink.name).delivered == len(EVENTS) - 1)

    assert sink.payloads() == EVENTS[:5] + EVENTS[6:]
    assert [letter.event.encode() for letter in DeadLetters(tmp_path, sink.name).read()] == [EVENTS[5]]
    assert log.cursor(sink.name).quarantined == 1
    assert said == ["recording refused 1 events, now dead letters: no fives"]


def test_nothing_passes_a_batch_that_is_to_be_tried_again(log: ProducerLog, tmp_path: Path) -> None:
    """The same batch comes until it is taken; the trouble is said once, and so is its end."""
    outcomes: list[Outcome] = [Retry("away", after_s=0.0), Retry("away", after_s=0.0)]
    sink = RecordingSink(answer=lambda _: outcomes.pop() if outcomes else Delivered())
    said = list[str]()

    with working(sink, log, tmp_path, said) as worker:
        wait_for(lambda: log.cursor(sink.name).delivered == len(EVENTS))

    assert sink.payloads() == EVENTS
    assert said == ["recording does not deliver: away; trying again", "recording delivers again"]
    assert (worker.health.retries, worker.health.failures, worker.health.trouble) == (2, 0, "")


def test_a_fault_of_the_sink_loses_nothing(log: ProducerLog, tmp_path: Path) -> None:
    """An exception, which no sink should raise, is told like any trouble, and the batch is read again from the cursor."""
    faults = [RuntimeError("a fault")]

    def answer(_: Batch) -> Outcome:
        if faults:
            raise faults.pop()
        return Delivered()

    sink, said = RecordingSink(answer=answer), list[str]()

    with working(sink, log, tmp_path, said):
        wait_for(lambda: log.cursor(sink.name).delivered == len(EVENTS))

    assert sink.payloads() == EVENTS
    assert said[0].startswith("recording does not deliver: RuntimeError: a fault")


def test_a_time_that_a_system_asks_for_is_waited_up_to_a_quarter_of_an_hour(log: ProducerLog, tmp_path: Path) -> None:
    """A system that asks for a day is asked again before."""
    worker = Worker(RecordingSink(), logs=list, spool=tmp_path, report=[].append, enrich=bytes)

    assert worker._note_failure(Retry("later", after_s=7.0)) == 7.0
    assert worker._note_failure(Retry("later", after_s=86_400.0)) == LONGEST_RETRY_AFTER_S


def test_what_only_a_person_can_put_right_is_said_so(log: ProducerLog, tmp_path: Path) -> None:
    """In the line for people, and in the health."""
    said = list[str]()
    worker = Worker(RecordingSink(), logs=list, spool=tmp_path, report=said.append, enrich=bytes)

    worker._note_failure(Retry("wrong key", is_misconfigured=True))

    assert said == ["recording does not deliver: wrong key; its events are held until this is put right"]
    assert worker.health.is_misconfigured
