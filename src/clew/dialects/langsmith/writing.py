"""A finished span as a LangSmith run, and its scores as feedback.

====================== ===========================================================================
of the run             from the event
====================== ===========================================================================
id                     ``span_id``; the ids are UUIDv7 that carry the start time, as LangSmith wants them
trace_id, dotted_order the outermost ancestor and the way down from it (see ``langsmith_place``)
name, run_type         ``message``; ``run_type``, or ``chain`` where LangSmith does not know it
start_time, end_time   ``timestamp``, never before the parent's; with ``duration_ms``
session_name           the project of the settings, else ``service``
inputs, outputs        as captured, in an object; a retriever's ``documents`` from the hits, an llm's
                       ``messages`` from its text, where they are not there already
error                  type, message and stack
events                 one for each log inside: name, time, and the log itself as ``kwargs``; ``new_token``
extra.metadata         user, session, request, service, environment, ``revision_id``, stage, ``trace_id``; the
                       catalogue's places (``ls_model_name``, ``usage_metadata`` …); all plain fields and metrics
extra.clew             the event itself without inputs and outputs, and what was done to these, so that a
                       receiver of ours restores every field
====================== ===========================================================================

A log ``score_computed`` becomes feedback on its run as well. A log whose span was sent before becomes a run of its own
without length, below it, with the log in ``extra.clew.log``.

Source:
    LangSmith, "Log traces with the API" and "Run data format"; shapes captured from the SDK 0.15.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import NAMESPACE_URL, UUID, uuid5

from msgspec import json

from clew.catalog.events import FIELDS
from clew.dialects.finished_span import Ancestor
from clew.dialects.langsmith.place import in_iso, moment, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from clew.dialects.finished_span import FinishedSpan
    from clew.sinks.joiner import Loose

__all__ = ["feedback_of", "run_of", "run_of_log"]

RUN_TYPES: Final = frozenset({"tool", "chain", "llm", "retriever", "embedding", "prompt", "parser"})
LONGEST_MS: Final = 1e11  # three years; datetimes end somewhere
SCORE: Final = "score_computed"
_METADATA: Final = "extra.metadata."
_PLACES: Final = {
    name: tuple(field.langsmith.removeprefix(_METADATA).split("."))
    for name, field in FIELDS.items()
    if field.langsmith.startswith(_METADATA)
}
_AMOUNTS: Final = frozenset(name for name, place in _PLACES.items() if place[0] == "usage_metadata")
_NEVER_SHARED: Final = frozenset({"timestamp", "context", "metrics", "error", "sanitized"})
_OPTIONAL: Final = ("user_id", "request_id", "session_id", "environment", "version", "error", "sanitized")

Run = dict[str, Any]


def run_of(joined: FinishedSpan, project: str | None) -> Run:
    """Make the run of a finished span.

    Args:
        joined: The span with its logs and ancestors.
        project: The project; None for one named after the service.
    """
    event = joined.event
    step = Ancestor(event["span_id"], event["timestamp"], event.get("parent_span_id"))
    placed = place(event.get("trace_id"), (*joined.path, step))
    context: dict[str, Any] = {**event["context"]}
    shapes: dict[str, Any] = {}
    inputs = _in_object(context.pop("inputs", None), "input", shapes, "inputs")
    outputs = _in_object(context.pop("outputs", None), "output", shapes, "outputs")
    _add_documents_or_messages(event, joined.logs, outputs, shapes)
    run: Run = {
        "id": event["span_id"],
        "trace_id": placed.trace_id,
        "dotted_order": placed.dotted_order,
        "name": event["message"],
        "run_type": event.get("run_type") if event.get("run_type") in RUN_TYPES else "chain",
        "session_name": project or event["service"],
        "start_time": in_iso(placed.start),
        "end_time": in_iso(placed.start + timedelta(milliseconds=_number(event["metrics"].get("duration_ms")))),
        "inputs": inputs,
        "outputs": outputs,
        "events": _events(event, joined.logs, placed.start),
        "extra": {
            "metadata": _metadata(event, context, joined.logs, joined.dropped_logs),
            "clew": {"event": {**event, "context": context}, **shapes},
        },
    }
    if placed.parent_id is not None:
        run["parent_run_id"] = placed.parent_id
    if isinstance(context.get("tags"), list):
        run["tags"] = [str(tag) for tag in cast("list[Any]", context["tags"])]
    if event.get("error") or event.get("status") in {"error", "aborted", "cancelled"}:
        run["error"] = _error_text(event)
    return run


def run_of_log(loose: Loose, project: str | None) -> Run:
    """Make a run without length of a log whose span has been sent, or is not known."""
    event = loose.event
    id_ = _derived_id(event)
    step = Ancestor(id_, event["timestamp"], event.get("span_id") or None)
    placed = place(event.get("trace_id"), (*loose.path, step))
    run: Run = {
        "id": id_,
        "trace_id": placed.trace_id,
        "dotted_order": placed.dotted_order,
        "name": event["message"],
        "run_type": "chain",
        "session_name": project or event["service"],
        "start_time": in_iso(placed.start),
        "end_time": in_iso(placed.start),
        "inputs": {},
        "outputs": {},
        "extra": {"metadata": _metadata(event, event["context"], [], 0), "clew": {"log": event}},
    }
    if placed.parent_id is not None:
        run["parent_run_id"] = placed.parent_id
    if event.get("error"):
        run["error"] = _error_text(event)
    return run


def feedback_of(log: dict[str, Any], path: Sequence[Ancestor], *, is_in_run: bool) -> Run | None:
    """Make the feedback of a log that reports a score; None for any other.

    Args:
        log: The log.
        path: Its span and that one's ancestors, the outermost first.
        is_in_run: The log is one of the events of its run too.
    """
    context, metrics = log["context"], log["metrics"]
    key, score = context.get("metric_name"), metrics.get("score")
    if log["message"] != SCORE or not isinstance(key, str) or not log.get("span_id"):
        return None
    # Of a span that is not known, no more can be said than that it is somewhere below the root of its trace.
    path = path or (Ancestor(log["span_id"], log["timestamp"], log.get("trace_id")),)
    placed = place(log.get("trace_id"), path)
    reason = context.get("reason")
    return {
        "id": str(uuid5(NAMESPACE_URL, _identity(log).decode())),
        "run_id": path[-1].span_id,
        "trace_id": placed.trace_id,
        "key": key,
        "score": round(score, 4) if isinstance(score, int | float) else None,
        "value": score if isinstance(score, str) else None,
        "comment": reason if isinstance(reason, str) else None,
        "correction": None,
        "created_at": log["timestamp"],
        "modified_at": log["timestamp"],
        "start_time": in_iso(placed.start),
        "feedback_source": {
            "type": "model",
            "metadata": {name: context[name] for name in ("judge", "judge_version") if context.get(name)},
        },
        "extra": {"clew": {"is_in_run": is_in_run, "log": None if is_in_run else log}},
    }


def _derived_id(log: dict[str, Any]) -> str:
    """Derive a UUIDv7 from a log: the same at every replay, and with the log's time in it."""
    ms = int(moment(log["timestamp"]).timestamp() * 1000)
    digest = int.from_bytes(hashlib.sha256(_identity(log)).digest()[:10], "big")
    return str(UUID(int=(ms << 80) | (digest & ~(0xF << 76) & ~(0b11 << 62)) | (7 << 76) | (0b10 << 62)))


