"""clew logs --follow: a live tail, as a person runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import psycopg
import pytest

from clew import config
from clew.store.postgres.server import embedded
from clew.store.postgres.upkeep.migrate import migrate
from support.fix_receiving import Receiving
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def follower(postgres: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Queue[str]]]:
    """A running `clew logs --follow`, and the lines that it prints."""
    store_events(postgres, make_event(datetime.now(UTC), message="first", level="ERROR", event_id=uuid4()))
    command = [sys.executable, "-m", "clew", "logs", "level>=warning", "--follow", "--json", "--dsn", postgres]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        lines: Queue[str] = Queue()
        assert process.stdout is not None
        Thread(target=lambda out: [lines.put(line) for line in out], args=[process.stdout], daemon=True).start()
        yield process, lines
        process.kill()


def test_what_comes_in_is_shown_once_until_ctrl_c(
    postgres: str, follower: tuple[subprocess.Popen[str], Queue[str]]
) -> None:
    """What is there comes first, then each event that fits, also one that happened earlier; Ctrl-C ends it quietly."""
    process, lines = follower
    now = datetime.now(UTC)

    told = [json.loads(lines.get(timeout=20))["message"]]
    store_events(
        postgres, make_event(now, message="second", level="WARNING"), make_event(now, message="no", level="INFO")
    )
    told.append(json.loads(lines.get(timeout=20))["message"])
    store_events(postgres, make_event(now - timedelta(minutes=5), message="late", level="ERROR"))
    told.append(json.loads(lines.get(timeout=20))["message"])
    process.send_signal(signal.SIGINT)
    code = process.wait(20)

    assert told == ["first", "second", "late"]
    assert code == 130
    assert lines.empty()
    assert process.stderr is not None
    assert process.stderr.read() == ""


@pytest.mark.slow
def test_a_store_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    """PostgreSQL is started anew, and what is stored then is shown, by the command and over HTTP; one line says why it is quiet."""
    directory = tmp_path / embedded.DIRECTORY
    command = [sys.executable, "-m", "clew", "logs", "--follow", "--json", "--data", str(tmp_path)]
    with ExitStack() as parts:
        server = parts.enter_context(embedded.start(directory))
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            migrate(connection)
        store_events(server.dsn, make_event(datetime.now(UTC), message="before"))
        receiving = Receiving(config.load(data_dir=tmp_path))
        parts.callback(receiving.close)
        process = parts.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        parts.callback(process.kill)
        stream = httpx.stream("GET", f"{receiving.url}/api/logs/follow", timeout=60, trust_env=False)
        lines = filter(None, parts.enter_context(stream).iter_lines())
        assert process.stdout is not None
        assert process.stderr is not None

        told = [[next(lines), process.stdout.readline()]]
        server.stop()
        notice = process.stderr.readline()
        again = parts.enter_context(embedded.start(directory))
        store_events(again.dsn, make_event(datetime.now(UTC), message="after"))
        told.append([next(lines), process.stdout.readline()])
        process.send_signal(signal.SIGINT)
        code, rest = process.wait(20), process.stderr.read()

    assert [[json.loads(line)["message"] for line in pair] for pair in told] == [["before"] * 2, ["after"] * 2]
    assert "waiting until it is back" in notice
    assert (code, rest) == (130, "")


def test_the_same_over_http(receiving: Receiving) -> None:
    """A stream of lines: what is there, then what comes in, once each; an empty line now and then."""
    dsn, now = str(receiving.settings.dsn), datetime.now(UTC)
    store_events(dsn, make_event(now, message="first", level="ERROR"))
    told: list[str] = []

    with httpx.stream(
        "GET", f"{receiving.url}/api/logs/follow?q=level>=warning", timeout=20, trust_env=False
    ) as answer:
        for line in filter(None, answer.iter_lines()):
            told.append(json.loads(line)["message"])
            if len(told) == 1:
                store_events(dsn, make_event(now, message="second", level="WARNING"), make_event(now, message="no"))
            elif len(told) == 2:
                store_events(dsn, make_event(now - timedelta(minutes=5), message="late", level="ERROR"))
            else:
                break

    assert told == ["first", "second", "late"]
    assert receiving.send("GET", "/readyz").status_code == 200
