"""Thirty-five days of events: what stays whole, what is drawn, what goes, and what an agent's death leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest

from clew import config
from clew.errors import ConfigError, StoreError
from clew.store.postgres.connect import connect
from clew.store.postgres.upkeep import retention
from clew.store.postgres.upkeep.retention import Policy, enforce, plan, policy_of
from support.stored import make_event, store_events

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAYS = 34
TRACES_A_DAY = 12
POLICY = Policy(sample=0.25, slow_ms=5_000)
TELLING = {0: "error", 1: "flagged", 2: "low_score", 3: "slow"}
"""Of each day's traces, the first four stay whatever is drawn."""

DYING = """
import os, signal, sys
from datetime import datetime
from clew.store.postgres.upkeep import retention
from clew.store.postgres.connect import connect

retention.TRACES_AT_ONCE = 3
now = datetime.fromisoformat(sys.argv[2])
with connect(sys.argv[1]) as connection:
    for number, _ in enumerate(retention.enforce(connection, retention.Policy(sample=0.25, slow_ms=5_000), now)):
        if number == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
"""


class Trace(NamedTuple):
    """A trace of the data set."""

    day: date
    number: int
    id: str

    @property
    def reason(self) -> str | None:
        """Why it stays; None for an ordinary one."""
        return TELLING.get(self.number)


def all_traces() -> list[Trace]:
    """List the traces of the data set, the newest day first."""
    return [
        Trace((NOW - timedelta(days=age)).date(), number, str(UUID(int=(0x0199 << 112) + age * 1000 + number)))
        for age in range(DAYS)
        for number in range(TRACES_A_DAY)
    ]


def events_of(trace: Trace) -> list[dict[str, Any]]:
    """Make the three events of a trace; the last one of the last trace of a day is after midnight."""
    at = datetime(trace.day.year, trace.day.month, trace.day.day, 23, 50, tzinfo=UTC)
    late = at + timedelta(minutes=20) if trace.number == TRACES_A_DAY - 1 else at
    root: dict[str, Any] = {"kind": "span", "status": "ok", "metrics": {"duration_ms": 10.0}}
    last: dict[str, Any] = {"message": "generation_complete"}
    match trace.reason:
        case "error":
            last |= {"level": "ERROR", "error": {"type": "TimeoutError", "message": "", "stack": ""}}
        case "flagged":
            last |= {"message": "issue_detected", "level": "WARNING"}
        case "low_score":
            last |= {"message": "score_computed", "metrics": {"score": 0.2}}
        case "slow":
            root["metrics"] = {"duration_ms": 9_000.0}
    span_id = str(UUID(int=UUID(trace.id).int + (1 << 64)))
    return [
        make_event(at, trace_id=trace.id, span_id=span_id, user_id="u1", **root),
        make_event(at, trace_id=trace.id, span_id=span_id),
        make_event(late, trace_id=trace.id, span_id=span_id, **last),
    ]


