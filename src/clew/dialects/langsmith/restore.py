"""Runs that clew itself has sent, made into the very events that they were.

The LangSmith sink puts the event beside what LangSmith shows of it, so that nothing is lost on the way from one
clew to another:

============================== =====================================================================
``extra.clew.event``           a span's event, without its inputs and outputs
``extra.clew.inputs, outputs`` ``"absent"``: there were none; ``"wrapped"``: they were no object
``extra.clew.added``           what was added to the outputs for LangSmith to render, and is taken out again
``extra.clew.log``             the log that a run (or a feedback) stands for
``extra.clew.is_in_run``       a feedback: its log is among the events of its run
``events[i].kwargs``           a log inside, but for the keys that it shares with its span; a key reported as None
                               is one that the span has and the log has not
============================== =====================================================================

It comes over the network like everything else, so it is believed as far as it is an event; where it is none, the run is
read like anybody's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_URL, uuid5

from msgspec import Struct, ValidationError, convert, json
from msgspec.structs import asdict

from clew.dialects.draft_event import DraftEvent
from clew.dialects.langsmith.values import mapping, sequence
from clew.event import LEVELS, STAGES
from clew.ids import parse_uuid

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["is_ours", "is_reported_in_run", "log_of", "name_of", "restore"]

NEVER_SHARED: Final = frozenset({"kind", "message", "timestamp", "logger", "parent_span_id", "run_type", "status"})
NULLABLE: Final = frozenset({"trace_id", "span_id", "user_id"})
WRAPPED_IN: Final = {"inputs": "input", "outputs": "output"}


class _Error(Struct):
    type: str
    message: str
    stack: str


class _Event(Struct):
    """As much of an event as has to be of a type."""

    timestamp: Any
    kind: str
    level: str
    message: str
    service: str
    context: dict[str, Any]
    metrics: dict[str, Any]
    stage: str = "other"
    trace_id: str | None = None
    span_id: str | None = None
    user_id: str | None = None
    parent_span_id: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    environment: str | None = None
    version: str | None = None
    logger: str | None = None
    run_type: str | None = None
    status: str | None = None
    error: _Error | None = None
    sanitized: list[str] = []


def restore(run: dict[str, Any]) -> list[DraftEvent] | None:
    """Make the events that a run of ours stands for: its logs, then its span; or the one log.

    Returns:
        None for a run that is not of ours, or is not sound.
    """
    ours = _ours(run)
    if isinstance(ours.get("log"), dict):
        log = log_of(run)
        return None if log is None else [log]
    event = mapping(ours.get("event"))
    if event.get("kind") != "span" or not isinstance(event.get("context"), dict):
        return None
    span = _received({**event, "context": {**mapping(event.get("context")), **_captured(run, ours)}})
    logs = [_received(_whole(item, event)) for item in sequence(run.get("events")) if _is_log(item)]
    if span is None or span.span_id is None or None in logs:
        return None
    return [*_known(logs), span]


def log_of(body: dict[str, Any]) -> DraftEvent | None:
    """Make the log that a run or a feedback of ours stands for; None for others."""
    event = mapping(_ours(body).get("log"))
    return _received(event) if event.get("kind") == "log" else None


def is_ours(body: dict[str, Any]) -> bool:
    """Whether a run or a feedback was sent by clew."""
    return bool(_ours(body))


def is_reported_in_run(feedback: dict[str, Any]) -> bool:
    """Whether the log of a feedback of ours is among the events of its run."""
    return _ours(feedback).get("is_in_run") is True


def name_of(event: DraftEvent) -> str:
    """Derive a name from all that an event reports: a log that comes by two ways has one name."""
    return str(uuid5(NAMESPACE_URL, json.encode(event, order="deterministic").decode()))


def _ours(body: dict[str, Any]) -> dict[str, Any]:
    return mapping(mapping(body.get("extra")).get("clew"))


def _captured(run: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Read inputs and outputs as they were before they were made fit for LangSmith."""
    found: dict[str, Any] = {}
    for name, key in WRAPPED_IN.items():
        value = {**mapping(run.get(name))}
        if name == "outputs":
            value.pop(str(ours.get("added")), None)
        if ours.get(name) == "wrapped":
            found[name] = value.get(key)
        elif ours.get(name) != "absent":
            found[name] = value
    return found


def _is_log(item: Any) -> bool:
    return "timestamp" in mapping(mapping(item).get("kwargs"))


def _whole(item: Any, span: dict[str, Any]) -> dict[str, Any]:
    """Give a log back what it shares with its span."""
    kwargs = mapping(mapping(item).get("kwargs"))
    shared = {key: value for key, value in span.items() if key not in NEVER_SHARED}
    whole = {**shared, "message": mapping(item).get("name"), "kind": "log", **kwargs}
    return {key: value for key, value in whole.items() if value is not None or key in NULLABLE}


def _received(event: dict[str, Any]) -> DraftEvent | None:
    """Read an event in the public format; None where it is none."""
    try:
        converted = convert(event, _Event)
        timestamp = convert(converted.timestamp, datetime).astimezone(UTC)
    except (ValidationError, OverflowError, ValueError):
        return None
    ids = [converted.trace_id, converted.span_id, converted.parent_span_id]
    if (
        converted.level not in LEVELS
        or converted.stage not in STAGES
        or any(id_ and not parse_uuid(id_) for id_ in ids)
    ):
        return None
    return DraftEvent(
        timestamp=timestamp,
        kind=converted.kind,
        level=converted.level,
        message=converted.message,
        service=converted.service,
        trace_id=converted.trace_id,
        span_id=converted.span_id,
        parent_span_id=converted.parent_span_id,
        user_id=converted.user_id,
        request_id=converted.request_id,
        session_id=converted.session_id,
        environment=converted.environment,
        version=converted.version,
        stage=converted.stage,
        logger=converted.logger,
        run_type=converted.run_type,
        status=converted.status,
        fields={"context": converted.context, "metrics": converted.metrics},
        error=None if converted.error is None else asdict(converted.error),
        sanitized=converted.sanitized,
    )


def _known(logs: Iterable[DraftEvent | None]) -> list[DraftEvent]:
    return [log for log in logs if log is not None]
