"""Keep what matters and let the rest go: everything for a week, the important traces and a sample for a month.

===============  ==========================================================================================
hot              all events of the last ``hot_days`` days
warm             whole traces: those with errors, flags, low scores or long durations, and a drawn share of all others
gone             everything older, but for pinned traces
===============  ==========================================================================================

Whether a trace is drawn depends on its id alone, so all of its days and every attempt decide alike. A log without a trace is
drawn by its own id; one that is an error stays. What stays and why is noted, so that counts over a thinned day can be
scaled: ``retention_weight`` says how many events one event stands for (the Horvitz-Thompson estimator: the inverse of the
chance that it had to stay). Roll-ups are made when events arrive, and are whole.

A trace that crosses midnight is judged with its last day, and its events of the days before wait for that. Events that come into a
day after it was thinned out are judged at the next run: the day is thinned out once more, by what was noted at first.

A day is thinned out in transactions of a few hundred traces, each of which also notes how far it came: an
agent that is killed goes on where it was. Then the table is rewritten, since PostgreSQL would keep the space; its readers
wait for that moment, some seconds for a gigabyte. A day that others are using all the time is left for the next run.

Source:
    D. G. Horvitz, D. J. Thompson, A generalization of sampling without replacement from a finite universe,
    J. Am. Stat. Assoc. 47 (1952), 663-685.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
from msgspec import Struct, field
from psycopg import errors, sql

from clew.errors import ConfigError, StoreError
from clew.store.postgres.connect import explained
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Statement, read

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from uuid import UUID

    from clew.config import Settings

__all__ = ["JOB", "DayPlan", "Policy", "RetentionStep", "enforce", "plan", "policy_of"]

JOB: Final = "retention"
"""Name of the lock that whoever does it holds (``maintenance_lock``)."""

TRACES_AT_ONCE: Final = 500
LOGS_AT_ONCE: Final = 5_000
GOES_ON: Final = "goes on"
"""Noted as the reason why a trace stays until its last day is judged."""

LOCK_TIMEOUT_MS: Final = 2_000
"""How long dropping or rewriting a day may wait for its readers; it is tried again at the next run."""

_Connection = psycopg.Connection[tuple[Any, ...]]


class Policy(Struct, frozen=True, kw_only=True):
    """What is kept for how long.

    Attributes:
        hot_days: Whole days beside today that are kept whole.
        warm_days: Days after which everything is gone; not fewer than ``hot_days``.
        sample: Share of ordinary traces that stays in warm days, 0 to 1.
        slow_ms: From which duration on a request is slow; None for the slowest ``slow_share`` of its day.
        slow_share: Share of a day's requests that is slow, 0 to 1.
        min_score: Below which score a trace is worth keeping.
    """

    hot_days: int = 7
    warm_days: int = 30
    sample: float = 0.1
    slow_ms: float | None = None
    slow_share: float = 0.01
    min_score: float = 0.5


def policy_of(settings: Settings) -> Policy:
    """Return the policy that *settings* ask for.

    Raises:
        ConfigError: Days are to be gone before they are thinned out.
    """
    if settings.retention_warm_days < settings.retention_hot_days:
        raise ConfigError(
            f"retention_warm_days is {settings.retention_warm_days}, and retention_hot_days {settings.retention_hot_days}:"
            " days that are to be kept whole would be removed",
            hint="set CLEW_RETENTION_HOT_DAYS too; equal values thin nothing out",
        )
    return Policy(
        hot_days=settings.retention_hot_days,
        warm_days=settings.retention_warm_days,
        sample=settings.retention_sample,
        slow_ms=settings.retention_slow_ms,
        slow_share=settings.retention_slow_share,
        min_score=settings.retention_min_score,
    )


class DayPlan(Struct):
    """What a day holds, and what becomes of it.

    Attributes:
        day: The day, in UTC; None for what is in no day: events with a clock's nonsense, and spans that never ended.
        action: ``"thin out"``, ``"remove"``, or ``"none"`` for a day that was thinned out before.
        events: Its events.
        traces: Traces by what becomes of them: ``error``, ``flagged``, ``low_score``, ``slow``, ``pinned``, ``sampled``, ``removed``,
            ``goes on`` for those that are judged with a later day.
        kept: Events that stay.
    """

    day: date | None
    action: str
    events: int
    traces: dict[str, int] = field(default_factory=dict[str, int])
    kept: int = 0


class RetentionStep(Struct, frozen=True):
    """One transaction that was done.

    Attributes:
        day: The day it belongs to; None for what is in no day.
        what: ``"thinned out"``, ``"removed"`` or ``"rewritten"``.
        events: Events that it removed.
    """

    day: date | None
    what: str
    events: int


def plan(connection: _Connection, policy: Policy, now: datetime) -> Iterator[DayPlan]:
    """Return what ``enforce`` would do, and change nothing.

    Args:
        connection: A connection that may read.
        policy: What is kept for how long.
        now: The time it is, in UTC.

    Yields:
        A day that is no longer hot, the oldest first.

    Raises:
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    since = _bounds(_first_warm(policy, now))["begins"]
    with explained(connection.info.dsn):
        days = [_plan_day(connection, policy, day, now) for day in _days(connection) if day < _first_hot(policy, now)]
        by_day = {day.day: day for day in days}
        for day in days:
            if day.day is not None and day.action == "thin out":
                _preview(connection, policy, day.day, by_day, since)
        yield from days
        [stray] = read(connection, _rows("retention_count_stray", before=since))
        if stray["events"]:
            yield DayPlan(None, "remove", stray["events"])


