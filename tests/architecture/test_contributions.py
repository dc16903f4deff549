"""The form of the changelog and of commits, as CONTRIBUTING states it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
"""What a version may have, in the order of Keep a Changelog."""

MAX_LINE = 330
LINE = re.compile(r"\* \*\*([A-Z][a-z A-Z]+)\*\*: \S.*\.")
VERSION = re.compile(r"## \[(?:Unreleased|\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d)\]?")
COMMIT = re.compile(r"(?=.{1,100}$)[a-z][a-z0-9_./, -]*: [a-z0-9`].*[^.\s]|Revert \".+\"")


def subjects() -> list[str]:
    """Read the subjects of the changelog out of CONTRIBUTING."""
    listed = re.search(r"in the order of these subjects: (.*?)\.", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert listed is not None
    return listed[1].split(", ")


def problems(changelog: str, known: list[str]) -> list[str]:
    """List what is wrong with the form of a changelog."""
    found: list[str] = []
    section, last = "", -1
    for line in changelog.partition("\n## ")[2].splitlines()[1:]:
        if not line:
            continue
        if line.startswith("## "):
            section, last = "", -1
            found += [] if VERSION.fullmatch(line) else [f"not a version: {line}"]
        elif line.startswith("### "):
            is_next = line[4:] in SECTIONS and (not section or SECTIONS.index(section) < SECTIONS.index(line[4:]))
            found += [] if is_next else [f"not a section, or not here: {line}"]
            section, last = line[4:], -1
        elif not section or not (entry := LINE.fullmatch(line)) or len(line) > MAX_LINE:
            found.append(f"not of the form `* **Subject**: what a user sees.`, or too long: {line}")
        elif entry[1] not in known or known.index(entry[1]) < last:
            found.append(f"not a subject, or not in their order: {line}")
        else:
            last = known.index(entry[1])
    return found


def test_the_changelog_has_its_form() -> None:
    """Every line names its subject and says one thing; sections and subjects are in their order."""
    assert problems((ROOT / "CHANGELOG.md").read_text("utf-8"), subjects()) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("### Added\n\n* **Spool**: one.\n* **Agent**: two.\n\n### Fixed\n\n* **Spool**: three.\n", ""),
        ("### Added\n\n* **Agent**: one.\n* **Spool**: two.\n", "not in their order"),
        ("### Added\n\n* **Kitchen**: one.\n", "not a subject"),
        ("### Added\n\n* Spool: one.\n", "not of the form"),
        ("### Added\n\n* **Spool**: no full stop\n", "not of the form"),
        ("### Added\n\n* **Spool**: " + "long " * 80 + "line.\n", "too long"),
        ("* **Spool**: below nothing.\n", "not of the form"),
        ("### Fixed\n\n### Added\n", "not here"),
        ("### News\n", "not a section"),
        ("## [0.1.0] - 2026-12-01\n\n### Added\n\n* **Spool**: one.\n", ""),
        ("## 0.1\n", "not a version"),
    ],
)
def test_the_look_at_the_changelog_sees_what_is_wrong(body: str, problem: str) -> None:
    """Each part of the form can fail."""
    found = problems(f"# Changelog\n\n## [Unreleased]\n\n{body}", ["Spool", "Agent"])

    assert len(found) == bool(problem)
    assert all(problem in line for line in found)


def test_commits_that_are_not_pushed_have_their_form() -> None:
    """They can still be changed; nothing is looked at where there is no clone with a main branch to push to."""
    unpushed = subprocess.run(
        ["git", "log", "--no-merges", "--format=%s", "origin/main..HEAD"],
        cwd=ROOT, capture_output=True, check=False, text=True,
    )  # fmt: skip

    assert [subject for subject in unpushed.stdout.splitlines() if not COMMIT.fullmatch(subject)] == []


@pytest.mark.parametrize(
    ("subject", "is_good"),
    [
        ("spool: keep a log whose lock file was closed", True),
        ("agent, emit: count what is lost", True),
        ("store/postgres: read `events` once", True),
        ('Revert "spool: keep a log"', True),
        ("Keep a log whose lock file was closed", False),
        ("spool: Keep a log", False),
        ("spool: keep a log.", False),
        ("spool:keep a log", False),
        ("spool: " + "a" * 100, False),
    ],
)
def test_the_look_at_commits_sees_what_is_wrong(subject: str, is_good: bool) -> None:
    """A component, a colon, an imperative in lower case, no full stop, a hundred characters."""
    assert bool(COMMIT.fullmatch(subject)) is is_good
