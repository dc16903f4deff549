"""Rules in force while their file changes, and the loop that evaluates them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from clew import config
from clew.alerts.rules_file import default_rules
from clew.alerts.runner import AlertRunner, RulesInForce
from support.accounting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

RIGHT = "rules: {error_rate: {threshold: 7 %}}"


def threshold(rules: RulesInForce) -> float:
    """Return the threshold of the error rate that is in force."""
    return rules.rules.rules["error_rate"].threshold


def test_the_defaults_hold_without_a_file(tmp_path: Path) -> None:
    """And a file that comes later is read."""
    rules = RulesInForce(tmp_path / "alerts.yaml")

    assert rules.refresh()
    assert not rules.refresh()
    assert (rules.rules.digest, rules.error) == (default_rules().digest, "")
    (tmp_path / "alerts.yaml").write_text(RIGHT)
    assert rules.refresh()
    assert threshold(rules) == 0.07


@pytest.mark.parametrize(
    "wrong",
    [
        "rules: {error_rate: {threshold: 7 %",
        "rules: {latncy: {limit: 1s}}",
        "\x00",
        "rules: {error_rate: {treshold: 1}}",
    ],
    ids=["half written", "an unknown rule", "no text", "an unknown key"],
)
def test_a_wrong_file_leaves_the_rules_that_were_and_says_so(tmp_path: Path, wrong: str) -> None:
    """Until it is put right, which is seen at once."""
    file = tmp_path / "alerts.yaml"
    file.write_text(RIGHT)
    rules = RulesInForce(file)
    rules.refresh()

    file.write_text(wrong)
    assert rules.refresh()
    assert threshold(rules) == 0.07
    assert str(file) in rules.error

    file.write_text(RIGHT.replace("7", "9"))
    assert rules.refresh()
    assert (threshold(rules), rules.error) == (0.09, "")


def test_a_file_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    """Its first half would be a file of rules too: without the rule that fires."""
    file = tmp_path / "alerts.yaml"
    mine = "  mine: {signal: error_rate, threshold: 9 %}\n"
    file.write_text(f"rules:\n  error_rate: {{threshold: 7 %}}\n{mine}")
    rules = RulesInForce(file)
    rules.refresh()

    file.write_text("rules:\n  error_rate: {threshold: 8 %}\n")
    look = threading.Thread(target=rules.refresh)
    look.start()
    with file.open("a") as writing:
        while look.is_alive():
            writing.write("  # and more\n")
            writing.flush()
            look.join(0.02)  # a file that is too large would not be read at all
        assert (threshold(rules), "mine" in rules.rules.rules) == (0.07, True)
        writing.write(mine)

    assert rules.refresh()
    assert (threshold(rules), "mine" in rules.rules.rules) == (0.08, True)


def test_a_file_that_is_put_in_its_place_is_seen(tmp_path: Path) -> None:
    """Also one of the same length, with the same time of change: editors write a new file and rename it."""
    file, other = tmp_path / "alerts.yaml", tmp_path / "other"
    file.write_text(RIGHT)
    rules = RulesInForce(file)
    rules.refresh()
    other.write_text(RIGHT.replace("7", "8"))
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.rename(file)

    assert rules.refresh()
    assert threshold(rules) == 0.08


def test_a_file_that_is_removed(tmp_path: Path) -> None:
    """The defaults hold again; if a setting names the file, the rules that were stay, and that is said."""
    file = tmp_path / "alerts.yaml"
    for is_required in (False, True):
        file.write_text(RIGHT)
        rules = RulesInForce(file, is_required=is_required)
        rules.refresh()
        file.unlink()

        assert rules.refresh()
        assert threshold(rules) == (0.07 if is_required else 0.05)
        assert ("does not exist" in rules.error) == is_required


def test_the_loop_reports_a_store_that_is_away_once_and_goes_on(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It evaluates as soon as the store is there, and says that too."""
    monkeypatch.setenv("CLEW_ALERTS_INTERVAL_S", "1")
    reports: list[str] = []
    settings = config.load(data_dir=tmp_path, dsn="postgresql://127.0.0.1:1/none")
    runner = AlertRunner(settings, config.load_alerts(), report=reports.append)
    try:
        assert runner.attempt() is None
        assert runner.attempt() is None
        assert len(reports) == 1
        assert reports[0].startswith("alerts: degraded, nothing is evaluated: ")

        runner._dsn = postgres  # as if the server were back
        found = runner.attempt()
        assert found is not None
        assert found.is_done
        assert reports[1:] == ["alerts: evaluated again"]
    finally:
        runner.stop()


def test_several_runners_evaluate_in_turns_and_one_takes_over(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any of them may end: another one goes on."""
    monkeypatch.setenv("CLEW_ALERTS_INTERVAL_S", "1")
    settings = config.load(data_dir=tmp_path, dsn=postgres)
    first, second = (AlertRunner(settings, config.load_alerts(), report=lambda _: None) for _ in range(2))
    assert [runner.attempt() is not None for runner in (first, second)] == [True, True]
    first.stop()

    def takes_over() -> bool:
        found = second.attempt()
        return found is not None and found.is_done

    wait_for(takes_over, "the second one", 20)
    second.stop()
