"""`clew doctor` as a person and as a program asks it."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew.cli.main import run
from clew.spool.writer import Writer
from support.commands import CLEW, WITHOUT_RIGHTS
from support.odd_files import ODD_KINDS, make_odd

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have nothing set but a data directory and a sink."""
    for name in [name for name in os.environ if name.startswith("CLEW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLEW_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CLEW_SINKS", "console")
    return tmp_path / "data"


def write_log(spool: Path) -> None:
    """Write one event."""
    writer = Writer(spool, service="rag-api", segment_bytes=64 * 1024)
    assert writer.append(b"{}")
    writer.close()


def test_a_healthy_machine_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With what was looked at, and 0."""
    status = run(["doctor"])

    (line,) = capsys.readouterr().out.splitlines()
    assert status == 0
    assert line.startswith("nothing is wrong with settings, sinks, destinations, directories, ")


def test_a_finding_is_three_lines(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong, what follows from it, what mends it; and 1."""
    write_log(settings / "spool")

    status = run(["doctor"])

    out, err = capsys.readouterr()
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        f"error    no agent runs on {settings / 'spool'}, and 1 events wait there",
        "         nothing is lost: they stay on the disk until an agent ships them, or the spool is full",
        "         → run `clew agent` with these settings, or `clew up`",
    ]


def test_programs_get_one_object_of_a_stable_shape(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same keys whether there is something to find or not."""
    statuses, objects = [run(["doctor", "--json"])], list[dict[str, Any]]()
    write_log(settings / "spool")
    statuses.append(run(["doctor", "--json"]))
    objects += [json.decode(line) for line in capsys.readouterr().out.splitlines()]

    assert statuses == [0, 1]
    assert [list(told) for told in objects] == [["findings", "notes", "checked"]] * 2
    (finding,) = objects[1]["findings"]
    assert list(finding) == ["code", "severity", "subject", "problem", "meaning", "remedy"]
    assert (objects[0]["findings"], finding["code"], finding["severity"]) == ([], "no_agent", "error")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("LEVEL", "loud", "the setting level is 'LOUD'"), ("PORT", "many", "the setting port is 'many'")],
)
def test_settings_that_mean_nothing_are_the_finding(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the message that every other command ends with; without settings there is nowhere to look."""
    monkeypatch.setenv(f"CLEW_{name}", value)

    statuses = [run(["doctor", "--json"]), run(["spool", "status"])]

    out, err = capsys.readouterr()
    diagnosis = json.decode(out)
    (finding,) = diagnosis["findings"]
    assert (statuses, finding["code"], diagnosis["checked"]) == ([1, 2], "settings_wrong", ["settings"])
    assert finding["problem"] in err
    assert finding["problem"].startswith(told)


def test_a_file_of_settings_that_is_none_is_the_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, with the place of the mistake."""
    (tmp_path / "clew.toml").write_text("service = rag")
    monkeypatch.setenv("CLEW_CONFIG", str(tmp_path / "clew.toml"))

    assert run(["doctor"]) == 1
    assert f"{tmp_path / 'clew.toml'} is not valid TOML" in capsys.readouterr().out


def test_wrong_usage_is_not_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    """2, as with every command."""
    assert run(["doctor", "--nope"]) == 2
    assert "has no option --nope" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["file", *ODD_KINDS])
@pytest.mark.parametrize(
    "name", ["data", "data/spool", "data/spool/.agents", "data/spool/.shipped", "data/spool/.dead"]
)
@pytest.mark.parametrize("command", [["doctor"], ["spool", "status"], ["dead", "list"]])
def test_nothing_in_the_place_of_a_directory_is_a_fault_of_ours(
    tmp_path: Path, name: str, kind: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it is, and whoever meets it."""
    odd = tmp_path / name
    odd.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if kind == "file":
        odd.touch()
    else:
        make_odd(odd, kind)

    status = run(command)

    out, err = capsys.readouterr()
    assert status in {0, 1}
    assert "a fault in clew" not in out + err
    assert err.count("\n") <= 1


@pytest.mark.parametrize("command", [["spool", "status"], ["dead", "list"]])
def test_a_place_that_nobody_may_enter_is_named_by_other_commands(settings: Path, command: list[str]) -> None:
    """One line on stderr, with the place and the command that looks for the cause."""
    closed = settings / "spool" / (".dead" if command[0] == "dead" else ".agents")
    closed.mkdir(parents=True)
    for name in ("console.jsonl", "ledger.json"):
        (closed / name).write_text("{}")
    closed.chmod(0o600)

    ended = subprocess.run([*WITHOUT_RIGHTS, *CLEW, *command], capture_output=True, text=True, check=False)
    closed.chmod(0o700)

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert re.search(rf"{closed}/\S+: Permission denied; `clew doctor` looks for the cause$", ended.stderr)
