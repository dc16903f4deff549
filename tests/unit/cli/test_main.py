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
        (["nope"], "clew: clew has no command 'nope'; the commands are up, demo, fault, trace"),
        (["trce"], "clew: clew has no command 'trce'; did you mean trace? the commands are up, "),
        (["trace"], "clew: ID is missing; for example: clew trace 550e8400-e29b-41d4-a716-446655440000"),
        (["diff", "a"], "clew: TRACE_BAD is missing; for example: clew diff "),
        (["trace", "a", "b"], "clew: clew trace does not take the argument 'b'; for example: clew trace "),
        (["logs", "--nope"], "clew: clew logs has no option --nope; the options are --since, --until"),
        (["costs", "--sinse", "1h"], "clew: clew costs has no option --sinse; did you mean --since? the options are"),
        (["costs", "-z"], "clew: clew costs has no option -z; the options are --since"),
        (
            ["--vresion"],
            "clew: clew has no option --vresion; did you mean --version? the options are --version, --help",
        ),
        (["logs", "--since"], "clew: --since needs a value"),
        (["costs", "--json=1"], "clew: --json takes no value"),
        (["up", "--port", "many"], "clew: the value of --port is not valid: "),
        (["logs", "--limit", "many"], "clew: limit is 'many', which is not a whole number"),
        (["store", "migrat"], "clew: clew store has no command 'migrat'; did you mean migrate? the commands are"),
        (["token", "create"], "clew: --name is missing; for example: clew token create --name grafana"),
    ],
)
def test_bad_usage_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str], begin: str) -> None:
    """What cannot be understood is one sentence on stderr, with what would be right."""
    assert run(arguments) == 2

    out, err = capsys.readouterr()
    assert err.startswith(begin)
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize("group", [[], ["store"], ["spool"], ["dead"], ["token"]])
def test_a_group_without_a_command_lists_its_commands(capsys: pytest.CaptureFixture[str], group: list[str]) -> None:
    """The help goes to stderr, since nothing was done; it has no options that are not ours."""
    assert run(group) == 2

    out, err = capsys.readouterr()
    assert err.startswith(" ".join(["Usage: clew", *group]))
    assert "completion" not in err
    assert out == ""


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
