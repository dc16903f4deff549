"""clew alerts export prometheus: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from clew.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = ["alerts", "export", "prometheus", "-o"]
FILES = ["clew-rules.yml", "clew-rules.test.yml", "alertmanager.yml"]


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the command away from this machine's own data."""
    monkeypatch.setenv("CLEW_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_the_rules_in_force_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which files it wrote, which rules are in them, and why others are not."""
    (tmp_path / "alerts.yaml").write_text("rules: {error_rate: {threshold: 7 %}, cache_miss: {enabled: false}}")

    assert run([*COMMAND, "out/prometheus"]) == 0

    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("wrote")] == [
        f"wrote out/prometheus/{name}" for name in FILES
    ]
    assert "exported, of " in said
    assert "left out cache_miss: it is disabled" in said
    assert "left out hanging_spans: Prometheus has no spans that are still open" in said
    assert 'clew_alert:share:low{rule="error_rate"} > 0.07' in (tmp_path / "out/prometheus/clew-rules.yml").read_text()


def test_options_are_for_what_is_not_in_the_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The server's address, a token, an environment, windows, and how long Alertmanager waits."""
    options = ["--url", "https://clew.example", "--token-file", "/etc/clew-token", "--environment", "prod"]

    assert run([*COMMAND, ".", *options, "--windows", "10s,30s", "--group-wait", "2s", "--json"]) == 0

    answer = json.loads(capsys.readouterr().out)
    rules = (tmp_path / "clew-rules.yml").read_text()
    routing = yaml.safe_load((tmp_path / "alertmanager.yml").read_text())
    assert answer["files"] == FILES
    assert "error_rate" in answer["rules"]
    assert "new_error" in answer["left_out"]
    assert 'environment: "prod"' in rules
    assert 'window: "30s"' in rules
    assert 'window: "5m"' not in rules
    assert (routing["route"]["group_wait"], routing["route"]["group_interval"]) == ("2s", "4s")
    assert routing["receivers"][0]["webhook_configs"][0]["url"] == "https://clew.example/api/alertmanager"


def test_the_public_address_of_the_server_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLEW_PUBLIC_URL is where Alertmanager sends to, unless --url says otherwise."""
    monkeypatch.setenv("CLEW_PUBLIC_URL", "https://public.example")

    assert run([*COMMAND, "."]) == 0

    assert '"https://public.example/api/alertmanager"' in (tmp_path / "alertmanager.yml").read_text()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--windows", "1h,5m"], "the shortest first"),
        (["--windows", "5m,5m"], "the shortest first"),
        (["--windows", "5"], "a time with its unit"),
        (["--windows", "1ms"], "at least 1s"),
        (["--group-wait", "soon"], "--group-wait is 'soon'"),
        (["--file", "missing.yaml"], "missing.yaml does not exist"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    options: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad usage ends with 2."""
    assert run([*COMMAND, "out", *options]) == 2

    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_system_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is one so far."""
    assert run(["alerts", "export", "nagios", "-o", "out"]) == 2

    assert "the only system is prometheus" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_of_rules_that_is_wrong_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first problem is named with its line and column."""
    (tmp_path / "alerts.yaml").write_text("rules: {error_rate: {treshold: 5 %}}")

    assert run([*COMMAND, "out"]) != 0

    assert "alerts.yaml:1:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
