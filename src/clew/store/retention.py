"""Keep what matters and let the rest go: whole for a week, the telling tenth for a month.

===============  ==========================================================================================
hot              all events of the last ``hot_days`` days
warm             whole traces: those with errors, flags, low scores or long durations, and a drawn share of all others
gone             everything older, but for pinned traces
===============  ==========================================================================================

Whether a trace is drawn depends on its id alone, so all of its days and every attempt decide alike. A log without a trace is
drawn by its own id; one that is an error stays. What stays and why is noted, so that counts over a thinned day can be
scaled: ``retention_weight`` says how many events one event stands for (the Horvitz-Thompson estimator: the inverse of the
chance that it had to stay). Roll-ups are made when events arrive, and are whole.

A trace that crosses midnight is judged with its last day, and its first day waits for that.

A day is thinned out in transactions of a few hundred traces, each of which also notes how far it came: an
agent that is killed goes on where it was. Then the table is rewritten, since PostgreSQL would keep the space; its readers
wait for that moment, some seconds for a gigabyte.

Source:
    D. G. Horvitz, D. J. Thompson, A generalization of sampling without replacement from a finite universe,
    J. Am. Stat. Assoc. 47 (1952), 663-685.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
from msgspec import Struct, field
from psycopg import sql

from clew.store.connect import explained
from clew.store.load import query
from clew.store.reading import Reading, Statement, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from clew.config import Settings

__all__ = ["DayPlan", "Policy", "Step", "enforce", "plan", "policy_of"]

TRACES_AT_ONCE: Final = 500
LOGS_AT_ONCE: Final = 5_000
LOCK_TIMEOUT_MS: Final = 2_000
"""How long dropping or rewriting a day may wait for its readers; it is tried again at the next run."""

_Connection = psycopg.Connection[tuple[Any, ...]]


class Policy(Struct, frozen=True, kw_only=True):
    """What is kept for how long.

    Attributes:
        hot_days: Whole days beside today that are kept whole.
        warm_days: Days after which everything is gone; more than ``hot_days``.
        sample: Share of ordinary traces that stays in warm days, 0 to 1.
        slow_ms: From which duration on a request is slow; None for the slowest ``slow_share`` of its day.
        slow_share: Share of a day's requests that is slow, 0 to 1.
        min_score: Below which score a trace is telling.
    """

    hot_days: int = 7
    warm_days: int = 30
    sample: float = 0.1
    slow_ms: float | None = None
    slow_share: float = 0.01
    min_score: float = 0.5


def policy_of(settings: Settings) -> Policy:
    """Return the policy that *settings* ask for."""
    return Policy(
        hot_days=settings.retention_hot_days,
        warm_days=max(settings.retention_warm_days, settings.retention_hot_days),
        sample=settings.retention_sample,
        slow_ms=settings.retention_slow_ms,
        slow_share=settings.retention_slow_share,
        min_score=settings.retention_min_score,
    )


class DayPlan(Struct):
    """What a day holds, and what becomes of it.

    Attributes:
        day: The day, in UTC.
        action: ``"thin out"``, ``"remove"``, or ``"none"`` for a day that was thinned out before.
        events: Its events.
        traces: Traces by what becomes of them: ``error``, ``flagged``, ``low_score``, ``slow``, ``pinned``, ``sampled``, ``removed``,
            ``goes on`` for those of the next day.
        kept: Events that stay.
    """

    day: date
    action: str
    events: int
    traces: dict[str, int] = field(default_factory=dict[str, int])
    kept: int = 0


class Step(Struct, frozen=True):
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
    """Tell what ``enforce`` would do, and change nothing.

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
    with explained(connection.info.dsn):
        for day in _days(connection):
            if day < _first_warm(policy, now):
                [row] = read(connection, _rows("retention_count", **_bounds(day)))
                yield DayPlan(
                    day, "remove", row["events"], {"pinned": row["pinned"]} if row["pinned"] else {}, row["pinned"]
                )
            elif day < _first_hot(policy, now):
                yield _preview(connection, policy, day)


def enforce(connection: _Connection, policy: Policy, now: datetime) -> Iterator[Step]:
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
    with explained(connection.info.dsn):
        for day in _days(connection):
            if day < _first_warm(policy, now):
                yield _drop(connection, day)
            elif day < _first_hot(policy, now):
                yield from _thin_out(connection, policy, day)
        yield from _remove_strays(connection, _bounds(_first_warm(policy, now))["begins"])


