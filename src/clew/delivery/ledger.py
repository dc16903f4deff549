"""The accounts of logs that are gone.

When a log has been shipped whole its directory is removed; what it held is added here first, so that the
accounts of a spool go on over the lives of its producers and agents.

One JSON file, ``<spool>/.agents/ledger.json``, replaced as a whole. It remembers the last producers that were
added: an agent that dies between adding a log and removing its directory does not add it twice.
"""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import DecodeError, Struct, ValidationError, json

from clew.spool.directory import AGENTS_DIRECTORY, make_private_directory
from clew.spool.files.regular import NotRegularError, read_regular
from clew.spool.files.replace import replace_file, set_aside
from clew.spool.life.lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["NOT_IN_SPOOL", "Incident", "Ledger", "LedgerEntry", "Share", "Totals"]

REMEMBERED_PRODUCERS = 10_000
REMEMBERED_INCIDENTS = 100
REMEMBERED_REMOVED = 1000
ENTRY_FILE: Final = "shipped.json"
NOT_IN_SPOOL: Final = "not_in_spool"
"""Why a store lacks events that were accepted: it came back from the past, and the spool no longer had them."""


class Share(Struct):
    """What became of the logs that are gone, as one sink sees it.

    Attributes:
        accepted: Events that stood in the logs that it shipped.
        delivered: Events it has taken.
        quarantined: Events it refused.
        dropped: Events that the producers of these logs could not accept.
        missing: Events that it lacks because the spool no longer had them.
        gaps: Events that report such a loss, which are among those delivered.
    """

    accepted: int = 0
    delivered: int = 0
    quarantined: int = 0
    dropped: int = 0
    missing: int = 0
    gaps: int = 0


class Incident(Struct, frozen=True):
    """A store and the spool that did not fit together any more: one of them had come back from the past.

    Attributes:
        at: When that was noticed.
        sink: The store's sink.
        kind: ``"behind"``, ``"empty"``, ``"ahead"``, ``"differs"`` or ``"gap"``; see ``clew.agent.replay``.
        logs: How many logs that was about.
        missing: Events that the spool no longer had.
        producers: The first of their producers.
    """

    at: datetime
    sink: str
    kind: str
    logs: int
    missing: int = 0
    producers: list[str] = []


class LedgerEntry(Struct):
    """What one log adds to the sums; kept in its directory for as long as it may come back.

    Attributes:
        dropped: Events that its producer could not accept, by reason.
        sinks: What each sink made of its events.
        damaged_bytes: Bytes of it that could not be read.
    """

    dropped: dict[str, int] = {}
    sinks: dict[str, Share] = {}
    damaged_bytes: int = 0


class Totals(Struct):
    """The sums over the logs that are gone.

    Attributes:
        dropped: Events that their producers could not accept, by reason.
        sinks: What each sink made of them.
        producers: The last producers that were added, oldest first.
        damaged_bytes: Bytes of them that could not be read.
        incidents: The last times when a store and the spool did not fit together, oldest first.
        removed: What the last logs added whose directory somebody else removed: it may have been moved, and come back.
    """

    dropped: dict[str, int] = {}
    sinks: dict[str, Share] = {}
    producers: list[str] = []
    damaged_bytes: int = 0
    incidents: list[Incident] = []
    removed: dict[str, LedgerEntry] = {}


class Ledger:
    """The ledger of one spool.

    Args:
        spool: Root of the spool.
    """

    def __init__(self, spool: Path) -> None:
        self._directory = spool / AGENTS_DIRECTORY
        self._path = self._directory / "ledger.json"

    def read(self) -> Totals:
        """Return the sums; zeros before the first log was added, and of a file that is damaged.

        Raises:
            OSError: The file is there and cannot be read now.
        """
        try:
            return json.decode(read_regular(self._path), type=Totals)
        except (FileNotFoundError, NotADirectoryError, NotRegularError, DecodeError, ValidationError):
            return Totals()

    def version(self) -> object:
        """Return what changes whenever the ledger does; None if there is none."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def add(
        self,
        producer: str,
        *,
        dropped: dict[str, int],
        sinks: dict[str, Share],
        damaged_bytes: int = 0,
        directory: Path | None = None,
        is_removed: bool = False,
    ) -> None:
        """Add a log that is about to be removed or kept; one that was added before is left out.

        Args:
            producer: Whose log it is.
            dropped: Events that the producer could not accept, by reason.
            sinks: What each sink made of its events.
            damaged_bytes: Bytes of it that could not be read.
            directory: Where to keep a note of what was added, for ``take_back``; None for nowhere.
            is_removed: Somebody else has removed its directory, or moved it: the note is kept here.

        Raises:
            OSError: The disk refused; the log must stay.
        """
        with self._locked():
            self._clear_the_way()
            totals = self.read()
            if producer in totals.producers:
                return
            entry = LedgerEntry(dropped, sinks, damaged_bytes)
            if directory is not None:
                replace_file(directory / ENTRY_FILE, json.encode(entry))
            if is_removed:
                last = [*totals.removed.items(), (producer, entry)]
                totals.removed = dict(last[-REMEMBERED_REMOVED:])
            _add(totals, entry, 1)
            totals.producers = [*totals.producers, producer][-REMEMBERED_PRODUCERS:]
            replace_file(self._path, json.encode(totals))

    def take_back(self, directory: Path) -> None:
        """Take a log out of the sums that is shipped again; one that is not in them is left out.

        Args:
            directory: The directory of its producer.

        Raises:
            OSError: The disk refused; the log must not be shipped again.
        """
        with self._locked():
            totals = self.read()
            if directory.name not in totals.producers:
                return
            if (removed := totals.removed.pop(directory.name, None)) is not None:
                _add(totals, removed, -1)
            else:
                with contextlib.suppress(FileNotFoundError, DecodeError, ValidationError):
                    _add(totals, json.decode((directory / ENTRY_FILE).read_bytes(), type=LedgerEntry), -1)
            totals.producers.remove(directory.name)
            replace_file(self._path, json.encode(totals))

    def note(self, incident: Incident) -> None:
        """Remember that a store and the spool did not fit together.

        Raises:
            OSError: The disk refused.
        """
        with self._locked():
            totals = self.read()
            totals.incidents = [*totals.incidents, incident][-REMEMBERED_INCIDENTS:]
            replace_file(self._path, json.encode(totals))

    def _clear_the_way(self) -> None:
        """Set a damaged file aside, instead of writing over what may be put right."""
        try:
            json.decode(read_regular(self._path), type=Totals)
        except FileNotFoundError:
            pass
        except (NotRegularError, DecodeError, ValidationError):
            set_aside(self._path)

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other agents away: they add the logs that they ship to the same ledger."""
        make_private_directory(self._directory)
        lock = FileLock(self._directory / "ledger")
        try:
            lock.wait()
            yield
        finally:
            lock.release()


def _add(totals: Totals, entry: LedgerEntry, sign: int) -> None:
    """Add what one log held to the sums, or take it out of them."""
    totals.damaged_bytes += sign * entry.damaged_bytes
    for reason, number in entry.dropped.items():
        totals.dropped[reason] = totals.dropped.get(reason, 0) + sign * number
    for name, share in entry.sinks.items():
        sum_ = totals.sinks.setdefault(name, Share())
        for field in Share.__struct_fields__:
            setattr(sum_, field, getattr(sum_, field) + sign * getattr(share, field))
