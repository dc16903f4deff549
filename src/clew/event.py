"""What an event is: its keys, its levels and its stages, once for all who write and read them.

``Event`` lists the keys of the public format in their order. How one is made is in ``record``; what the events of a RAG
system are called and hold, in ``catalog``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from msgspec import Raw, Struct, UnsetType

__all__ = ["ENDED", "LEVELS", "STAGES", "Event"]

STAGES: Final = ("ingestion", "retrieval", "generation", "evaluation", "other")
"""The stages, in the order of the pipeline; ``other`` for what belongs to none."""

LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
"""Level names and their numbers, as in ``logging``."""

ENDED: Final = "ended"
"""Status of a ``span_start`` that comes after its ``span``: it begins nothing, and only adds to the span in the store."""


class Event(Struct, frozen=True, gc=False):
    """One event in the public format; absent keys are ``UNSET``.

    Attributes:
        timestamp: When it happened or, for a span, began; UTC.
        kind: ``"log"``, ``"span_start"`` or ``"span"``.
        level: A name of ``LEVELS``.
        message: What happened: a name of the catalogue, or any text; a span's name.
        trace_id: The trace, a UUID, or None.
        span_id: The innermost span, or the span itself; a UUID, or None.
        user_id: On whose behalf, or None.
        parent_span_id: The parent of a span.
        request_id: The request.
        session_id: The conversation.
        service: The emitting service.
        environment: Such as ``"prod"``.
        version: The version of the service.
        stage: ``"ingestion"``, ``"retrieval"``, ``"generation"``, ``"evaluation"`` or ``"other"``.
        logger: Name of the logger.
        run_type: Kind of a span, in LangSmith's words.
        status: Of a span: ``"running"``, ``"ok"``, ``"error"``, ``"cancelled"`` or ``"aborted"``.
        context: Its fields that are not metrics.
        metrics: What was measured: numbers by name, units in the names.
        error: ``{"type", "message", "stack"}`` of what was raised.
        sanitized: What had to be changed to make the event safe (see ``sanitize``).
    """

    timestamp: datetime | str
    kind: str
    level: str
    message: str
    trace_id: str | None
    span_id: str | None
    user_id: str | None
    parent_span_id: str | UnsetType
    request_id: str | UnsetType
    session_id: str | UnsetType
    service: str
    environment: str | UnsetType
    version: str | UnsetType
    stage: str
    logger: str | UnsetType
    run_type: str | UnsetType
    status: str | UnsetType
    context: dict[str, Any] | Raw
    metrics: dict[str, Any] | Raw
    error: dict[str, Any] | Raw | UnsetType
    sanitized: list[str] | UnsetType
