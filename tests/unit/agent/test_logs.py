"""A log whose directory goes away under the agent, and whose writer is dead: nobody waits for it, and it is in the accounts."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from clew import config
from clew.agent import adopted
from clew.agent.supervisor import Supervisor
from clew.delivery.accounts import read_account
from clew.delivery.ledger import Ledger
from clew.sinks.base import Batch, Delivered, Outcome, Retry
from clew.spool.directory import producer_directories
from support.accounting import wait_for
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.config import Settings

EVENTS = 3000
WRITE = f"""
import pathlib, os, sys
from clew.spool.writer import Writer
writer = Writer(pathlib.Path(sys.argv[1]), service="rag-api", segment_bytes=65536, identity=b'{{"service":"rag-api","pid":%d}}' % os.getpid())
for i in range({EVENTS}):
    writer.append(b'{{"kind":"log","i":%d,"pad":"%s"}}' % (i, b"x" * 60))
os._exit(0)
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Give a spool with the log of a process that was killed."""
    monkeypatch.setattr(adopted, "AWAY_S", 0.3)
    settings = config.load(data_dir=tmp_path)
    subprocess.run([sys.executable, "-c", WRITE, str(settings.spool_dir)], check=True)
    return settings


class Gate:
    """A sink that takes a thousand events, and the others once the gate is open."""

    def __init__(self) -> None:
        self.is_open = False
        self.sink = RecordingSink("s", self.answer)

    def answer(self, batch: Batch) -> Outcome:
        """Take it, or not now."""
        return Delivered() if self.is_open or len(self.sink.taken) < 1000 else Retry("the gate is closed", 0.01)


@contextmanager
def shipping(settings: Settings, gate: Gate) -> Iterator[tuple[Supervisor, list[str]]]:
    """Run an agent that has taken what the gate lets through, and read the rest."""
    said: list[str] = []
    supervisor = Supervisor(settings, sinks=[gate.sink], report=said.append)
    supervisor.start()
    try:
        wait_for(lambda: len(gate.sink.taken) >= 1000 and supervisor._logs.settled == 1, "a part to be shipped")
        yield supervisor, said
    finally:
        gate.is_open = True
        supervisor.stop()


def test_a_log_that_is_removed_and_has_no_writer_is_entered_and_left(settings: Settings) -> None:
    """What was not shipped is missing, and the agent comes to an end."""
    gate = Gate()
    with shipping(settings, gate) as (supervisor, said):
        (log,) = producer_directories(settings.spool_dir)
        shutil.rmtree(log)
        wait_for(lambda: not supervisor.logs(), "the log to be left")
        assert supervisor.drain(10.0)

    account = read_account(settings.spool_dir)
    totals = account.sinks["s"]
    assert totals.is_balanced
    assert (totals.emitted, totals.pending) == (EVENTS, 0)
    assert 1000 <= totals.delivered < EVENTS
    assert account.dropped == totals.reasons == {"not_in_spool": EVENTS - totals.delivered}
    assert any("was removed, and nobody makes it again" in line for line in said)


def test_a_log_that_was_moved_away_and_comes_back_is_shipped(settings: Settings, tmp_path: Path) -> None:
    """It is taken out of the ledger again, and each event is delivered once."""
    gate = Gate()
    with shipping(settings, gate) as (supervisor, _):
        (log,) = producer_directories(settings.spool_dir)
        log.rename(tmp_path / "elsewhere")
        wait_for(lambda: not supervisor.logs(), "the log to be left")
        assert Ledger(settings.spool_dir).read().removed.keys() == {log.name}
        threading.Event().wait(0.1)
        gate.is_open = True
        log.parent.mkdir(exist_ok=True)
        (tmp_path / "elsewhere").rename(log)
        wait_for(lambda: len(gate.sink.taken) >= EVENTS and not supervisor.logs(), "it to be shipped")

    account = read_account(settings.spool_dir)
    assert account.dropped == {}
    assert (account.sinks["s"].emitted, account.sinks["s"].delivered) == (EVENTS, EVENTS)
    assert account.sinks["s"].is_balanced
    assert Ledger(settings.spool_dir).read().removed == {}
    assert len(gate.sink.taken) == len(set(gate.sink.taken)) == EVENTS


def test_the_files_of_the_agent_are_made_again_where_the_whole_spool_was_removed(settings: Settings) -> None:
    """Its lock too, by which others know that an agent lives."""
    gate = Gate()
    with shipping(settings, gate) as (supervisor, _):
        shutil.rmtree(settings.spool_dir, ignore_errors=True)
        agents = settings.spool_dir / ".agents"
        wait_for(lambda: list(agents.glob("*.lock")) and list(agents.glob("*.json")), "the agent to be seen again")
        wait_for(lambda: not supervisor.logs(), "the log to be left")

    totals = read_account(settings.spool_dir).sinks["s"]
    assert totals.is_balanced
    assert totals.emitted == EVENTS
