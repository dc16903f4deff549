"""What ``clew doctor`` finds of alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clew import config
from clew.agent.alert_findings import find_alert_trouble, find_wrong_rules
from clew.alerts.notify.receiver import Undeliverable
from clew.store.postgres.connect import connect
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench, Box, drain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bench(postgres: str, tmp_path: Path) -> Iterator[AlertBench]:
    """Give a store in which an alert fires."""
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        made = AlertBench(postgres, connection, tmp_path, time)
        made.requests(10)
        made.requests(3, failing=0.6)
        made.evaluate()
        yield made
        made.sink.close()


def names(bench: AlertBench) -> set[str]:
    """Return the names of what is found."""
    return {finding.code for finding in find_alert_trouble(bench.connection)}


def test_nothing_is_found_where_all_is_well(bench: AlertBench) -> None:
    """An alert that fires is none of the doctor's business."""
    assert names(bench) == set()


def test_an_old_evaluation_is_found(bench: AlertBench) -> None:
    """Nobody evaluates any more: what breaks now is not noticed."""
    bench.connection.execute("UPDATE alert_evaluations SET evaluated_at = evaluated_at - interval '5 minutes'")
    assert names(bench) == {"alerts_stale"}


def test_late_data_are_found(bench: AlertBench) -> None:
    """Alerts come late then."""
    bench.lag_s = 600.0
    bench.evaluate()
    assert names(bench) == {"alerts_degraded"}


def test_notices_that_do_not_arrive_are_found(bench: AlertBench) -> None:
    """Refused ones are an error, such as wait for long a warning; each names its receiver."""
    box = Box("mail")
    box.answers = [Undeliverable("no such mailbox")]
    drain(bench.connection, box)
    bench.connection.execute(
        "UPDATE notifications SET created_at = created_at - interval '10 minutes' WHERE receiver = 'slack'"
    )

    found = {finding.code: finding for finding in find_alert_trouble(bench.connection)}

    assert found.keys() == {"notices_failed", "notices_waiting"}
    assert "to mail were refused" in found["notices_failed"].problem
    assert "to slack wait, the oldest for 10 min" in found["notices_waiting"].problem


def test_a_wrong_file_of_rules_is_found(tmp_path: Path) -> None:
    """With the place of the mistake."""
    settings = config.load(data_dir=tmp_path)
    assert list(find_wrong_rules(settings)) == []

    (tmp_path / "alerts.yaml").write_text("rules: {latency: {limt: 2s}}")
    [finding] = find_wrong_rules(settings)
    assert finding.code == "alert_rules_wrong"
    assert "1:19" in finding.problem
