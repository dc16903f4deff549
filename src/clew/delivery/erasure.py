"""Erase a person from the spool: events, dead letters, what sinks remember.

A record that holds an event of the person is overwritten in place by one of the same length that says only that, when
and where something was: positions, counts and accounts stay right, and a sink that comes to it ships that. The writer never goes back, so
only readers matter: where an agent ships a log, records that some sink has still to read are left, and reported as waiting, and so is what
it remembers of open spans; where none does, all are overwritten. Segments that are kept for a replay are read by nobody
until then, and overwritten everywhere.

Before: ``cli.commands.erase``. After: the files themselves; ``store.postgres.upkeep.erasure`` does the same for the store.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import DecodeError, Struct, json

from clew.delivery.accounts import CURSOR_PREFIX
from clew.delivery.dead_letters import DeadLetters, dead_sinks
from clew.delivery.open_spans import STATE_FILE, read_progress
from clew.ids import parse_uuid
from clew.spool.cursor import cursor_path, peek
from clew.spool.directory import AGENT_LOCK_FILE, producer_directories, segment_name
from clew.spool.files import disk
from clew.spool.files.regular import NotRegularError, read_regular
from clew.spool.files.replace import replace_file, temporary_path
from clew.spool.format import (
    HEADER_BYTES,
    MAGIC,
    Position,
    SegmentHeader,
    checksum,
    pack_record,
    split_position,
)
from clew.spool.kept import kept_events, kept_name, shipped_directories
from clew.spool.life.lock import LifeLock
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["ERASED", "SpoolErasure", "SpoolTraces", "erase_from_spool", "survey_spool"]

ERASED: Final = "event_erased"
"""The message of what stands in an erased event's place."""

SINKS_DIRECTORY: Final = ".sinks"
_KEPT: Final = ("timestamp", "level", "service", "stage")


class SpoolErasure(Struct):
    """What was done to a spool.

    Attributes:
        events: Records that were overwritten.
        dead_letters: Dead letters that were removed.
        remembered: Events that were taken out of what the agent and its sinks remember of open spans.
        waiting: Events that a running agent has still to ship, or remembers; come again when it has.
        files: Files that still hold the id, but for those of records that wait.
    """

    events: int = 0
    dead_letters: int = 0
    remembered: int = 0
    waiting: int = 0
    files: list[str] = []


class SpoolTraces(Struct):
    """Who has a part in which traces, as far as the spool knows.

    Attributes:
        theirs: Traces in which the person has one.
        shared: Traces in which others have one.
    """

    theirs: set[str]
    shared: set[str]


class _Mark(Struct, gc=False):
    """As much of an event as says whose it is."""

    user_id: Any = None
    trace_id: Any = None


_decode_mark = json.Decoder(_Mark).decode


def survey_spool(spool: Path, user_id: str) -> SpoolTraces:
    """Look through a spool for the traces of a person, and those of others.

    Args:
        spool: Root of the spool.
        user_id: The person.
    """
    found = SpoolTraces(set(), set())
    for payload in _payloads(spool):
        try:
            mark = _decode_mark(payload)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            continue
        trace = parse_uuid(mark.trace_id) if isinstance(mark.trace_id, str) else None
        if mark.user_id is not None and trace is not None:
            (found.theirs if mark.user_id == user_id else found.shared).add(trace)
    return found


def erase_from_spool(
    spool: Path,
    user_id: str,
    traces: Iterable[str] = (),
    *,
    with_mentions: bool = False,
    is_dry_run: bool = False,
) -> SpoolErasure:
    """Erase what a spool holds of a person.

    Args:
        spool: Root of the spool.
        user_id: The person.
        traces: Traces that are theirs alone, all of whose events go.
        with_mentions: Erase also events of others that name them as a text of its own.
        is_dry_run: Count, and change nothing.

    Returns:
        What was, or would be, erased.

    Raises:
        OSError: The disk refuses.
    """
    theirs = _Theirs(user_id, frozenset(traces), with_mentions=with_mentions)
    done = SpoolErasure()
    living: set[str] = set()
    for directory in _directories(spool):
        lock = LifeLock(directory / AGENT_LOCK_FILE)
        living.add(directory.name)
        try:
            is_ours = lock.acquire()
            done.events += _erase_log(directory, theirs, done, is_ours=is_ours, is_dry_run=is_dry_run)
            memories = [directory / STATE_FILE, *(spool / SINKS_DIRECTORY).glob(f"*/{directory.name}.json")]
            for path in memories:
                count = _erase_memory(path, theirs, is_dry_run=is_dry_run or not is_ours)
                if is_ours:
                    done.remembered += count
                else:
                    done.waiting += count
        finally:
            lock.release()
    for path in (spool / SINKS_DIRECTORY).glob("*/*.json"):
        if parse_uuid(path.stem) and path.stem not in living:  # of a log that is gone; the next agent would forget it
            done.remembered += _erase_memory(path, theirs, is_dry_run=is_dry_run)
    for sink in dead_sinks(spool):
        letters = DeadLetters(spool, sink)
        done.dead_letters += (
            sum(theirs.owns(letter.event.encode()) for letter in letters.read())
            if is_dry_run
            else letters.drop(lambda letter: theirs.owns(letter.event.encode()))
        )
    done.files = [str(path.relative_to(spool)) for path in _files_with(spool, user_id)]
    return done


