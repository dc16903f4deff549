"""What every sink promises, held against each with a real system, or a faithful stand-in, behind it."""

from __future__ import annotations

import threading
from collections import Counter
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest
from msgspec import json

from clew.agent.log import ProducerLog
from clew.agent.pricing.enrich import Enricher
from clew.agent.pricing.prices import Prices
from clew.agent.supervisor import Supervisor
from clew.agent.worker import Worker
from clew.delivery.accounts import read_account
from clew.delivery.dead_letters import DeadLetters
from clew.sinks.base import Delivered, Outcome, Rejected, Retry, Sink
from clew.spool.writer import Writer
from conformance.sinks import CLAUSES, SINKS, Rig, batch_of, named
from support.accounting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = [f"e{number}" for number in range(6)]
ALL_ONCE = Counter(NAMES)


def members(clause: str) -> list[str]:
    """Name the sinks for which a clause means something."""
    return [name for name, rig in SINKS.items() if clause not in rig.without]


def keeping(clause: str) -> Callable[[Callable[..., None]], pytest.MarkDecorator]:
    """Hold a test against every sink for which a clause means something."""
    return pytest.mark.parametrize("rig", members(clause), indirect=True)  # type: ignore[return-value]


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Give a system of its own."""
    rig = SINKS[request.param](tmp_path, request)
    yield rig
    rig.close()


def test_every_sink_that_is_installed_is_in_the_list() -> None:
    """Whoever adds a sink adds a line; what is left out of the clauses has a name that is one."""
    installed = {point.name for point in entry_points(group="clew.sinks") if point.value.startswith("clew.")}

    assert set(SINKS) == installed | {"postgres"}
    assert {clause for rig in SINKS.values() for clause in rig.without} <= CLAUSES.keys()


@pytest.mark.parametrize("rig", SINKS, indirect=True)
def test_a_batch_is_taken_whole(rig: Rig) -> None:
    """What was delivered is there, each event once, and it stays there when the sink is closed, once or twice."""
    sink = rig.sink()

    outcome = sink.deliver(batch_of(rig.producer, *map(named, NAMES)))

    assert outcome == Delivered()
    assert rig.taken() == ALL_ONCE
    sink.close()
    sink.close()
    assert rig.taken() == ALL_ONCE


@keeping("once")
@pytest.mark.parametrize("is_next", [False, True], ids=["the same sink", "the next sink"])
def test_a_batch_that_comes_again_is_there_once(rig: Rig, is_next: bool) -> None:
    """Whether the agent is the same or another one, which may have asked for more at once."""
    payloads = [named(name) for name in NAMES]
    sink = rig.sink()
    sink.deliver(batch_of(rig.producer, *payloads[:4]))

    again = rig.sink() if is_next else sink
    outcomes = [again.deliver(batch_of(rig.producer, *payloads[:4])), again.deliver(batch_of(rig.producer, *payloads))]

    assert outcomes == [Delivered()] * 2
    assert rig.taken() == ALL_ONCE


@keeping("once")
def test_a_batch_that_comes_again_in_parts_is_there_once(rig: Rig) -> None:
    """An agent that halves what its forerunner has sent whole repeats nothing."""
    payloads = [named(name) for name in NAMES]
    rig.sink().deliver(batch_of(rig.producer, *payloads))

    again = rig.sink()
    parts = [batch_of(rig.producer, *payloads[:2]), batch_of(rig.producer, *payloads[2:], first=2)]

    assert [again.deliver(part) for part in parts] == [Delivered()] * 2
    assert rig.taken() == ALL_ONCE


@keeping("lost answer")
def test_a_batch_whose_answer_was_lost_is_there_once(rig: Rig) -> None:
    """The system has it, and nobody was told: the second attempt adds nothing."""
    sink, batch = rig.sink(), batch_of(rig.producer, *map(named, NAMES))
    rig.lose_the_next_answer()

    lost = sink.deliver(batch)
    taken = rig.taken()
    if not isinstance(lost, Delivered):
        _come_back(rig)
    again = sink.deliver(batch)

    assert isinstance(lost, Retry)
    assert taken == ALL_ONCE
    assert again == Delivered()
    assert rig.taken() == ALL_ONCE


def _come_back(rig: Rig) -> None:
    proxy = getattr(rig, "proxy", None)
    if proxy is not None:
        proxy.set("none")


@keeping("poison")
def test_what_is_no_event_is_named_and_the_rest_is_taken(rig: Rig) -> None:
    """By its place among good ones; the batch without it goes through, and nothing is there twice."""
    sink = rig.sink()
    for number, poison in enumerate(rig.poisons):
        good = [named(f"{name} of {number}") for name in NAMES]
        whole = batch_of(rig.producer, *good[:3], poison, *good[3:], first=number * 7)

        refused = sink.deliver(whole)
        rest = sink.deliver(whole._replace(events=[event for event in whole.events if event[1] is not poison]))

        assert isinstance(refused, Rejected), poison
        assert refused.indexes == (3,), poison
        assert refused.reason
        assert rest == Delivered(), poison
    assert rig.taken() == Counter(f"{name} of {number}" for name in NAMES for number in range(len(rig.poisons)))


@keeping("refusal")
def test_half_a_batch_that_is_refused_hinders_the_other_half_in_nothing(rig: Rig) -> None:
    """From the spool through the agent: the one that is never taken is a dead letter, all others arrive once."""
    writer = Writer(rig.settings.spool_dir, service="rag-api", segment_bytes=1024 * 1024)
    for payload in [*map(named, NAMES[:3]), rig.refusing("refused"), *map(named, NAMES[3:])]:
        writer.append(payload)
    writer.close()
    sink = rig.sink()
    supervisor = Supervisor(rig.settings, sinks=[sink], report=[].append)

    supervisor.start()
    try:
        assert supervisor.drain(30.0)
    finally:
        supervisor.stop()

    letters = DeadLetters(rig.settings.spool_dir, sink.name).read()
    share = read_account(rig.settings.spool_dir).sinks[sink.name]
    assert [json.decode(letter.event)["message"] for letter in letters] == ["refused"]
    assert rig.taken() == ALL_ONCE
    assert (share.delivered, share.quarantined, share.is_balanced) == (len(NAMES), 1, True)


@keeping("away")
def test_a_system_that_is_away_is_waited_for(rig: Rig) -> None:
    """Its events are held, with a reason that is no fault of anybody's; once it is back it gets each of them once."""
    sink, batch = rig.sink(), batch_of(rig.producer, *map(named, NAMES))
    sink.deliver(batch_of(rig.producer))
    rig.go_away()

    held = [sink.deliver(batch), sink.deliver(batch)]
    rig.come_back()
    outcome = sink.deliver(batch)

    for one in held:
        assert isinstance(one, Retry)
        assert one.reason
        assert not one.is_misconfigured
    assert outcome == Delivered()
    assert rig.taken() == ALL_ONCE
    rig.sink()
    assert rig.taken() == ALL_ONCE  # the next agent finds it so


