"""Follow what comes into the store, each event once.

Events are not stored in the order of their time, and two that are stored at once may become visible one after the other. So
each look asks for all that came in within the last few seconds, and leaves out what has been shown. When the store could not be asked
for a while, the next look goes back to before that, so nothing is missed.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from clew.store.paging import MAX_LIMIT
from clew.store.postgres.logs import MAX_NEW, LogFilter, fetch_logs, fetch_new_logs

if TYPE_CHECKING:
    from clew.store.events import PublicEvent
    from clew.store.postgres.reading import Reading

__all__ = ["LOOK_EVERY_S", "Follower"]

LOOK_EVERY_S: Final = 0.4
"""How long to wait between two looks."""

RECENT: Final = timedelta(seconds=5)
"""How long an event may take from its transaction's begin to its commit, and still be shown."""

WINDOW: Final = timedelta(minutes=10)
"""How long a span may run, and still be shown when it ends."""

MAX_SEEN: Final = 50_000
"""So far it may fall behind; a client that cannot keep up then gets what is new, not everything."""


class Follower:
    """Return events as they come in.

    Args:
        wanted: Which ones.

    Attributes:
        is_behind: Whether the last look was full, so that the next one should not wait.
    """

    def __init__(self, wanted: LogFilter) -> None:
        self.is_behind = False
        self._wanted = wanted
        self._looked = time.monotonic()
        self._seen: dict[str, float] = {}

    def begin(self, limit: int) -> Reading[list[PublicEvent]]:
        """Fetch what is there, the oldest first, at most *limit* events."""
        now = time.monotonic()
        known = yield from fetch_new_logs(self._wanted, (), recent=RECENT, window=WINDOW)
        page = yield from fetch_logs(self._wanted, limit=min(limit, MAX_LIMIT))
        self._note(known, now)
        self._note(page.logs, now)
        return page.logs[::-1]

    def look(self) -> Reading[list[PublicEvent]]:
        """Fetch what has come in since the last look that was answered, the oldest first."""
        now = time.monotonic()
        since = timedelta(seconds=now - self._looked)
        found = yield from fetch_new_logs(self._wanted, self._seen, recent=RECENT + since, window=WINDOW + since)
        self.is_behind = len(found) >= MAX_NEW
        self._note(found, now)
        return found

    def _note(self, events: list[PublicEvent], now: float) -> None:
        """Remember what has been shown for as long as a look may find it again."""
        if not self.is_behind or len(self._seen) > MAX_SEEN:
            self._looked = now
        oldest = self._looked - 2 * RECENT.total_seconds()
        self._seen = {id_: at for id_, at in self._seen.items() if at >= oldest}
        self._seen |= {event["event_id"]: now for event in events}
