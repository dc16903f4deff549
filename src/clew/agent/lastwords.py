"""What a dead process could not say any more, appended to its own log.

For each span it left open, a closing ``span`` with ``status: aborted`` and how the process ended; for
what it had to drop and could not report, one ``events_dropped``. A relay, which hands on what other
processes reported it, leaves open what is not its own: they may live on, and end their spans through the
next one. The last words stand behind the process's last
record, so every sink gets them in order, with ids of their own.

How a process ended, as far as it can be known from outside and afterwards:

============ =============================================================================
exited       it closed its log: the interpreter ended in good order
rebooted     the machine was started anew since
oom_killed   the kernel's log names it as a victim, or its memory cgroup counts a new one
killed       none of these: a signal, ``os._exit``, or a crash of the interpreter
============ =============================================================================
"""

from __future__ import annotations

import contextlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from msgspec import json

from clew.delivery.open_spans import DAMAGED, read_progress
from clew.emit.identity import boot_id, count_oom_kills
from clew.spool.directory import segment_numbers
from clew.spool.format import (
    HEADER_BYTES,
    MAGIC,
    RECORD_HEADER_BYTES,
    Position,
    checksum,
    pack_record,
    split_position,
)
from clew.spool.kept import kept_numbers
from clew.spool.life.vitals import read_vitals
from clew.spool.losses import note_reported, read_losses, read_reported
from clew.spool.segment import Segment, trim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clew.agent.log import ProducerLog
    from clew.emit.identity import Identity

__all__ = ["Ending", "append_last_words", "how_it_ended"]

CLOSING_SEGMENT_BYTES: Final = 64 * 1024
KERNEL_LOG_LINES: Final = 20_000

_VICTIM = re.compile(rb"[Kk]illed process (\d+)")
_TELLING: Final = {
    "exited": "ended in good order",
    "rebooted": "vanished when its machine went down",
    "oom_killed": "was killed for want of memory",
    "killed": "was killed or crashed",
}


class Ending(NamedTuple):
    """How a process ended.

    Attributes:
        how: ``"exited"``, ``"rebooted"``, ``"oom_killed"`` or ``"killed"``.
        facts: What is known besides: pid, host, last sample of memory and CPU.
    """

    how: str
    facts: dict[str, Any]


def how_it_ended(log: ProducerLog) -> Ending:
    """Find out how the writer of *log*, which is dead, ended."""
    who = log.identity
    facts: dict[str, Any] = {"pid": who.pid, "host": who.host}
    sample = read_vitals(log.directory)
    if sample is not None:
        facts |= {
            "last_seen": datetime.fromtimestamp(sample.at_ns / 1e9, UTC),
            "rss_bytes": sample.rss_bytes,
            "peak_rss_bytes": sample.peak_rss_bytes,
            "cpu_s": round(sample.cpu_ns / 1e9, 3),
            "threads": sample.threads,
        }
    if log.ended_well:
        return Ending("exited", facts)
    if who.boot_id is not None and who.boot_id != boot_id():
        return Ending("rebooted", facts)
    return Ending("oom_killed" if _was_out_of_memory(who) else "killed", facts)


def append_last_words(
    log: ProducerLog, open_spans: Iterable[bytes], *, damaged_bytes: int = 0, damaged_events: int = 0
) -> int:
    """Append what the dead writer of *log* could not say.

    Args:
        log: Its log, owned by this agent.
        open_spans: The ``span_start`` events without an end.
        damaged_bytes: Bytes of the log that cannot be read, and that no event has reported.
        damaged_events: How many events were in them, at least.

    Returns:
        How many events were appended.

    Raises:
        OSError: The disk refused; call again later.
        SpoolError: There is no room; call again later.
    """
    ending, now = how_it_ended(log), datetime.now(UTC)
    own_spans = () if log.identity.is_relay else open_spans
    payloads = [_closing_event(start, ending, now) for start in own_spans]
    dropped, reported = read_losses(log.directory), read_reported(log.directory)
    unreported = {reason: number - reported.get(reason, 0) for reason, number in dropped.items()}
    unreported = {reason: number for reason, number in unreported.items() if number > 0}
    if damaged_bytes:
        unreported[DAMAGED] = damaged_events
    if unreported:
        payloads.append(_loss_event(log, unreported, now, damaged_bytes))
    if payloads:
        _append(log, payloads)
    if unreported:
        note_reported(log.directory, dropped)  # the log may come back from those that were shipped
    return len(payloads)