class _Theirs:
    """Distinguish a person's events from those of others."""

    def __init__(self, user_id: str, traces: frozenset[str], *, with_mentions: bool) -> None:
        self._with_mentions = with_mentions
        self._user_id = user_id
        self._traces = traces
        self._quoted = json.encode(user_id)

    def owns(self, payload: bytes) -> bool:
        """Whether an event, as it stands on the disk, is theirs."""
        if self._with_mentions and self._quoted in payload:
            return True
        try:
            mark = _decode_mark(payload)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return self._is_theirs(mark.user_id, mark.trace_id)

    def owns_decoded(self, event: Any) -> bool:
        """Whether an event is theirs; it may stand there as the text that it was."""
        if isinstance(event, str):
            return event.startswith("{") and self.owns(event.encode())
        if not isinstance(event, dict):
            return False
        fields = cast("dict[str, Any]", event)
        if self._with_mentions and self._quoted in json.encode(fields):
            return True
        return self._is_theirs(fields.get("user_id"), fields.get("trace_id"))

    def _is_theirs(self, user_id: Any, trace_id: Any) -> bool:
        """Whose an event is: one that names a user is that one's alone."""
        if user_id is not None:
            return user_id == self._user_id
        return isinstance(trace_id, str) and trace_id in self._traces


def _payloads(spool: Path) -> Iterator[bytes]:
    """Give every event that a spool holds: in logs, in what is remembered of open spans, in dead letters."""
    for directory in _directories(spool):
        for _, payload in (*kept_events(directory), *_events(directory)):
            yield payload
        yield from (event.encode() for event in read_progress(directory).open.values())
    for sink in dead_sinks(spool):
        yield from (letter.event.encode() for letter in DeadLetters(spool, sink).read())


def _directories(spool: Path) -> Iterator[Path]:
    """Find the directories of all producers, those of logs among them that were shipped whole and are kept."""
    yield from producer_directories(spool)
    yield from shipped_directories(spool)


def _erase_log(directory: Path, theirs: _Theirs, done: SpoolErasure, *, is_ours: bool, is_dry_run: bool) -> int:
    """Overwrite the events of a person in one producer's log; return how many."""
    names = [path.name.removeprefix(CURSOR_PREFIX) for path in directory.glob(f"{CURSOR_PREFIX}*")]
    passed = min((peek(cursor_path(directory, name)) for name in names), default=Position(0))
    erased = 0
    for position, payload in kept_events(directory):
        if theirs.owns(payload):
            is_erased = is_dry_run or _overwrite(directory / kept_name(split_position(position)[0]), position, payload)
            erased += is_erased
            done.waiting += not is_erased
    for position, payload in _events(directory):
        if not theirs.owns(payload):
            continue
        if not is_ours and position >= passed:
            done.waiting += 1
            continue
        erased += 1
        if not is_dry_run:
            _overwrite(directory / segment_name(split_position(position)[0]), position, payload)
    return erased


def _events(directory: Path) -> Iterator[tuple[Position, bytes]]:
    reader = Reader(directory, Position(0))
    with contextlib.closing(reader):
        for slice_ in reader.rest():
            yield from slice_.events


def _overwrite(path: Path, position: Position, payload: bytes) -> bool:
    """Put a record without content in the place of a record, of the same length, and bring it to the disk; false if it is gone."""
    event: dict[str, Any] = json.decode(payload)
    kept = {name: event[name] for name in _KEPT if name in event}
    nothing = json.encode({**kept, "kind": "log", "message": ERASED, "context": {}, "metrics": {}})
    if len(nothing) > len(payload):  # an event of the least size there is
        nothing = b"{}"
    nothing = nothing.ljust(len(payload))
    _, offset = split_position(position)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        salt = SegmentHeader.unpack(os.pread(fd, HEADER_BYTES, 0)).salt
        os.pwrite(fd, pack_record(MAGIC, len(nothing), checksum(nothing, salt)) + nothing, offset)
        disk.sync(fd)
    finally:
        os.close(fd)
    return True


def _erase_memory(path: Path, theirs: _Theirs, *, is_dry_run: bool) -> int:
    """Take a person's events out of what is remembered of open spans; return how many."""
    if not is_dry_run:
        for left in (temporary_path(path), path.with_suffix(".tmp")):  # by a kill; the second by an earlier clew
            left.unlink(missing_ok=True)
    try:
        state = json.decode(read_regular(path))
    except (DecodeError, FileNotFoundError, NotRegularError):
        return 0
    kept, count = _without(state, theirs)
    if count and not is_dry_run:
        replace_file(path, json.encode(kept))
    return count


def _without(value: Any, theirs: _Theirs) -> tuple[Any, int]:
    """Return *value* without the events of a person in its lists and objects, and how many there were."""
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        mine = {name for name, inner in pairs if theirs.owns_decoded(inner)}
        rest = {name: _without(inner, theirs) for name, inner in pairs if name not in mine}
        return {name: kept for name, (kept, _) in rest.items()}, len(mine) + sum(count for _, count in rest.values())
    if isinstance(value, list):
        items = cast("list[Any]", value)
        others = [item for item in items if not theirs.owns_decoded(item)]
        left = [_without(item, theirs) for item in others]
        return [kept for kept, _ in left], len(items) - len(others) + sum(count for _, count in left)
    return value, 0


def _files_with(spool: Path, user_id: str) -> Iterator[Path]:
    """Find the files of a spool that hold an id, whatever they are: as a text of JSON, or as one inside of such a text."""
    quoted = json.encode(user_id)
    forms = [quoted, json.encode(quoted.decode())[1:-1]]
    for path in sorted(spool.rglob("*")):
        with contextlib.suppress(OSError):
            if path.is_file() and any(form in path.read_bytes() for form in forms):
                yield path
