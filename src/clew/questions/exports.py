"""All events that match, however many: the question of ``clew export`` and ``/api/export``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - a field's type
from typing import TYPE_CHECKING, Any

from clew.query.tree import Query  # noqa: TC001 - a field's type
from clew.questions.logs import query
from clew.questions.parameter import InTime, since, until
from clew.store.postgres.export import export_events
from clew.store.postgres.logs import LogFilter

if TYPE_CHECKING:
    from collections.abc import Generator

    import psycopg

    from clew.store.events import PublicEvent

__all__ = ["ExportQuestion"]


@dataclass(frozen=True, kw_only=True)
class ExportQuestion(InTime):
    """All events that match, however many.

    Attributes:
        query: What must hold of an event; None for anything.
        since: At or after this time; None for any.
        until: Before this time; None for any.
    """

    query: Query | None = query("Which events, all by default")
    since: datetime | None = since()
    until: datetime | None = until()

    def events(self, connection: psycopg.Connection[tuple[Any, ...]]) -> Generator[PublicEvent]:
        """Answer it from the store, the oldest event first, without keeping them in memory.

        Raises:
            UsageError: A value is malformed.
            StoreError: The store cannot serve.
        """
        return export_events(connection, LogFilter(query=self.query, since=self.since, until=self.until))
