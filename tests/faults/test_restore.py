"""Stores and spools that come back from a backup, really made and really restored: every event is there again, once."""

from __future__ import annotations

import shutil
import subprocess
import threading
from random import Random
from typing import TYPE_CHECKING

import psycopg
import pytest

from clew.delivery.accounts import read_account
from clew.store.postgres.server import embedded
from clew.store.postgres.server.binaries import account_for, find_binaries, run
from clew.store.postgres.upkeep.migrate import migrate
from support.accounting import assert_accounted, assert_stored_once, returned_emits, wait_for
from support.agents import agent_process, drain_with_agent, steady_producer
from support.backups import copy_database, drop_copies, dump, make_empty, put_back, restore_dump

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Place

SEED = 20261


@pytest.fixture(autouse=True)
def small_segments(environment: dict[str, str]) -> None:
    """Have segments that are passed within a second."""
    environment["CLEW_SEGMENT_BYTES"] = str(64 * 1024)


def stored(dsn: str) -> int:
    """Read how many events PostgreSQL has; 0 while it is being replaced."""
    try:
        with psycopg.connect(dsn) as connection:
            return int((connection.execute("SELECT count(*) FROM events").fetchone() or (0,))[0])
    except psycopg.Error:
        return 0


def wait_for_more(dsn: str, events: int = 200) -> None:
    """Wait until that many more events are stored."""
    before = stored(dsn)
    wait_for(lambda: stored(dsn) >= before + events, "events to be stored")


def stop_server(directory: Path, mode: str) -> None:
    """Stop a server."""
    command = ["pg_ctl", "stop", "-D", str(directory), "-m", mode, "-w", "-s"]
    assert run(find_binaries(None), account_for(directory), directory, command).returncode == 0


@pytest.mark.timeout(600)
def test_a_dump_restored_under_a_living_agent(
    place: Place,
    environment: dict[str, str],
    postgres_server: str,
    postgres: str,
    tmp_path: Path,
    is_whole_suite: bool,
) -> None:
    """pg_dump, more events, pg_restore, while an application and its agent go on: what was lost is stored again."""
    with agent_process(environment, postgres), steady_producer(environment, place.counters):
        for number in range(5 if is_whole_suite else 1):
            wait_for_more(postgres)
            dump(postgres, tmp_path / f"{number}.dump")
            wait_for_more(postgres)
            restore_dump(postgres_server, postgres, tmp_path / f"{number}.dump")
            wait_for_more(postgres)
    drain_with_agent(environment, postgres)

    assert assert_accounted(place.data, postgres, place.counters) == sum(returned_emits(place.counters).values())
    assert read_account(place.data / "spool").incidents


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_cluster_that_is_put_back_from_a_copy_of_its_files(
    place: Place, environment: dict[str, str], tmp_path: Path
) -> None:
    """The server is stopped, its files are copied, it goes on, and is put back: the agent fills it up again."""
    server = embedded.start(tmp_path / "postgres")
    migrate(server.dsn)
    copy = tmp_path / "copy"

    try:
        with agent_process(environment, server.dsn), steady_producer(environment, place.counters):
            for _ in range(3):
                wait_for_more(server.dsn)
                stop_server(server.directory, "fast")
                shutil.rmtree(copy, ignore_errors=True)
                subprocess.run(["cp", "-a", server.directory, copy], check=True)
                server = embedded.start(server.directory)
                wait_for_more(server.dsn)
                stop_server(server.directory, "immediate")
                shutil.rmtree(server.directory)
                subprocess.run(["cp", "-a", copy, server.directory], check=True)
                server = embedded.start(server.directory)
                wait_for_more(server.dsn)
        drain_with_agent(environment, server.dsn)

        assert assert_accounted(place.data, server.dsn, place.counters) == sum(returned_emits(place.counters).values())
    finally:
        stop_server(server.directory, "immediate")


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_fresh_database(place: Place, environment: dict[str, str], postgres_server: str, postgres: str) -> None:
    """An empty database, before an agent starts and under one that lives, gets all that is on the spool."""
    with steady_producer(environment, place.counters):
        with agent_process(environment, postgres):
            wait_for_more(postgres)
        make_empty(postgres_server, postgres)
        with agent_process(environment, postgres):
            wait_for_more(postgres)
            make_empty(postgres_server, postgres)
            wait_for_more(postgres)
    drain_with_agent(environment, postgres)

    assert assert_accounted(place.data, postgres, place.counters) == sum(returned_emits(place.counters).values())