def _identity(log: dict[str, Any]) -> bytes:
    """Identify a log by what it says, but for what the agent adds to it, which may change with the prices."""
    context = {name: value for name, value in log["context"].items() if name != "price_source"}
    parts = [log["service"], log.get("span_id"), log["timestamp"], log["message"], context, log["metrics"].get("score")]
    return json.encode(parts, order="deterministic")


def _in_object(value: Any, key: str, shapes: dict[str, Any], name: str) -> dict[str, Any]:
    """Put what is no object into one, and note what was done."""
    if value is None:
        shapes[name] = "absent"
        return {}
    if isinstance(value, dict):
        return {**cast("dict[str, Any]", value)}
    shapes[name] = "wrapped"
    return {key: value}


def _add_documents_or_messages(
    event: dict[str, Any], logs: list[dict[str, Any]], outputs: dict[str, Any], shapes: dict[str, Any]
) -> None:
    """Add to the outputs what LangSmith renders, where the application did not write it so."""
    run_type = event.get("run_type")
    if run_type == "retriever" and "documents" not in outputs:
        candidates = [_hits(each) for each in (event, *reversed(logs))]
        listed = outputs.get("output")
        candidates.append(cast("list[Any]", listed) if isinstance(listed, list) else [])
        documents = [_document(hit) for hit in next((some for some in candidates if some), cast("list[Any]", []))]
        if any(documents):
            outputs["documents"] = [document for document in documents if document]
            shapes["added"] = "documents"
    elif run_type == "llm" and not outputs.keys() & {"messages", "choices", "message", "role"}:
        text = next((outputs[key] for key in ("answer", "output", "content", "text") if key in outputs), None)
        if isinstance(text, str):
            outputs["messages"] = [{"role": "assistant", "content": text}]
            shapes["added"] = "messages"


def _hits(event: dict[str, Any]) -> list[Any]:
    for name in ("hits_after", "hits"):
        hits = event["context"].get(name)
        if isinstance(hits, list):
            return cast("list[Any]", hits)
    return []


