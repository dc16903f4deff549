"""What is no share: traffic that stays away, spans that hang, the cost of an hour, new errors, and the pipeline itself.

Each is measured as a whole and compared with its threshold; where there is something usual to compare with, that is said
beside the value. Everything comes out of sums by the minute, but for open spans, of which there are few, and for what agents
say of themselves on the spool. What takes longer than a look is kept for a minute, the size of the store for ten.

Before: ``evaluator``. After: ``measure.Measurement``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg

from clew.alerts.measure import Measurement
from clew.alerts.rules import Rule, RuleSet, Target
from clew.alerts.signals import SIGNALS, LevelSignal
from clew.alerts.statistics import poisson_at_most, rank_shift
from clew.delivery.dead_letters import count_letters
from clew.delivery.status import read_statuses
from clew.errors import ClewError
from clew.measures.buckets import quantiles, value_of
from clew.store.postgres.alerts.cells import fetch_cells
from clew.store.postgres.load import query
from clew.store.postgres.reading import Statement, read
from clew.store.postgres.upkeep.room import measure_room
from clew.store.postgres.upkeep.status import fetch_status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clew.alerts.evaluate import StateKey
    from clew.config import Settings
    from clew.measures.minute_cell import MinuteCell
    from clew.store.postgres.reading import Reading, Row

__all__ = ["GROUNDEDNESS", "Levels", "MeasuredLevels"]

Connection = psycopg.Connection[tuple[Any, ...]]

GROUNDEDNESS: Final = frozenset({"groundedness", "k_precision", "faithfulness"})
"""Names of scores that say how much of an answer its context supports."""

KEPT_S: Final = {
    "store_full": 600.0,
    "cost_per_hour": 60.0,
    "new_error": 30.0,
    "ingest_stale": 60.0,
    "groundedness_drop": 60.0,
}
"""How long what was measured is kept, in seconds; everything else is measured at each evaluation."""

TIMEOUT: Final = "4s"
"""How long each may take: an evaluation measures all of them, and all rules wait for it."""

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)


class MeasuredLevels(NamedTuple):
    """What came of measuring all levels.

    Attributes:
        found: What was measured, by rule and target.
        failed: Which rules could not be measured, each with the reason.
    """

    found: Mapping[StateKey, Measurement]
    failed: Mapping[str, str]


class Levels:
    """Measures levels.

    Args:
        settings: Where spool, data directory and store are.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: dict[str, tuple[float, dict[Target, Measurement]]] = {}
        self._measures: dict[str, Callable[[Rule, Connection, datetime], dict[Target, Measurement]]] = {
            "no_data": _traffic,
            "hanging_spans": _open_spans,
            "cost_per_hour": _cost,
            "new_error": _new_errors,
            "ingest_stale": _documents,
            "groundedness_drop": _groundedness,
            "store_full": self._room,
            "pipeline_lag": self._lag,
            "dead_letters": self._letters,
            "breaker_open": self._unreached,
            "heartbeat": _heartbeat,
        }

    def measure(self, rules: RuleSet, connection: Connection, at: datetime) -> MeasuredLevels:
        """Measure all levels that rules are about; one that fails costs no other one, and no share.

        Args:
            rules: The rules in force.
            connection: The store, in a transaction.
            at: The moment.

        Raises:
            psycopg.Error: The store is not reached.
        """
        found: dict[StateKey, Measurement] = {}
        failed: dict[str, str] = {}
        for rule in rules.rules.values():
            if not rule.enabled or not isinstance(SIGNALS[rule.signal], LevelSignal):
                continue
            try:
                with connection.transaction():
                    connection.execute(f"SET LOCAL statement_timeout = '{TIMEOUT}'")
                    measured = self._one(rule, connection, at)
            except (psycopg.Error, ClewError, OSError) as error:
                if connection.closed:
                    raise
                is_late = isinstance(error, psycopg.errors.QueryCanceled)
                failed[rule.name] = f"it took longer than {TIMEOUT}" if is_late else type(error).__name__
            else:
                found |= {(rule.name, target): level for target, level in measured.items()}
        return MeasuredLevels(found, failed)

    def _one(self, rule: Rule, connection: Connection, at: datetime) -> dict[Target, Measurement]:
        kept = self._kept.get(rule.name)
        now = time.monotonic()
        if kept is not None and now - kept[0] < KEPT_S.get(rule.signal, 0.0):
            return kept[1]
        measured = self._measures[rule.signal](rule, connection, at)
        self._kept[rule.name] = now, measured
        return measured

    def _room(self, rule: Rule, connection: Connection, _at: datetime) -> dict[Target, Measurement]:
        room = measure_room(self._settings, connection.info.dsn, read(connection, fetch_status()))
        if room.days_until_full is None:
            return {}
        lasts_s = room.days_until_full * 86_400
        is_bad = lasts_s < rule.threshold
        return {
            Target(): _level(
                rule,
                lasts_s,
                is_bad=is_bad,
                text="" if room.free_bytes is None else f"{room.free_bytes / 1e9:.1f} GB are free",
            )
        }

    def _lag(self, rule: Rule, _connection: Connection, at: datetime) -> dict[Target, Measurement]:
        found: dict[Target, Measurement] = {}
        for status in read_statuses(self._settings.spool_dir):
            for sink in status.sinks:
                lag_s = max(0.0, at.timestamp() - sink.caught_up) if sink.caught_up else 0.0
                target = Target(subject=sink.name)
                if target not in found or lag_s > (found[target].value or 0.0):
                    found[target] = _level(rule, lag_s, is_bad=lag_s > rule.threshold, text=sink.trouble[:200])
        return found

    def _letters(self, rule: Rule, _connection: Connection, _at: datetime) -> dict[Target, Measurement]:
        return {
            Target(subject=sink): _level(rule, float(number), is_bad=number > rule.threshold, n=number)
            for sink, number in count_letters(self._settings.spool_dir).items()
        }

    def _unreached(self, rule: Rule, _connection: Connection, at: datetime) -> dict[Target, Measurement]:
        found: dict[Target, Measurement] = {}
        for status in read_statuses(self._settings.spool_dir):
            for sink in status.sinks:
                away_s = 0.0
                if sink.breaker != "closed":
                    away_s = max(0.0, at.timestamp() - max(sink.last_delivery, sink.caught_up, status.started_at))
                found[Target(subject=sink.name)] = _level(
                    rule, away_s, is_bad=away_s > rule.threshold, text=sink.trouble[:200]
                )
        return found


