"""Who ships: finding an agent, starting one, saying that there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from clew import config
from clew.emit import shipping
from clew.spool.directory import AGENTS_DIRECTORY
from clew.spool.life.lock import FileLock
from clew.spool.writer import Writer
from support.commands import WITHOUT_RIGHTS
from support.odd_files import ODD_KINDS, make_odd
from support.programs import read_spool, run_program, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.config import Settings

NOBODY_ANSWERS = "postgresql://clew@127.0.0.1:1/clew?connect_timeout=1"
HOLDER = """
import sys
from pathlib import Path
from clew.spool.life.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a spool of the test's own, with nowhere to ship to."""
    for name in [name for name in os.environ if name.startswith("CLEW_")]:
        monkeypatch.delenv(name)
    return config.load(service="test", data_dir=tmp_path / "data")


@pytest.fixture
def agents(settings: Settings) -> Path:
    """Where agents show that they live."""
    directory = settings.spool_dir / AGENTS_DIRECTORY
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def started(settings: Settings) -> Iterator[None]:
    """End the agent that the test has started."""
    yield
    for process in agent_processes(settings):
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def agent_processes(settings: Settings) -> list[psutil.Process]:
    """Find the agents of this test's spool among all processes."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if "clew.agent" in process.cmdline() and process.environ().get("CLEW_SPOOL_DIR") == str(settings.spool_dir):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_where_nobody_has_been_no_agent_lives(settings: Settings) -> None:
    """Neither without a spool nor with an empty one."""
    assert not shipping.agent_is_alive(settings.spool_dir)


def test_a_lock_file_that_nobody_holds_is_no_agent(settings: Settings, agents: Path) -> None:
    """An agent that was killed leaves its file and not its lock."""
    (agents / "left.lock").touch()
    (agents / "other.json").touch()

    assert not shipping.agent_is_alive(settings.spool_dir)


@pytest.mark.parametrize("name", [AGENTS_DIRECTORY, "", ".."], ids=["agents", "spool", "data"])
@pytest.mark.parametrize("kind", ODD_KINDS)
def test_where_no_directory_is_no_agent_lives(settings: Settings, name: str, kind: str) -> None:
    """Something else in the place of any of them is no error: nobody can have a lock there."""
    odd = settings.spool_dir.parent if name == ".." else settings.spool_dir / name
    odd.parent.mkdir(parents=True, exist_ok=True)
    make_odd(odd, kind)

    assert not shipping.agent_is_alive(settings.spool_dir)


def test_where_nobody_may_look_no_agent_is_seen(settings: Settings, agents: Path) -> None:
    """Whether one lives there cannot be known; who asks goes on."""
    program = (
        "import sys, pathlib; from clew.emit import shipping; print(shipping.agent_is_alive(pathlib.Path(sys.argv[1])))"
    )
    agents.chmod(0)

    asked = subprocess.run(
        [*WITHOUT_RIGHTS, sys.executable, "-c", program, str(settings.spool_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    agents.chmod(0o700)

    assert (asked.stdout, asked.stderr) == ("False\n", "")


def test_an_agent_is_alive_while_another_process_holds_its_lock(settings: Settings, agents: Path) -> None:
    """And no longer than that."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(agents / "real.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"

    assert shipping.agent_is_alive(settings.spool_dir)
    assert shipping.ensure(settings) is None

    holder.kill()
    holder.communicate()
    assert not shipping.agent_is_alive(settings.spool_dir)


def test_with_nowhere_to_ship_to_a_line_says_where_events_wait(settings: Settings) -> None:
    """And nothing is started."""
    line = shipping.ensure(settings)

    assert line is not None
    assert line.startswith(f"no agent runs: events wait in {settings.spool_dir}; `clew up` ships and shows them")
    assert not settings.data_dir.exists()


def test_an_operator_who_ships_is_left_alone(settings: Settings) -> None:
    """In mode ``external`` nothing is looked for, started or said."""
    external = config.load(service="test", data_dir=settings.data_dir, agent="external", dsn=NOBODY_ANSWERS)

    assert shipping.ensure(external) is None
    assert not settings.data_dir.exists()


