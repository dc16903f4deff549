"""One evaluation of all rules against the store, in one transaction.

Any number of agents may evaluate; each tries at its interval, one at a time does it (an advisory lock that belongs to the
transaction), and what another one has done within the interval is not done again. Whatever happens to an evaluator, the
transaction is whole or has not been.

Time is that of events. An evaluation looks at the moment that all events have arrived up to: now, or where shipping is more
than two minutes behind, that long ago, which is said in every notice ("degraded"). Where there was no evaluation for a while
(no agent, no store), the minutes in between are evaluated first, one after the other: what came and went then is still found.

Before: ``runner``. After: ``keeper``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import psycopg
from msgspec.structs import replace

from clew import clock, ids
from clew.alerts import evidence, keeper
from clew.alerts.evaluate import CountedShares, evaluate_counts, horizons
from clew.alerts.muting import NEVER_NOTIFIED, silence_over
from clew.alerts.signals import CACHE_MISS, HEARTBEAT, SIGNALS, metrics_of
from clew.store.postgres.alerts.cells import fetch_cells
from clew.store.postgres.alerts.evidence import fetch_version_change
from clew.store.postgres.alerts.listing import fetch_silences
from clew.store.postgres.load import query
from clew.store.postgres.reading import Statement, read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clew.alerts.evaluate import RuleFinding, StateKey
    from clew.alerts.levels import MeasuredLevels
    from clew.alerts.machine import AlertState
    from clew.alerts.measure import Measurement
    from clew.alerts.notice import NoticeKind
    from clew.alerts.rules import Rule, RuleSet, Target
    from clew.measures.minute_cell import MinuteCell
    from clew.store.postgres.reading import Reading, Row

__all__ = ["DEGRADED_S", "Evaluated", "Evaluator"]

DEGRADED_S: Final = 120.0
"""From how late events are on the evaluation waits for them, and says so."""

GAP_S: Final = 90.0
"""A longer time without an evaluation is gone through minute by minute."""

COLD_CACHE: Final = timedelta(minutes=15)
"""How long after a change of a service's version nobody is notified of cache misses."""

VERSION_KNOWN: Final = timedelta(days=1)

GAP_SAID_FOR: Final = timedelta(minutes=10)
"""How long notices name such a time after it: the events of it arrive late too."""

CLOCK_BACK: Final = timedelta(minutes=10)
"""A last evaluation that is farther ahead of the clock than that was made by a clock that was wrong."""

MAX_STEPS: Final = 360
STATEMENT_TIMEOUT: Final = "20s"
EVIDENCE_TIMEOUT: Final = "5s"
EVIDENCE_BUDGET_S: Final = 20.0
"""How long one evaluation looks at events, however many alerts fire at once: those after that are said without evidence."""

Connection = psycopg.Connection[tuple[Any, ...]]
Found = TypeVar("Found")


class Gap(NamedTuple):
    """A time in which nothing was evaluated.

    Attributes:
        began: From when.
        ended: To when.
    """

    began: datetime
    ended: datetime


class Evaluated(NamedTuple):
    """What came of an attempt to evaluate.

    Attributes:
        is_done: It was evaluated; not if somebody else is at it, or has just done it.
        changes: How many alerts changed.
        quality: What limits the data.
    """

    is_done: bool
    changes: int = 0
    quality: tuple[str, ...] = ()


