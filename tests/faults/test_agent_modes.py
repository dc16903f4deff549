"""Who ships: agents that applications start, several on one spool, and one inside the application."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from clew.delivery.status import read_statuses
from clew.emit.shipping import agent_is_alive
from support import steady
from support.accounting import assert_accounted, returned_emits, wait_for
from support.agents import agent_process, drain_with_agent, steady_producer

if TYPE_CHECKING:
    from faults.conftest import Place

WATCHFUL = """
import sys, runpy
from clew.emit import state
state.WATCH_SHIPPING_S = 0.2
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SHORT_LIVED = """
import os, sys
from pathlib import Path
import clew
from support.victim import Lane
clew.configure()
for _ in range(100):
    child = os.fork()
    if child == 0:
        Lane(Path(sys.argv[1])).emit(5)
        os._exit(0)
    os.waitpid(child, 0)
"""
BRIEF = """
import sys
from pathlib import Path
import clew
from support.victim import Lane
clew.configure()
Lane(Path(sys.argv[1])).emit(500)
"""


def agents_of(place: Place) -> list[int]:
    """Find the agents that work on the test's spool, by their environment."""
    wanted, found = str(place.data), list[int]()
    for process in psutil.process_iter():
        try:
            if "clew.agent" in process.cmdline() and process.environ().get("CLEW_DATA_DIR") == wanted:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def auto(environment: dict[str, str], postgres: str) -> dict[str, str]:
    """Give an environment in which applications start their agent."""
    return {**environment, "CLEW_AGENT": "auto", "CLEW_DSN": postgres}


def test_racing_applications_start_one_agent_which_ends_when_all_is_shipped(
    place: Place, auto: dict[str, str], postgres: str
) -> None:
    """Of the agents that six applications start at once one stays, and it ends by itself, leaving nothing behind."""
    with ExitStack() as living:
        for _ in range(6):
            living.enter_context(steady_producer(auto, place.counters))
        wait_for(lambda: len(read_statuses(place.data / "spool")) > 0, "an agent")
        wait_for(lambda: len(returned_emits(place.counters)) >= 12, "the producers")
        wait_for(lambda: len(agents_of(place)) == 1, "one agent to remain")
    wait_for(lambda: not agents_of(place), "the agent to end")

    assert not agent_is_alive(place.data / "spool")
    assert list((place.data / "spool").glob("*/*/lock")) == []
    assert assert_accounted(place.data, postgres, place.counters) == sum(returned_emits(place.counters).values())


def test_a_killed_agent_is_replaced_while_an_application_lives(
    place: Place, auto: dict[str, str], postgres: str, is_whole_suite: bool
) -> None:
    """The application looks now and then whether its agent lives, and starts another."""
    command = [sys.executable, "-c", WATCHFUL, str(Path(steady.__file__)), str(place.counters)]
    producer = subprocess.Popen(command, env=auto, stdin=subprocess.PIPE)
    killed: set[int] = set()

    for _ in range(8 if is_whole_suite else 2):
        wait_for(lambda: set(agents_of(place)) - killed and read_statuses(place.data / "spool"), "a new agent")
        for agent in agents_of(place):
            os.kill(agent, signal.SIGKILL)
            killed.add(agent)
    wait_for(lambda: set(agents_of(place)) - killed, "the last agent")
    producer.communicate(timeout=30)
    wait_for(lambda: not set(agents_of(place)) - killed, "the agent to end")

    assert assert_accounted(place.data, postgres, place.counters) == sum(returned_emits(place.counters).values())


def test_several_agents_share_a_spool(place: Place, environment: dict[str, str], postgres: str) -> None:
    """Three agents ship the logs of three applications, one is killed: the others take its logs over."""
    with ExitStack() as agents, ExitStack() as living:
        running = [agents.enter_context(agent_process(environment, postgres)) for _ in range(3)]
        for _ in range(3):
            living.enter_context(steady_producer(environment, place.counters))
        wait_for(lambda: sum(returned_emits(place.counters).values()) > 2000, "events")
        running[0].kill()
        wait_for(lambda: sum(returned_emits(place.counters).values()) > 5000, "more events")
        living.close()
        wait_for(lambda: not list((place.data / "spool").glob("*/*/lock")), "all to be shipped")

    assert assert_accounted(place.data, postgres, place.counters) == sum(returned_emits(place.counters).values())


def test_orphans_of_many_deaths_are_adopted(place: Place, environment: dict[str, str], postgres: str) -> None:
    """Applications that were killed before any agent ran are shipped by the first one that does."""
    for _ in range(4):
        with steady_producer(environment, place.counters) as producer:
            known = set(returned_emits(place.counters))
            wait_for(lambda known=known: set(returned_emits(place.counters)) - known, "events")  # type: ignore[misc]
            producer.kill()
            producer.wait()
            producer.returncode = 0  # as it should be
    drain_with_agent(environment, postgres)

    assert assert_accounted(place.data, postgres, place.counters) >= sum(returned_emits(place.counters).values())


def test_an_agent_inside_the_application_ships_at_exit(
    place: Place, environment: dict[str, str], postgres: str
) -> None:
    """Where no second process can be, what a short application told is in PostgreSQL when it has ended."""
    told = {**environment, "CLEW_AGENT": "in-process", "CLEW_DSN": postgres}

    subprocess.run([sys.executable, "-c", BRIEF, str(place.counters)], env=told, check=True, timeout=60)

    assert assert_accounted(place.data, postgres, place.counters) == 500


def test_more_orphans_than_descriptors_are_shipped_all_the_same(
    place: Place, environment: dict[str, str], postgres: str
) -> None:
    """A hundred short-lived workers died during an outage; an agent that may open 128 files ships them by turns."""
    told = {**environment, "CLEW_SEGMENT_BYTES": str(64 * 1024)}
    subprocess.run([sys.executable, "-c", SHORT_LIVED, str(place.counters)], env=told, check=True, timeout=60)
    limited = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)); "
        "import sys; sys.argv = ['agent', '--until-idle']; runpy.run_module('clew.agent', run_name='__main__')"
    )

    agent = subprocess.run(
        [sys.executable, "-c", limited], env={**environment, "CLEW_DSN": postgres}, check=False, timeout=100
    )

    assert agent.returncode == 0
    assert assert_accounted(place.data, postgres, place.counters) == 100 * 5