def enforce(connection: _Connection, policy: Policy, now: datetime) -> Iterator[RetentionStep]:
    """Thin out the days that are no longer hot, and remove those that are no longer warm.

    Args:
        connection: A connection in autocommit mode that may change tables.
        policy: What is kept for how long.
        now: The time it is, in UTC.

    Yields:
        After each transaction; stop whenever you like.

    Raises:
        StoreError: A day could not be rewritten or dropped: others were using it all the time.
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    busy: list[date] = []
    with explained(connection.info.dsn):
        for day in _days(connection):
            try:
                if day < _first_warm(policy, now):
                    yield _drop(connection, day)
                elif day < _first_hot(policy, now):
                    yield from _thin_out(connection, policy, day)
            except errors.LockNotAvailable:
                busy.append(day)
        yield from _remove_strays(connection, _bounds(_first_warm(policy, now))["begins"])
    if busy:
        days = ", ".join(day.isoformat() for day in busy)
        raise StoreError(f"others are using the events of {days} all the time", hint="the next run goes on with them")


def _thin_out(connection: _Connection, policy: Policy, day: date) -> Iterator[RetentionStep]:
    row = _begin(connection, policy, day)
    if row["state"] == "traces":
        after = row["after_trace"]
        while (done := _thin_traces(connection, day, row, after)) is not None:
            after, steps = done
            yield from steps
        _note(connection, day, state="logs")
    if row["state"] in {"traces", "logs"}:
        values = {**_bounds(day), "sample": row["sample"], "min_score": row["min_score"], "limit": LOGS_AT_ONCE}
        while removed := connection.execute(query("retention_remove_logs"), values).rowcount:
            _note(connection, day, state="logs", removed=removed)
            yield RetentionStep(day, "thinned out", removed)
        _note(connection, day, state="space")
    if row["state"] != "done":
        noted = _noted(connection, policy, day)
        assert noted is not None, "it was begun"
        has_space = noted["events_removed"] > 0  # else nobody need wait for the rewriting
        if has_space:
            with _lock_timeout(connection):
                connection.execute(query("flush_statistics"))
                connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(_partition(day)))
        _note(connection, day, state="done")
        if has_space:
            yield RetentionStep(day, "rewritten", 0)


def _begin(connection: _Connection, policy: Policy, day: date) -> dict[str, Any]:
    """Note by what a day is judged, unless that was done before; return what is noted."""
    noted = _noted(connection, policy, day)
    if noted is None:
        slow_ms = _slow_ms(connection, policy, day)
        values = {"day": day, "sample": policy.sample, "slow_ms": slow_ms, "min_score": policy.min_score}
        connection.execute(query("retention_begin"), values)
    elif _is_to_be_done_again(connection, day, noted):
        connection.execute(query("retention_reopen"), {"day": day})
    else:
        return noted
    noted = _noted(connection, policy, day)
    assert noted is not None, "the row was made just now"
    return noted


def _noted(connection: _Connection, policy: Policy, day: date) -> dict[str, Any] | None:
    """Return by what a day is judged and how far it has come; None if it was not begun."""
    rows = read(connection, _rows("retention_day", day=day))
    if rows and rows[0]["min_score"] is None:  # begun by a version that did not note it
        rows[0]["min_score"] = policy.min_score
    return rows[0] if rows else None


def _is_to_be_done_again(connection: _Connection, day: date, noted: dict[str, Any]) -> bool:
    if noted["state"] != "done":
        return False
    [row] = read(connection, _rows("retention_late", begun_at=noted["begun_at"], **_bounds(day)))
    return bool(row["is_late"])


def _thin_traces(
    connection: _Connection, day: date, row: dict[str, Any], after: UUID
) -> tuple[UUID, list[RetentionStep]] | None:
    """Thin out the next traces of a day, in one transaction; None when there are no more."""
    values = {**_bounds(day), "after": after, "limit": TRACES_AT_ONCE}
    values |= {"slow_ms": row["slow_ms"], "min_score": row["min_score"]}
    with connection.transaction():
        batch = read(connection, _rows("retention_batch", **values))
        if not batch:
            return None
        whole = [trace for trace in batch if not trace["goes_on"]]  # else it is a later day's to judge
        kept = [trace for trace in whole if trace["reason"] is not None]
        rest = [trace for trace in whole if trace["reason"] is None]
        victims = [trace["trace_id"] for trace in rest if trace["drawn"] >= row["sample"]]
        reasons = {trace["trace_id"]: trace["reason"] for trace in kept}
        reasons |= {trace["trace_id"]: GOES_ON for trace in batch if trace["goes_on"]}
        noted = {"traces": list(reasons), "reasons": list(reasons.values()), "ends": values["ends"]}
        connection.execute(query("retention_keep"), noted)
        connection.execute(query("retention_unkeep"), {"traces": [trace["trace_id"] for trace in rest]})
        removed = read(connection, _rows("retention_remove", traces=victims))
        last, events = batch[-1]["trace_id"], sum(part["events"] for part in removed)
        counts = {"traces": len(whole), "kept": len(kept), "sampled": len(rest) - len(victims), "removed": events}
        _note(connection, day, state="traces", after=last, **counts)
    return last, [RetentionStep(part["day"], "thinned out", part["events"]) for part in removed] or [
        RetentionStep(day, "thinned out", 0)
    ]


def _drop(connection: _Connection, day: date) -> RetentionStep:
    """Remove a day; its pinned traces move to the partition of what has no day."""
    name = _partition(day)
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT_MS}ms"])
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(name))
        [row] = read(connection, _rows("retention_count", **_bounds(day)))
        keep = sql.SQL(
            "CREATE TEMPORARY TABLE kept_pins ON COMMIT DROP AS"
            " SELECT * FROM {} WHERE trace_id IN (SELECT trace_id FROM pins)"
        )
        connection.execute(keep.format(name))
        connection.execute(sql.SQL("DROP TABLE {}").format(name))
        connection.execute("INSERT INTO events SELECT * FROM kept_pins")
        connection.execute(query("retention_forget_day"), {"day": day})
    return RetentionStep(day, "removed", row["events"] - row["pinned"])


def _remove_strays(connection: _Connection, before: datetime) -> Iterator[RetentionStep]:
    """Remove what is in no day's partition: events of no day, spans that never ended, cursors of processes long gone."""
    values = {"before": before, "limit": LOGS_AT_ONCE}
    while removed := connection.execute(query("retention_remove_stray"), values).rowcount:
        yield RetentionStep(None, "removed", removed)
    connection.execute(query("erasure_forget"), {"before": before})
    if removed := connection.execute(query("retention_remove_open"), values).rowcount:
        yield RetentionStep(None, "removed", removed)
    connection.execute(query("retention_remove_cursors"), values)