def _level(rule: Rule, value: float | None, *, is_bad: bool, **more: Any) -> Measurement:
    return Measurement(value=value, threshold=rule.threshold, is_bad=is_bad, is_well=not is_bad, **more)


def _heartbeat(rule: Rule, _connection: Connection, _at: datetime) -> dict[Target, Measurement]:
    return {Target(): _level(rule, 1.0, is_bad=True, text="alerts are evaluated and sent")}


def _traffic(rule: Rule, connection: Connection, at: datetime) -> dict[Target, Measurement]:
    """Compare the requests of ten minutes with those usual at this time: a week ago, or a day ago where there is no week."""
    found: dict[Target, Measurement] = {}
    for row in read(connection, _rows("alerts_traffic", at=at)):
        if row["oldest"] > at - 2 * _DAY:
            continue  # two days have to be known
        usual = row["last_week"] or row["yesterday"]
        chance = poisson_at_most(row["now"], usual)
        is_bad = usual >= 1 and chance < rule.threshold
        days = 7 if row["last_week"] else 1
        found[Target(row["service"], row["environment"])] = Measurement(
            value=float(row["now"]),
            threshold=usual,
            n=row["now"],
            window_s=600.0,
            is_bad=is_bad,
            is_well=chance >= 0.05,
            baseline=usual,
            baseline_text=f"the same time {days} day{'s' * (days > 1)} ago",
            began=_aware(row["newest"]) + timedelta(minutes=1) if is_bad and row["now"] == 0 else None,
            text=f"{usual:.0f} requests are usual in ten minutes" if is_bad else "",
        )
    return found


def _open_spans(rule: Rule, connection: Connection, at: datetime) -> dict[Target, Measurement]:
    """Count spans that have been open for longer than the limit, and than ten times the 99th percentile of their kind."""
    rows = read(connection, _rows("alerts_open_spans", at=at, limit_s=rule.limit or 60.0))
    if not rows:
        return {}
    cells = read(
        connection, fetch_cells(("clew_stage_duration_seconds", "clew_request_duration_seconds"), at - _HOUR, at)
    )
    longest = _longest(cells)
    hanging: dict[Target, list[Row]] = {}
    for row in rows:
        kind = "" if row["is_root"] else row["run_type"]
        if row["age_s"] > 10 * longest.get((row["service"], kind), 0.0):
            hanging.setdefault(Target(row["service"], row["environment"]), []).append(row)
    found: dict[Target, Measurement] = {}
    for target, spans in hanging.items():
        oldest = spans[0]
        found[target] = _level(
            rule,
            float(len(spans)),
            is_bad=len(spans) > rule.threshold,
            n=len(spans),
            began=at - timedelta(seconds=oldest["age_s"]),
            text=f"{oldest['message']} has been open for {oldest['age_s'] / 60:.0f} min",
            trace_ids=tuple(dict.fromkeys(span["trace_id"] for span in spans if span["trace_id"]))[:3],
        )
    return found