@pytest.fixture
def month(postgres: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a store of 34 days: twelve traces a day, and as many logs without a trace, one of which is an error."""
    monkeypatch.setattr(retention, "TRACES_AT_ONCE", 3)
    monkeypatch.setattr(retention, "LOGS_AT_ONCE", 5)
    loose = [
        make_event(datetime(trace.day.year, trace.day.month, trace.day.day, 1, tzinfo=UTC), level=level)
        for trace in all_traces()
        for level in (["ERROR"] if trace.number == 0 else ["INFO"])
    ]
    store_events(postgres, *(event for trace in all_traces() for event in events_of(trace)), *loose)
    return postgres


def count(dsn: str, statement: str = "SELECT count(*) FROM events") -> Any:
    """Ask the store for one value."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement).fetchall()[0][0]  # pyright: ignore[reportArgumentType, reportCallIssue]


def kept(dsn: str) -> dict[str, int]:
    """Count the events of each trace that is left."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute("SELECT trace_id::text, count(*) FROM events WHERE trace_id IS NOT NULL GROUP BY 1")
        return {str(trace): int(number) for trace, number in rows.fetchall()}


def run(dsn: str, policy: Policy = POLICY, now: datetime = NOW) -> int:
    """Do what the policy asks for; return how many events went."""
    with connect(dsn) as connection:
        return sum(step.events for step in enforce(connection, policy, now))


def removed_by_day(dsn: str, policy: Policy = POLICY) -> dict[date | None, int]:
    """Do what the policy asks for; return how many events of each day went."""
    removed: dict[date | None, int] = {}
    with connect(dsn) as connection:
        for step in enforce(connection, policy, NOW):
            removed[step.day] = removed.get(step.day, 0) + step.events
    return removed


def age(trace: Trace) -> int:
    """Return how many days ago a trace was."""
    return (NOW.date() - trace.day).days


def test_telling_traces_stay_whole_and_others_are_drawn(month: str) -> None:
    """Hot days are untouched, warm ones keep every telling trace and a share of the others, older ones are gone."""
    run(month)

    left = kept(month)
    hot = [trace for trace in all_traces() if age(trace) <= 7]
    warm = [trace for trace in all_traces() if 7 < age(trace) <= 30]
    ordinary = [trace for trace in warm if trace.reason is None]
    drawn = [trace for trace in ordinary if trace.id in left]
    assert all(left.get(trace.id) == 3 for trace in hot)
    assert all(left.get(trace.id) == 3 for trace in warm if trace.reason)
    assert all(left[trace.id] == 3 for trace in drawn)
    assert 0.1 < len(drawn) / len(ordinary) < 0.4
    assert not [trace for trace in all_traces() if age(trace) > 31 and trace.id in left]
    assert count(month, "SELECT count(*) FROM events WHERE trace_id IS NULL AND level >= 40") == 31


def test_counts_over_what_is_left_can_be_scaled(month: str) -> None:
    """The weights of a thinned day's events add up to about what there was, and telling ones weigh one."""
    run(month)

    weighed = "SELECT sum(retention_weight(timestamp, trace_id, level)) FROM events WHERE timestamp < '2026-11-16'"
    telling = f"{weighed} AND level >= 40"
    before = sum(3 for trace in all_traces() if 7 < age(trace) <= 30) + 23 * TRACES_A_DAY
    assert count(month, weighed) == pytest.approx(before, rel=0.35)
    assert count(month, telling) == 2 * 23


def test_a_dry_run_tells_the_same_and_changes_nothing(month: str) -> None:
    """What it says of each day is what is then done."""
    before = count(month)
    with connect(month) as connection:
        told = list(plan(connection, POLICY, NOW))
    assert count(month) == before

    removed = removed_by_day(month)

    assert {day.day: day.events - day.kept for day in told} == removed
    assert {day.action for day in told} == {"thin out", "remove"}
    assert {reason for day in told for reason in day.traces} == {*TELLING.values(), "sampled", "removed", "goes on"}
    with connect(month) as connection:
        assert {day.action for day in plan(connection, POLICY, NOW)} == {"none"}


def test_a_dry_run_after_a_kill_tells_what_is_still_to_do(month: str) -> None:
    """By what was noted when the day was begun, not by what is left of it or was set since."""
    share = Policy(sample=0.25, slow_share=0.3)
    with connect(month) as connection:
        for number, _ in enumerate(enforce(connection, share, NOW)):
            if number == 12:
                break
        told = list(plan(connection, Policy(sample=0.9, min_score=0.1), NOW))

    assert {day.day: day.events - day.kept for day in told if day.events > day.kept} == {
        day: events for day, events in removed_by_day(month, Policy(sample=0.9, min_score=0.1)).items() if events
    }


def test_doing_it_again_does_nothing(month: str) -> None:
    """A day is thinned out once, and what was drawn stays drawn."""
    run(month)
    left = kept(month)

    assert (run(month), kept(month)) == (0, left)


def test_a_day_that_loses_nothing_is_not_rewritten(month: str) -> None:
    """Who reads it would have to wait for nothing; a day that loses something gives its space back."""
    everything = Policy(sample=1.0, slow_ms=5_000, warm_days=3_650)
    later = NOW + timedelta(days=1)  # the day that is thinned out next does lose something
    with connect(month) as connection:
        kept_whole = {step.what for step in enforce(connection, everything, NOW)}
        less = Policy(sample=0.25, slow_ms=5_000, warm_days=3_650)
        rewritten = [step.day for step in enforce(connection, less, later) if step.what == "rewritten"]

    assert kept_whole == {"thinned out"}
    assert rewritten == [(later - timedelta(days=8)).date()]


@pytest.mark.parametrize("step", [0, 5, 30])
def test_a_killed_agent_is_gone_on_from(month: str, step: int) -> None:
    """Kill -9 after any transaction: the next run ends where an undisturbed one would."""
    killed = subprocess.run([sys.executable, "-c", DYING, month, NOW.isoformat(), str(step)], check=False)
    assert killed.returncode == -signal.SIGKILL

    run(month)

    left = kept(month)
    expected = {
        trace.id
        for trace in all_traces()
        if age(trace) <= 7 or _crosses_into_hot(trace) or (age(trace) <= 30 and _stays(month, trace))
    }
    assert {trace for trace, events in left.items() if events == 3} == expected
    days = "SELECT array_agg(DISTINCT (state, traces)::text) FROM retention_days"
    assert count(month, days) is not None
    assert count(month, "SELECT bool_and(state = 'done') FROM retention_days")


def test_pinned_traces_stay_for_good(month: str) -> None:
    """A pin keeps an ordinary trace through both borders, and without it the trace goes."""
    old = next(trace for trace in all_traces() if age(trace) == 33 and trace.number == 7)
    warm = next(
        trace for trace in all_traces() if age(trace) == 20 and trace.number > 4 and _drawn(month, trace.id) > 0.25
    )
    with psycopg.connect(month, autocommit=True) as connection:
        connection.execute("INSERT INTO pins (trace_id) VALUES (%s), (%s)", [old.id, warm.id])

    run(month)

    assert (kept(month)[old.id], kept(month)[warm.id]) == (3, 3)


def test_the_share_and_the_borders_are_told(month: str) -> None:
    """Everything may be kept, or nothing but what tells something; days are counted from today."""
    assert run(month, Policy(warm_days=36_500, sample=1)) == 0

    run(month, Policy(hot_days=1, warm_days=3, sample=0, slow_share=0))

    left = kept(month)
    assert {age(trace) for trace in all_traces() if trace.id in left} <= {0, 1, 2, 3, 4}


def test_strays_go_too(month: str) -> None:
    """Events that no clock can mean, spans that never ended, and cursors of processes long gone."""
    with psycopg.connect(month, autocommit=True) as connection:
        connection.execute("INSERT INTO events SELECT * FROM events LIMIT 0")
        connection.execute(
            'INSERT INTO events_default ("timestamp", level, event_id, kind, stage, message, service, context, metrics,'
            " ingested_at) SELECT '1970-01-01', 20, gen_random_uuid(), 'log', 'other', 'm', 's', '{}', '{}',"
            " '2026-10-01' FROM generate_series(1, 12)"
        )
        connection.execute(
            "INSERT INTO open_spans VALUES (gen_random_uuid(), NULL, '2026-10-01', gen_random_uuid(), '{}')"
        )
        connection.execute(
            "INSERT INTO cursors (producer, service, position, delivered, updated_at) SELECT gen_random_uuid(), service, 1, 1, at"
            " FROM (VALUES ('gone', timestamptz '2026-07-01'), ('quiet', timestamptz '2026-10-20')) AS known (service, at)"
        )

    run(month)

    assert count(month, "SELECT count(*) FROM events_default WHERE timestamp < '2000-01-01'") == 0
    assert count(month, "SELECT count(*) FROM open_spans") == 0
    assert count(month, "SELECT count(*) FROM cursors WHERE service = 'gone'") == 0
    assert count(month, "SELECT count(*) FROM cursors WHERE service = 'quiet'") == 1


def test_days_that_would_be_gone_before_they_are_thinned_out_are_refused() -> None:
    """Nobody can mean both; as many days of each thin nothing out."""
    with pytest.raises(ConfigError, match="retention_warm_days is 3, and retention_hot_days 7"):
        policy_of(config.load(retention_warm_days=3))

    assert policy_of(config.load(retention_warm_days=7)).warm_days == 7


def test_what_tells_something_needs_no_trace(postgres: str) -> None:
    """Deploys, feedback, alerts, issues and low scores stay without a trace too, and weigh one; the others are drawn."""
    at = NOW - timedelta(days=10)
    messages = ["deploy_marked", "feedback_received", "alert_fired", "issue_detected"]
    store_events(
        postgres,
        *(make_event(at, message=message) for message in messages),
        make_event(at, message="score_computed", metrics={"score": 0.1}),
        *(make_event(at) for _ in range(40)),
    )

    run(postgres, Policy(sample=0.1))

    weighed = "SELECT sum(retention_weight(timestamp, trace_id, level, message, metrics)) FROM events"
    assert count(postgres, f"{weighed} WHERE message <> 'told'") == 5
    assert count(postgres, "SELECT count(*) FROM events WHERE message = 'told'") < 20


@pytest.mark.parametrize("score", ["high", None, True, [], {"of": 1}, 10**400])
def test_a_score_that_is_no_number_tells_nothing(postgres: str, score: Any) -> None:
    """Whatever somebody calls a score, the day is thinned out."""
    at, traces = NOW - timedelta(days=10), [str(UUID(int=(0x0199 << 112) + number)) for number in range(2)]
    store_events(
        postgres,
        make_event(at, trace_id=traces[0], metrics={"score": score}),
        make_event(at, trace_id=traces[1], metrics={"score": 0.1}),
    )

    run(postgres, Policy(sample=0))

    assert kept(postgres) == {traces[1]: 1}


def test_a_trace_of_many_days_stays_or_goes_whole(postgres: str) -> None:
    """Also one that is quiet for days: it is judged with its last day, and what that day tells counts for all."""
    telling, ordinary, going_on = (str(UUID(int=(0x0199 << 112) + number)) for number in range(3))
    for back in (14, 13, 10):
        at = NOW - timedelta(days=back)
        last = {"level": "ERROR"} if back == 10 else {}
        store_events(postgres, make_event(at, trace_id=telling, **last), make_event(at, trace_id=ordinary))
    store_events(postgres, *(make_event(NOW - timedelta(days=back), trace_id=going_on) for back in (12, 3)))
    with connect(postgres) as connection:
        told = {day.day: day.events - day.kept for day in plan(connection, Policy(sample=0), NOW)}

    removed = removed_by_day(postgres, Policy(sample=0))

    assert kept(postgres) == {telling: 3, going_on: 2}
    assert removed == told


def test_traces_that_go_on_weigh_one_until_they_are_judged(month: str) -> None:
    """Weights are exact while a trace of a thinned day waits for its last day to be thinned out, and after that."""
    crossing = next(trace for trace in all_traces() if _crosses_into_hot(trace))
    weight = f"SELECT max(retention_weight(timestamp, trace_id, level)) FROM events WHERE trace_id = '{crossing.id}'"
    run(month)
    waiting = count(month, weight)

    run(month, Policy(sample=0.25, slow_ms=5_000), NOW + timedelta(days=1))

    drawn = _drawn(month, crossing.id) < POLICY.sample
    assert waiting == 1
    assert count(month, weight) == (4 if drawn else None)


def test_what_comes_late_is_judged_too(month: str) -> None:
    """Events of a day that was thinned out: those of traces that are gone go, a new error stays, and nothing is done twice."""
    run(month)
    left = kept(month)
    ordinary = [trace for trace in all_traces() if age(trace) == 15 and 3 < trace.number < TRACES_A_DAY - 1]
    gone = next(trace for trace in ordinary if trace.id not in left)
    failed = str(UUID(int=(0x0199 << 112) + 999_999))
    at = datetime.combine(gone.day, NOW.time(), UTC)
    store_events(month, make_event(at, trace_id=gone.id), make_event(at, trace_id=failed, level="ERROR"))
    with connect(month) as connection:
        told = {day.day: day.events - day.kept for day in plan(connection, POLICY, NOW) if day.action != "none"}

    removed = removed_by_day(month)

    assert told == removed == {gone.day: 1}
    assert kept(month) == {**left, failed: 1}
    assert removed_by_day(month) == {}


def test_a_day_that_is_in_use_holds_nothing_up(month: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its turn comes with the next run; the others are done, and it is told in plain words."""
    monkeypatch.setattr(retention, "LOCK_TIMEOUT_MS", 50)
    busy = (NOW - timedelta(days=20)).date()
    with psycopg.connect(month) as reader:
        reader.execute(f"SELECT count(*) FROM events_{busy:%Y%m%d}")  # pyright: ignore[reportArgumentType, reportCallIssue]

        with pytest.raises(StoreError, match=f"others are using the events of {busy}"):
            run(month)

    unfinished = "SELECT array_agg(day) FROM retention_days WHERE state <> 'done'"
    assert count(month, unfinished) == [busy]
    run(month)
    assert count(month, unfinished) is None


def _crosses_into_hot(trace: Trace) -> bool:
    return age(trace) == 8 and trace.number == TRACES_A_DAY - 1


def _stays(dsn: str, trace: Trace) -> bool:
    return trace.reason is not None or _drawn(dsn, trace.id) < POLICY.sample


def _drawn(dsn: str, trace_id: str) -> float:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute("SELECT retention_draw(%s::uuid)", [trace_id]).fetchall()[0][0]
