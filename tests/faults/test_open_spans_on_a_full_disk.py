"""A disk that is full while the agent keeps what is open, and an agent that is killed then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from msgspec import json

from clew.delivery.accounts import read_account
from clew.spool.directory import producer_directories
from support.accounting import wait_for
from support.agents import agent_process, drain_with_agent, filling_producer
from support.fix_disk import fill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faults.conftest import Place

SPANS = 2000
LEFT_BYTES = 600 * 1024
TMPFS_BYTES = 32 * 1024 * 1024


def count(dsn: str, query: str) -> int:
    """Ask PostgreSQL for one number."""
    with psycopg.connect(dsn) as connection:
        return int((connection.execute(query).fetchone() or (0,))[0])


def test_open_spans_are_kept_whole_or_as_they_were(
    place: Place,
    environment: dict[str, str],
    postgres: str,
    mount_disk: Callable[[Path, int], Path],
) -> None:
    """The state is larger than the room that is left: it stays as it was, the next agent ends every span, and the accounts balance."""
    disk = mount_disk(place.data, TMPFS_BYTES)
    environment["CLEW_SPOOL_KEEP_FREE_BYTES"] = "0"
    environment["CLEW_REPLAY_WINDOW_S"] = "0"

    with filling_producer(environment, place.counters) as producer:
        producer.ask("info 10 10")
        (log,) = producer_directories(place.data / "spool")
        with agent_process(environment, postgres) as agent:
            wait_for((log / "open-spans.json").exists, "the first state")
            filler = disk / "filler"
            fill(filler, but=LEFT_BYTES)
            assert producer.ask(f"spans {SPANS}") == SPANS
            wait_for(lambda: count(postgres, "SELECT count(*) FROM open_spans") == SPANS, "the spans to be shipped")
            producer.ask("info 10 10")
            wait_for(lambda: count(postgres, "SELECT count(*) FROM events WHERE message = 'told'") == 20, "more")
            state = json.decode((log / "open-spans.json").read_bytes())
            agent.kill()
        producer.vanish()
    filler.unlink()
    drain_with_agent(environment, postgres)

    assert len(state["open"]) < SPANS  # there was no room for all
    assert count(postgres, "SELECT count(*) FROM open_spans") == 0
    assert count(postgres, "SELECT count(*) FROM events WHERE kind = 'span' AND status = 'aborted'") == SPANS
    totals = read_account(place.data / "spool").sinks["postgres"]
    assert totals.is_balanced
    assert (totals.emitted, totals.delivered, totals.pending) == (2 * SPANS + 20, 2 * SPANS + 20, 0)
