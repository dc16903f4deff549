"""What a rule is: a signal, a threshold, and everything that is to be said and done when it is exceeded.

A rule holds for every service and environment that it finds in the data, each by itself; what differs for some of them are
overrides. ``rules_file`` reads rules; the defaults are ``defaults.yaml``, in the same form.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from clew.alerts.notice import Severity
from clew.alerts.statistics import Calibration

__all__ = ["Override", "Rule", "RuleSet", "Target"]


class Target(NamedTuple):
    """What a rule is evaluated for.

    Attributes:
        service: The service; empty for the whole installation.
        environment: Its environment; empty where none is given.
        subject: What of the service, such as a model, a sink or an error; empty for the whole.
    """

    service: str = ""
    environment: str = ""
    subject: str = ""


class Override(Struct, frozen=True, kw_only=True):
    """What is different about a rule for some services or environments.

    Attributes:
        service: For this service; empty for any.
        environment: For this environment; empty for any.
        changes: The fields of ``Rule`` that are different, by name.
    """

    service: str = ""
    environment: str = ""
    changes: dict[str, Any] = {}


class Rule(Struct, frozen=True, kw_only=True):
    """When to raise an alert, and what to say.

    Attributes:
        name: Its name, such as ``error_rate``.
        signal: What is measured; one of ``signals.SIGNALS``.
        enabled: Whether it is evaluated.
        threshold: What the value is compared with, in the signal's unit.
        critical_at: From which value on the alert is critical; None for never more than ``severity``.
        limit: What makes a unit bad, where the signal has such a limit: seconds for ``latency`` and ``hanging_spans``.
        severity: How bad it is above the threshold.
        min_units: How many units a window is to hold.
        min_bad: How many bad units it takes at least.
        min_sessions: How many sessions have to be affected at least.
        window_s: Shortest window, in seconds.
        max_window_s: Longest window, in seconds.
        for_s: How long the condition has to hold before the alert fires, in seconds.
        resolve_after_s: How long it has to be well before the alert is resolved, in seconds.
        repeat_s: How often an alert that goes on unacknowledged is notified again, in seconds.
        floor: Least value at which it fires whatever the usual value is, for signals that compare with the usual.
        objective: The share of good units that was promised, for ``slo_burn``; 0.995 for 99.5 %.
        calibration: How well the judge does, for signals of judged answers; None where it is not known.
        inhibited_by: Rules whose firing alert for the same service explains this one: it is not notified then.
        receivers: Names of the receivers to notify; empty for all.
        owner: Who looks after it.
        runbook: URL of what to do.
        action: What to do, in one sentence; empty for what fits the cause that is found.

    Example:
        >>> Rule(name="slow", signal="latency", threshold=0.05, limit=2.0).severity
        'warning'
    """

    name: str
    signal: str
    enabled: bool = True
    threshold: float
    critical_at: float | None = None
    limit: float | None = None
    severity: Severity = "warning"
    min_units: int = 50
    min_bad: int = 3
    min_sessions: int = 2
    window_s: float = 300.0
    max_window_s: float = 3600.0
    for_s: float = 0.0
    resolve_after_s: float = 600.0
    repeat_s: float = 14_400.0
    floor: float = 0.0
    objective: float | None = None
    calibration: Calibration | None = None
    inhibited_by: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()
    owner: str = ""
    runbook: str = ""
    action: str = ""
    service: str = ""
    environment: str = ""
    overrides: tuple[Override, ...] = ()

    def for_target(self, target: Target) -> Rule | None:
        """Return the rule as it holds for a target; None if it does not hold there.

        Of several overrides that fit, later ones win.

        Example:
            >>> rule = Rule(name="e", signal="error_rate", threshold=0.05,
            ...     overrides=(Override(service="batch", changes={"threshold": 0.2}),))
            >>> rule.for_target(Target("batch")).threshold, rule.for_target(Target("api")).threshold
            (0.2, 0.05)
        """
        changes: dict[str, Any] = {}
        for override in self.overrides:
            if override.service in {"", target.service} and override.environment in {"", target.environment}:
                changes |= override.changes
        rule = replace(self, **changes) if changes else self
        fits = rule.service in {"", target.service} and rule.environment in {"", target.environment}
        return rule if rule.enabled and fits else None


class RuleSet(Struct, frozen=True):
    """The rules that are in force.

    Attributes:
        rules: By name, in the order of the file.
        source: Where they are from: the path of a file, or ``defaults``.
        digest: Names exactly these rules.
    """

    rules: dict[str, Rule]
    source: str = "defaults"
    digest: str = ""