def _plan_day(connection: _Connection, policy: Policy, day: date, now: datetime) -> DayPlan:
    """Return what a day holds and what is done with it; what stays of one that is thinned out is to be filled in."""
    [row] = read(connection, _rows("retention_count", **_bounds(day)))
    events, pinned = row["events"], row["pinned"]
    if day < _first_warm(policy, now):
        return DayPlan(day, "remove", events, {"pinned": pinned} if pinned else {}, pinned)
    noted = _noted(connection, policy, day)
    if noted is None or noted["state"] != "done" or _is_to_be_done_again(connection, day, noted):
        return DayPlan(day, "thin out", events, {}, events)
    return DayPlan(day, "none", events, {}, events)


def _preview(
    connection: _Connection, policy: Policy, day: date, by_day: dict[date | None, DayPlan], since: datetime
) -> None:
    """Fill in what thinning a day out would leave of it, and of the days that its traces began in."""
    noted = _noted(connection, policy, day) or {
        "sample": policy.sample,
        "slow_ms": _slow_ms(connection, policy, day),
        "min_score": policy.min_score,
    }
    values = {name: noted[name] for name in ("sample", "slow_ms", "min_score")}
    traces = by_day[day].traces
    for row in read(connection, _rows("retention_preview", day=day, since=since, **_bounds(day), **values)):
        if row["fate"] == "removed" and row["day"] in by_day:
            by_day[row["day"]].kept -= row["events"]
        if row["traces"] and row["day"] == day:
            traces[row["fate"]] = traces.get(row["fate"], 0) + row["traces"]