def _thin_out(connection: _Connection, policy: Policy, day: date) -> Iterator[Step]:
    noted = read(connection, _rows("retention_day", day=day))
    if not noted:
        slow_ms = _slow_ms(connection, policy, day)
        connection.execute(query("retention_begin"), {"day": day, "sample": policy.sample, "slow_ms": slow_ms})
        noted = read(connection, _rows("retention_day", day=day))
    [row] = noted
    if row["state"] == "traces":
        after = row["after_trace"]
        while (done := _thin_traces(connection, policy, day, row, after)) is not None:
            after, step = done
            yield step
        _note(connection, day, state="logs")
    if row["state"] in {"traces", "logs"}:
        values = {**_bounds(day), "sample": row["sample"], "limit": LOGS_AT_ONCE}
        while removed := connection.execute(query("retention_remove_logs"), values).rowcount:
            _note(connection, day, state="logs", removed=removed)
            yield Step(day, "thinned out", removed)
        _note(connection, day, state="space")
    if row["state"] != "done":
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_TIMEOUT_MS}ms"])
        connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(_partition(day)))
        _note(connection, day, state="done")
        yield Step(day, "rewritten", 0)


def _thin_traces(
    connection: _Connection, policy: Policy, day: date, row: dict[str, Any], after: UUID
) -> tuple[UUID, Step] | None:
    """Thin out the next traces of a day, in one transaction; None when there are no more."""
    values = {**_bounds(day), "after": after, "limit": TRACES_AT_ONCE}
    values |= {"slow_ms": row["slow_ms"], "min_score": policy.min_score}
    with connection.transaction():
        batch = read(connection, _rows("retention_batch", **values))
        if not batch:
            return None
        whole = [trace for trace in batch if not trace["goes_on"]]  # else it is the next day's to judge
        kept = [trace for trace in whole if trace["reason"] is not None]
        rest = [trace for trace in whole if trace["reason"] is None]
        victims = [trace["trace_id"] for trace in rest if trace["drawn"] >= row["sample"]]
        reasons = {
            "days": [day, day - timedelta(days=1)],
            "traces": [trace["trace_id"] for trace in kept],
            "reasons": [trace["reason"] for trace in kept],
        }
        connection.execute(query("retention_keep"), reasons)
        removed = connection.execute(query("retention_remove"), {**_bounds(day), "traces": victims}).rowcount
        last = batch[-1]["trace_id"]
        counts = {"traces": len(whole), "kept": len(kept), "sampled": len(rest) - len(victims), "removed": removed}
        _note(connection, day, state="traces", after=last, **counts)
    return last, Step(day, "thinned out", removed)


def _drop(connection: _Connection, day: date) -> Step:
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
    return Step(day, "removed", row["events"] - row["pinned"])


def _remove_strays(connection: _Connection, before: datetime) -> Iterator[Step]:
    """Remove what is in no day's partition: events of no day, spans that never ended, cursors of processes long gone."""
    values = {"before": before, "limit": LOGS_AT_ONCE}
    while removed := connection.execute(query("retention_remove_stray"), values).rowcount:
        yield Step(None, "removed", removed)
    if removed := connection.execute(query("retention_remove_open"), values).rowcount:
        yield Step(None, "removed", removed)
    connection.execute(query("retention_remove_cursors"), values)


def _preview(connection: _Connection, policy: Policy, day: date) -> DayPlan:
    noted = read(connection, _rows("retention_day", day=day))
    if noted and noted[0]["state"] == "done":
        [row] = read(connection, _rows("retention_count", **_bounds(day)))
        return DayPlan(day, "none", row["events"], {}, row["events"])
    slow_ms = _slow_ms(connection, policy, day)
    values = {**_bounds(day), "sample": policy.sample, "slow_ms": slow_ms, "min_score": policy.min_score}
    told = DayPlan(day, "thin out", 0)
    for row in read(connection, _rows("retention_preview", **values)):
        told.events += row["events"]
        told.kept += row["events"] if row["fate"] != "removed" else 0
        if row["traces"]:
            told.traces[row["fate"]] = told.traces.get(row["fate"], 0) + row["traces"]
    return told


def _slow_ms(connection: _Connection, policy: Policy, day: date) -> float | None:
    if policy.slow_ms is not None:
        return policy.slow_ms
    if not policy.slow_share:
        return None
    [row] = read(connection, _rows("retention_slowest", share=1 - policy.slow_share, **_bounds(day)))
    return row["slow_ms"]


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
