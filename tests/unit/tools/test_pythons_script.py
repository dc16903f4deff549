"""`make test-pythons`: each Python that is here has its turn, and the last lines say how each did."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "tools" / "test_pythons.sh"
STAND_IN = """#!/bin/sh
case $* in
*venv*--clear*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
*pytest*) echo "suite of {version}"; exit {status} ;;
esac
"""
"""What stands for a Python: it makes a venv that has it inside, installs nothing, and its suite ends with a status."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a directory that has what the script looks at."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.txt").touch()
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def run(project: Path, *wanted: str, **statuses: int) -> subprocess.CompletedProcess[str]:
    """Run the script where only these Pythons are, each with the status of its suite."""
    programs = project / "programs"
    programs.mkdir()
    for name, status in statuses.items():
        version = name.replace("python", "").replace("_", ".")
        (programs / f"python{version}").write_text(STAND_IN.format(version=version, status=status))
        (programs / f"python{version}").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYENV_ROOT": str(project),
        "XDG_DATA_HOME": str(project),
    }
    return subprocess.run(
        ["sh", str(SCRIPT), *wanted], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_a_python_that_fails_keeps_none_of_the_others_from_running(project: Path) -> None:
    """The first one to fail used to be the last one to run."""
    done = run(project, "9.1 9.2 9.3 9.4", python9_1=0, python9_2=1, python9_4=0)

    assert [line for line in done.stdout.splitlines() if line.startswith("suite")] == [
        "suite of 9.1",
        "suite of 9.2",
        "suite of 9.4",
    ]
    assert done.stdout.splitlines()[-3:] == ["passed on: 9.1 9.4", "failed on: 9.2", "not here: 9.3"]
    assert done.returncode == 1


def test_a_venv_that_cannot_be_made_is_a_failure(project: Path) -> None:
    """What could not be set up was not run, and the others are."""
    (project / ".venv-9.1").touch()

    done = run(project, "9.1 9.2", python9_1=0, python9_2=0)

    assert done.stdout.splitlines()[-3:] == ["passed on: 9.2", "failed on: 9.1", "not here: none"]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("wanted", "summary", "status"),
    [
        (["9.1 9.2 9.3"], ["passed on: 9.1 9.2 9.3", "failed on: none", "not here: none"], 0),
        (["some:2", "9.3 9.8 9.2 9.1"], ["passed on: 9.3 9.2", "failed on: none", "not here: 9.8"], 0),
        (["9.8 9.9"], ["passed on: none", "failed on: none", "not here: 9.8 9.9"], 1),
        (["some:2", "9.8 9.9"], ["passed on: none", "failed on: none", "not here: 9.8 9.9"], 0),
    ],
)
def test_the_status_is_that_of_all(project: Path, wanted: list[str], summary: list[str], status: int) -> None:
    """None at all is a failure, but where only some of them were asked for."""
    done = run(project, *wanted, python9_1=0, python9_2=0, python9_3=0)

    assert (done.stdout.splitlines()[-3:], done.returncode) == (summary, status)