class Evaluator:
    """Evaluates rules against the store.

    Args:
        name: Who it is, for ``clew doctor``: host and process.
        interval_s: How often rules are evaluated, by whomever.
        receivers: Names of the receivers that are configured.
        levels: Measures what is no share: takes the rules, a connection and the moment.
        lag_s: Tells how late events are, in seconds; None where that is not known.
        public_url: Where our pages are; empty where that is not known.
    """

    def __init__(
        self,
        name: str,
        *,
        interval_s: float,
        receivers: Sequence[str],
        levels: Callable[[RuleSet, Connection, datetime], MeasuredLevels],
        lag_s: Callable[[], float | None] = lambda: None,
        public_url: str = "",
    ) -> None:
        self._name = name
        self._interval_s = interval_s
        self._receivers = tuple(receivers)
        self._levels = levels
        self._lag_s = lag_s
        self._public_url = public_url

    def evaluate(
        self, connection: Connection, rules: RuleSet, *, rules_error: str = "", is_forced: bool = False
    ) -> Evaluated:
        """Evaluate once.

        Args:
            connection: The store, in autocommit mode.
            rules: The rules in force.
            rules_error: Why a newer file is not; empty where that is not so.
            is_forced: Also if somebody has just done it.

        Raises:
            psycopg.Error: The store is not reached, or refuses; nothing has changed then.
        """
        begun = time.monotonic()
        with connection.transaction():
            connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
            [lock] = read(connection, _rows("alerts_lock"))
            last = next(iter(read(connection, _rows("alerts_evaluation"))), None)
            if not lock["is_ours"] or (not is_forced and last is not None and last["age_s"] < self._interval_s * 0.8):
                return Evaluated(is_done=False)
            lag_s = self._lag_s()
            now = clock.now()
            gap = _gap(now, last, self._interval_s)
            at, quality = _moment(now, lag_s, last, gap)
            run = _Run(self, connection, rules, at, quality)
            changes = run.go(last["evaluated_to"] if last is not None else None)
            note = {
                "evaluated_to": at,
                "took_s": time.monotonic() - begun,
                "lag_s": lag_s,
                "quality": list(run.quality),
                "rules": sum(rule.enabled for rule in rules.rules.values()),
                "rules_source": rules.source,
                "rules_digest": rules.digest,
                "rules_error": rules_error,
                "evaluator": self._name,
                "receivers": list(self._receivers),
                "gap_began": None if gap is None else gap.began,
                "gap_ended": None if gap is None else gap.ended,
            }
            connection.execute(query("alerts_note_evaluation"), note)
        return Evaluated(is_done=True, changes=changes, quality=run.quality)

    def receivers_of(self, rule: Rule) -> tuple[str, ...]:
        """Return the names of who is notified of a rule."""
        return tuple(name for name in self._receivers if not rule.receivers or name in rule.receivers)

    def measure_levels(self, rules: RuleSet, connection: Connection, at: datetime) -> MeasuredLevels:
        """Measure what is no share."""
        return self._levels(rules, connection, at)

    @property
    def public_url(self) -> str:
        """Where our pages are."""
        return self._public_url


