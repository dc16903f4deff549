"""clew alerts: what it shows from a real store, what it changes, and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from clew.cli.main import run
from clew.store.postgres.connect import connect
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the commands away from this machine's own data and receivers."""
    monkeypatch.setenv("CLEW_DATA_DIR", str(tmp_path / "data"))
    for name in ("CLEW_DSN", "CLEW_SLACK_WEBHOOK_URL", "CLEW_SMTP_URL", "CLEW_WEBHOOK_URL", "CLEW_ALERTS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fault(postgres: str, tmp_path: Path) -> Iterator[AlertBench]:
    """A store in which an error rate fires."""
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        bench = AlertBench(postgres, connection, tmp_path, time)
        bench.requests(10)
        bench.requests(3, failing=0.6)
        bench.evaluate()
        yield bench
        bench.sink.close()


def listed(bench: AlertBench, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    """Return what ``clew alerts list --json`` lists."""
    assert run(["alerts", "list", "--dsn", bench.dsn, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)["alerts"]


def test_list_has_what_acceptance_checks_read(fault: AlertBench, capsys: pytest.CaptureFixture[str]) -> None:
    """Id, rule, state, service, value, threshold, n, bad, since and traces, as JSON and as a table."""
    alerts = listed(fault, capsys, "--state", "firing")
    [alert] = [alert for alert in alerts if alert["rule"] == "error_rate"]

    assert {"id", "rule", "state", "service", "value", "threshold", "n", "bad", "since", "trace_ids"} <= alert.keys()
    assert (alert["state"], alert["service"], alert["threshold"]) == ("firing", "rag-api", 0.05)
    assert alert["trace_ids"]
    assert listed(fault, capsys, "--state", "resolved") == []
    assert listed(fault, capsys, "--rule", "latency") == []

    assert run(["alerts", "list", "--dsn", fault.dsn]) == 0
    assert alert["id"] in capsys.readouterr().out


def test_show_gives_notice_and_deliveries(fault: AlertBench, capsys: pytest.CaptureFixture[str]) -> None:
    """An id, or its beginning, shows what was said and who was notified."""
    [alert] = listed(fault, capsys, "--rule", "error_rate")

    assert run(["alerts", "show", alert["id"], "--dsn", fault.dsn]) == 0
    shown = capsys.readouterr().out
    assert "RateLimitError" in shown
    assert "waiting" in shown
    assert run(["alerts", "show", alert["id"][:-2], "--dsn", fault.dsn, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"][0]["kind"] == "firing"
    assert run(["alerts", "show", "ffffffff", "--dsn", fault.dsn]) == 1
    assert run(["alerts", "show", "nonsense", "--dsn", fault.dsn]) == 2


def test_ack_is_seen_in_the_list(fault: AlertBench, capsys: pytest.CaptureFixture[str]) -> None:
    """Who looks after it stands beside it."""
    [alert] = listed(fault, capsys, "--rule", "error_rate")

    assert run(["alerts", "ack", alert["id"], "--by", "ann", "--note", "on it", "--dsn", fault.dsn]) == 0
    capsys.readouterr()
    [seen] = listed(fault, capsys, "--rule", "error_rate")
    assert (seen["acknowledged_by"], seen["acknowledged_note"]) == ("ann", "on it")


def test_a_silence_is_listed_and_ended(fault: AlertBench, capsys: pytest.CaptureFixture[str]) -> None:
    """It needs a rule that exists, a time and a reason."""
    made = ["alerts", "silence", "latency", "--for", "2h", "--why", "load test", "--dsn", fault.dsn, "--json"]
    assert run(made) == 0
    silence = json.loads(capsys.readouterr().out)
    assert run(["alerts", "silences", "--dsn", fault.dsn, "--json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["silences"]] == [silence["id"]]
    assert run(["alerts", "unsilence", silence["id"], "--dsn", fault.dsn]) == 0

    wrong = [("latncy", "2h", "x"), ("latency", "soon", "x"), ("latency", "2h", " "), ("latency", "9000d", "x")]
    for rule, lasts, why in wrong:
        assert run(["alerts", "silence", rule, "--for", lasts, "--why", why, "--dsn", fault.dsn]) == 2
    assert "did you mean latency?" in capsys.readouterr().err


def test_check_names_every_problem_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A right file is 0, a wrong one 2, as a missing one is."""
    file = tmp_path / "alerts.yaml"
    file.write_text("rules:\n  error_rate: {threshold: 3 %}\n", "utf-8")
    assert run(["alerts", "check", str(file)]) == 0

    file.write_text("rules:\n  error_rate: {threshold: 3}\n  latency: {limt: 2s}\n", "utf-8")
    capsys.readouterr()
    assert run(["alerts", "check", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"{file}:2:27: ")
    assert lines[1].startswith(f"{file}:3:13: ")
    assert run(["alerts", "check", str(file), "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2
    assert run(["alerts", "check", str(tmp_path / "none.yaml")]) == 2


def test_test_without_receivers_says_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever tries it first is told the names of the settings."""
    assert run(["alerts", "test", "error_rate"]) == 2
    assert "CLEW_SLACK_WEBHOOK_URL" in capsys.readouterr().err
    assert run(["alerts", "test", "eror_rate"]) == 2
    assert "did you mean error_rate?" in capsys.readouterr().err


def test_run_once_evaluates(fault: AlertBench, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an agent, alerts are evaluated by hand or by a timer."""
    fault.wait(minutes=1)
    assert run(["alerts", "run", "--once", "--dsn", fault.dsn]) == 0
    assert "evaluated" in capsys.readouterr().out


def test_a_store_that_is_away_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """No trace of a stack, and an exit code for scripts."""
    assert run(["alerts", "list", "--dsn", "postgresql://127.0.0.1:1/none"]) == 1
    assert "cannot reach PostgreSQL" in capsys.readouterr().err


def test_replay_says_how_often_rules_would_have_fired(
    fault: AlertBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With when, beside a naive rule, and a warning where the usual level is close to the threshold; of any file."""
    fault.requests(30)
    assert run(["alerts", "replay", "--since", "2h", "--dsn", fault.dsn]) == 0
    shown = capsys.readouterr().out
    assert "error_rate rag-api prod" in shown
    assert "not replayed, since they measure the moment" in shown

    assert run(["alerts", "replay", "--dsn", fault.dsn, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    [errors] = [rule for rule in found["rules"] if rule["rule"] == "error_rate"]
    assert len(errors["alerts"]) == 1
    assert errors["alerts"][0]["resolved_at"] is not None
    assert errors["naive_alerts"] >= 1
    assert errors["target"][:2] == ["rag-api", "prod"]
    assert errors["warning"] == ""
    assert 0 < errors["measured"] <= 1

    mine = tmp_path / "mine.yaml"
    mine.write_text("rules: {error_rate: {threshold: 90 %}, latency: {limit: 500ms, threshold: 50 %}}", "utf-8")
    assert run(["alerts", "replay", "--file", str(mine), "--dsn", fault.dsn, "--json"]) == 0
    tried = {rule["rule"]: rule for rule in json.loads(capsys.readouterr().out)["rules"]}
    assert tried["error_rate"]["alerts"] == []
    assert "expect false alerts" in tried["latency"]["warning"] or "above the threshold" in tried["latency"]["warning"]


def test_replay_refuses_what_means_nothing(
    fault: AlertBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A time that is none, a file that is not there or wrong, and a time without requests."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("rules: {latency: {limt: 2s}}", "utf-8")
    refused = (["--since", "soon"], ["--since", "1h", "--until", "2h"], ["--file", "none.yaml"], ["--file", str(wrong)])
    for options in refused:
        assert run(["alerts", "replay", "--dsn", fault.dsn, *options]) == 2, options
    assert "limt" in capsys.readouterr().err
    before = ["--since", "2020-01-01", "--until", "2020-01-02"]
    assert run(["alerts", "replay", "--dsn", fault.dsn, *before]) == 1
    assert "nothing to replay" in capsys.readouterr().err
