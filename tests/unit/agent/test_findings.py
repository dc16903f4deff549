"""What is wrong with directories and disks is found on real ones, each kind alone."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew import config
from clew.agent.diagnosis import diagnose
from clew.spool.bounds import spool_bytes
from clew.spool.directory import make_private_directory
from clew.spool.writer import Writer
from support.commands import CLEW, WITHOUT_RIGHTS
from support.fix_disk import fill
from support.odd_files import make_odd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clew.config import Settings

SMALL = 64 * 1024
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the environment of the test run says away."""
    for name in [name for name in os.environ if name.startswith("CLEW_") and name != "CLEW_TEST_DSN"]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a machine that is as it should be: a private spool, and a sink."""
    made = load(tmp_path)
    make_private_directory(made.spool_dir)
    return made


def load(home: Path, **given: Any) -> Settings:
    """Load settings that ship to a file."""
    return config.load(data_dir=home / "data", sinks=["console"], console=home / "shipped.jsonl", **given)


def found(settings: Settings) -> list[tuple[str, str]]:
    """Return the kind of each finding, and what it is about."""
    return [(finding.code, finding.subject) for finding in diagnose(settings).findings]


@pytest.fixture
def closed() -> Iterator[Callable[[Path, int], None]]:
    """Give a function that changes the mode of a directory, until the test ends."""
    changed: list[Path] = []

    def change(path: Path, mode: int) -> None:
        path.chmod(mode)
        changed.append(path)

    yield change
    for path in reversed(changed):
        path.chmod(0o700)


def doctor(settings: Settings, *prefix: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the command as a user whom permissions bind; return its exit code and the findings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")}
    environment |= {"CLEW_SINKS": "console", "CLEW_CONSOLE": str(settings.console)}
    command = [*(prefix or WITHOUT_RIGHTS), *CLEW, "doctor", "--json", "--data", str(settings.data_dir)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, json.decode(done.stdout)["findings"]


def test_nothing_is_wrong_where_all_is_well(settings: Settings) -> None:
    """Neither where a private spool is, nor where it is still to be made."""
    assert found(settings) == []
    settings.spool_dir.rmdir()
    settings.data_dir.rmdir()

    assert found(settings) == []
    assert not settings.data_dir.exists(), "a diagnosis changes nothing"


@pytest.mark.parametrize("kind", ["file", "fifo", "socket", "loop", "dangling"])
@pytest.mark.parametrize("place", ["data", "data/spool"])
def test_something_else_in_the_place_of_a_directory_is_named(tmp_path: Path, place: str, kind: str) -> None:
    """The spool, or a directory above it; named once, with what to do."""
    odd = tmp_path / place
    odd.parent.mkdir(exist_ok=True, mode=0o700)
    if kind == "file":
        odd.touch()
    elif kind == "dangling":
        odd.symlink_to(tmp_path / "gone")
    else:
        make_odd(odd, kind)

    diagnosis = diagnose(load(tmp_path))

    assert [(finding.code, finding.subject) for finding in diagnosis.findings] == [("not_a_directory", str(odd))]
    assert "move it away, or set CLEW_SPOOL_DIR or CLEW_DATA_DIR" in diagnosis.findings[0].remedy


@pytest.mark.parametrize(
    ("place", "mode", "action"),
    [
        ("data/spool", 0o500, "read from and write to"),
        ("data/spool", 0o300, "read from and write to"),
        ("data", 0o600, "enter"),
        ("data", 0o000, "enter"),
    ],
)
def test_a_directory_that_this_user_may_not_use_is_named(
    settings: Settings, tmp_path: Path, place: str, mode: int, action: str, closed: Callable[[Path, int], None]
) -> None:
    """The one whose rights are to be mended, by the command that mends them."""
    closed(tmp_path / place, mode)

    status, findings = doctor(settings)

    assert status == 1
    (finding,) = [finding for finding in findings if finding["code"] == "not_writable"]
    assert (finding["subject"], finding["severity"]) == (str(tmp_path / place), "error")
    assert action in finding["problem"]
    assert f"with mode {mode:04o}" in finding["problem"]
    assert "CLEW_DATA_DIR" in finding["remedy"]


def test_the_command_that_is_named_mends_it(settings: Settings, closed: Callable[[Path, int], None]) -> None:
    """Run as it is written, it leaves nothing to find."""
    closed(settings.spool_dir, 0o500)
    _, findings = doctor(settings)

    subprocess.run(findings[0]["remedy"].partition(", or")[0], shell=True, check=True)

    assert doctor(settings) == (0, [])


def test_a_spool_that_cannot_be_made_is_named(tmp_path: Path, closed: Callable[[Path, int], None]) -> None:
    """It is the directory above it that lets nobody."""
    (tmp_path / "data").mkdir(mode=0o700)
    closed(tmp_path / "data", 0o500)

    status, findings = doctor(load(tmp_path))

    assert (status, {finding["code"] for finding in findings}) == (1, {"not_writable"})
    assert f"may not make {tmp_path / 'data' / 'spool'}" in findings[0]["problem"]
    assert "install -d" in findings[0]["remedy"]


def test_a_file_system_that_is_read_only_is_named(
    tmp_path: Path, mount_disk: Callable[[Path, int | str], Path]
) -> None:
    """Even root may not write there; the advice is no change of modes."""
    mount_disk(tmp_path / "data", "1m,ro")

    diagnosis = diagnose(load(tmp_path, spool_keep_free_bytes=0, segment_bytes=SMALL))

    problems = {finding.problem for finding in diagnosis.findings if finding.code == "not_writable"}
    assert problems == {f"{tmp_path / 'data'} is on a file system that is read-only"}


@as_root
def test_a_spool_of_somebody_else_is_named(settings: Settings) -> None:
    """Root may write to it, and the owner of the spool could not read what it writes."""
    os.chown(settings.spool_dir, NOBODY, -1)

    (finding,) = diagnose(settings).findings

    assert (finding.code, finding.severity) == ("other_owner", "warning")
    assert "belongs to user nobody, and you are user root" in finding.problem


@as_root
def test_a_part_of_the_spool_that_root_has_made_is_named(settings: Settings) -> None:
    """A service that ran once as root: the directory of its name is closed to it from then on."""
    os.chown(settings.data_dir, NOBODY, -1)
    os.chown(settings.spool_dir, NOBODY, -1)
    (settings.spool_dir / "rag-api").mkdir(mode=0o700)
    reachable = [path for path in settings.data_dir.parents if not path.stat().st_mode & 0o001]
    modes = {path: path.stat().st_mode & 0o7777 for path in reachable}
    for path in reachable:
        path.chmod(modes[path] | 0o001)

    try:
        status, findings = doctor(settings, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    finally:
        for path, mode in modes.items():
            path.chmod(mode)

    named = {(finding["code"], finding["subject"]) for finding in findings}
    part = str(settings.spool_dir / "rag-api")
    assert (status, named - {("sink_unusable", "console")}) == (1, {("other_owner", part), ("odd_file", part)})


@pytest.mark.parametrize("name", ["spool_dir", "data_dir"])
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_may_look_into_is_named(settings: Settings, name: str, mode: int) -> None:
    """With the command that closes it."""
    path: Path = getattr(settings, name)
    path.chmod(mode)

    (finding,) = diagnose(settings).findings

    assert (finding.code, finding.severity, finding.subject) == ("open_to_others", "warning", str(path))
    assert finding.remedy == f"chmod 700 {path}"


def test_a_disk_without_room_is_named(tmp_path: Path, mount_disk: Callable[[Path, int | str], Path]) -> None:
    """At the bound at which writers stop: less than what is kept free and a segment."""
    disk = mount_disk(tmp_path / "data", "4m,mode=700")
    roomy = load(tmp_path, spool_keep_free_bytes=1024 * 1024, segment_bytes=SMALL)
    before = found(roomy)
    fill(disk / "file", but=1024 * 1024 + SMALL // 2)

    assert (before, found(roomy)) == ([], [("disk_full", str(disk))])
    assert found(load(tmp_path, spool_keep_free_bytes=0, segment_bytes=SMALL)) == []


def test_a_disk_without_inodes_is_named(tmp_path: Path, mount_disk: Callable[[Path, int | str], Path]) -> None:
    """There is room, and no file can be made."""
    disk = mount_disk(tmp_path / "data", "4m,mode=700,nr_inodes=40")
    settings = load(tmp_path, spool_keep_free_bytes=0, segment_bytes=SMALL)
    before = found(settings)
    for number in range(30):
        (disk / str(number)).touch()

    assert (before, found(settings)) == ([], [("no_inodes", str(disk))])


def write_log(spool: Path, events: int) -> None:
    """Write a log of so many events of 8 KB."""
    writer = Writer(spool, service="rag-api", segment_bytes=SMALL)
    for _ in range(events):
        assert writer.append(b'{"pad":"%s"}' % (b"x" * 8000))
    writer.close()


@pytest.mark.parametrize(
    ("share", "code", "meaning"),
    [
        (0.70, None, ""),
        (0.85, "spool_nearly_full", "debug logs are dropped"),
        (0.96, "spool_nearly_full", "all but warnings, errors, requests and scores are dropped"),
        (0.99, "spool_full", "no log can grow"),
        (1.50, "spool_full", "no log can grow"),
    ],
)
def test_a_spool_near_its_bound_is_named(tmp_path: Path, share: float, code: str | None, meaning: str) -> None:
    """From 80 % on events are dropped; in the end nothing can be written, whatever room the disk has."""
    write_log(tmp_path / "data" / "spool", 300)
    bound = int(spool_bytes(tmp_path / "data" / "spool") / share)
    settings = load(tmp_path, spool_max_bytes=bound, segment_bytes=SMALL)

    findings = [finding for finding in diagnose(settings).findings if finding.code != "no_agent"]

    assert [finding.code for finding in findings] == ([code] if code else [])
    assert all(finding.meaning.startswith(meaning) for finding in findings)
    assert all("CLEW_SPOOL_MAX_BYTES" in finding.remedy for finding in findings)


def test_a_bound_below_one_segment_is_named(tmp_path: Path) -> None:
    """Nothing can ever be written then."""
    assert found(load(tmp_path, spool_max_bytes=0))[0][0] == "spool_full"