@keeping("interrupt")
def test_an_attempt_that_hangs_is_interrupted(rig: Rig) -> None:
    """From another thread: the attempt ends as one that may be made again, and is made again."""
    sink = rig.sink()
    first, rest = batch_of(rig.producer, named(NAMES[0])), batch_of(rig.producer, *map(named, NAMES[1:]), first=1)
    sink.deliver(first)
    rig.hang()
    outcomes: list[Outcome] = []
    attempt = threading.Thread(target=lambda: outcomes.append(sink.deliver(rest)))

    attempt.start()
    wait_for(rig.is_hanging, "the attempt to hang")
    sink.interrupt()  # type: ignore[attr-defined] - which a sink may have
    attempt.join(10.0)
    rig.come_back()

    (given_up,) = outcomes
    assert isinstance(given_up, Retry)
    assert not given_up.is_misconfigured
    assert sink.deliver(rest) == Delivered()
    assert rig.taken() == ALL_ONCE


@keeping("interrupt")
def test_an_agent_that_ends_in_the_middle_of_a_batch_leaves_it_to_the_next_one(rig: Rig) -> None:
    """The sink is closed while its batch hangs; what the next agent ships is there once, and the accounts hold."""
    writer = Writer(rig.settings.spool_dir, service="rag-api", segment_bytes=1024 * 1024)
    for name in NAMES[:3]:
        writer.append(named(name))
    log = ProducerLog(writer.directory)
    assert log.take()
    worker = _worker(rig, rig.sink(), log)
    worker.start()
    wait_for(lambda: len(rig.taken()) == 3, "the first batch")
    rig.hang()
    for name in NAMES[3:]:
        writer.append(named(name))
    wait_for(rig.is_hanging, "the second batch to hang")

    worker.stop()
    worker.give_up()
    worker.join(10.0)
    rig.come_back()
    second = _worker(rig, rig.sink(), log)
    second.start()
    wait_for(lambda: rig.taken() == ALL_ONCE, "the second batch")
    wait_for(lambda: log.cursor(second.health.name).delivered == len(NAMES), "the cursor")
    second.stop()
    second.join(10.0)
    log.release()
    writer.close()

    assert not worker.is_alive()
    assert rig.taken() == ALL_ONCE


def _worker(rig: Rig, sink: Sink, log: ProducerLog) -> Worker:
    return Worker(
        sink,
        logs=lambda: [log],
        spool=rig.settings.spool_dir,
        report=[].append,
        enrich=Enricher(Prices()),
    )


@keeping("retry-after")
def test_the_time_that_a_system_asks_for_is_handed_on(rig: Rig) -> None:
    """Seven seconds are seven seconds, and the batch that comes after them is taken."""
    sink, batch = rig.sink(), batch_of(rig.producer, *map(named, NAMES))
    rig.ask_to_wait(7)

    asked, outcome = sink.deliver(batch), sink.deliver(batch)

    assert isinstance(asked, Retry)
    assert (asked.after_s, asked.is_misconfigured) == (7.0, False)
    assert outcome == Delivered()
    assert rig.taken() == ALL_ONCE


@keeping("misconfigured")
def test_what_only_a_person_can_put_right_is_said_so(rig: Rig) -> None:
    """The events are held, nothing is refused, and the reason says what is wrong."""
    for how in rig.wrong:
        sink = rig.misconfigured(how)

        outcome = sink.deliver(batch_of(rig.producer, *map(named, NAMES)))
        sink.close()

        assert isinstance(outcome, Retry), how
        assert outcome.is_misconfigured, how
        assert outcome.reason, how
    assert rig.taken() == Counter()