def _slow_ms(connection: _Connection, policy: Policy, day: date) -> float | None:
    if policy.slow_ms is not None:
        return policy.slow_ms
    if not policy.slow_share:
        return None
    [row] = read(connection, _rows("retention_slowest", share=1 - policy.slow_share, **_bounds(day)))
    return row["slow_ms"]


@contextmanager
def _lock_timeout(connection: _Connection) -> Generator[None]:
    """Wait for the locks of others for a moment only, for the length of a block."""
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_TIMEOUT_MS}ms"])
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("RESET lock_timeout")


def _note(connection: _Connection, day: date, *, state: str, **counts: Any) -> None:
    nothing = {"after": None, "traces": 0, "kept": 0, "sampled": 0, "removed": 0}
    connection.execute(query("retention_progress"), {**nothing, **counts, "day": day, "state": state})


def _days(connection: _Connection) -> list[date]:
    return [row["day"] for row in read(connection, _rows("retention_partitions"))]


def _rows(name: str, **values: Any) -> Reading[list[dict[str, Any]]]:
    return (yield Statement(query(name), values))


def _bounds(day: date) -> dict[str, datetime]:
    begins = datetime.combine(day, time(), UTC)
    return {"begins": begins, "ends": begins + timedelta(days=1)}


def _partition(day: date) -> sql.Identifier:
    return sql.Identifier(f"events_{day:%Y%m%d}")


def _first_hot(policy: Policy, now: datetime) -> date:
    return now.astimezone(UTC).date() - timedelta(days=policy.hot_days)


def _first_warm(policy: Policy, now: datetime) -> date:
    return now.astimezone(UTC).date() - timedelta(days=policy.warm_days)
