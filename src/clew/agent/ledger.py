"""The accounts of logs that are gone.

When a log has been shipped whole its directory is removed; what it held is added here first, so that the
accounts of a spool go on over the lives of its producers and agents.

One JSON file, ``<spool>/.agents/ledger.json``, replaced as a whole. It remembers the last producers that were
added: an agent that dies between adding a log and removing its directory does not add it twice.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import DecodeError, Struct, ValidationError, json

from clew.spool.directory import AGENTS_DIRECTORY, make_private_directory
from clew.spool.lock import FileLock
from clew.spool.regular import NotRegularError, read_regular
from clew.spool.replace import replace_file, set_aside

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["Ledger", "Share", "Totals"]

REMEMBERED_PRODUCERS = 10_000


class Share(Struct):
    """What became of the logs that are gone, as one sink sees it.

    Attributes:
        accepted: Events that stood in the logs that it shipped.
        delivered: Events it has taken.
        quarantined: Events it refused.
        dropped: Events that the producers of these logs could not accept.
    """

    accepted: int = 0
    delivered: int = 0
    quarantined: int = 0
    dropped: int = 0


class Totals(Struct):
    """The sums over the logs that are gone.

    Attributes:
        dropped: Events that their producers could not accept, by reason.
        sinks: What each sink made of them.
        producers: The last producers that were added, oldest first.
        damaged_bytes: Bytes of them that could not be read.
    """

    dropped: dict[str, int] = {}
    sinks: dict[str, Share] = {}
    producers: list[str] = []
    damaged_bytes: int = 0


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

    def add(self, producer: str, *, dropped: dict[str, int], sinks: dict[str, Share], damaged_bytes: int = 0) -> None:
        """Add a log that is about to be removed; one that was added before is left out.

        Raises:
            OSError: The disk refused; the log must stay.
        """
        with self._locked():
            self._clear_the_way()
            totals = self.read()
            if producer in totals.producers:
                return
            for reason, number in dropped.items():
                totals.dropped[reason] = totals.dropped.get(reason, 0) + number
            for name, share in sinks.items():
                sum_ = totals.sinks.setdefault(name, Share())
                sum_.accepted += share.accepted
                sum_.delivered += share.delivered
                sum_.quarantined += share.quarantined
                sum_.dropped += share.dropped
            totals.damaged_bytes += damaged_bytes
            totals.producers = [*totals.producers, producer][-REMEMBERED_PRODUCERS:]
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
