"""The state of an alert, and when it changes.

```
            bad                for_s passed             well for resolve_after_s
   ok ─────────────▶ pending ─────────────▶ firing ────────────────────────────▶ ok  (resolved)
    ◀───────────────                           no data ◀──▶ firing: kept for a day
        not bad
```

A state is kept for each rule and target. What an evaluation finds moves it; time is the evaluation's, never the clock's, so
that the past can be replayed, and an agent that takes over goes on where the last one was.

Before: ``measure``. After: ``evaluate``, which makes notices of the changes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from clew.alerts.notice import Severity
from clew.alerts.signals import SIGNALS

if TYPE_CHECKING:
    from clew.alerts.measure import Measurement
    from clew.alerts.rules import Rule

__all__ = ["AlertState", "Change", "Phase", "advance", "end", "severity_of"]

Phase = Literal["ok", "pending", "firing", "no_data"]

Change = Literal["", "pending", "firing", "update", "resolved", "quiet"]
"""What an evaluation changed: nothing; it became pending; it fires; it fires and became worse, or was not acknowledged for
long; it is over; it is not pending any more."""

NO_DATA_ENDS_AFTER: Final = timedelta(hours=24)
"""An alert without any data is over after a day: what it was about is not there any more."""


class AlertState(Struct, frozen=True, kw_only=True):
    """What is remembered between two evaluations of a rule for a target.

    Attributes:
        phase: Where it is; ``no_data`` is an alert that fires and of which nothing has been heard.
        alert_id: The alert it belongs to, while it fires and until the condition holds again; empty else.
        number: How many notices of this alert there were.
        severity: Severity of the last notice.
        bad_since: Since when the condition holds; None where it does not.
        well_since: Since when it is well; None where it is not.
        since: When the condition of the alert began, as it was found when it fired.
        silent_since: Since when there is no data; None where there is some.
        noticed_at: When the last notice was made.
        is_acknowledged: Somebody looks after it: it is not notified again until it is worse, or over.
    """

    phase: Phase = "ok"
    alert_id: str = ""
    number: int = 0
    severity: Severity = "warning"
    bad_since: datetime | None = None
    well_since: datetime | None = None
    since: datetime | None = None
    silent_since: datetime | None = None
    noticed_at: datetime | None = None
    is_acknowledged: bool = False

    @property
    def is_firing(self) -> bool:
        """Whether an alert fires, with or without data."""
        return self.phase in {"firing", "no_data"}


def advance(state: AlertState, found: Measurement, rule: Rule, at: datetime) -> tuple[AlertState, Change]:
    """Take in what an evaluation found.

    Args:
        state: What is remembered.
        found: What was found.
        rule: As it holds for the target.
        at: The moment of the evaluation.

    Returns:
        What is to be remembered now, and what changed. A new alert has no id yet: who stores it gives it one.

    Example:
        >>> state, change = advance(AlertState(), bad_measurement, rule, at)  # doctest: +SKIP
        >>> state.phase, change  # doctest: +SKIP
        ('firing', 'firing')
    """
    state = _not_after(state, at)
    if state.is_firing:
        return _while_firing(state, found, rule, at)
    if not found.is_bad:
        change: Change = "quiet" if state.phase == "pending" else ""
        return (AlertState() if state.phase == "pending" else state), change
    bad_since = state.bad_since or at
    if at - bad_since < timedelta(seconds=rule.for_s):
        return AlertState(phase="pending", bad_since=bad_since), "" if state.phase == "pending" else "pending"
    fired = AlertState(
        phase="firing",
        number=1,
        severity=severity_of(found, rule),
        bad_since=bad_since,
        since=min(found.began or bad_since, bad_since),
        noticed_at=at,
    )
    return fired, "firing"


def end(state: AlertState, at: datetime) -> tuple[AlertState, Change]:
    """Take in that a rule is not evaluated for a target any more: what fires is over, what is pending is forgotten.

    Example:
        >>> end(AlertState(phase="pending"), at)[1]  # doctest: +SKIP
        'quiet'
    """
    if state.is_firing:
        return _resolved(state, at), "resolved"
    return (AlertState(), "quiet") if state.phase == "pending" else (state, "")


def severity_of(found: Measurement, rule: Rule) -> Severity:
    """Return how bad it is: critical from the rule's ``critical_at`` on."""
    if rule.critical_at is None or found.value is None:
        return rule.severity
    is_below = SIGNALS[rule.signal].is_below
    is_worse = found.value <= rule.critical_at if is_below else found.value >= rule.critical_at
    return "critical" if is_worse else rule.severity


def _while_firing(state: AlertState, found: Measurement, rule: Rule, at: datetime) -> tuple[AlertState, Change]:
    if not found.has_data and not found.is_bad and not found.is_well:
        silent_since = state.silent_since or at
        if at - silent_since >= NO_DATA_ENDS_AFTER:
            return _resolved(state, at), "resolved"
        return replace(state, phase="no_data", silent_since=silent_since, well_since=None), ""
    state = replace(state, phase="firing", silent_since=None)
    if found.is_well:
        well_since = state.well_since or at
        if at - well_since >= timedelta(seconds=rule.resolve_after_s):
            return _resolved(state, at), "resolved"
        return replace(state, well_since=well_since), ""
    state = replace(state, well_since=None)
    severity = severity_of(found, rule)
    if found.is_bad and severity == "critical" and state.severity != "critical":
        return _noticed(state, at, severity), "update"
    is_due = state.noticed_at is None or at - state.noticed_at >= timedelta(seconds=rule.repeat_s)
    if is_due and not state.is_acknowledged:
        return _noticed(state, at, state.severity), "update"
    return state, ""


def _not_after(state: AlertState, at: datetime) -> AlertState:
    """Return the state without moments that are yet to come: a clock that was ahead remembered them, and none would ever pass."""
    ahead = {
        name: at
        for name in ("bad_since", "well_since", "since", "silent_since", "noticed_at")
        if (moment := getattr(state, name)) is not None and moment > at
    }
    return replace(state, **ahead) if ahead else state


def _noticed(state: AlertState, at: datetime, severity: Severity) -> AlertState:
    return replace(state, number=state.number + 1, noticed_at=at, severity=severity)


def _resolved(state: AlertState, at: datetime) -> AlertState:
    return AlertState(
        alert_id=state.alert_id, number=state.number + 1, severity=state.severity, since=state.since, noticed_at=at
    )
