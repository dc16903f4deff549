"""An event as a dialect reads it out of what others sent, before it is encoded.

Before: a dialect's reader. After: ``receivers.intake``, which encodes it like an event of our own.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field

__all__ = ["DraftEvent"]


class DraftEvent(Struct, kw_only=True):
    """What a dialect makes of foreign telemetry: an event before it is encoded.

    Attributes:
        timestamp: When it happened or, for a span, began; aware, UTC.
        kind: ``"log"``, ``"span_start"`` or ``"span"``.
        level: A name of ``event.LEVELS``.
        message: What happened; a span's name.
        trace_id: The trace, a UUID.
        span_id: The span, or the span that a log belongs to, a UUID.
        parent_span_id: The parent of a span, a UUID.
        user_id: On whose behalf.
        request_id: The request.
        session_id: The conversation.
        service: The service that reported it.
        environment: Where that runs.
        version: Its version.
        stage: One of ``event.STAGES``; None, or anything else, for none reported.
        logger: Name of the logger.
        run_type: Kind of a span, in LangSmith's words.
        status: Of a span: ``"running"``, ``"ok"``, ``"error"``, ``"cancelled"`` or ``"aborted"``.
        fields: What was reported: names of metrics become metrics, and so does what a mapping ``metrics`` holds;
            a mapping ``context`` holds what is context whatever its name.
        error: ``{"type", "message", "stack"}`` of what was raised.
        sanitized: What was changed before it came to us, in the words of ``sanitize``.
    """

    timestamp: datetime
    message: str
    service: str
    kind: str = "log"
    level: str = "INFO"
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    environment: str | None = None
    version: str | None = None
    stage: str | None = None
    logger: str | None = None
    run_type: str | None = None
    status: str | None = None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    error: dict[str, Any] | None = None
    sanitized: list[str] = field(default_factory=list[str])