def _document(hit: Any) -> dict[str, Any] | None:
    """Write a hit as LangSmith's renderer of documents wants it."""
    if not isinstance(hit, dict):
        return None
    fields = {**cast("dict[str, Any]", hit)}
    text = next(
        (fields.pop(key) for key in ("page_content", "content", "text") if isinstance(fields.get(key), str)), ""
    )
    metadata = fields.pop("metadata", None)
    inner = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}
    id_ = fields.get("id") or fields.get("chunk_id")
    return {"page_content": text, "type": "Document", "metadata": {**inner, **fields, **({"id": id_} if id_ else {})}}


def _events(event: dict[str, Any], logs: Iterable[dict[str, Any]], start: datetime) -> list[dict[str, Any]]:
    first = event["metrics"].get("time_to_first_token_ms")
    events = [{"name": log["message"], "time": log["timestamp"], "kwargs": _without_shared(log, event)} for log in logs]
    if event.get("run_type") == "llm" and first is None:
        waits = [log["metrics"].get("time_to_first_token_ms") for log in logs]
        called = [log["timestamp"] for log in logs if log["message"] == "first_token_received"]
        if called:
            return [{"name": "new_token", "time": called[0]}, *events]
        first = next((wait for wait in waits if wait is not None), None)
    if isinstance(first, int | float):
        events.insert(0, {"name": "new_token", "time": in_iso(start + timedelta(milliseconds=_number(first)))})
    return events


def _without_shared(log: dict[str, Any], span: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a log what its run reports as well; a key that only the run has is reported as None."""
    own = {name: value for name, value in log.items() if name in _NEVER_SHARED or span.get(name) != value}
    return {name: None for name in _OPTIONAL if name in span and name not in log} | own


def _metadata(
    event: dict[str, Any], context: dict[str, Any], logs: list[dict[str, Any]], dropped_logs: int
) -> dict[str, Any]:
    """Collect what people filter by, and what LangSmith computes with."""
    metadata: dict[str, Any] = {
        name: value
        for name, value in {**context, **event["metrics"]}.items()
        if isinstance(value, str | int | float | bool)
    }
    if isinstance(context.get("metadata"), dict):
        metadata |= context["metadata"]
    metadata |= {
        "trace_id": event.get("trace_id"),
        "user_id": event.get("user_id"),
        "session_id": event.get("session_id"),
        "request_id": event.get("request_id"),
        "service": event["service"],
        "environment": event.get("environment"),
        "revision_id": event.get("version"),
        "stage": event.get("stage"),
        "status": event.get("status"),
        "parent_span_id": event.get("parent_span_id"),
        "dropped_logs": dropped_logs or None,
    }
    metadata = {name: value for name, value in metadata.items() if value is not None}
    facts = _facts(event, logs)
    for name, value in facts.items():
        at = metadata
        *above, last = _PLACES[name]
        for key in above:
            present = at.get(key)
            inner: dict[str, Any] = {**cast("dict[str, Any]", present)} if isinstance(present, dict) else {}
            at[key] = inner  # a copy: the application may have set one under this name
            at = inner
        at[last] = value
    if {"tokens_in", "tokens_out"} <= facts.keys():
        metadata["usage_metadata"]["total_tokens"] = facts["tokens_in"] + facts["tokens_out"]
    return metadata


def _facts(event: dict[str, Any], logs: list[dict[str, Any]]) -> dict[str, Any]:
    """Gather the fields that have a place at LangSmith: the span's own, else those of the logs inside it.

    Amounts of several logs add up, but for logs that report the same again: what the message with the most comes to.
    """
    facts: dict[str, Any] = {}
    sums: dict[str, dict[str, float]] = {name: {} for name in _AMOUNTS}
    for log in logs:
        for name, value in {**log["context"], **log["metrics"]}.items():
            if name in sums and isinstance(value, int | float):
                sums[name][log["message"]] = sums[name].get(log["message"], 0) + value
            elif name in _PLACES and value is not None:
                facts[name] = value
    facts |= {name: max(amounts.values()) for name, amounts in sums.items() if amounts}
    own = {**event["context"], **event["metrics"]}
    facts |= {name: own[name] for name in _PLACES if own.get(name) is not None}
    return {name: value for name, value in facts.items() if name not in _AMOUNTS or isinstance(value, int | float)}


def _error_text(event: dict[str, Any]) -> str:
    error: dict[str, Any] = event.get("error") or {}
    if not error:
        return "CancelledError()" if event.get("status") == "cancelled" else str(event.get("status", "error"))
    message = repr(error["message"]) if error.get("message") else ""
    return f"{error.get('type', 'Error')}({message})\n\n{error.get('stack', '')}".rstrip()


def _number(value: Any) -> float:
    return min(max(float(value), 0.0), LONGEST_MS) if isinstance(value, int | float) else 0.0
