"""PostgreSQL that crashes, is out of reach, or answers in the worst of ways: nothing is lost or repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from clew.store.postgres.server import embedded
from clew.store.postgres.server.binaries import account_for, find_binaries, run
from clew.store.postgres.upkeep.migrate import migrate
from support.accounting import assert_accounted, returned_emits, wait_for
from support.agents import agent_process, drain_with_agent, steady_producer
from support.fix_proxy import FAULTS, Fault, Proxy

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Place


def delivered(dsn: str) -> int:
    """Read how many events PostgreSQL has taken."""
    with psycopg.connect(dsn) as connection:
        return int((connection.execute("SELECT coalesce(sum(delivered), 0) FROM cursors").fetchone() or (0,))[0])


def wait_for_delivery(dsn: str) -> None:
    """Wait until PostgreSQL takes events."""
    before = delivered(dsn)
    wait_for(lambda: delivered(dsn) > before, "a delivery")


def stop_immediately(directory: Path) -> None:
    """Stop a server as a crash would."""
    command = ["pg_ctl", "stop", "-D", str(directory), "-m", "immediate", "-w", "-s"]
    assert run(find_binaries(None), account_for(directory), directory, command).returncode == 0


@pytest.mark.timeout(600)
def test_a_server_that_crashes_under_load_has_every_event_once(
    place: Place, environment: dict[str, str], tmp_path: Path, is_whole_suite: bool
) -> None:
    """PostgreSQL is stopped without a shutdown and started again, while an application and its agent go on."""
    server = embedded.start(tmp_path / "postgres")
    migrate(server.dsn)

    try:
        with agent_process(environment, server.dsn), steady_producer(environment, place.counters):
            for _ in range(12 if is_whole_suite else 1):
                wait_for_delivery(server.dsn)
                stop_immediately(server.directory)
                server = embedded.start(server.directory)
        drain_with_agent(environment, server.dsn)

        assert assert_accounted(place.data, server.dsn, place.counters) == sum(returned_emits(place.counters).values())
    finally:
        stop_immediately(server.directory)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_network_that_misbehaves_costs_nothing(
    fault: Fault, place: Place, environment: dict[str, str], postgres: str, proxy: Proxy, is_whole_suite: bool
) -> None:
    """Whatever the way to PostgreSQL does, each event arrives once when it works again."""
    with agent_process(environment, proxy.dsn), steady_producer(environment, place.counters):
        for _ in range(5 if is_whole_suite else 1):
            wait_for_delivery(postgres)
            hits = proxy.hits
            proxy.set(fault)
            wait_for(lambda hits=hits: proxy.hits > hits, "the fault")
            proxy.set("none")
    proxy.cut()
    drain_with_agent(environment, proxy.dsn)

    assert assert_accounted(place.data, postgres, place.counters) == sum(returned_emits(place.counters).values())


@pytest.mark.faults
def test_an_agent_ends_although_its_server_hangs(
    place: Place, environment: dict[str, str], postgres: str, proxy: Proxy
) -> None:
    """Told to end while nothing answers, the agent ends; the next one goes on where it stopped."""
    with steady_producer(environment, place.counters):
        with agent_process(environment, proxy.dsn) as agent:
            wait_for(lambda: delivered(postgres) > 0, "a delivery")
            proxy.set("hang")
            wait_for(lambda: proxy.hits, "the fault")
            agent.terminate()
            assert agent.wait(30) == 0
        proxy.set("none")
    drain_with_agent(environment, proxy.dsn)

    assert assert_accounted(place.data, postgres, place.counters) == sum(returned_emits(place.counters).values())
