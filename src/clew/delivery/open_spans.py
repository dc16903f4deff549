"""Follow a log, counting its events and keeping the spans that are open.

What: a reader of its own for each log; it keeps each ``span_start`` whose ``span`` has not come.
Why: when the writer dies, ``lastwords`` closes these spans in the writer's own log, and a killed process
still says what it was doing, in every sink.
How it stays exact: the closing events stand in the same log as everything else, behind the writer's
last record. An agent that dies half-way leaves a log whose next reader finds some spans closed, and
closes the others.

The state is saved beside the cursors, so that segments may be removed while a span is open. The count is
independent of every sink's, which is what makes the accounts worth comparing.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

from msgspec import DecodeError, Struct, ValidationError, json

from clew.event import ENDED
from clew.spool.directory import segment_name, segment_numbers
from clew.spool.files import disk
from clew.spool.files.regular import NotRegularError, read_regular
from clew.spool.files.replace import replace_file, set_aside
from clew.spool.format import Position, split_position
from clew.spool.losses import read_losses
from clew.spool.reader import Reader
from clew.spool.removed import WRITER_NOTICES_S, read_removed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clew.agent.log import ProducerLog
    from clew.spool.cursor import Counts, Cursor
    from clew.spool.reader import Damage, Slice

__all__ = ["DAMAGED", "OpenSpans", "Progress", "read_progress"]

DAMAGED: Final = "damaged"
"""Why events are lost that were in a part of a log that cannot be read."""

REMOVED: Final = "removed"

STATE_FILE = "open-spans.json"
RECENT_SEGMENTS = 256
SAVE_INTERVAL_S = 1.0
MAX_OPEN_SPANS = 10_000  # a program that opens spans and never ends them must not fill the agent's memory
MOST_SEGMENTS = 1 << 22  # by the bits of a position
KIND_WINDOW_BYTES = 96  # "kind" is the second key, so it stands within the first bytes


class _Mark(Struct):
    """As much of an event as says whether a span begins or ends with it."""

    kind: str
    span_id: str | None = None
    status: str | None = None


class Progress(Struct):
    """What is saved: how far the log was followed, how many events stood there, and the spans open.

    Attributes:
        position: Where the reader of the agent goes on.
        seen: How many events stand before it.
        open: The ``span_start`` event of each open span, by the span's id.
        damaged_bytes: Bytes before it that could not be read; of missing segments, what they could hold.
        damaged_events: How many events were in them, at least.
        reported_bytes: Those of the damage that an event has reported.
        refused: Where foreign segments are that were counted.
        recent: How many events were seen in each of the last segments, by number; earlier ones were seen whole.
        found: Of the segments that were removed under their writer, how many events had been read all the same, by number.
        found_later: Such events of which it is not known in which of these segments they stood.
    """

    position: int = 0
    seen: int = 0
    open: dict[str, str] = {}
    damaged_bytes: int = 0
    damaged_events: int = 0
    reported_bytes: int = 0
    refused: list[int] = []
    recent: dict[int, int] = {}
    found: dict[int, int] = {}
    found_later: int = 0

    def dropped(self, directory: Path) -> dict[str, int]:
        """Return what is lost of the log in *directory*, by reason.

        A writer counts as removed what no sink had passed as far as it knew; what had been read by then is not lost.
        """
        losses = read_losses(directory)
        found = sum(self.found.values()) + self.found_later
        if found and REMOVED in losses:
            losses[REMOVED] -= min(found, losses[REMOVED])
        if self.damaged_events:
            losses[DAMAGED] = self.damaged_events
        return {reason: number for reason, number in losses.items() if number}


_decode_mark = json.Decoder(_Mark).decode


class OpenSpans:
    """The spans open in one log.

    Args:
        log: The log to follow.

    Attributes:
        seen: How many events the log has held so far, as far as it was followed.
        damaged_bytes: Bytes of it that could not be read.
        damaged_events: How many events were in them, at least.
        reported_bytes: How many of these bytes an event has reported.
    """

    def __init__(self, log: ProducerLog) -> None:
        self._log = log
        self._path = log.directory / STATE_FILE
        state = _load(log.directory)
        self.seen = state.seen
        self._open: dict[str, bytes] = {span: event.encode() for span, event in state.open.items()}
        self.damaged_bytes, self.damaged_events = state.damaged_bytes, state.damaged_events
        self.reported_bytes, self._refused = state.reported_bytes, state.refused
        # No sink has a cursor yet, so no agent has removed anything.
        is_new = not state.position and not any(log.directory.glob("cursor-*"))
        self._reader = Reader(log.directory, Position(state.position), expects_all=is_new, patience_s=WRITER_NOTICES_S)
        self._recent, self._found, self._found_later = state.recent, state.found, state.found_later
        self._saved = state.position
        self._saved_at = 0.0

    @property
    def reached(self) -> Position:
        """How far the log was followed."""
        return self._reader.position

    @property
    def position(self) -> Position:
        """How far the log was followed, durably."""
        return Position(self._saved)

    def follow(self, *, save: bool = False) -> None:
        """Read on in the log, and save how far that went: once a second, or now with *save*.

        Raises:
            OSError: The disk refused to keep the state.
        """
        for slice_ in self._reader.rest(is_writer_dead=self._log.is_writer_dead):
            self.seen += len(slice_.events)
            if slice_.events:
                self._count_recent(split_position(slice_.events[0][0])[0], len(slice_.events))
            self._count_damage(slice_)
            for _, payload in slice_.events:
                self._note(payload)
        now = time.monotonic()
        if (self._reader.position != self._saved or save) and (save or now - self._saved_at > SAVE_INTERVAL_S):
            self._save()
            self._saved_at = now

    def take_anew(self, cursors: Sequence[Cursor]) -> None:
        """Go on in a log that was made again by its writer: of what that says to be gone, some had been read.

        To be called before anybody goes on reading there.

        Args:
            cursors: Those of the sinks.

        Raises:
            OSError: The disk refused to keep the state.
        """
        removed = read_removed(self._log.directory)
        new = removed.lost.keys() - self._found.keys()
        here = split_position(self.reached)[0]
        ahead = max(cursors, key=lambda cursor: cursor.position, default=None)
        if ahead is not None and any(here <= number <= split_position(ahead.position)[0] for number in new):
            self._jump(*ahead.standing)
        here = split_position(self.reached)[0]
        first = min([*self._recent, here])
        standings = [(split_position(cursor.position)[0], cursor.in_segment) for cursor in cursors]
        for number in new:
            lost = removed.lost[number]
            read = [self._recent.get(number, 0) if number >= first else lost]
            read += [lost if at > number else in_segment for at, in_segment in standings if at >= number]
            self._found[number] = min(max(read), lost)
        if new:
            self._save()

    def _jump(self, position: Position, counts: Counts) -> None:
        """Go on where a sink is that has read what is gone by now."""
        if position > self.reached:
            self._reader.close()
            self._reader = Reader(self._log.directory, position, patience_s=WRITER_NOTICES_S)
            self.seen = max(self.seen, counts.events)

    def compare(self, cursors: Sequence[Cursor]) -> None:
        """Count what a sink has taken out of a log that was removed at that moment, and was not seen here."""
        if not self._found:
            return
        taken = [
            counts.events for position, counts in (cursor.standing for cursor in cursors) if position <= self.reached
        ]
        unseen = max(taken, default=0) - self.seen
        if unseen > 0:
            self.seen += unseen
            self._found_later += unseen
            self._save()

    def save_again(self) -> None:
        """Save the state again, if its file was removed.

        Raises:
            OSError: The disk refused.
        """
        if self.seen and not self._path.exists():
            self._save()

    @property
    def was_made_again(self) -> bool:
        """Whether the log was removed under its writer, and made again."""
        return bool(self._found) or read_removed(self._log.directory).before > 0

    def dropped(self) -> dict[str, int]:
        """Return what is lost of the log, by reason."""
        return self._progress().dropped(self._log.directory)

    def starts(self) -> list[bytes]:
        """Return the ``span_start`` events that have no end yet, in their order."""
        return list(self._open.values())

    def end(self) -> None:
        """Stop following."""
        self._reader.close()

    def _count_recent(self, number: int, events: int) -> None:
        self._recent[number] = self._recent.get(number, 0) + events
        if number in self._found:  # read on in the removed file, which was open
            self._found[number] += events
        while len(self._recent) > RECENT_SEGMENTS:
            del self._recent[min(self._recent)]

    def _count_damage(self, slice_: Slice) -> None:
        for part in slice_.damage:
            if part.kind == "foreign":  # each reader reports it, and it has no place of its own in the log
                if part.start in self._refused:
                    continue
                self._refused.append(part.start)
            self.damaged_bytes += part.bytes
            self.damaged_events += part.events
            if part.kind == "torn":  # its emit had not returned: nothing is lost that an event would have to report
                self.reported_bytes += part.bytes
                _wipe(self._log.directory, part)

    def _note(self, payload: bytes) -> None:
        if b'"kind":"span' not in payload[:KIND_WINDOW_BYTES]:
            return
        try:
            mark = _decode_mark(payload)
        except (DecodeError, ValidationError, UnicodeDecodeError):
            return  # the sinks meet the same payload, and quarantine it
        if mark.span_id is None:
            return
        if mark.kind == "span_start":
            if mark.status != ENDED and len(self._open) < MAX_OPEN_SPANS:
                self._open[mark.span_id] = payload
        else:
            self._open.pop(mark.span_id, None)

    def _save(self) -> None:
        """Save the state, whole or not at all."""
        state = self._progress()
        replace_file(self._path, json.encode(state))
        self._saved = state.position

    def _progress(self) -> Progress:
        return Progress(
            self._reader.position,
            self.seen,
            {span: event.decode("utf-8", "replace") for span, event in self._open.items()},
            self.damaged_bytes,
            self.damaged_events,
            self.reported_bytes,
            self._refused,
            self._recent,
            self._found,
            self._found_later,
        )


def _wipe(directory: Path, part: Damage) -> None:
    """Store zeros over what a dead writer had not stored whole, as if it had not begun to.

    Behind it the agent appends what the writer could not say; to whoever reads the log later, a torn record in the
    middle of it would be a damaged one.
    """
    number, offset = split_position(part.start)
    with contextlib.suppress(OSError):  # then it counts as damaged, where it is read once more
        fd = os.open(directory / segment_name(number), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.pwrite(fd, bytes(part.bytes), offset)
            disk.sync(fd)
        finally:
            os.close(fd)


def read_progress(directory: Path) -> Progress:
    """Read how far the agent has followed the log in *directory*; of a file that is gone or damaged, not at all.

    Raises:
        OSError: The file is there and cannot be read now.
    """
    try:
        return _decode(directory)
    except (FileNotFoundError, NotADirectoryError, NotRegularError, DecodeError, ValidationError):
        return Progress()


def _load(directory: Path) -> Progress:
    """Read how far the log in *directory* was followed, and set a damaged file aside."""
    try:
        return _decode(directory)
    except FileNotFoundError:
        return Progress()
    except (NotRegularError, DecodeError, ValidationError):
        set_aside(directory / STATE_FILE)
        return Progress()


def _decode(directory: Path) -> Progress:
    """Read the state.

    Raises:
        ValidationError: It means nothing, or a place behind the end of the log.
    """
    state = json.decode(read_regular(directory / STATE_FILE), type=Progress)
    last = max(segment_numbers(directory), default=MOST_SEGMENTS)
    if state.seen < 0 or not 0 <= split_position(Position(state.position))[0] <= last:
        message = f"position {state.position} after {state.seen} events is not in a log of {last} segments"
        raise ValidationError(message)
    return state
