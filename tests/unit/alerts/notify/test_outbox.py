"""The outbox of each receiver, as the threads that they are: none waits for another."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from clew.alerts.notify.outbox import Outbox, send_due
from clew.alerts.notify.receiver import SendLater, Sent, Undeliverable
from clew.store.postgres.connect import connect
from clew.testing import FakeClock
from support.accounting import wait_for
from support.alert_bench import BEGIN, AlertBench, Box, drain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.alerts.notice import Notice
    from clew.alerts.notify.receiver import SendOutcome


@pytest.fixture
def bench(postgres: str, tmp_path: Path) -> Iterator[AlertBench]:
    """Give a store with a critical notice in the outbox, for two receivers."""
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        made = AlertBench(postgres, connection, tmp_path, time)
        made.requests(10)
        made.requests(3, failing=0.6)
        made.evaluate()
        connection.execute("UPDATE notifications SET due_at = clock_timestamp()")
        yield made
        made.sink.close()


class Hanging(Box):
    """A receiver that does not answer until it is let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.is_asked, self.released = threading.Event(), threading.Event()

    def send(self, notice: Notice, thread: str) -> SendOutcome:
        """Wait."""
        self.is_asked.set()
        self.released.wait(60)
        return super().send(notice, thread)


def states(bench: AlertBench, receiver: str) -> set[str]:
    """Return the states of a receiver's notices."""
    rows = bench.connection.execute("SELECT DISTINCT state FROM notifications WHERE receiver = %s", (receiver,))
    return {str(row[0]) for row in rows.fetchall()}


def test_one_that_does_not_answer_delays_neither_another_nor_the_evaluation(bench: AlertBench) -> None:
    """The mail is there while Slack hangs, and rules are evaluated meanwhile."""
    slack, mail = Hanging("slack"), Box("mail")
    outboxes = [Outbox(bench.dsn, receiver, report=lambda _: None) for receiver in (slack, mail)]
    for outbox in outboxes:
        outbox.start()
    try:
        assert slack.is_asked.wait(30)
        wait_for(lambda: mail.notices, "the mail", 30)
        bench.requests(1)
        bench.evaluate()
        assert "sending" in states(bench, "slack")
    finally:
        slack.released.set()
        for outbox in outboxes:
            outbox.stop()
        for outbox in outboxes:
            outbox.join(30)
    assert slack.notices
    assert "sending" not in states(bench, "slack")


def test_two_notifiers_of_one_receiver_send_a_notice_once(bench: AlertBench) -> None:
    """Whoever takes it first has it for a minute."""
    boxes = [Box("slack"), Box("slack")]
    gate = threading.Barrier(2)

    def work(box: Box) -> None:
        with connect(bench.dsn) as connection:
            gate.wait(30)
            while send_due(connection, box) is not None:
                pass

    threads = [threading.Thread(target=work, args=(box,)) for box in boxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(boxes[0].notices) + len(boxes[1].notices) == 1


def test_a_receiver_that_raises_is_tried_again(bench: AlertBench) -> None:
    """It may be anybody's code; no text of the exception is repeated, since it may hold a secret."""

    class Raising(Box):
        def send(self, notice: Notice, thread: str) -> SendOutcome:
            raise RuntimeError("hunter2")

    outcome = send_due(bench.connection, Raising("slack"))

    assert outcome == SendLater("RuntimeError in the receiver slack")
    assert states(bench, "slack") <= {"waiting", "grouped"}


@pytest.mark.parametrize(
    ("answer", "state"),
    [(Sent("ts-1"), "sent"), (SendLater("busy", after_s=60.0), "waiting"), (Undeliverable("gone"), "failed")],
)
def test_what_came_of_an_attempt_is_noted(bench: AlertBench, answer: SendOutcome, state: str) -> None:
    """With the reason, and when it is due again: not before the receiver asked for it."""
    box = Box("slack")
    box.answers = [answer]

    assert send_due(bench.connection, box) == answer
    assert send_due(bench.connection, box) is None
    assert states(bench, "slack") <= {state, "grouped"}
    [(reason, thread, wait_s)] = bench.connection.execute(
        "SELECT reason, thread, extract(epoch FROM due_at - clock_timestamp())::float8 FROM notifications"
        " WHERE receiver = 'slack' AND state = %s",
        (state,),
    ).fetchall()
    assert reason == getattr(answer, "reason", "")
    assert thread == getattr(answer, "thread", "")
    assert (wait_s > 50) == (state == "waiting")


def test_a_notice_that_could_not_be_sent_for_a_day_is_given_up(bench: AlertBench) -> None:
    """Nobody wants to hear of it any more."""
    box = Box("slack")
    box.answers = [SendLater("busy")]
    bench.connection.execute("UPDATE notifications SET created_at = created_at - interval '25 hours'")

    send_due(bench.connection, box)

    assert "failed" in states(bench, "slack")


def test_it_reports_a_receiver_that_fails_once_and_when_it_is_back(bench: AlertBench) -> None:
    """A line each, for the log of the agent."""
    reports: list[str] = []
    box = Box("slack")
    box.answers = [SendLater("busy", after_s=0.0), SendLater("busy", after_s=0.0)]
    outbox = Outbox(bench.dsn, box, report=reports.append)
    outbox.start()
    wait_for(lambda: box.notices, "the notice", 30)
    outbox.stop()
    outbox.join(30)

    assert reports == ["alerts: slack could not be notified: busy", "alerts: slack is notified again"]


def test_nothing_is_sent_out_of_order(bench: AlertBench) -> None:
    """The end of an alert waits for its beginning."""
    box = Box("slack")
    box.answers = [SendLater("busy", after_s=3600.0)]
    send_due(bench.connection, box)
    for _ in range(30):
        bench.requests(1)
        bench.evaluate()
    bench.connection.execute("UPDATE notifications SET due_at = clock_timestamp() WHERE attempts = 0")
    assert send_due(bench.connection, box) is None

    bench.connection.execute("UPDATE notifications SET due_at = clock_timestamp()")
    drain(bench.connection, box)
    assert [notice.kind for notice, _ in box.notices] == ["firing", "resolved"]
