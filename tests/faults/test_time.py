"""Outages longer than a life, and clocks that jump."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest

from clew.arrival import EARLIEST, FLAG
from support.accounting import assert_accounted, returned_emits, wait_for
from support.agents import agent_process, drain_with_agent, filling_producer, steady_producer

if TYPE_CHECKING:
    from faults.conftest import Place
    from support.fix_proxy import Proxy


def test_an_outage_longer_than_the_application_costs_nothing(
    place: Place, environment: dict[str, str], postgres: str, proxy: Proxy
) -> None:
    """Application and agent live and end during the outage; a new application and a new agent bring both's events."""
    proxy.set("refuse")
    environment["CLEW_SEGMENT_BYTES"] = str(64 * 1024)
    for _ in range(2):
        with agent_process(environment, proxy.dsn) as agent, filling_producer(environment, place.counters) as producer:
            producer.ask("info 2000 50")
            wait_for((place.data / "spool" / ".agents").is_dir, "the agent")
            agent.kill()
    before = returned_emits(place.counters)

    proxy.set("none")
    with agent_process(environment, proxy.dsn), steady_producer(environment, place.counters):
        wait_for(lambda: sum(returned_emits(place.counters).values()) > 4500, "new events")
    drain_with_agent(environment, proxy.dsn)

    assert sum(before.values()) == 4000
    assert assert_accounted(place.data, postgres, place.counters) == sum(returned_emits(place.counters).values())


@pytest.mark.parametrize("years", [(1970, 9000, 2026), (2040, 1971), (9998, 1), (2000, 1999)])
def test_a_clock_that_jumps_costs_no_event(
    years: tuple[int, ...], place: Place, environment: dict[str, str], postgres: str
) -> None:
    """A time that no clock can mean gives way to that of arrival, and is kept beside it; partitions are made for likely days only."""
    began = datetime.now(UTC)
    with filling_producer(environment, place.counters) as producer:
        for year in years:
            producer.ask(f"clock {year}")
            producer.ask("info 20 10")
    drain_with_agent(environment, postgres)
    ended = datetime.now(UTC)

    with psycopg.connect(postgres) as connection:
        told = connection.execute(
            "SELECT substr(coalesce(context->>'sent_timestamp', timestamp::text), 1, 4)::int,"
            " context ? 'sent_timestamp' AND timestamp BETWEEN %s AND %s, sanitized, count(*) FROM events GROUP BY 1, 2, 3",
            (began, ended),
        ).fetchall()
        partitions = connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass"
        ).fetchone()
    believed = {year for year in years if EARLIEST.year <= year <= began.year}
    assert {(year, has_time_of_arrival): count for year, has_time_of_arrival, _, count in told} == {
        (year, year not in believed): 20 for year in years
    }
    assert {year for year, _, flags, _ in told if FLAG in (flags or ())} == set(years) - believed
    assert partitions is not None
    assert partitions[0] < 40
    assert assert_accounted(place.data, postgres, place.counters) == 20 * len(years)
