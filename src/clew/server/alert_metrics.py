"""What ``/metrics`` shows of alerts: whether rules are evaluated, and whether notices arrive.

The store is asked at most every ten seconds. A store that does not answer is reported by ``clew_store_up``; nothing is shown of
alerts then, so that a rule on the age of the last evaluation goes by ``absent()`` too.

Metrics:
    ``clew_alerts_evaluation_age_seconds``: Time since rules were last evaluated.
    ``clew_alerts_evaluation_lag_seconds``: How late events were then.
    ``clew_alerts_evaluation_duration_seconds``: How long it took.
    ``clew_alerts_rules``, ``clew_alerts_rules_in_error``: Rules in force; 1 when a newer file of rules is not in force.
    ``clew_alerts_notices{receiver,state}``: Notices by what became of them.
    ``clew_alerts_notices_repeated{receiver}``: Notices that may have been sent twice.
    ``clew_alerts_oldest_notice_seconds{receiver}``: Age of the oldest notice that waits.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from clew.errors import ClewError
from clew.store.postgres.alerts.listing import EvaluationStatus, OutboxCount, fetch_evaluation, fetch_outbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client import Metric as Family

    from clew.server.connections import Connections
    from clew.store.postgres.reading import Reading

__all__ = ["AlertGauges", "families"]

ASK_EVERY_S: Final = 10.0
TIMEOUT_S: Final = 2.0


class AlertGauges:
    """Return the metrics of alerts.

    Args:
        connections: The way to the store.

    Threads:
        Belongs to one event loop.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._answer: tuple[EvaluationStatus, list[OutboxCount]] | None = None

    async def families(self) -> list[Family]:
        """Return the metrics, as of ten seconds ago at most."""
        async with self._lock:
            now = time.monotonic()
            if now - self._asked_at >= ASK_EVERY_S:
                self._asked_at = now
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        self._answer = await self._connections.ask(_fetch)
                except (ClewError, TimeoutError, OSError):
                    self._answer = None
            answer = self._answer
        return [] if answer is None else list(families(*answer))


def families(evaluation: EvaluationStatus, notices: Sequence[OutboxCount]) -> Iterator[Family]:
    """Make metrics of what the store answered; what is not known is left out."""
    from prometheus_client.core import GaugeMetricFamily

    for name, help_text, value in (
        ("evaluation_age_seconds", "Time since rules were last evaluated.", evaluation.age_s),
        ("evaluation_lag_seconds", "How late events were at the last evaluation.", evaluation.lag_s),
        ("evaluation_duration_seconds", "How long the last evaluation took.", evaluation.took_s),
        ("rules", "Rules in force.", evaluation.rules),
        ("rules_in_error", "1 when a newer file of rules is not in force.", float(bool(evaluation.rules_error))),
    ):
        if value is not None:
            yield GaugeMetricFamily(f"clew_alerts_{name}", help_text, value)
    by_state = GaugeMetricFamily("clew_alerts_notices", "Notices by what became of them.", labels=("receiver", "state"))
    repeated = GaugeMetricFamily(
        "clew_alerts_notices_repeated", "Notices that may have been sent twice.", labels=("receiver",)
    )
    oldest = GaugeMetricFamily(
        "clew_alerts_oldest_notice_seconds", "Age of the oldest notice that waits.", labels=("receiver",)
    )
    for receiver in dict.fromkeys(notice.receiver for notice in notices):
        of_it = [notice for notice in notices if notice.receiver == receiver]
        for notice in of_it:
            by_state.add_metric((receiver, notice.state), notice.notices)
        repeated.add_metric((receiver,), sum(notice.repeated for notice in of_it))
        oldest.add_metric((receiver,), max(notice.oldest_s for notice in of_it))
    yield from (by_state, repeated, oldest)


def _fetch() -> Reading[tuple[EvaluationStatus, list[OutboxCount]]]:
    evaluation = yield from fetch_evaluation()
    notices = yield from fetch_outbox()
    return evaluation, notices