def test_an_agent_that_cannot_be_started_is_a_line_too(settings: Settings, tmp_path: Path) -> None:
    """The spool may be writable where the data directory is not; the application goes on."""
    (tmp_path / "file").touch()
    stuck = config.load(service="test", data_dir=tmp_path / "file", spool_dir=settings.spool_dir, dsn=NOBODY_ANSWERS)

    line = shipping.ensure(stuck)

    assert line is not None
    assert "the agent could not be started" in line


def test_a_spool_that_no_agent_can_work_on_is_a_line_too(settings: Settings) -> None:
    """It is said where people look, not in the log of an agent that ends at once."""
    settings.spool_dir.mkdir(parents=True)
    (settings.spool_dir / AGENTS_DIRECTORY).touch()
    stuck = config.load(service="test", data_dir=settings.data_dir, dsn=NOBODY_ANSWERS)

    line = shipping.ensure(stuck)

    assert line is not None
    assert f"the agent could not be started (cannot create {settings.spool_dir / AGENTS_DIRECTORY}" in line
    assert not (settings.data_dir / "agent.log").exists()


@pytest.mark.usefixtures("started")
def test_a_started_agent_is_a_process_apart_and_keeps_what_it_cannot_deliver(settings: Settings) -> None:
    """It holds the lock, is nobody's child, has a session of its own, and waits for a server that never answers."""
    writer = Writer(settings.spool_dir, service="test", segment_bytes=64 * 1024)
    writer.append(b'{"message":"kept"}')
    writer.close()
    shipping_settings = config.load(service="test", data_dir=settings.data_dir, dsn=NOBODY_ANSWERS)

    assert shipping.ensure(shipping_settings) is None

    assert until(lambda: shipping.agent_is_alive(settings.spool_dir))
    assert shipping.ensure(shipping_settings) is None
    (agent,) = agent_processes(settings)
    assert agent.ppid() != os.getpid()
    assert os.getsid(agent.pid) != os.getsid(0)
    assert NOBODY_ANSWERS not in " ".join(agent.cmdline())
    log = settings.data_dir / "agent.log"
    assert until(lambda: "postgres" in log.read_text())
    assert read_spool(settings.spool_dir) == [[{"message": "kept"}]]
    assert agent.is_running()


@pytest.mark.usefixtures("started")
def test_two_agents_that_are_started_at_once_are_one(settings: Settings) -> None:
    """The second finds the lock taken and ends; no zombie is left of either."""
    Writer(settings.spool_dir, service="test", segment_bytes=64 * 1024).close()
    writer = Writer(settings.spool_dir, service="test", segment_bytes=64 * 1024)
    writer.append(b'{"message":"kept"}')
    shipping_settings = config.load(service="test", data_dir=settings.data_dir, dsn=NOBODY_ANSWERS)

    shipping.start_agent(shipping_settings)
    shipping.start_agent(shipping_settings)

    assert until(lambda: shipping.agent_is_alive(settings.spool_dir) and len(agent_processes(settings)) == 1)
    writer.close()
    assert not [child for child in psutil.Process().children() if "clew.agent" in " ".join(child.cmdline())]


def test_a_lock_of_our_own_is_not_asked_about(agents: Path) -> None:
    """A lock taken by this process is released by its owner alone."""
    lock = FileLock(agents / "mine.lock")

    assert lock.acquire()
    lock.release()


def test_an_application_says_once_that_nobody_ships(tmp_path: Path) -> None:
    """In mode ``auto`` without anywhere to ship to, for a thousand events and a forked child."""
    program = """
        import os, clew
        clew.configure(service="lonely")
        log = clew.get_logger()
        for n in range(1000):
            log.info("told")
    """

    ended = run_program(tmp_path, program, CLEW_AGENT="auto")

    (line,) = ended.complaints
    assert line.startswith(f"clew: no agent runs: events wait in {tmp_path / 'data' / 'spool'}")
    assert [len(events) for events in read_spool(tmp_path / "data" / "spool")] == [1000]
