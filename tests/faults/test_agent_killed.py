"""An agent that is killed at any moment, however often, loses nothing and repeats nothing."""

from __future__ import annotations

import threading
from random import Random
from typing import TYPE_CHECKING

import psycopg
import pytest

from clew.delivery.accounts import read_account
from clew.delivery.dead_letters import DeadLetters
from support.accounting import assert_accounted, returned_emits, wait_for
from support.agents import agent_process, drain_with_agent, steady_producer

if TYPE_CHECKING:
    from faults.conftest import Place

SEED = 20260


@pytest.mark.timeout(900)
def test_an_agent_killed_at_random_moments_ships_everything_once(
    place: Place, environment: dict[str, str], postgres: str, is_whole_suite: bool
) -> None:
    """Agents are killed while they start, deliver, commit, quarantine, enter a log into the ledger and remove it."""
    environment["CLEW_SEGMENT_BYTES"] = str(64 * 1024)
    rounds, rng, clock = 250 if is_whole_suite else 10, Random(SEED), threading.Event()

    with (
        psycopg.connect(postgres, autocommit=True) as connection,
        steady_producer(environment, place.counters, "--poison"),
    ):
        for number in range(rounds):
            before = delivered(connection)
            with agent_process(environment, postgres) as agent:
                if number % 4:
                    wait_for(lambda before=before: delivered(connection) > before, "a delivery")
                    clock.wait(rng.uniform(0, 0.15))  # the random point in time is what is tested
                else:
                    clock.wait(rng.uniform(0, 0.5))
                agent.kill()
    drain_with_agent(environment, postgres)

    poisoned = sum(int(path.read_text()) for path in place.counters.parent.glob("*.poison"))
    letters = DeadLetters(place.data / "spool", "postgres").read()
    assert len({(letter.producer, letter.position) for letter in letters}) == len(letters) == poisoned
    assert read_account(place.data / "spool").sinks["postgres"].quarantined == poisoned
    assert assert_accounted(place.data, postgres, place.counters) == sum(returned_emits(place.counters).values())


def delivered(connection: psycopg.Connection[tuple[int]]) -> int:
    """Read how many events PostgreSQL has taken."""
    return (connection.execute("SELECT coalesce(sum(delivered), 0)::bigint FROM cursors").fetchone() or (0,))[0]