def _longest(cells: list[MinuteCell]) -> dict[tuple[str, str], float]:
    """Return the 99th percentile of requests (no kind) and of each kind of step, by service and kind, in seconds."""
    spreads: dict[tuple[str, str], dict[int, int]] = {}
    for cell in cells:
        kind = cell.label if cell.metric == "clew_stage_duration_seconds" else ""
        spread = spreads.setdefault((cell.service, kind), {})
        for bucket, number in cell.spread.items():
            spread[bucket] = spread.get(bucket, 0) + number
    return {key: quantiles(spread, [0.99])[0] or 0.0 for key, spread in spreads.items()}


def _cost(rule: Rule, connection: Connection, at: datetime) -> dict[Target, Measurement]:
    """Compare the cost of the last hour with the median of the same hour of seven days."""
    days: dict[Target, dict[int, float]] = {}
    for row in read(connection, _rows("alerts_hourly_cost", at=at)):
        days.setdefault(Target(row["service"], row["environment"]), {})[row["day"]] = row["cost_usd"] or 0.0
    found: dict[Target, Measurement] = {}
    for target, by_day in days.items():
        before = [cost for day, cost in by_day.items() if day > 0]
        if len(before) < 2:
            continue  # nothing is usual yet
        usual, cost = median(before), by_day.get(0, 0.0)
        limit = max(rule.threshold * usual, rule.floor)
        found[target] = Measurement(
            value=cost,
            threshold=limit,
            window_s=3600.0,
            is_bad=cost > limit,
            is_well=cost <= limit,
            baseline=usual,
            baseline_text=f"the median of this hour on {len(before)} days",
        )
    return found


def _new_errors(rule: Rule, connection: Connection, at: datetime) -> dict[Target, Measurement]:
    """Count errors of a type and stage that a service did not have for seven days."""
    found: dict[Target, Measurement] = {}
    for row in read(connection, _rows("alerts_new_errors", at=at)):
        target = Target(row["service"], row["environment"], f"{row['error_type']} in {row['stage'] or 'other'}")
        number = row["errors"]
        began = _aware(row["began"])
        found[target] = _level(
            rule, float(number), is_bad=number > rule.threshold, n=number, window_s=3600.0, began=began,
            text=f"{target.subject} was not seen for seven days",
        )  # fmt: skip
    return found


def _documents(rule: Rule, connection: Connection, at: datetime) -> dict[Target, Measurement]:
    """Measure how long ago a document was stored, of services that stored some on five of seven days."""
    found: dict[Target, Measurement] = {}
    for row in read(connection, _rows("alerts_documents", at=at)):
        if row["days"] >= 5:
            newest = _aware(row["newest"])
            age_s = (at - newest).total_seconds()
            found[Target(row["service"], row["environment"])] = _level(
                rule, age_s, is_bad=age_s > rule.threshold, began=newest
            )
    return found


def _groundedness(rule: Rule, connection: Connection, at: datetime) -> dict[Target, Measurement]:
    """Compare the groundedness scores of the newest answers with those of the same hours of the days before."""
    longest = timedelta(seconds=rule.max_window_s)
    now = _scores(read(connection, fetch_cells(("clew_score",), at - longest, at)))
    found: dict[Target, Measurement] = {}
    if not any(sum(spread.values()) >= rule.min_units for spread in now.values()):
        return found
    before = [
        _scores(read(connection, fetch_cells(("clew_score",), at - days * _DAY - longest, at - days * _DAY)))
        for days in range(1, 8)
    ]
    for key, spread in now.items():
        means = [_mean(day[key]) for day in before if sum(day.get(key, {}).values()) >= rule.min_units]
        if sum(spread.values()) < rule.min_units or len(means) < 2:
            continue
        usual, value = median(means), _mean(spread)
        deviation = max(1.4826 * median(abs(mean - usual) for mean in means), 0.01)
        reference: dict[int, int] = {}
        for day in before:
            for bucket, number in day.get(key, {}).items():
                reference[bucket] = reference.get(bucket, 0) + number
        limit = usual - rule.threshold * deviation
        is_bad = value < limit and rank_shift(reference, spread) > 3.29
        service, environment, name = key
        found[Target(service, environment, name)] = Measurement(
            value=value, threshold=limit, n=sum(spread.values()), window_s=rule.max_window_s, is_bad=is_bad, is_well=value >= limit,
            baseline=usual, baseline_text=f"the same hours of {len(means)} days",
        )  # fmt: skip
    return found


def _scores(cells: list[MinuteCell]) -> dict[tuple[str, str, str], dict[int, int]]:
    spreads: dict[tuple[str, str, str], dict[int, int]] = {}
    for cell in cells:
        if cell.label in GROUNDEDNESS:
            spread = spreads.setdefault((cell.service, cell.environment, cell.label), {})
            for bucket, number in cell.spread.items():
                spread[bucket] = spread.get(bucket, 0) + number
    return spreads


def _mean(spread: Mapping[int, int]) -> float:
    return sum(value_of(bucket) * number for bucket, number in spread.items()) / sum(spread.values())


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _rows(name: str, **parameters: Any) -> Reading[list[Row]]:
    return (yield Statement(query(name), parameters))
