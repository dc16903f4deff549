"""`clew store retention`, `pin`, `unpin`, `pins` as a person types them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

import psycopg
from msgspec import json

from clew.store.postgres.load import query
from clew.store.postgres.upkeep.retention import JOB
from support.commands import CLEW
from support.stored import make_event, store_events

TRACE = "550e8400-e29b-41d4-a716-446655440000"


def run(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command of `clew store`."""
    return subprocess.run(
        [*CLEW, "store", *arguments, "--dsn", dsn], capture_output=True, check=False, text=True, timeout=60
    )


def test_a_day_is_previewed_and_then_removed(postgres: str) -> None:
    """The dry run changes nothing; the command removes what it had named, and then has nothing to do."""
    old = datetime.now(UTC) - timedelta(days=40)
    store_events(postgres, make_event(old, trace_id=TRACE), make_event(old))

    previewed = run(postgres, "retention", "--dry-run")
    told = json.decode(run(postgres, "retention", "--dry-run", "--json").stdout)
    done = run(postgres, "retention", "--json")
    again = run(postgres, "retention")

    assert previewed.returncode == 0, previewed.stderr
    assert "remove" in previewed.stdout
    assert "nothing was changed" in previewed.stdout
    assert [(day["action"], day["events"]) for day in told["days"]] == [("remove", 2)]
    assert json.decode(done.stdout)["days"] == [{"day": old.date().isoformat(), "what": "removed", "events_removed": 2}]
    assert "nothing to do" in again.stdout


def test_a_pin_keeps_a_trace(postgres: str) -> None:
    """Pinned by any form of its id it is listed and stays; unpinned twice is an error."""
    old = datetime.now(UTC) - timedelta(days=40)
    store_events(postgres, make_event(old, trace_id=TRACE))

    pinned = run(postgres, "pin", TRACE.replace("-", ""), "--note", "the outage")
    run(postgres, "retention")
    listed = run(postgres, "pins")
    unpinned, twice = run(postgres, "unpin", TRACE), run(postgres, "unpin", TRACE)
    wrong = run(postgres, "pin", "nonsense")

    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchall() == [(1,)]
    assert pinned.stdout == f"pinned {TRACE}\n"
    assert listed.stdout.startswith(TRACE)
    assert "the outage" in listed.stdout
    assert (unpinned.returncode, twice.returncode, wrong.returncode) == (0, 1, 2)


def test_what_an_agent_is_doing_is_left_to_it(postgres: str) -> None:
    """Two at once would count twice: the second says so, and a dry run is always possible."""
    with psycopg.connect(postgres, autocommit=True) as agent:
        agent.execute(query("maintenance_lock"), {"job": JOB})

        refused, previewed = run(postgres, "retention"), run(postgres, "retention", "--dry-run")

    assert (refused.returncode, previewed.returncode) == (1, 0)
    assert "an agent is thinning out this store just now" in refused.stderr
