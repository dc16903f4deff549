"""The alerts that a fault of the demo has raised: it is under it for as long as it takes until people are notified."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from clew import clock
from clew.cli.asking import ask
from clew.store.postgres.alerts.listing import fetch_alert, fetch_alerts

if TYPE_CHECKING:
    from clew.config import Settings
    from clew.store.postgres.alerts.listing import AlertRow

__all__ = ["RaisedAlerts"]

UNDER_WAY = frozenset({"waiting", "sending"})


class RaisedAlerts:
    """Alerts that go on.

    Args:
        settings: Where the store is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def find(self) -> list[AlertRow]:
        """Return those that fire, the one that fired last first."""
        since = clock.now() - timedelta(hours=1)
        reading = fetch_alerts(state="firing", service=None, rule=None, since=since, limit=20)
        return ask(self._settings, reading).alerts

    def are_notified(self) -> bool:
        """Whether there are any that people are notified of, and every receiver that there is was tried."""
        found = [alert for alert in self.find() if not alert.muted_by]
        for alert in found:
            for change in ask(self._settings, fetch_alert(alert.id)).changes:
                if any(one.state in UNDER_WAY and not one.attempts for one in change.deliveries):
                    return False
        return bool(found)
