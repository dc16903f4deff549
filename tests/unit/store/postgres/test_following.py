"""What comes in is told once, also when there is much of it, or the store was away."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from clew.store.postgres import following
from clew.store.postgres.connect import connect
from clew.store.postgres.following import Follower
from clew.store.postgres.logs import LogFilter
from clew.store.postgres.reading import read
from support.stored import make_event, store_events

if TYPE_CHECKING:
    import pytest


def test_more_than_one_look_can_tell_is_told_in_several(postgres: str) -> None:
    """A look is bounded; the follower says that it is behind until everything has been told, once."""
    follower = Follower(LogFilter())
    with connect(postgres, is_reader=True) as connection:
        read(connection, follower.begin(10))
        store_events(postgres, *(make_event(datetime.now(UTC), message=f"m{number}") for number in range(2500)))
        told = [event["message"] for event in read(connection, follower.look())]
        looks = [follower.is_behind]
        while follower.is_behind:
            told += [event["message"] for event in read(connection, follower.look())]
            looks.append(follower.is_behind)

    assert sorted(told) == sorted(f"m{number}" for number in range(2500))
    assert looks == [True, True, False]


def test_the_look_after_a_while_goes_back_to_the_one_before(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored while nobody could ask is told."""
    follower = Follower(LogFilter())
    with connect(postgres, is_reader=True) as connection, psycopg.connect(postgres, autocommit=True) as writing:
        read(connection, follower.begin(10))
        store_events(postgres, make_event(datetime.now(UTC), message="meanwhile"))
        writing.execute("UPDATE events SET ingested_at = ingested_at - interval '1 minute'")
        at_once = read(connection, follower.look())
        later = time.monotonic() + 70
        monkeypatch.setattr(following.time, "monotonic", lambda: later)
        told = [read(connection, follower.look()) for _ in range(2)]

    assert at_once == []
    assert [[event["message"] for event in events] for events in told] == [["meanwhile"], []]
