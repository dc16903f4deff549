"""The agent's memory is bounded, whatever waits on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from msgspec import json

from clew import config
from clew.spool.directory import producer_directories
from clew.spool.writer import Writer, spool_bytes
from support.accounting import wait_for
from support.agents import agent_process

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Place
    from support.fix_proxy import Proxy

MIB = 1024 * 1024
EVENT_BYTES = 8 * 1024
BOUND_BYTES = 120 * MIB
"""What the agent may take: an interpreter with psycopg (about 45 MiB), and a few batches of a mebibyte."""


def resident_bytes(pid: int) -> int:
    """Read how much memory a process has; 0 when it is ending. Takes its time, so that a loop of it does not spin."""
    try:
        return int(psutil.Process(pid).memory_full_info().rss)
    except psutil.Error:
        return 0


def make_backlog(place: Place, size_bytes: int) -> int:
    """Let an application that is gone have left *size_bytes* of events; return how many."""
    settings = config.load(data_dir=place.data)
    told = {"timestamp": "2026-01-01T00:00:00Z", "kind": "log", "level": "INFO", "message": "told", "service": "big"}
    event = json.encode(told | {"stage": "other", "context": {"pad": "x" * EVENT_BYTES}, "metrics": {}})
    writer = Writer(settings.spool_dir, service="big")
    for _ in range(size_bytes // len(event)):
        assert writer.append(event)
    writer.close()
    return size_bytes // len(event)


@pytest.mark.timeout(300)
def test_a_backlog_drains_in_bounded_memory(
    place: Place, environment: dict[str, str], postgres: str, is_whole_suite: bool
) -> None:
    """However much waits, the agent holds a few batches of it at a time."""
    events = make_backlog(place, (300 if is_whole_suite else 30) * MIB)
    peak = 0

    with agent_process(environment, postgres, "--until-idle") as agent:
        while agent.poll() is None:
            peak = max(peak, resident_bytes(agent.pid))

    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (events,)
    assert 0 < peak < BOUND_BYTES


@pytest.mark.faults
def test_a_backlog_that_nobody_takes_is_not_held_in_memory(
    place: Place, environment: dict[str, str], proxy: Proxy
) -> None:
    """While PostgreSQL is out of reach and hundreds of megabytes wait, the agent stays small, and nothing goes."""
    events = make_backlog(place, 300 * MIB)
    proxy.set("refuse")
    spool = place.data / "spool"
    waiting = spool_bytes(spool)

    with agent_process(environment, proxy.dsn) as agent:
        (directory,) = producer_directories(spool)
        wait_for(lambda: seen(directory) == events, "the agent to have looked at all of it")
        rss = resident_bytes(agent.pid)

    assert rss < BOUND_BYTES
    assert spool_bytes(spool) == waiting


def seen(directory: Path) -> int:
    """Read how many events the agent says that it has seen."""
    path = directory / "open-spans.json"
    return int(json.decode(path.read_bytes())["seen"]) if path.exists() else 0