def _closing_event(start: bytes, ending: Ending, now: datetime) -> bytes:
    """Write the ``span`` that ends the span begun by *start*, as aborted."""
    event: dict[str, Any] = json.decode(start)
    # The span ended when its process did; its last sample is the closest that is known.
    ended_at = ending.facts.get("last_seen") or now
    began = datetime.fromisoformat(event["timestamp"])
    duration_ms = max(0.0, (ended_at - began).total_seconds() * 1e3)
    reason = f"process {ending.facts['pid']} {_TELLING[ending.how]} while this span was open"
    event |= {
        "kind": "span",
        "level": "ERROR",
        "status": "aborted",
        "context": {**event.get("context", {}), "process": {"ended": ending.how, **ending.facts}},
        "metrics": {**event.get("metrics", {}), "duration_ms": round(duration_ms, 3)},
        "error": {"type": "ProcessAborted", "message": reason, "stack": ""},
    }
    return json.encode(event)


def _loss_event(log: ProducerLog, dropped: dict[str, int], now: datetime, damaged_bytes: int) -> bytes:
    """Write the event that says what was dropped: a loss is itself an event."""
    who = log.identity
    event: dict[str, Any] = {
        "timestamp": now,
        "kind": "log",
        "level": "ERROR",
        "message": "events_dropped",
        "trace_id": None,
        "span_id": None,
        "user_id": None,
        "service": who.service,
        "environment": who.environment,
        "version": who.version,
        "stage": "other",
        "context": {"producer": log.producer.id, "dropped": dropped, "dropped_count": sum(dropped.values())},
        "metrics": {},
    }
    if damaged_bytes:
        event["context"]["damaged_bytes"] = damaged_bytes
    return json.encode({key: value for key, value in event.items() if value is not None or key.endswith("_id")})


def _was_out_of_memory(who: Identity) -> bool:
    """Whether the kernel killed the process for want of memory, as far as it knows."""
    if who.memory_events is not None and who.oom_kills is not None:
        kills = count_oom_kills(Path(who.memory_events))
        if kills is not None and kills > who.oom_kills:
            return True
    with contextlib.suppress(OSError):
        return who.pid in {int(match) for match in _VICTIM.findall(_kernel_log())}
    return False


def _kernel_log() -> bytes:
    """Read what the kernel's log holds now; it needs rights that an agent may not have."""
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    lines: list[bytes] = []
    try:
        with contextlib.suppress(BlockingIOError):  # the end of what there is
            for _ in range(KERNEL_LOG_LINES):
                lines.append(os.read(fd, 8192))  # noqa: PERF401 - what was read before the end counts
    finally:
        os.close(fd)
    return b"\n".join(lines)


def _append(log: ProducerLog, payloads: list[bytes]) -> None:
    """Append *payloads* in new segments behind the last one of a dead writer's log."""
    followed, _ = split_position(Position(read_progress(log.directory).position))
    number = max([followed, *segment_numbers(log.directory), *kept_numbers(log.directory)])
    producer = UUID(log.producer.id).bytes
    segment: Segment | None = None
    for payload in payloads:
        need = RECORD_HEADER_BYTES + len(payload)
        if segment is None or segment.size_bytes - segment.used_bytes < need:
            _finish(segment)
            previous, number = number, number + 1
            size = max(CLOSING_SEGMENT_BYTES, HEADER_BYTES + need)
            segment = Segment(log.directory, producer=producer, number=number, size_bytes=size)
            segment.come_after(previous)
        segment.store(pack_record(MAGIC, len(payload), checksum(payload, segment.salt)) + payload)
    _finish(segment)


def _finish(segment: Segment | None) -> None:
    if segment is not None:
        segment.sync()
        segment.close()
        with contextlib.suppress(OSError):  # it only costs room
            trim(segment.path)
