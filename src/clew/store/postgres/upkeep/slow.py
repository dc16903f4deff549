"""Which of our statements have been slow: a record of the server's own, for where PostgreSQL keeps none.

Layout::

    <data>/slow.json   mode 0600: [{"name", "calls", "mean_ms", "max_ms", "total_ms"}, …], by total time

The file is written when something was slow, at most every five seconds, and appears whole. Several servers on one data
directory overwrite each other's. Names are those of our statements: nothing that users asked is in it.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import json

from clew.spool.files.regular import read_regular
from clew.spool.files.replace import replace_file
from clew.store.postgres.load import name_of
from clew.store.postgres.upkeep.status import SLOW_MS, SlowStatement

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FILE", "SlowRecord", "read_slow"]

FILE: Final = "slow.json"
WRITE_EVERY_S: Final = 5.0

_log = logging.getLogger(__name__)


class SlowRecord:
    """Keep account of slow statements.

    Args:
        data_dir: Where the record lies; what is there is gone on from.
        clock: Seconds since an arbitrary point, never going back.

    Threads:
        ``note`` and ``statements`` belong to one thread; ``save`` may run in another.
    """

    def __init__(self, data_dir: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._data_dir = data_dir
        self._clock = clock
        self._saved_at = -WRITE_EVERY_S
        self._is_saved = True
        self._kept = {one.name: one for one in read_slow(data_dir)}

    def note(self, sql: str, seconds: float) -> bool:
        """Note how long a statement took.

        Returns:
            Whether the record should be saved now.
        """
        took = seconds * 1000
        if took >= SLOW_MS:
            name = name_of(sql)
            before = self._kept.get(name) or SlowStatement(name, 0, 0.0, 0.0, 0.0)
            calls, total = before.calls + 1, before.total_ms + took
            self._kept[name] = SlowStatement(name, calls, total / calls, max(before.max_ms, took), total)
            self._is_saved = False
        if self._is_saved or self._clock() - self._saved_at < WRITE_EVERY_S:
            return False
        self._saved_at, self._is_saved = self._clock(), True
        return True

    def statements(self) -> list[SlowStatement]:
        """List the slow statements, those that took most time in all first."""
        return sorted(self._kept.values(), key=lambda one: -one.total_ms)

    def save(self, statements: list[SlowStatement]) -> None:
        """Write the record; where it cannot be written, it is reported by the server's metrics alone."""
        path = self._data_dir / FILE
        try:
            replace_file(path, json.encode(statements), is_durable=False)
        except OSError as error:
            _log.info("cannot write %s: %s", path, error.strerror)


def read_slow(data_dir: Path) -> list[SlowStatement]:
    """Read the record of a data directory; one that is not there, or is damaged, is empty."""
    try:
        return json.decode(read_regular(data_dir / FILE), type=list[SlowStatement])
    except (OSError, msgspec.DecodeError):
        return []
