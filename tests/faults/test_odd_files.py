"""Something else than a file, or a file that means nothing, where the spool has one: it costs that log at most."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from msgspec import json

from clew import config
from clew.spool.directory import segment_name
from clew.spool.writer import Writer
from support.odd_files import ODD_KINDS, make_odd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faults.conftest import Place

SMALL = 64 * 1024
EVENTS = 1000
FILES = [segment_name(1), segment_name(2), segment_name(7), "cursor-console", "lock", "agent.lock", "producer.json"]
FILES += ["losses", "vitals", "closed", "reserve", "open-spans.json", "open-spans.json.tmp"]
SHARED = [".agents/ledger.json", ".agents/ledger", ".agents/auto.lock", ".dead/console.jsonl", ".dead/console.lock"]
LOST_WITH = {segment_name(1), segment_name(2), "lock", "agent.lock"}
"""What a log cannot do without, at least in part."""


def write_log(spool: Path, lane: str) -> Path:
    """Write a log of two segments and a half; return its directory."""
    writer = Writer(spool, service="odd", identity=b'{"service":"odd"}', segment_bytes=SMALL)
    event: dict[str, Any] = {"timestamp": "2026-01-01T00:00:00Z", "kind": "log", "level": "INFO", "message": "told"}
    for n in range(EVENTS):
        writer.append(json.encode(event | {"context": {"lane": lane, "n": n}, "metrics": {}}))
    writer.close()
    return writer.directory


def run_agent(place: Place, environment: dict[str, str]) -> list[str]:
    """Run an agent until it is idle; return what it said."""
    environment |= {"CLEW_SINKS": "console", "CLEW_CONSOLE": str(place.data / "console.jsonl")}
    command = [sys.executable, "-m", "clew.agent", "--until-idle"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def spool_status(environment: dict[str, str], *options: str) -> str:
    """Ask for the status of the spool."""
    command = [sys.executable, "-m", "clew", "spool", "status", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout


def shipped(place: Place) -> dict[str, list[int]]:
    """Read what was shipped, by lane."""
    lanes: dict[str, list[int]] = {}
    for line in (place.data / "console.jsonl").read_bytes().splitlines():
        context = json.decode(line)["context"]
        if "lane" in context:
            lanes.setdefault(context["lane"], []).append(context["n"])
    return lanes


def assert_one_line_each(lines: Iterable[str], paths: Iterable[str]) -> None:
    """Assert that a line is about each path, or where it was set aside to, and that nothing is said twice."""
    told = list(lines)
    assert len(told) == len(set(told))
    for path in paths:
        assert [line for line in told if f"{path}:" in line or f"{path}.unreadable:" in line], path


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_an_odd_file_costs_its_log_at_most(kind: str, place: Place, environment: dict[str, str]) -> None:
    """The agent ships every other log whole and ends; each is reported once, and shown by the status."""
    spool, directories = config.load(data_dir=place.data).spool_dir, dict[str, Path]()
    for name in ("sound", *FILES):
        directories[name] = write_log(spool, name)
    for name in FILES:
        make_odd(directories[name] / name, kind)

    lines = run_agent(place, environment)
    lanes, status = shipped(place), json.decode(spool_status(environment, "--json"))

    whole = {lane for lane, numbers in lanes.items() if numbers == list(range(EVENTS))}
    assert all(len(numbers) == len(set(numbers)) for numbers in lanes.values())
    assert whole >= {"sound", *FILES} - LOST_WITH
    assert len(lanes[segment_name(2)]) > EVENTS / 4
    left = {name for name, directory in directories.items() if directory.exists()}
    assert left == {"lock", "agent.lock"}
    assert {oddity["path"] for oddity in status["oddities"]} == {
        f"odd/{directories[name].name}/{name}" for name in left
    }
    assert all(
        totals["emitted"] == sum(totals[part] for part in list(totals)[1:5]) for totals in status["sinks"].values()
    )
    assert_one_line_each(lines, [f"{directories[name].name}/{name}" for name in FILES if name != "closed"])


@pytest.mark.parametrize("kind", ODD_KINDS)
@pytest.mark.parametrize("name", SHARED)
@pytest.mark.faults
def test_an_odd_file_of_the_agents_costs_no_log(
    name: str, kind: str, place: Place, environment: dict[str, str]
) -> None:
    """Events are shipped all the same, and whoever runs the agent is told what to put right."""
    spool = config.load(data_dir=place.data).spool_dir
    write_log(spool, "sound")
    (spool / name).parent.mkdir(exist_ok=True)
    make_odd(spool / name, kind)

    lines = run_agent(place, environment)

    assert shipped(place) == {"sound": list(range(EVENTS))}
    assert_one_line_each(lines, [name])
    assert name in spool_status(environment)


@pytest.mark.parametrize(
    "content",
    [
        b'{"version":99,"position":{"segment":3},"producers":7,"open":[1]}',
        b"",
        b"{",
        b"\xff" * 2000,
        b"[]",
        b'{"position":-1,"seen":-5}',
        b'{"position":4611686018427387904,"seen":7,"open":{}}',
    ],
    ids=["version", "empty", "cut", "garbage", "list", "negative", "future"],
)
def test_a_state_that_means_nothing_begins_anew(content: bytes, place: Place, environment: dict[str, str]) -> None:
    """Garbage, a part of a file, and a state of a later version cost what they held: everything is shipped, and accounted for."""
    spool = config.load(data_dir=place.data).spool_dir
    for name in FILES[3:]:
        (write_log(spool, name) / name).write_bytes(content)
    (spool / ".agents").mkdir()
    (spool / ".agents" / "ledger.json").write_bytes(content)

    run_agent(place, environment)
    status = json.decode(spool_status(environment, "--json"))

    assert shipped(place) == {name: list(range(EVENTS)) for name in FILES[3:]}
    (totals,) = status["sinks"].values()
    assert totals["emitted"] == totals["delivered"] == EVENTS * len(FILES[3:])


def test_a_copy_of_a_log_is_not_shipped_again(place: Place, environment: dict[str, str]) -> None:
    """A whole directory under another name, be it an id or not, is reported and left as it is."""
    spool = config.load(data_dir=place.data).spool_dir
    original = write_log(spool, "original")
    copies = [original.with_name(str(UUID(int=UUID(original.name).int + (1 << 60)))), original.with_name("backup")]
    for copy in copies:
        shutil.copytree(original, copy)

    lines = run_agent(place, environment)
    status = json.decode(spool_status(environment, "--json"))

    assert shipped(place) == {"original": list(range(EVENTS))}
    assert sorted(path.name for path in (spool / "odd").iterdir()) == sorted(copy.name for copy in copies)
    assert {oddity["path"] for oddity in status["oddities"]} == {f"odd/{copy.name}" for copy in copies}
    assert (status["sinks"]["console"]["emitted"], status["sinks"]["console"]["pending"]) == (EVENTS, 0)
    assert_one_line_each(lines, [f"odd/{copy.name}" for copy in copies])


def test_an_agent_without_descriptors_tries_again(place: Place, environment: dict[str, str]) -> None:
    """With forty files at most, three of which are there at once, every log is shipped whole, one after the other."""
    spool = config.load(data_dir=place.data).spool_dir
    lanes = [f"lane-{number}" for number in range(25)]
    for lane in lanes:
        write_log(spool, lane)

    environment |= {"CLEW_SINKS": "console", "CLEW_CONSOLE": str(place.data / "console.jsonl")}
    command = ["prlimit", "--nofile=40:40", sys.executable, "-m", "clew.agent", "--until-idle"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)

    assert done.returncode == 0, done.stderr
    assert shipped(place) == {lane: list(range(EVENTS)) for lane in lanes}
    (totals,) = json.decode(spool_status(environment, "--json"))["sinks"].values()
    assert totals["emitted"] == totals["delivered"] == EVENTS * len(lanes)