class _Run:
    """One evaluation under way."""

    def __init__(
        self, evaluator: Evaluator, connection: Connection, rules: RuleSet, at: datetime, quality: tuple[str, ...]
    ) -> None:
        self._evaluator = evaluator
        self._connection = connection
        self._rules = rules
        self._at = at
        self.quality = quality
        self._evidence_until = time.monotonic() + EVIDENCE_BUDGET_S
        self._remembered = keeper.load_states(connection)
        self._silences = read(connection, fetch_silences(at)).silences
        keeper.tidy(connection, at)
        self._of_others = keeper.load_received(connection, at)

    def go(self, since: datetime | None) -> int:
        """Evaluate all moments up to now; return how many changes there were."""
        moments = _moments(since, self._at)
        counted = CountedShares(self._cells(moments[0]))
        shares, of_the_data = self._shares(), self.quality
        changes = 0
        for moment in moments:
            is_last = moment == self._at
            levels: Mapping[StateKey, Measurement] = {}
            measured = shares  # levels are measured now only: what is remembered of them waits
            if is_last:
                levels, failed = self._evaluator.measure_levels(self._rules, self._connection, moment)
                measured = self._rules.rules.keys() - failed.keys()
                self._name_failed(failed)
            waits = self._rules.rules.keys() - measured
            states = {key: known.state for key, known in self._remembered.items() if key[0] not in waits}
            findings = evaluate_counts(
                self._rules,
                counted,
                levels,
                states,
                moment,
                int(moment.timestamp() // 60),
                sessions=self._sessions,
                quality=of_the_data,
            )
            changes += self._store(findings, moment)
        return changes

    def _name_failed(self, failed: Mapping[str, str]) -> None:
        """Have the evaluation say which rules could not be measured: their alerts stay as they are."""
        if failed:
            which = ", ".join(f"{name} ({reason})" for name, reason in failed.items())
            self.quality = (*self.quality, f"degraded: not measured: {which}")

    def _cells(self, first: datetime) -> list[MinuteCell]:
        """Fetch of each metric as many minutes as the rules need before the first moment."""
        by_length: dict[int, list[str]] = {}
        for metric, minutes in horizons(self._rules).items():
            if minutes:
                by_length.setdefault(minutes, []).append(metric)
        cells: list[MinuteCell] = []
        for minutes, metrics in by_length.items():
            cells += read(self._connection, fetch_cells(metrics, first - timedelta(minutes=minutes), self._at))
        return cells

    def _shares(self) -> set[str]:
        return {name for name, rule in self._rules.rules.items() if metrics_of([SIGNALS[rule.signal]])}

    def _recent_version(self, target: Target, at: datetime) -> str:
        """Return which version began to serve a moment ago, in words; empty for none. Its cache is cold."""
        reading = fetch_version_change(target.service, target.environment, at - VERSION_KNOWN, at)
        change = read(self._connection, reading)
        if change is None or at - change[1] > COLD_CACHE:
            return ""
        return f"version {change[0]} since {change[1]:%H:%M}: its cache is cold"

    def _sessions(self, rule: Rule, target: Target, measurement: Measurement, at: datetime) -> int:
        """Count affected sessions; where that takes too long, the fault is taken for one of many."""
        found = self._look(evidence.fetch_sessions(rule, target, measurement, at))
        return rule.min_sessions if found is None else found

    def _look(self, reading: Reading[Found]) -> Found | None:
        """Look at events; None where that takes too long, or all looks of this evaluation together have."""
        if time.monotonic() > self._evidence_until:
            return None
        try:
            with self._connection.transaction():
                self._connection.execute(f"SET LOCAL statement_timeout = '{EVIDENCE_TIMEOUT}'")
                return read(self._connection, reading)
        except psycopg.errors.QueryCanceled:
            return None

    def _store(self, findings: list[RuleFinding], at: datetime) -> int:
        changes: list[keeper.ChangeNotice] = []
        number = 0
        firing = {(f.rule.name, f.target.service, f.target.environment) for f in findings if f.after.is_firing}
        for finding in findings:
            key = finding.rule.name, finding.target
            change = self._store_one(_named(finding, at), self._muted_by(finding, firing, at), at)
            number += change is not None
            if change is not None and change.receivers:
                changes.append(change)
            after = self._after
            if after.phase == "ok":
                self._remembered.pop(key, None)
            else:
                self._remembered[key] = keeper.Remembered(after, self._muted)
        keeper.put_into_outbox(self._connection, changes)
        return number

    def _store_one(self, finding: RuleFinding, muted_by: str, at: datetime) -> keeper.ChangeNotice | None:
        """Store a finding; return the change that people are to be notified of, if there is one."""
        remembered = self._remembered.get((finding.rule.name, finding.target))
        was_muted = "" if remembered is None else remembered.muted_by
        is_free = bool(finding.change == "" and finding.after.is_firing and was_muted and not muted_by)
        if is_free and not finding.measurement.is_bad:  # it is ending too: whoever never heard of it need not now
            muted_by = was_muted
        elif is_free:  # a silence is over, or what explained it is
            after = replace(finding.after, number=finding.after.number + 1, noticed_at=at)
            finding = _with(finding, after, "update")
        self._after, self._muted = finding.after, muted_by
        keeper.forget_or_keep(self._connection, finding)
        if not finding.after.alert_id:
            return None
        if finding.change == "resolved" and not keeper.was_notified(self._connection, finding.after.alert_id):
            muted_by = NEVER_NOTIFIED
        notice = None
        if finding.change in {"firing", "update", "resolved"}:
            notice = self._notice(finding, at)
        keeper.store_alert(self._connection, finding, at, muted_by=muted_by, notice=notice)
        if notice is None:
            return None
        return keeper.ChangeNotice(notice, () if muted_by else self._evaluator.receivers_of(finding.rule))

    def _notice(self, finding: RuleFinding, at: datetime) -> Any:
        kind: NoticeKind = "update"
        if finding.rule.signal == HEARTBEAT:
            kind = "heartbeat"
        elif finding.change in {"firing", "resolved"}:
            kind = "firing" if finding.change == "firing" else "resolved"
        if kind == "resolved":
            notice = evidence.make_notice(finding, None, kind=kind, at=at, public_url=self._evaluator.public_url)
            return evidence.with_evidence_of(notice, keeper.last_notice(self._connection, finding.after.alert_id))
        found = self._look(evidence.fetch_evidence(finding, at))  # without, the notice says so
        return evidence.make_notice(finding, found, kind=kind, at=at, public_url=self._evaluator.public_url)

    def _muted_by(self, finding: RuleFinding, firing: set[tuple[str, str, str]], at: datetime) -> str:
        """Return why nobody is to be notified of an alert; empty where somebody is."""
        rule, target = finding.rule, finding.target
        silence = silence_over(self._silences, rule.name, target, at)
        if silence:
            return silence
        if finding.rule.signal == CACHE_MISS and finding.after.is_firing:
            change = self._recent_version(target, at)
            if change:
                return change
        other_alert = self._of_others.get((rule.name, target)) or self._of_others.get(
            (rule.name, target._replace(environment=""))
        )
        if other_alert is not None:
            return f"alert {other_alert}, which Alertmanager sent"
        for other in rule.inhibited_by:
            if (other, target.service, target.environment) in firing:
                return f"{other}, which explains it"
        return ""


def _named(finding: RuleFinding, at: datetime) -> RuleFinding:
    """Give an alert that fires an id."""
    if finding.change != "firing":
        return finding
    alert_id = ids.uuid7(clock.nanoseconds_of(at))
    return _with(finding, replace(finding.after, alert_id=alert_id), finding.change)


def _with(finding: RuleFinding, after: AlertState, change: Any) -> RuleFinding:
    return replace(finding, after=after, change=change)


def _moment(now: datetime, lag_s: float | None, last: Row | None, gap: Gap | None) -> tuple[datetime, tuple[str, ...]]:
    """Return the moment to evaluate, and what limits its data."""
    at = now
    quality: list[str] = []
    if lag_s is not None and lag_s > DEGRADED_S:
        at = now - timedelta(seconds=lag_s)
        quality.append(f"degraded: events arrive {_span(lag_s)} late; this is how it was at {at:%H:%M:%S}")
    if gap is not None and now - gap.ended <= GAP_SAID_FOR:
        quality.append(
            f"degraded: nothing was evaluated from {gap.began:%H:%M:%S} to {gap.ended:%H:%M:%S}; it was made up for then"
        )
    if last is not None and last["evaluated_to"] - now > CLOCK_BACK:
        ahead = _span((last["evaluated_to"] - now).total_seconds())
        quality.append(f"the clock of the last evaluation was {ahead} ahead of this one: times before are unsure")
    elif last is not None:
        at = max(at, last["evaluated_to"])
    return at, tuple(quality)


def _gap(now: datetime, last: Row | None, interval_s: float) -> Gap | None:
    """Return the last time in which nothing was evaluated: one that ends now, else that which is remembered."""
    if last is None:
        return None
    age_s = float(last["age_s"])
    if age_s > max(GAP_S, 4 * interval_s):
        return Gap(now - timedelta(seconds=age_s), now)
    return None if last["gap_began"] is None else Gap(last["gap_began"], last["gap_ended"])


def _moments(since: datetime | None, at: datetime) -> list[datetime]:
    """Return the moments to evaluate: the last one, and the minutes before it that nobody has evaluated."""
    if since is None or (at - since).total_seconds() <= GAP_S:
        return [at]
    first = datetime.fromtimestamp((int(since.timestamp()) // 60 + 1) * 60 - 1, UTC)
    steps = min(MAX_STEPS, int((at - first).total_seconds() // 60) + 1)
    begin = at - timedelta(minutes=steps)
    minutes = [max(first, begin) + timedelta(minutes=step) for step in range(steps)]
    return [*(minute for minute in minutes if minute < at), at]


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _rows(name: str, **parameters: Any) -> Reading[list[Row]]:
    return (yield Statement(query(name), parameters))
