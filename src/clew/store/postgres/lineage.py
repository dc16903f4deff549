"""Where a piece of knowledge came from, and where it went: from document to chunk to prompt to answer, and back.

===========  ==================================================================================================
chunk        which ingestion made it, of which document; which searches found it, which prompts held it, which
             answers cite it
document     the same for all of its chunks
answer       which chunks were found, used and cited for it; of which documents they are, and who made them
===========  ==================================================================================================

The ids stand in the fields of the catalogue (``chunk_ids``, ``hits``, ``chunk_ids_used``, ``chunk_ids_cited``). They are looked for
like any text, newest first, which the index of texts answers for days that are over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

from msgspec import Struct, field

from clew.errors import NotFoundError
from clew.query.tree import OneOf, Text
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.logs import LogFilter, fetch_logs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from clew.query.tree import Query
    from clew.store.events import PublicEvent
    from clew.store.postgres.reading import Reading

__all__ = ["Lineage", "LineageLink", "LineageSubject", "fetch_lineage"]

LineageSubject = Literal["chunk", "document", "answer"]
MAX_EVENTS: Final = 5_000
MAX_CHUNKS: Final = 100
"""How many chunks of a document or an answer are followed."""

_HITS: Final = ("hits", "hits_after", "hits_before")


class LineageLink(Struct, frozen=True):
    """One event on the way.

    Attributes:
        timestamp: When; RFC 3339.
        message: What happened.
        trace_id: Its trace.
        event_id: Its id.
        service: Its service.
        chunks: Which of the chunks it is about.
        fields: What else it says of it: document, version, rank, score, answer.
    """

    timestamp: str
    message: str
    trace_id: str | None
    event_id: str | None
    service: str
    chunks: list[str]
    fields: dict[str, Any]


class Lineage(Struct):
    """The way of a chunk, a document or an answer.

    Attributes:
        kind: What was asked for.
        id: Its id.
        documents: Documents on the way.
        chunks: Chunks on the way.
        made: Events that made the chunks, the newest first.
        found: Searches that found them.
        used: Prompts that held them.
        cited: Answers that cite them.
        is_truncated: There are more events than were read.
    """

    kind: LineageSubject
    id: str
    documents: list[str] = field(default_factory=list[str])
    chunks: list[str] = field(default_factory=list[str])
    made: list[LineageLink] = field(default_factory=list[LineageLink])
    found: list[LineageLink] = field(default_factory=list[LineageLink])
    used: list[LineageLink] = field(default_factory=list[LineageLink])
    cited: list[LineageLink] = field(default_factory=list[LineageLink])
    is_truncated: bool = False


def fetch_lineage(kind: LineageSubject, id_: str, *, since: datetime | None = None) -> Reading[Lineage]:
    """Follow a chunk, a document or an answer both ways.

    Args:
        kind: What the id names.
        id_: Its id: ``chunk_id``, ``document_id`` or ``answer_id``.
        since: Only from this moment on; None for all there is.

    Raises:
        NotFoundError: No event names it.
    """
    lineage = Lineage(kind, id_)
    events = yield from _holding([id_], since, lineage)
    chunks = [id_] if kind == "chunk" else _chunks_of(events, kind, id_)
    if kind == "answer":
        events = yield from _with_traces(events, id_, since, lineage)
        chunks = _chunks_of(events, kind, id_)
    if kind != "chunk" and chunks:
        more = yield from _holding(chunks[:MAX_CHUNKS], since, lineage)
        lineage.is_truncated |= len(chunks) > MAX_CHUNKS
        events = list({_key(event): event for event in [*events, *more]}.values())
    _sort_in(lineage, events, set(chunks))
    if not (lineage.made or lineage.found or lineage.used or lineage.cited):
        raise NotFoundError(
            f"nothing is known of the {kind} {id_[:100]!r}",
            hint="it has to be in chunk_ids, hits, chunk_ids_used, document_id or answer_id of an event",
        )
    return lineage


def _holding(ids: list[str], since: datetime | None, lineage: Lineage) -> Reading[list[PublicEvent]]:
    """Fetch the events that hold one of some ids, the newest first."""
    texts: list[Query] = [Text(id_, "substring") for id_ in ids]
    wanted = LogFilter(query=texts[0] if len(texts) == 1 else OneOf(tuple(texts)), since=since)
    return (yield from _all_of(wanted, lineage))


def _with_traces(
    events: list[PublicEvent], answer: str, since: datetime | None, lineage: Lineage
) -> Reading[list[PublicEvent]]:
    """Fetch all events of the traces that gave an answer: what was found and used stands beside it."""
    found = list(events)
    for trace_id in dict.fromkeys(event.get("trace_id") for event in events if _names_answer(event, answer)):
        if trace_id is not None:
            found += yield from _all_of(LogFilter(trace_id=trace_id, since=since), lineage)
    return list({_key(event): event for event in found}.values())


def _all_of(wanted: LogFilter, lineage: Lineage) -> Reading[list[PublicEvent]]:
    found: list[PublicEvent] = []
    cursor: str | None = None
    while True:
        page = yield from fetch_logs(wanted, limit=MAX_LIMIT, cursor=cursor)
        found += page.logs
        cursor = page.next_cursor
        if cursor is None:
            return found
        if len(found) >= MAX_EVENTS:
            lineage.is_truncated = True
            return found


def _chunks_of(events: Iterable[PublicEvent], kind: LineageSubject, id_: str) -> list[str]:
    """List the chunks of a document, or those that an answer is made of, in the order in which they are reported."""
    found: dict[str, None] = {}
    answers = {event.get("trace_id") for event in events if kind == "answer" and _names_answer(event, id_)}
    for event in events:
        context = _context(event)
        if kind == "document":
            listed = context.get("chunk_ids") if context.get("document_id") == id_ else None
            ids = [*_texts(listed), *(hit["chunk_id"] for hit in _hits(context) if hit.get("document_id") == id_)]
        elif event.get("trace_id") in answers:
            ids = [*_texts(context.get("chunk_ids_used")), *_texts(context.get("chunk_ids_cited"))]
        else:
            ids = []
        found |= dict.fromkeys(chunk for chunk in ids if isinstance(chunk, str))
    return list(found)


def _sort_in(lineage: Lineage, events: Iterable[PublicEvent], chunks: set[str]) -> None:
    """Put each event where it belongs on the way."""
    documents: dict[str, None] = {lineage.id: None} if lineage.kind == "document" else {}
    answers = {event.get("trace_id") for event in events if _names_answer(event, lineage.id)}
    for event in sorted(events, key=lambda event: event["timestamp"], reverse=True):
        context = _context(event)
        if lineage.kind == "answer" and "chunk_ids" not in context and event.get("trace_id") not in answers:
            continue  # another request that used the same chunks
        hits = [hit for hit in _hits(context) if hit.get("chunk_id") in chunks]
        made = [chunk for chunk in _texts(context.get("chunk_ids")) if chunk in chunks]
        if made or (lineage.kind == "document" and context.get("document_id") == lineage.id and "hits" not in context):
            names = ("document_id", "document_version", "ingest_run_id", "chunker", "embedding_model", "index_name")
            lineage.made.append(_link(event, made, {name: context[name] for name in names if name in context}))
            documents |= dict.fromkeys(_texts([context.get("document_id")]))
        if hits:
            ranked = [{name: hit[name] for name in ("chunk_id", "rank", "score") if name in hit} for hit in hits]
            lineage.found.append(_link(event, [hit["chunk_id"] for hit in hits], {"hits": ranked}))
            documents |= dict.fromkeys(_texts([hit.get("document_id") for hit in hits]))
        for name, links in (("chunk_ids_used", lineage.used), ("chunk_ids_cited", lineage.cited)):
            named = [chunk for chunk in _texts(context.get(name)) if chunk in chunks]
            if named:
                links.append(
                    _link(event, named, {key: context[key] for key in ("answer_id", "model") if key in context})
                )
    lineage.documents, lineage.chunks = list(documents), sorted(chunks)


def _link(event: PublicEvent, chunks: list[str], fields: dict[str, Any]) -> LineageLink:
    return LineageLink(
        timestamp=event["timestamp"],
        message=event["message"],
        trace_id=event.get("trace_id"),
        event_id=event.get("event_id"),
        service=event["service"],
        chunks=chunks,
        fields=fields,
    )


def _names_answer(event: PublicEvent, answer: str) -> bool:
    return _context(event).get("answer_id") == answer


def _hits(context: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in _HITS:
        value = context.get(name)
        items = cast("list[Any]", value) if isinstance(value, list) else []
        found += [cast("dict[str, Any]", item) for item in items if isinstance(item, dict) and "chunk_id" in item]
    return found


def _context(event: PublicEvent) -> dict[str, Any]:
    return event.get("context") or {}


def _texts(value: Any) -> list[str]:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str)]


def _key(event: PublicEvent) -> str:
    return str(event.get("event_id") or (event["timestamp"], event["message"], event.get("span_id")))
