"""What ``/metrics`` shows of alerts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from clew import config
from clew.server.alert_metrics import AlertGauges
from clew.server.connections import Connections
from clew.store.postgres.connect import connect
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench, Box, drain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from prometheus_client import Metric


def values(families: Sequence[Metric]) -> dict[tuple[str, ...], float]:
    """Return each sample by name and labels."""
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def read(dsn: str, data: Path) -> dict[tuple[str, ...], float]:
    """Read the metrics once."""

    async def once() -> list[Metric]:
        connections = Connections(config.load(dsn=dsn, data_dir=data))
        try:
            return await AlertGauges(connections).families()
        finally:
            await connections.close()

    return values(asyncio.run(once()))


def test_evaluation_and_notices_are_shown(postgres: str, tmp_path: Path) -> None:
    """How old the evaluation is, whether a file is in error, and notices by receiver and state."""
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        bench = AlertBench(postgres, connection, tmp_path, time)
        bench.requests(10)
        bench.requests(3, failing=0.6)
        bench.evaluate()
        drain(connection, Box("slack"))
        bench.evaluator.evaluate(connection, bench.rules, rules_error="alerts.yaml:1:1: wrong", is_forced=True)
        bench.sink.close()

    shown = read(postgres, tmp_path)

    assert 0 <= shown["clew_alerts_evaluation_age_seconds",] < 60
    assert shown["clew_alerts_evaluation_lag_seconds",] == 0
    assert shown["clew_alerts_rules",] >= 18
    assert shown["clew_alerts_rules_in_error",] == 1
    assert shown["clew_alerts_notices", "slack", "sent"] >= 1
    assert shown["clew_alerts_notices", "mail", "waiting"] >= 1
    assert shown["clew_alerts_notices_repeated", "slack"] == 0
    assert shown["clew_alerts_oldest_notice_seconds", "slack"] == 0
    assert shown["clew_alerts_oldest_notice_seconds", "mail"] > 0


def test_a_store_that_is_away_shows_nothing(tmp_path: Path) -> None:
    """A rule on the age of the evaluation then goes by its absence."""
    assert read("postgresql://127.0.0.1:1/none", tmp_path) == {}
