"""kill -9 of an application, through the real agent into a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import psycopg
import pytest

from clew.emit.shipping import agent_is_alive

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION = textwrap.dedent(
    """
    import mmap, struct, sys, threading
    import clew

    file = open(sys.argv[1], "r+b")
    counters = mmap.mmap(file.fileno(), 4096)
    clew.configure(service="victim")
    log = clew.get_logger()

    def work(thread):
        slot, n = 8 * thread, 0
        with clew.span(f"thread-{thread}", stage="ingestion"):
            while True:
                log.info("chunks_created", thread=thread, n=n, duration_ms=1.5)
                n += 1
                counters[slot:slot + 8] = struct.pack("<Q", n)   # this emit has returned

    for thread in range(4):
        threading.Thread(target=work, args=(thread,), daemon=True).start()
    print("working", flush=True)
    sys.stdin.read()
    """
)


def returned_emits(path: Path) -> list[int]:
    """Read how many emits of each thread had returned."""
    raw = path.read_bytes()
    return [int.from_bytes(raw[8 * thread : 8 * thread + 8], "little") for thread in range(4)]


def wait_until(path: Path, emits: int) -> None:
    """Wait until every thread has emitted *emits* events; looking is all there is to wait on."""
    while min(returned_emits(path)) < emits:
        os.sched_yield()


@pytest.mark.parametrize("emits", [50, 3000])
def test_every_event_whose_emit_had_returned_arrives_once(tmp_path: Path, postgres: str, emits: int) -> None:
    """The killed service's events are all there, once, its open spans end as aborted, and the agent ends."""
    counters = tmp_path / "counters"
    counters.write_bytes(bytes(4096))
    environment = {
        **os.environ,
        "CLEW_DATA_DIR": str(tmp_path / "data"),
        "CLEW_DSN": postgres,
        "CLEW_AGENT": "external",
    }
    victim = subprocess.Popen(
        [sys.executable, "-c", APPLICATION, str(counters)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == b"working\n"
    wait_until(counters, emits)

    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    returned = returned_emits(counters)
    agent = [sys.executable, "-m", "clew.agent", "--until-idle"]
    subprocess.run(agent, env=environment, check=True, timeout=60, stderr=subprocess.DEVNULL)

    with psycopg.connect(postgres) as connection:
        logs = connection.execute(
            "SELECT (context->>'thread')::int, count(*), count(DISTINCT event_id), min((context->>'n')::int), "
            "max((context->>'n')::int) FROM events WHERE kind = 'log' GROUP BY 1 ORDER BY 1"
        ).fetchall()
        spans = connection.execute(
            "SELECT message, status, error->>'type' FROM events WHERE kind = 'span' ORDER BY 1"
        ).fetchall()
        still_open = connection.execute("SELECT count(*) FROM open_spans").fetchone()
    for (thread, count, distinct, first, last), emitted in zip(logs, returned, strict=True):
        # The emit under way at the kill may have stored its event without having returned.
        assert count in {emitted, emitted + 1}, thread
        assert (distinct, first, last) == (count, 0, count - 1)
    assert spans == [(f"thread-{n}", "aborted", "ProcessAborted") for n in range(4)]
    assert still_open == (0,)
    assert not list((tmp_path / "data" / "spool").glob("*/*/lock"))


def test_an_application_alone_starts_its_agent_and_is_outlived_by_it(tmp_path: Path, postgres: str) -> None:
    """With a DSN set, nothing but the application is needed: events arrive although it was killed."""
    environment = {**os.environ, "CLEW_DATA_DIR": str(tmp_path / "data"), "CLEW_DSN": postgres}
    environment.pop("CLEW_AGENT", None)
    program = (
        "import os, clew; clew.configure(service='alone'); log = clew.get_logger(); "
        "[log.info('told', n=n) for n in range(500)]; os.kill(os.getpid(), 9)"
    )

    killed = subprocess.run([sys.executable, "-c", program], env=environment, check=False, capture_output=True)

    assert killed.returncode == -signal.SIGKILL
    assert killed.stderr == b""
    spool = tmp_path / "data" / "spool"
    with psycopg.connect(postgres, autocommit=True) as connection:
        while connection.execute("SELECT count(*) FROM events").fetchone() != (500,):
            assert agent_is_alive(spool) or list(spool.glob("*/*/lock"))
            connection.execute("SELECT pg_sleep(0.02)")
        while agent_is_alive(spool):
            connection.execute("SELECT pg_sleep(0.02)")
        assert connection.execute("SELECT count(*), count(DISTINCT event_id) FROM events").fetchone() == (500, 500)
    assert list(spool.glob("*/*/lock")) == []


def test_events_of_a_time_without_an_agent_arrive_when_one_starts(tmp_path: Path, postgres: str) -> None:
    """Without anywhere to ship to the application works, says once where its events wait, and they arrive later."""
    environment = {**os.environ, "CLEW_DATA_DIR": str(tmp_path / "data")}
    environment.pop("CLEW_DSN", None)
    environment.pop("CLEW_AGENT", None)
    program = (
        "import clew; clew.configure(service='early'); log = clew.get_logger(); [log.info('told') for _ in range(9)]"
    )

    early = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    agent = [sys.executable, "-m", "clew.agent", "--until-idle"]
    subprocess.run(agent, env={**environment, "CLEW_DSN": postgres}, check=True, timeout=60, stderr=subprocess.DEVNULL)

    assert early.stderr.count("\n") == 1
    assert str(tmp_path / "data" / "spool") in early.stderr
    assert "clew up" in early.stderr
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (9,)