@pytest.mark.timeout(900)
def test_agents_killed_while_they_fill_a_store_up(
    place: Place, environment: dict[str, str], postgres_server: str, postgres: str, is_whole_suite: bool
) -> None:
    """SIGKILL at random points of replays, some of them of replays that were killed: nothing is lost or doubled."""
    rounds, rng, clock = 60 if is_whole_suite else 4, Random(SEED), threading.Event()

    try:
        with steady_producer(environment, place.counters):
            with agent_process(environment, postgres):
                wait_for_more(postgres)
            copy = copy_database(postgres_server, postgres)
            for number in range(rounds):
                if number % 3 == 0:
                    with agent_process(environment, postgres):
                        wait_for_more(postgres)
                    put_back(postgres_server, postgres, copy)
                with agent_process(environment, postgres) as agent:
                    clock.wait(rng.uniform(0.3, 2.5))  # the random point in time is what is tested
                    agent.kill()
        drain_with_agent(environment, postgres)
    finally:
        drop_copies(postgres_server, postgres)

    assert assert_accounted(place.data, postgres, place.counters) == sum(returned_emits(place.counters).values())


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_what_is_older_than_the_window_is_in_the_accounts(
    place: Place, environment: dict[str, str], postgres_server: str, postgres: str
) -> None:
    """With a window too short for the backup, each event that is missing is counted, and reported in the store."""
    environment["CLEW_REPLAY_WINDOW_S"] = "1"
    clock = threading.Event()
    with agent_process(environment, postgres), steady_producer(environment, place.counters):
        wait_for_more(postgres)
        copy = copy_database(postgres_server, postgres)
        wait_for_more(postgres, 3000)
        clock.wait(3.0)
        put_back(postgres_server, postgres, copy)
        wait_for_more(postgres)
    drop_copies(postgres_server, postgres)
    drain_with_agent(environment, postgres)

    totals = read_account(place.data / "spool").sinks["postgres"]
    with psycopg.connect(postgres) as connection:
        [missing] = connection.execute(
            "SELECT coalesce(sum((context->>'missing_count')::int), 0)::int FROM events WHERE message = 'events_missing'"
        ).fetchone() or (0,)
    assert totals.is_balanced
    assert totals.pending == 0
    assert totals.reasons["not_in_spool"] == missing > 0


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_spool_restored_from_an_older_copy(
    place: Place, environment: dict[str, str], postgres: str, tmp_path: Path
) -> None:
    """The store knows more than the spool: nothing is stored twice, nothing new is passed over, the accounts hold."""
    spool, copy = place.data / "spool", tmp_path / "copy"
    with agent_process(environment, postgres), steady_producer(environment, place.counters):
        wait_for_more(postgres)
        subprocess.run(["cp", "-a", spool, copy], check=False)  # files come and go meanwhile, as under any backup
        wait_for_more(postgres)
    drain_with_agent(environment, postgres)
    shutil.rmtree(spool)
    copy.rename(spool)

    with agent_process(environment, postgres), steady_producer(environment, place.counters):
        wait_for_more(postgres)
    drain_with_agent(environment, postgres)

    assert assert_stored_once(postgres, place.counters) == sum(returned_emits(place.counters).values())
    totals = read_account(spool).sinks["postgres"]
    assert totals.is_balanced
    assert totals.pending == 0
