"""Whether the writer of a log lives: by its process, not by its lock alone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clew.spool.directory import LOCK_FILE
from clew.spool.life.liveness import adopt_writer_lock, writer_lives
from clew.spool.life.lock import LifeLock, is_locked
from clew.spool.life.owner import RECORD_BYTES, Owner, this_process
from clew.spool.life.vitals import _MAGIC, _SAMPLE, VITALS_FILE
from clew.spool.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import sys
from pathlib import Path
from clew.spool.writer import Writer
writer = Writer(Path(sys.argv[1]), service="rag-api", flush_interval_s=3600)
print(writer.directory, flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Producer:
    """A process with a writer."""

    def __init__(self, spool: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(spool)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.directory = Path(self._answer())

    def run(self, line: str) -> None:
        """Run one line of Python in it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def producer(tmp_path: Path) -> Iterator[Producer]:
    """Give a producer that keeps still until it is told."""
    started = Producer(tmp_path)
    yield started
    started.kill()


def lose_lock(producer: Producer) -> None:
    """Have the producer's application read its own lock file, which drops the lock."""
    producer.run("open(writer.directory / 'lock', 'rb').close()")
    assert not is_locked(producer.directory / LOCK_FILE)


def age_vitals(directory: Path, seconds: float) -> None:
    """Make the last sample so much older."""
    raw = list(_SAMPLE.unpack((directory / VITALS_FILE).read_bytes()[: _SAMPLE.size]))
    raw[1] = time.time_ns() - int(seconds * 1e9)
    assert raw[0] == _MAGIC
    with (directory / VITALS_FILE).open("r+b") as file:
        file.write(_SAMPLE.pack(*raw))


def test_a_writer_lives_and_is_dead_at_once_when_it_is_killed(producer: Producer) -> None:
    """Nobody waits for anything."""
    assert writer_lives(producer.directory)
    assert adopt_writer_lock(producer.directory) is None

    producer.kill()

    assert not writer_lives(producer.directory)
    lock = adopt_writer_lock(producer.directory)
    assert lock is not None
    lock.release()


def test_a_writer_that_has_lost_its_lock_lives(producer: Producer) -> None:
    """A backup in the application closed a descriptor of the lock file."""
    lose_lock(producer)

    assert writer_lives(producer.directory)
    assert adopt_writer_lock(producer.directory) is None
    assert not is_locked(producer.directory / LOCK_FILE)  # looking has left nothing behind
    producer.kill()
    assert not writer_lives(producer.directory)


def test_a_process_that_was_replaced_by_another_program_writes_no_more(producer: Producer) -> None:
    """It keeps its id and its start time over ``exec``, and loses lock and log."""
    producer.run("import os; os.execv('/bin/sh', ['sh', '-c', 'echo done; read line'])")

    assert not writer_lives(producer.directory)


def test_a_log_that_an_agent_has_adopted_has_no_living_writer(producer: Producer) -> None:
    """Although its lock is held: by the agent, in this process or in another, and after it."""
    producer.kill()
    lock = adopt_writer_lock(producer.directory)
    assert lock is not None
    ask = "import sys; from pathlib import Path; from clew.spool.life.liveness import writer_lives; print(writer_lives(Path(sys.argv[1])))"

    asked = subprocess.run(
        [sys.executable, "-c", ask, str(producer.directory)], capture_output=True, check=True, text=True
    )

    assert is_locked(producer.directory / LOCK_FILE)
    assert not writer_lives(producer.directory)
    assert asked.stdout == "False\n"
    lock.release()
    assert not writer_lives(producer.directory)


def name_owner(directory: Path, owner: Owner | None) -> None:
    """Write who holds a lock file."""
    raw = bytes(RECORD_BYTES) if owner is None else owner.encode()
    (directory / LOCK_FILE).write_bytes(raw)


@pytest.mark.parametrize("owner", [None, this_process()._replace(boot="other"), this_process()._replace(namespace="1")])
def test_without_a_process_to_look_at_a_fresh_sample_is_life(producer: Producer, owner: Owner | None) -> None:
    """The holder is in another container, or an older clew that names none."""
    lose_lock(producer)
    name_owner(producer.directory, owner)
    age_vitals(producer.directory, 1)
    assert writer_lives(producer.directory)
    assert adopt_writer_lock(producer.directory) is None

    age_vitals(producer.directory, 60)

    assert not writer_lives(producer.directory)
    lock = adopt_writer_lock(producer.directory)
    assert lock is not None
    lock.release()


def test_a_lock_file_that_was_removed_is_no_death(producer: Producer) -> None:
    """The last sample is fresh; nothing is made in its place by looking."""
    (producer.directory / LOCK_FILE).unlink()
    age_vitals(producer.directory, 1)

    assert writer_lives(producer.directory)
    assert adopt_writer_lock(producer.directory) is None
    assert not (producer.directory / LOCK_FILE).exists()
    age_vitals(producer.directory, 60)
    assert not writer_lives(producer.directory)
    (producer.directory / VITALS_FILE).unlink()
    assert not writer_lives(producer.directory)


def test_a_writer_of_this_process_lives_until_it_is_closed(tmp_path: Path) -> None:
    """An agent in a thread of the application looks at it."""
    writer = Writer(tmp_path, service="rag-api")
    assert writer_lives(writer.directory)
    assert adopt_writer_lock(writer.directory) is None

    writer.close()

    assert not writer_lives(writer.directory)


def test_a_lock_of_life_is_not_taken_from_a_process_that_has_only_lost_it(producer: Producer, tmp_path: Path) -> None:
    """Two agents would ship the same log."""
    path = tmp_path / "agent.lock"
    producer.run(f"from clew.spool.life.lock import LifeLock; held = LifeLock(Path({str(path)!r})); held.acquire()")
    producer.run(f"open({str(path)!r}, 'rb').close()")
    assert not is_locked(path)

    assert not LifeLock(path).acquire()
    producer.run("held.release()")
    lock = LifeLock(path)
    assert lock.acquire()
    lock.release()
