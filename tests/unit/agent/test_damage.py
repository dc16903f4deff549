"""What a log lost to damage is counted, said by an event, and kept."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from msgspec import json

from clew import config
from clew.agent.supervisor import Supervisor
from clew.delivery.accounts import read_account
from clew.spool.directory import segment_name
from clew.spool.writer import Writer
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = 64 * 1024
EVENTS = 2000


def flip_salt(path: Path) -> None:
    """Flip a bit of the salt."""
    raw = bytearray(path.read_bytes())
    raw[12] ^= 1
    path.write_bytes(raw)


def foreign(path: Path) -> None:
    """Put a segment of another log in its place."""
    other = Writer(path.parents[3] / "other", service="other", segment_bytes=SMALL)
    other.append(b'{"kind":"log","i":-1}')
    other.close()
    shutil.copy(other.directory / segment_name(1), path)


KINDS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "zeroed": lambda path: path.write_bytes(bytes(SMALL)),
    "emptied": lambda path: path.write_bytes(b""),
    "salt": flip_salt,
    "no header": lambda path: path.write_bytes(bytes(64) + path.read_bytes()[64:]),
    "foreign": foreign,
}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_in_the_accounts_and_an_event(kind: str, tmp_path: Path) -> None:
    """Before an agent came and after the log is gone: bytes and events are counted, the identity holds, a line is said."""
    settings, said, sink = config.load(data_dir=tmp_path), list[str](), RecordingSink("s")
    writer = Writer(settings.spool_dir, service="rag-api", segment_bytes=SMALL)
    for i in range(EVENTS):
        writer.append(b'{"kind":"log","i":%d,"pad":"%s"}' % (i, b"x" * 60))
    writer.close()
    KINDS[kind](writer.directory / segment_name(2))

    before = read_account(settings.spool_dir)
    supervisor = Supervisor(settings, sinks=[sink], report=said.append)
    supervisor.start()
    assert supervisor.drain(30.0)
    supervisor.stop()
    after = read_account(settings.spool_dir)

    (log,), totals = before.logs, after.sinks["s"]
    events = [json.decode(payload) for payload in sink.payloads()]
    (told,) = [event["context"] for event in events if event.get("message") == "events_dropped"]
    numbers = [event["i"] for event in events if "i" in event]
    assert len(numbers) == len(set(numbers)) < EVENTS
    assert after.logs == []
    assert after.damaged_bytes == before.damaged_bytes == log.damaged_bytes == told["damaged_bytes"] > 0
    assert after.dropped == told["dropped"] == {"damaged": totals.dropped}
    assert totals.dropped >= 1
    assert (totals.is_balanced, totals.pending, totals.delivered) == (True, 0, len(numbers) + 1)
    assert totals.emitted <= EVENTS + 1
    assert kind not in {"salt", "no header"} or totals.emitted == EVENTS + 1
    assert any("cannot be read" in line for line in said)
