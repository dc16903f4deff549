"""The command line itself: help, version, errors, and what it imports."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from clew.cli.main import run
from clew.cli.registry import COMMANDS

CLEW = str(Path(sys.executable).parent / "clew")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Clew --version prints the installed version."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"clew {version('clew')}\n"


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Clew --help lists what there is."""
    assert run(["--help"]) == 0

    out = capsys.readouterr().out
    assert all(f"\n  {name}" in out for name in COMMANDS)


@pytest.mark.parametrize("command", [["trace"], ["logs"], ["server"], ["store", "migrate"], ["store", "status"]])
def test_every_command_explains_itself_with_an_example(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """Each command's help has an example and --json."""
    assert run([*command, "--help"]) == 0

    out = capsys.readouterr().out
    assert "Example: " in out
    assert "clew " + " ".join(command) in " ".join(out.split())
    assert "--json" in out


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        (["nope"], "Error: "),
        (["trace"], "Error: "),
        (["logs", "--nope"], "Error: "),
        (["logs", "--limit", "many"], "clew: limit is 'many', which is not a whole number"),
        (["store", "nope"], "Error: "),
    ],
)
def test_bad_usage_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str], begin: str) -> None:
    """What cannot be parsed is said on stderr, without a traceback."""
    assert run(arguments) == 2

    out, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith(begin)
    assert "Traceback" not in err + out


def test_a_fault_of_ours_is_one_line_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw is a line that says how to see more."""
    monkeypatch.setitem(COMMANDS, "logs", ("clew.cli.commands.logs", "no_such_function"))

    assert run(["logs"]) == 1

    err = capsys.readouterr().err
    assert "AttributeError" in err
    assert "CLEW_DEBUG=1" in err
    assert err.count("\n") == 1


def test_a_command_whose_packages_are_missing_says_which(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Help still works, and the command names the package and how to get it."""
    monkeypatch.setitem(COMMANDS, "logs", ("no_such_package.logs", "logs"))

    assert run(["--help"]) == 0
    assert "no_such_package" in capsys.readouterr().out
    assert run(["logs", "--since", "1h"]) == 1
    assert "pip install 'clew[all]'" in capsys.readouterr().err


def test_a_command_imports_what_it_needs_and_no_more() -> None:
    """Asking the store does not import the server's packages."""
    script = (
        "import sys; from clew.cli.main import run; run(['logs', '--help']);"
        "print([name for name in ('fastapi', 'uvicorn', 'clew.server') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_error() -> None:
    """Clew --help | head -1 ends quietly."""
    done = subprocess.run(["bash", "-c", f"{CLEW} --help | head -1"], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("Usage: clew")
    assert done.stderr == ""
