"""What ``clew doctor`` finds of alerts: rules that are not in force, evaluations that do not happen, notices that do not arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from clew import config
from clew.agent.findings import Finding
from clew.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from clew.config import Settings

__all__ = ["find_alert_trouble", "find_wrong_rules"]

WAITS_TOO_LONG_S: Final = 300.0


def find_wrong_rules(settings: Settings) -> Iterator[Finding]:
    """Find a file of rules that cannot be put in force, and settings of receivers that are wrong."""
    try:
        from clew.alerts.rules_file import load_rules, rules_path
    except ModuleNotFoundError:
        return  # the extra is not installed, and nothing is evaluated here
    meaning = "the rules that were in force before stay so, or the defaults: what you changed has no effect"
    try:
        alert_settings = config.load_alerts()
        if alert_settings.alerts_file is None and not settings.data_dir.is_dir():
            return  # there is no file, and what is in the place of the directory is a finding of its own
        load_rules(rules_path(settings, alert_settings))
    except ConfigError as error:
        yield Finding("alert_rules_wrong", "error", "alerts", error.message, meaning, "run `clew alerts check`")


def find_alert_trouble(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Find evaluations that do not happen, and notices that do not arrive."""
    from clew.store.postgres.alerts.listing import fetch_evaluation, fetch_outbox
    from clew.store.postgres.reading import read

    evaluation = read(connection, fetch_evaluation())
    if evaluation.state == "stale":
        problem = f"alerts were last evaluated {evaluation.age_s or 0:.0f} s ago"
        remedy = "start an agent on this store (`clew agent`, `clew up`), or `clew alerts run`"
        yield Finding("alerts_stale", "error", "alerts", problem, "what breaks now is not noticed", remedy)
    elif evaluation.state == "degraded":
        meaning = "alerts come late, and say so"
        remedy = "see `clew spool status` for what is behind"
        yield Finding("alerts_degraded", "warning", "alerts", "; ".join(evaluation.quality), meaning, remedy)
    for count in read(connection, fetch_outbox()):
        meaning = "whoever is to be notified there does not hear of alerts"
        if count.state == "failed":
            problem = f"{count.notices} notices to {count.receiver} were refused"
            yield Finding(
                "notices_failed", "error", count.receiver, problem, meaning, "`clew alerts test RULE` shows why"
            )
        elif count.oldest_s > WAITS_TOO_LONG_S:
            problem = f"{count.notices} notices to {count.receiver} wait, the oldest for {count.oldest_s / 60:.0f} min"
            yield Finding(
                "notices_waiting", "warning", count.receiver, problem, meaning, "`clew alerts test RULE` shows why"
            )
