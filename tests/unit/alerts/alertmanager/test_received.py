"""Alerts that Alertmanager sends, against a real store: stored once, with evidence, said once, and over once."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from clew import clock
from clew.alerts.alertmanager.notification import ReceivedAlert
from clew.alerts.alertmanager.received import take_received
from clew.alerts.notice import first_line
from clew.alerts.rules_file import default_rules, parse_rules
from clew.store.postgres.alerts.acting import acknowledge, add_silence
from clew.store.postgres.alerts.listing import fetch_alert
from clew.store.postgres.connect import connect
from clew.store.postgres.reading import read
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench, Box, drain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.store.postgres.alerts.listing import AlertRow


@pytest.fixture
def bench(postgres: str, tmp_path: Path) -> Iterator[AlertBench]:
    """Give a store with requests of which some failed, and an evaluation that has noted the receivers."""
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        made = AlertBench(postgres, connection, tmp_path, time)
        made.rules = parse_rules(
            "rules: {error_rate: {enabled: false}, rate_limit: {enabled: false}}", source="test", base=default_rules()
        )
        made.requests(6)
        made.requests(4, failing=0.5)
        made.evaluate()
        yield made
        made.sink.close()


def sent(**more: Any) -> ReceivedAlert:
    """Return an alert as Alertmanager sends it, of the rule for errors."""
    known: dict[str, Any] = {
        "rule": "error_rate",
        "title": "error rate",
        "status": "firing",
        "service": "rag-api",
        "starts_at": BEGIN + timedelta(minutes=8),
        "value": 0.2,
        "threshold": 0.05,
        "n": 200,
        "bad": 40,
        "fingerprint": "c0ffee",
        "source": "http://prometheus.example/graph",
    }
    return ReceivedAlert(**{**known, **more})


def listed(bench: AlertBench, rule: str = "error_rate") -> list[AlertRow]:
    """Return the stored alerts of a rule."""
    return bench.alerts(rule=rule).alerts


def test_an_alert_is_stored_with_evidence_and_said_once(bench: AlertBench) -> None:
    """It has traces that exist, the error, the interval, and goes to the receivers that the evaluation noted."""
    box = Box("slack")

    assert take_received(bench.connection, [sent()], bench.rules) == 1
    assert take_received(bench.connection, [sent()], bench.rules) == 0
    drain(bench.connection, box)

    [alert] = listed(bench)
    assert (alert.state, alert.source, alert.value, alert.n, alert.bad) == ("firing", "alertmanager", 0.2, 200, 40)
    assert alert.low == pytest.approx(0.1505, abs=0.001)
    rows = bench.connection.execute("SELECT DISTINCT trace_id::text FROM events").fetchall()
    assert len(alert.trace_ids) >= 3
    assert set(alert.trace_ids) <= {str(row[0]) for row in rows}
    [(notice, _)] = box.notices
    line = first_line(notice)
    assert line.startswith("[WARN] rag-api error rate 20 % (40/200, 15–26.1) > 5 % since 21:08 – RateLimitError")
    assert notice.command == f"clew trace {alert.trace_ids[0]}"
    assert "Alertmanager sent it; the expression is at http://prometheus.example/graph" in notice.evidence


def test_its_end_is_said_once(bench: AlertBench) -> None:
    """A second end, and a late repetition of the beginning, change nothing."""
    box = Box("mail")
    over = sent(status="resolved", ends_at=BEGIN + timedelta(minutes=15), value=0.0, bad=0)
    take_received(bench.connection, [sent()], bench.rules)

    changes = [take_received(bench.connection, [alert], bench.rules) for alert in (over, over, sent())]
    drain(bench.connection, box)

    assert changes == [1, 0, 0]
    assert [notice.kind for notice, _ in box.notices] == ["firing", "resolved"]
    assert box.notices[1][0].resolved_at == over.ends_at
    [alert] = listed(bench)
    assert (alert.state, alert.value) == ("resolved", 0.0)


def test_a_fault_that_comes_back_is_a_new_alert(bench: AlertBench) -> None:
    """The same fingerprint with a later beginning."""
    take_received(bench.connection, [sent(), sent(status="resolved")], bench.rules)
    take_received(bench.connection, [sent(starts_at=BEGIN + timedelta(minutes=9))], bench.rules)

    assert [alert.state for alert in listed(bench)] == ["firing", "resolved"]


def test_two_servers_store_one_alert(bench: AlertBench) -> None:
    """Alertmanagers in a pair send to both at once."""
    threads: list[threading.Thread] = []
    gate = threading.Barrier(4)

    def take() -> None:
        with connect(bench.dsn) as connection:
            gate.wait(timeout=30)
            take_received(connection, [sent(fingerprint=f"{number:04}") for number in range(10)], bench.rules)

    for _ in range(4):
        threads.append(threading.Thread(target=take))
        threads[-1].start()
    for thread in threads:
        thread.join(timeout=60)

    assert len(listed(bench)) == 10
    number = bench.connection.execute(
        "SELECT count(*) FROM alert_changes JOIN alerts ON alert_id = id WHERE rule = 'error_rate'"
    )
    assert number.fetchall() == [(10,)]


def test_what_got_worse_or_goes_on_is_said_again(bench: AlertBench) -> None:
    """Critical now, and four hours later unless somebody looks after it."""
    take_received(bench.connection, [sent()], bench.rules)
    bench.wait(5)
    assert take_received(bench.connection, [sent(value=0.3)], bench.rules) == 0
    assert take_received(bench.connection, [sent(value=0.4, severity="critical")], bench.rules) == 1
    [alert] = listed(bench)
    assert (alert.severity, alert.value) == ("critical", 0.4)

    bench.wait(241)
    assert take_received(bench.connection, [sent(severity="critical")], bench.rules) == 1
    acknowledge(bench.connection, alert.id, by="ann")
    bench.wait(241)
    assert take_received(bench.connection, [sent(severity="critical")], bench.rules) == 0
    changes = read(bench.connection, fetch_alert(alert.id)).changes
    assert [change.kind for change in changes] == ["firing", "update", "update"]


def test_a_silence_mutes_it_until_it_is_over(bench: AlertBench) -> None:
    """What goes on after the silence is said then; the end of what nobody heard of is not said."""
    box = Box("slack")
    add_silence(bench.connection, "error_rate", lasts=timedelta(minutes=30), why="load test")
    take_received(bench.connection, [sent(), sent(fingerprint="other", subject="gpt-4o")], bench.rules)
    take_received(bench.connection, [sent(fingerprint="other", subject="gpt-4o", status="resolved")], bench.rules)
    drain(bench.connection, box)
    assert box.notices == []

    bench.wait(31)
    assert take_received(bench.connection, [sent()], bench.rules) == 1
    drain(bench.connection, box)
    assert [notice.kind for notice, _ in box.notices] == ["update"]


def test_an_alert_that_the_evaluation_has_is_not_stored_again(bench: AlertBench) -> None:
    """Who evaluates twice is not notified twice."""
    bench.rules = default_rules()
    bench.evaluate()
    assert [alert.source for alert in listed(bench)] == ["clew"]

    assert take_received(bench.connection, [sent(), sent(fingerprint="2", environment="prod")], bench.rules) == 0
    assert len(listed(bench)) == 1


def test_the_evaluation_is_quiet_about_what_alertmanager_has_sent(bench: AlertBench) -> None:
    """Its own alert is stored, and says which one it would repeat; also for a while after that is over."""
    take_received(bench.connection, [sent()], bench.rules)
    bench.rules = default_rules()
    bench.evaluate()
    take_received(bench.connection, [sent(status="resolved")], bench.rules)
    bench.evaluate()

    ours = next(alert for alert in listed(bench) if alert.source == "clew")
    assert "which Alertmanager sent" in ours.muted_by
    notified = bench.connection.execute(
        "SELECT DISTINCT alert_id::text FROM notifications AS n JOIN alerts AS a ON a.id = alert_id WHERE a.rule = 'error_rate'"
    )
    assert [row[0] for row in notified.fetchall()] == [next(a.id for a in listed(bench) if a.source != "clew")]


def test_a_rule_of_somebody_else_says_its_own_summary(bench: AlertBench) -> None:
    """It has no value and no threshold of ours; traces of failed requests of the service are given all the same."""
    box = Box("slack")
    foreign = sent(
        rule="HighCPU", title="", summary="cpu at 97 % on node-3", value=None, threshold=None, n=None, bad=None,
        severity="critical", command="kubectl top pods",
    )  # fmt: skip
    unknown = sent(rule="Watchdog", summary="", service="", value=None, threshold=None, fingerprint="2")
    take_received(bench.connection, [foreign, unknown], bench.rules)
    drain(bench.connection, box)

    lines = [first_line(notice) for notice, _ in box.notices]
    assert any(
        line.startswith("[CRIT] rag-api HighCPU: cpu at 97 % on node-3 since 21:08 – RateLimitError") for line in lines
    )
    assert any(line.startswith("[WARN] Watchdog: it fires since 21:08") for line in lines)
    [alert] = listed(bench, "HighCPU")
    assert alert.threshold is None
    assert alert.trace_ids


def test_an_alert_that_is_never_sent_again_ends(bench: AlertBench) -> None:
    """Alertmanager forgets after five days; what it forgot says why it is over."""
    take_received(bench.connection, [sent()], bench.rules)
    bench.wait(6 * 24 * 60)
    bench.evaluate()

    [alert] = listed(bench)
    assert alert.state == "resolved"
    assert "Alertmanager did not send it again" in alert.quality[0]


def test_a_store_without_an_evaluation_keeps_the_alert(postgres: str) -> None:
    """Nobody is known who could be notified; the alert is there to be listed."""
    with connect(postgres) as connection:
        now = clock.now()
        assert take_received(connection, [replace(sent(), starts_at=now)], default_rules()) == 1
        assert connection.execute("SELECT count(*) FROM notifications").fetchall() == [(0,)]
        assert connection.execute("SELECT rule, state FROM alerts").fetchall() == [("error_rate", "firing")]
