"""One span out of the store."""

from __future__ import annotations

from clew.errors import NotFoundError
from clew.store.events import PublicEvent, open_to_public, to_public
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Statement

__all__ = ["fetch_span"]


def fetch_span(span_id: str) -> Reading[PublicEvent]:
    """Fetch the event of one span, ended or still running.

    Raises:
        NotFoundError: There is none.
    """
    parameters = {"span_id": span_id}
    # The open ones first: a span that ends between the two questions is then found by the second.
    running = yield Statement(query("span_open"), parameters, is_look_up=True)
    ended = yield Statement(query("span_event"), parameters, is_look_up=True)
    if ended:
        return to_public(ended[0])
    if running:
        return open_to_public(running[0]["event"])
    raise NotFoundError(
        f"there is no span {span_id}",
        hint="it may not have arrived yet (`clew spool status`), or be past its retention",
    )
