"""The smallest sink, and the way to name sinks."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from msgspec import json

from clew import config
from clew.agent.sinks import make_sinks
from clew.errors import AgentError, ConfigError
from clew.sinks.base import Batch, Delivered, Producer, Retry
from clew.sinks.console import ConsoleSink, make
from clew.spool.directory import new_producer_id
from clew.spool.format import position_of
from clew.spool.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

PRODUCER = Producer(new_producer_id(1_700_000_000_000_000_000), "rag-api")
START, END = position_of(1, 64), position_of(1, 164)


def test_a_line_is_the_event_with_its_id(tmp_path: Path) -> None:
    """Every event becomes one line of JSON in the public format."""
    sink = make(config.load(data_dir=tmp_path, console=tmp_path / "events.jsonl"))

    outcome = sink.deliver(Batch(PRODUCER, [(START, b'{"message":"told"}')], START, END))
    sink.close()

    assert outcome == Delivered()
    (line,) = (tmp_path / "events.jsonl").read_bytes().splitlines()
    event = json.decode(line)
    assert event["message"] == "told"
    assert event["event_id"].startswith(PRODUCER.id[:24])


def test_a_closed_stream_means_try_again(tmp_path: Path) -> None:
    """Trouble with the stream holds the events."""
    stream = (tmp_path / "events.jsonl").open("ab")
    stream.close()

    assert isinstance(ConsoleSink(stream).deliver(Batch(PRODUCER, [(START, b"{}")], START, END)), Retry)


def test_the_agent_ships_to_sinks_named_in_the_environment(tmp_path: Path) -> None:
    """CLEW_SINKS=console prints what producers left, without any store."""
    writer = Writer(tmp_path / "spool", service="rag-api", segment_bytes=64 * 1024)
    for i in range(3):
        writer.append(b'{"kind":"log","i":%d}' % i)
    writer.close()

    ran = subprocess.run(
        [sys.executable, "-m", "clew.agent", "--until-idle"],
        env={"CLEW_DATA_DIR": str(tmp_path), "CLEW_SINKS": "console", "PATH": ""},
        capture_output=True,
        check=True,
        timeout=30,
    )

    assert [json.decode(line)["i"] for line in ran.stdout.splitlines()] == [0, 1, 2]


def test_a_sink_that_is_not_installed_is_told_with_those_that_are(tmp_path: Path) -> None:
    """A wrong name is the operator's mistake, and the right ones are named."""
    with pytest.raises(ConfigError, match="console"):
        make_sinks(config.load(data_dir=tmp_path, sinks=["kafka"]))


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """A console file in a directory that is not there ends in one clear error."""
    with pytest.raises(AgentError, match="cannot be made"):
        make_sinks(config.load(data_dir=tmp_path, sinks=["console"], console=tmp_path / "none" / "x.jsonl"))
