"""What looks after the store, on a real one."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from clew import config
from clew.agent.maintenance import Job, Maintenance, search_jobs, standing_jobs
from clew.agent.supervisor import Supervisor
from clew.store.postgres.load import query
from clew.store.postgres.sink import PostgresSink
from clew.store.postgres.upkeep.migrate import migrate
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clew.agent.maintenance import Connection

TIMEOUT_S = 20.0


class Told:
    """Lines for people, which a test can wait for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, line: str) -> None:
        """Take one line."""
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def wait(self, number: int) -> bool:
        """Wait until there are so many lines."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.lines) >= number, TIMEOUT_S)


@pytest.fixture
def maintain() -> Iterator[Callable[..., Maintenance]]:
    """Give a function that starts maintenance, which is stopped afterwards."""
    started: list[Maintenance] = []

    def start(dsn: str, *jobs: Job, report: Callable[[str], None] = lambda _: None) -> Maintenance:
        maintenance = Maintenance(dsn, jobs=list(jobs), report=report)
        maintenance.start()
        started.append(maintenance)
        return maintenance

    yield start
    for maintenance in started:
        maintenance.stop()
        assert not maintenance.is_alive()


def counting(done: threading.Semaphore) -> Callable[[Connection], None]:
    """Make work that says when it is done."""

    def work(connection: Connection) -> None:
        connection.execute("SELECT 1")
        done.release()

    return work


def nothing(_connection: Connection) -> None:
    """Do nothing."""


def partitions(dsn: str) -> set[str]:
    """Name the day partitions."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute("SELECT relname FROM pg_class WHERE relname ~ '^events_[0-9]{8}$'").fetchall()
    return {name for (name,) in rows}


def test_a_job_runs_again_and_again(postgres: str, maintain: Callable[..., Maintenance]) -> None:
    """A job is done as soon as the agent starts, and then whenever it is due."""
    done = threading.Semaphore(0)

    maintenance = maintain(postgres, Job("again", 0.01, counting(done)))

    assert all(done.acquire(timeout=TIMEOUT_S) for _ in range(3))
    maintenance.stop()
    assert maintenance.runs["again", "done"] >= 3


def test_one_job_is_done_by_one_agent_at_a_time(postgres: str, maintain: Callable[..., Maintenance]) -> None:
    """While one agent is at a job, another one skips it and does the rest."""
    begun, ended, other = threading.Event(), threading.Event(), threading.Semaphore(0)

    def slow(_connection: Connection) -> None:
        begun.set()
        ended.wait(TIMEOUT_S)

    maintain(postgres, Job("slow", 3600.0, slow))
    assert begun.wait(TIMEOUT_S)
    second = maintain(postgres, Job("slow", 3600.0, slow), Job("other", 3600.0, counting(other)))

    assert other.acquire(timeout=TIMEOUT_S)
    ended.set()
    assert second.runs["slow", "skipped"] == 1


def test_a_lock_is_gone_with_the_agent_that_had_it(postgres: str, maintain: Callable[..., Maintenance]) -> None:
    """Who dies in the middle of a job keeps nobody else from doing it."""
    done = threading.Semaphore(0)
    with psycopg.connect(postgres, autocommit=True) as dying:
        dying.execute(query("maintenance_lock"), {"job": "again"})

    maintain(postgres, Job("again", 0.01, counting(done)))

    assert done.acquire(timeout=TIMEOUT_S)


def test_a_job_that_fails_is_told_once_and_tried_again(postgres: str, maintain: Callable[..., Maintenance]) -> None:
    """Failures are counted, told when they begin and when they end, and stop no other job."""
    told, other, attempts = Told(), threading.Semaphore(0), iter(range(1000))

    def failing(connection: Connection) -> None:
        if next(attempts) < 3:
            connection.execute("SELECT 1/0")

    maintenance = maintain(postgres, Job("failing", 0.01, failing), Job("other", 0.01, counting(other)), report=told)

    assert told.wait(2)
    assert other.acquire(timeout=TIMEOUT_S)
    maintenance.stop()
    assert told.lines == [
        "maintenance: failing fails: DivisionByZero: division by zero; trying again",
        "maintenance: failing works again",
    ]
    assert maintenance.runs["failing", "failed"] == 3


