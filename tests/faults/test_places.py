"""Files that are closed, removed or shut to a process that lives on: it goes on, and every event is accounted for."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from clew.delivery.accounts import read_account
from clew.spool.directory import producer_directories
from support.accounting import assert_accounted, drops_told, returned_emits, wait_for
from support.agents import agent_process, drain_with_agent, filling_producer
from support.commands import WITHOUT_RIGHTS
from support.removal import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faults.conftest import Place

CLOSINGS = {
    "read": ["read-spool"],
    "closed": ["closerange"],
    "reused": ["closerange", "open-own"],
    "read-reused": ["read-spool", "closerange", "open-own"],
    "daemon": ["daemonize", "closerange", "open-own"],
    "closed-daemon": ["closerange", "daemonize"],
    "context": ["daemon-context", "open-own"],
    "detached": ["daemon-context-detached", "open-own"],
}
SELECTION = {"read", "reused", "detached"}
"""What runs in the normal suite."""

PLACES = ["log", "service", "spool", "data"]
REMOVALS = 5


@pytest.fixture(autouse=True)
def small_segments(environment: dict[str, str]) -> None:
    """Have segments that a few dozen events fill."""
    environment["CLEW_SEGMENT_BYTES"] = str(64 * 1024)


@pytest.fixture(params=["alone", pytest.param("with agent", marks=pytest.mark.faults)])
def beside(request: pytest.FixtureRequest, environment: dict[str, str], postgres: str) -> Iterator[None]:
    """Have an agent beside the application, or only afterwards."""
    if request.param == "alone":
        yield
        return
    with agent_process(environment, postgres):
        yield


def find_place(place: Place, name: str) -> Path:
    """Find a directory by what it is to the log that is there."""
    (log,) = producer_directories(place.data / "spool")
    return {"log": log, "service": log.parent, "spool": place.data / "spool", "data": place.data}[name]


def is_in_place(producer: Any, place: Place) -> bool:
    """Whether all is on the disk, or what is not was noticed, counted and left behind: then flushing stays false."""
    if producer.ask("flush"):
        return True
    return bool(producer.ask("info 0 0")) and any(
        (log / "lock").exists() for log in producer_directories(place.data / "spool")
    )


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(
    "closing", [name if name in SELECTION else pytest.param(name, marks=pytest.mark.faults) for name in CLOSINGS]
)
def test_descriptors_that_are_closed_cost_nothing(
    closing: str, place: Place, environment: dict[str, str], postgres: str
) -> None:
    """Closed, reused, or closed by a daemon's beginning: no event is lost, no file of the application's is touched, and it ends well."""
    with filling_producer(environment, place.counters) as producer:
        producer.ask("info 100 1000")
        for step in CLOSINGS[closing]:
            producer.ask(step)
        producer.ask("info 100 3000")
        is_flushed = producer.ask("flush")
        producer.ask("info 500 3000")
        is_sound = producer.ask("check-own")
    drain_with_agent(environment, postgres)

    assert (is_flushed, is_sound) == (True, True)
    assert "Traceback" not in producer.said
    assert assert_accounted(place.data, postgres, place.counters) == 700
    assert all((log / "closed").exists() or not log.exists() for log in producer_directories(place.data / "spool"))


@pytest.mark.parametrize(
    "name", [name if name in {"log", "data"} else pytest.param(name, marks=pytest.mark.faults) for name in PLACES]
)
def test_a_directory_that_is_removed_is_made_again(
    name: str, place: Place, environment: dict[str, str], postgres: str
) -> None:
    """What memory no longer held is counted, and told by an event; all else is stored, once, and the application ends well."""
    with filling_producer(environment, place.counters) as producer:
        producer.ask("info 300 1000")
        remove_tree(find_place(place, name))
        producer.ask("info 300 1000")
        wait_for(lambda: is_in_place(producer, place), "the log to be made again")
        producer.ask("info 300 1000")
        lost = producer.ask("info 0 0")
    drain_with_agent(environment, postgres)

    assert "Traceback" not in producer.said
    assert set(lost) <= {"removed"}
    assert drops_told(postgres) == lost
    stored = assert_accounted(place.data, postgres, place.counters, dropped=sum(lost.values()))
    assert stored + sum(lost.values()) == 900


@pytest.mark.faults
@pytest.mark.parametrize("name", PLACES)
def test_a_directory_that_is_removed_under_an_agent_is_made_again(
    name: str, place: Place, environment: dict[str, str], postgres: str
) -> None:
    """Several times, while the agent ships: each event is stored, once, or counted, once, whoever had seen it."""
    with agent_process(environment, postgres), filling_producer(environment, place.counters) as producer:
        for _ in range(REMOVALS):
            producer.ask("info 300 1000")
            shutil.rmtree(find_place(place, name), ignore_errors=True)
            producer.ask("info 300 1000")
            wait_for(lambda: is_in_place(producer, place), "the log to be made again")
        # An agent that is killed before it has made its own files again takes what it knew with it.
        wait_for((find_place(place, "log") / "cursor-postgres").exists, "the agent to make its files again")
        lost = producer.ask("info 0 0")
    drain_with_agent(environment, postgres)

    assert "Traceback" not in producer.said
    assert set(lost) <= {"removed"}
    account = read_account(place.data / "spool")
    dropped = sum(account.dropped.values())
    assert set(account.dropped) <= {"removed", "not_in_spool"}
    stored = assert_accounted(place.data, postgres, place.counters, dropped=dropped)
    # An event that reported losses may have been lost as well.
    assert 600 * REMOVALS <= stored + dropped <= 601 * REMOVALS


@pytest.mark.faults
@pytest.mark.parametrize(
    "name", ["cursor-postgres", "agent.lock", "lock", "open-spans.json", "losses", "producer.json"]
)
def test_a_file_that_is_removed_under_an_agent_is_made_again(
    name: str, place: Place, environment: dict[str, str], postgres: str
) -> None:
    """Beside the segments: nothing is lost or stored twice, and no second agent takes the log of the first."""
    with agent_process(environment, postgres), filling_producer(environment, place.counters) as producer:
        for _ in range(3):
            producer.ask("info 300 1000")
            path = find_place(place, "log") / name
            wait_for(path.exists, f"{name} to be there")
            path.unlink()
            with agent_process(environment, postgres):
                producer.ask("info 300 1000")
                wait_for(path.exists, f"{name} to be made again")
    drain_with_agent(environment, postgres)

    assert "Traceback" not in producer.said
    assert assert_accounted(place.data, postgres, place.counters) == 1800


@pytest.mark.parametrize("is_opened", [True, False], ids=["for a while", "to the end"])
@pytest.mark.parametrize(
    "name", [name if name in {"log", "spool"} else pytest.param(name, marks=pytest.mark.faults) for name in PLACES]
)
def test_a_directory_that_may_not_be_entered_any_more(
    name: str, *, is_opened: bool, place: Place, environment: dict[str, str], postgres: str
) -> None:
    """The application goes on where it may, or counts what it drops, and ends well; nothing else is lost."""
    with filling_producer(environment, place.counters, *WITHOUT_RIGHTS) as producer:
        producer.ask("info 300 1000")
        closed = find_place(place, name)
        closed.chmod(0)
        producer.ask("info 300 1000")
        producer.ask("flush")
        producer.ask("info 300 1000")
        if is_opened:
            closed.chmod(0o700)
            wait_for(lambda: is_in_place(producer, place), "the log to be in its place")
        producer.ask("info 300 1000")
        lost = producer.ask("info 0 0")
    closed.chmod(0o700)
    drain_with_agent(environment, postgres)

    assert "Traceback" not in producer.said
    account = read_account(place.data / "spool")
    assert account.sinks["postgres"].is_balanced
    assert set(lost) | set(account.dropped) <= {"permission"}
    dropped = max(sum(lost.values()), sum(account.dropped.values()))
    stored = assert_accounted(place.data, postgres, place.counters, dropped=dropped)
    assert stored + dropped == sum(returned_emits(place.counters).values()) == 1200