def test_a_statement_under_way_is_cancelled_when_the_agent_stops(
    postgres: str, maintain: Callable[..., Maintenance]
) -> None:
    """An agent that is told to stop does not wait for what a job has asked of the server."""
    begun, told = threading.Event(), Told()

    def endless(connection: Connection) -> None:
        begun.set()
        connection.execute("SELECT pg_sleep(3600)")

    maintenance = maintain(postgres, Job("endless", 3600.0, endless), report=told)
    assert begun.wait(TIMEOUT_S)

    maintenance.stop(TIMEOUT_S)

    assert not maintenance.is_alive()
    assert (told.lines, maintenance.runs) == ([], {})


def test_a_job_of_many_steps_stops_between_two(postgres: str, maintain: Callable[..., Maintenance]) -> None:
    """A job that is a generator is left after the step under way, and may tidy up."""
    begun, closed = threading.Event(), threading.Event()

    def steps(connection: Connection) -> Iterator[None]:
        try:
            while True:
                connection.execute("SELECT 1")
                begun.set()
                yield
        finally:
            closed.set()

    maintenance = maintain(postgres, Job("steps", 3600.0, steps))
    assert begun.wait(TIMEOUT_S)

    maintenance.stop(TIMEOUT_S)

    assert closed.is_set()


def test_a_store_without_our_tables_is_waited_for(empty_postgres: str, maintain: Callable[..., Maintenance]) -> None:
    """Before the sink has made the tables there is nothing to do, and nothing to complain of."""
    done, told = threading.Semaphore(0), Told()
    maintain(empty_postgres, Job("again", 0.01, counting(done)), report=told)

    migrate(empty_postgres)

    assert done.acquire(timeout=TIMEOUT_S)
    assert told.lines == []


def test_a_store_that_is_away_is_told_once(maintain: Callable[..., Maintenance]) -> None:
    """A server that is down is reported by each job, and asked again."""
    told = Told()

    maintenance = maintain("postgresql://nobody@127.0.0.1:1/none", Job("again", 0.01, nothing), report=told)

    assert told.wait(1)
    maintenance.stop()
    assert "cannot reach PostgreSQL at 127.0.0.1:1/none" in told.lines[0]
    assert len(told.lines) == 1


def test_standing_jobs_do_their_work(postgres: str, maintain: Callable[..., Maintenance]) -> None:
    """Today's partition and those of the days after it are there before any event is."""
    today = datetime.now(UTC).date()
    finished = threading.Semaphore(0)

    maintain(postgres, *standing_jobs(), Job("last", 3600.0, counting(finished)))

    assert finished.acquire(timeout=TIMEOUT_S)
    assert {f"events_{today + timedelta(days=ahead):%Y%m%d}" for ahead in range(3)} <= partitions(postgres)


def test_fresh_texts_get_their_index(
    postgres: str, maintain: Callable[..., Maintenance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece of the index of texts is made as soon as enough events are a few seconds old."""
    monkeypatch.setattr("clew.store.postgres.upkeep.search_pieces.LEAST_EVENTS", 100)
    now = datetime.now(UTC)
    store_events(postgres, *(make_event(now - timedelta(seconds=n / 10), message=f"told {n}") for n in range(300)))
    finished = threading.Semaphore(0)

    maintain(postgres, *search_jobs(), Job("last", 3600.0, counting(finished)))

    assert finished.acquire(timeout=TIMEOUT_S)
    with psycopg.connect(postgres) as connection:
        rows = connection.execute("SELECT relname FROM pg_class WHERE relname ~ '_texts_[0-9]{8}_[0-9]{8}$'").fetchall()
    assert rows


def test_names_of_jobs_are_unique() -> None:
    """A name is a lock and a label: no two jobs share one."""
    names = [job.name for job in (*standing_jobs(), *search_jobs())]

    assert sorted(set(names)) == sorted(names)


def test_an_agent_that_feeds_a_store_looks_after_it(postgres: str, tmp_path: Path) -> None:
    """The supervisor starts maintenance with its PostgreSQL sink, counts its runs, and stops it."""
    settings = config.load(data_dir=tmp_path, dsn=postgres)
    jobs = [*standing_jobs(settings), *search_jobs()]
    supervisor = Supervisor(settings, sinks=[PostgresSink(postgres)], report=lambda _: None)

    def runs() -> dict[Any, int]:
        return supervisor.health().maintenance

    supervisor.start()
    deadline = time.monotonic() + TIMEOUT_S
    while len(runs()) < len(jobs) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    supervisor.stop()

    assert runs().keys() == {(job.name, "done") for job in jobs}
    told = {family.name: family for family in supervisor.metrics()}["clew_agent_maintenance_runs"]
    assert {sample.labels["outcome"] for sample in told.samples} == {"done"}
    assert not [thread for thread in threading.enumerate() if thread.name == "clew-maintenance"]
