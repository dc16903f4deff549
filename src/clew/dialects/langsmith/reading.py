"""A LangSmith run as events of ours.

===================== ==========================================================================
of a run              of the event
===================== ==========================================================================
id, trace_id          ``span_id``, ``trace_id``
parent_run_id         ``parent_span_id``, where it is not the trace itself
name, run_type        ``message``, ``run_type``; the stage is what the run type implies, else the parent's
start_time, end_time  ``timestamp``, ``metrics.duration_ms``
session_name          ``service``, unless the metadata name one (the project is LangSmith's word for it)
error                 ``error`` and ``status`` error; or cancelled, where it says that somebody stopped it
inputs, outputs       the same, in ``context``; documents become ``hits`` and ``hit_count`` as well
tags                  the same, in ``context``
extra.metadata        ``user_id``, ``request_id``, ``session_id`` (also as thread_id, conversation_id),
                      ``environment``, ``version`` (revision_id), ``model``, ``provider``, ``temperature``
                      and tokens; all else stays ``emit.context.metadata``
events                ``metrics.time_to_first_token_ms``; all but those that only mark start and end
                      become logs of their own
===================== ==========================================================================

A feedback becomes the log ``score_computed`` of its run.

What the environment of a client was (``LANGSMITH_*``, ``extra.runtime``) is left out: nobody meant to log it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, json

from clew import arrival, clock
from clew.catalog.events import MODEL_CALLS, STAGE_OF_RUN_TYPE
from clew.catalog.usage import FIELDS_BY_METADATA
from clew.dialects.draft_event import DraftEvent
from clew.dialects.langsmith.values import (
    documents_of,
    dotted_moment,
    generations_of,
    hits_of,
    is_cancellation,
    mapping,
    moment_of,
    number,
    read_error,
    sequence,
    text,
    usage_of,
)
from clew.dialects.vectors import without_vectors
from clew.emit.spans import SMALL_INPUTS_BYTES
from clew.event import ENDED
from clew.ids import parse_uuid

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "SCORE",
    "RunFacts",
    "end_events",
    "facts_of",
    "late_beginning",
    "merge",
    "needs_parent",
    "score_event",
    "start_event",
]

Run = dict[str, Any]

SCORE: Final = "score_computed"
UNKNOWN_SERVICE: Final = "langsmith"
MAX_LOGS: Final = 200
MAX_NAME_CHARS: Final = 200

_THREAD_KEYS: Final = ("session_id", "conversation_id", "thread_id")
_TAKEN: Final = frozenset(
    {*_THREAD_KEYS, "user_id", "request_id", "service", "environment", "revision_id", "usage_metadata"}
)
_ENVIRONMENT: Final = ("LANGSMITH_", "LANGCHAIN_")
_MARKS: Final = frozenset({"start", "end", "error", "new_token"})


class RunFacts(Struct, frozen=True):
    """What is remembered of a run for those that belong to it: its children, its scores.

    Attributes:
        trace_id: Its trace.
        service: Its service.
        stage: Its stage.
        user_id: Its user.
        request_id: Its request.
        session_id: Its conversation.
        environment: Where it ran.
        version: Which version.
    """

    trace_id: str | None
    service: str
    stage: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    environment: str | None = None
    version: str | None = None


def merge(earlier: Run, later: Run) -> Run:
    """Join what was reported of a run; the later word counts, and None says nothing.

    Example:
        >>> merge({"name": "a", "extra": {"metadata": {"x": 1}}}, {"name": None, "extra": {"metadata": {"y": 2}}})
        {'name': 'a', 'extra': {'metadata': {'x': 1, 'y': 2}}}
    """
    joined = {**earlier, **{name: value for name, value in later.items() if value is not None}}
    if earlier.get("extra") and later.get("extra"):
        old, new = mapping(earlier["extra"]), mapping(later["extra"])
        joined["extra"] = {**old, **new, "metadata": {**mapping(old.get("metadata")), **mapping(new.get("metadata"))}}
    return joined


def facts_of(run: Run, parent: RunFacts | None) -> RunFacts:
    """Work out where a run belongs.

    Args:
        run: As far as it was reported.
        parent: The facts of its parent, where that is known: a child is of the same user, session and stage.
    """
    metadata = _metadata(run)
    above = parent or RunFacts(None, UNKNOWN_SERVICE)
    stage = STAGE_OF_RUN_TYPE.get(_run_type(run)) or above.stage
    return RunFacts(
        trace_id=_trace_id(run) or above.trace_id or _uuid(run.get("parent_run_id")),
        service=text(metadata.get("service")) or text(run.get("session_name")) or above.service,
        stage=stage,
        user_id=text(metadata.get("user_id")) or above.user_id,
        request_id=text(metadata.get("request_id")) or above.request_id,
        session_id=next((found for key in _THREAD_KEYS if (found := text(metadata.get(key)))), above.session_id),
        environment=text(metadata.get("environment")) or above.environment,
        version=text(metadata.get("revision_id")) or above.version,
    )


def needs_parent(run: Run) -> bool:
    """Whether only its parent can say which trace a run belongs to."""
    return _trace_id(run) is None and _uuid(run.get("parent_run_id")) is not None


def start_event(run: Run, facts: RunFacts) -> DraftEvent:
    """Make the ``span_start`` of a run that has begun; its inputs are reported if they are small."""
    context = _context(run)
    inputs = run.get("inputs")
    if inputs and _is_small(inputs):
        context["inputs"] = inputs
    return _span(run, facts, kind="span_start", status="running", fields={"context": context})


def late_beginning(run: Run, facts: RunFacts) -> DraftEvent:
    """Make the ``span_start`` of a run whose ``span`` was reported before: with all that is known of it by now."""
    whole = end_events(run, facts)[-1]
    whole.kind, whole.status, whole.level, whole.error = "span_start", ENDED, "INFO", None
    return whole


def end_events(run: Run, facts: RunFacts) -> list[DraftEvent]:
    """Make the events of a run that has ended: its logs, then its ``span``."""
    begin = _began_at(run)
    metadata, outputs, run_type = _metadata(run), mapping(run.get("outputs")), _run_type(run)
    context = _context(run)
    for name in ("inputs", "outputs"):
        if run.get(name):
            context[name] = without_vectors(run[name]) if run_type == "embedding" else run[name]
    context |= _model_facts(run, outputs) if run_type in MODEL_CALLS else {}
    metrics: dict[str, Any] = usage_of(metadata, outputs, is_call=run_type in MODEL_CALLS)
    duration_ms, flags = _duration_ms(run)
    if duration_ms is not None:
        metrics["duration_ms"] = duration_ms
    if run_type == "llm" and (first := _first_token_at(run)) is not None:
        metrics["time_to_first_token_ms"] = _ms_between(begin, first)
    if run_type == "retriever" and (documents := documents_of(run.get("outputs"))):
        hits = context["hits"] = hits_of(documents)
        context["hit_count"] = len(documents)
        scores = [hit["score"] for hit in hits if "score" in hit]
        metrics |= {"top_score": max(scores)} if scores else {}
    error, status = None, "ok"
    if message := _error_text(run.get("error")):
        error = read_error(message)
        status = "cancelled" if is_cancellation(error) else "error"
    fields = {"context": context, "metrics": metrics}
    span = _span(run, facts, kind="span", status=status, fields=fields)
    span.sanitized = flags
    if status == "error":
        span.level, span.error = "ERROR", error
    return [*_logs(run, facts, begin), span]


def score_event(feedback: Run, facts: RunFacts | None) -> DraftEvent:
    """Make the log of a score.

    Args:
        feedback: As LangSmith's clients send it.
        facts: Those of the run that was scored, where it is known.
    """
    above = facts or RunFacts(None, UNKNOWN_SERVICE)
    source = mapping(feedback.get("feedback_source"))
    who = mapping(source.get("metadata"))
    score, value = feedback.get("score"), feedback.get("value")
    context = {
        "metric_name": text(feedback.get("key")),
        "reason": text(feedback.get("comment")),
        "judge": text(who.get("judge"))
        or text(who.get("evaluator"))
        or text(who.get("name"))
        or text(source.get("type")),
        "judge_version": text(who.get("judge_version")),
        "value": value if value != score else None,
        "correction": feedback.get("correction"),
    }
    measured = float(score) if isinstance(score, bool) else number(score)
    fields = {
        "context": {name: item for name, item in context.items() if item is not None},
        "metrics": {} if measured is None else {"score": measured},
    }
    return DraftEvent(
        timestamp=moment_of(feedback.get("created_at")) or clock.now(),
        message=SCORE,
        logger="langsmith",
        trace_id=_uuid(feedback.get("trace_id")) or above.trace_id,
        span_id=_uuid(feedback.get("run_id")),
        fields=fields,
        **_belonging(above),
    )


def _error_text(error: Any) -> str:
    """Write an error as text; clients report one, and whatever else stands there is a failure all the same."""
    if error is None or isinstance(error, str):
        return error or ""
    return json.encode(error).decode()


def _span(run: Run, facts: RunFacts, *, kind: str, status: str, fields: dict[str, Any]) -> DraftEvent:
    parent, span_id = _uuid(run.get("parent_run_id")), _uuid(run.get("id"))
    return DraftEvent(
        timestamp=_began_at(run),
        kind=kind,
        message=(text(run.get("name")) or "unknown")[:MAX_NAME_CHARS],
        trace_id=facts.trace_id or span_id,
        span_id=span_id,
        parent_span_id=parent if parent != span_id else None,
        stage=facts.stage,
        run_type=_run_type(run),
        status=status,
        fields=fields,
        **_belonging(facts),
    )


def _logs(run: Run, facts: RunFacts, begin: datetime) -> list[DraftEvent]:
    """Make logs of what happened inside a run, but for the marks of its start, end and tokens."""
    found: list[DraftEvent] = []
    for item in _events(run):
        name = text(item.get("name"))
        if name is None or name in _MARKS:
            continue
        kwargs = item.get("kwargs") if isinstance(item.get("kwargs"), dict) else {"kwargs": item.get("kwargs")}
        fields = {key: value for key, value in mapping(kwargs).items() if value is not None}
        if (message := text(item.get("message"))) is not None:
            fields["detail"] = message
        found.append(
            DraftEvent(
                timestamp=moment_of(item.get("time")) or begin,
                message=name[:MAX_NAME_CHARS],
                trace_id=facts.trace_id or _uuid(run.get("id")),
                span_id=_uuid(run.get("id")),
                stage=facts.stage,
                logger="langsmith",
                fields={"context": fields},
                **_belonging(facts),
            )
        )
        if len(found) >= MAX_LOGS:
            break
    return found


def _belonging(facts: RunFacts) -> dict[str, Any]:
    return {
        "service": facts.service[:MAX_NAME_CHARS],
        "environment": facts.environment,
        "version": facts.version,
        "user_id": facts.user_id,
        "request_id": facts.request_id,
        "session_id": facts.session_id,
    }


def _context(run: Run) -> dict[str, Any]:
    """Collect what a run says of itself besides what went in and came out."""
    metadata = _metadata(run)
    rest = {
        key: value
        for key, value in metadata.items()
        if key not in _TAKEN and key not in FIELDS_BY_METADATA and not key.startswith(_ENVIRONMENT)
    }
    context: dict[str, Any] = {
        name: metadata[key] for key, name in FIELDS_BY_METADATA.items() if metadata.get(key) is not None
    }
    tags: Any = run.get("tags")
    optional: dict[str, Any] = {
        "tags": tags if isinstance(tags, list) else None,
        "metadata": rest,
        "attachments": run.get("attachments"),
    }
    return context | {name: value for name, value in optional.items() if value}


def _model_facts(run: Run, outputs: Run) -> dict[str, Any]:
    """Return which model was asked how, and how it ended, as far as the metadata do not."""
    parameters = mapping(mapping(run.get("extra")).get("invocation_params"))
    answers = generations_of(outputs)
    answer = answers[0] if answers else {}
    message = mapping(mapping(answer.get("message")).get("kwargs")) or mapping(answer.get("message"))
    metadata = mapping(message.get("response_metadata"))
    info = mapping(answer.get("generation_info"))
    choices = sequence(outputs.get("choices"))
    choice = mapping(choices[0]) if choices else {}
    found = {
        "model": text(parameters.get("model")) or text(parameters.get("model_name")),
        "temperature": number(parameters.get("temperature")),
        "max_output_tokens": number(parameters.get("max_tokens")),
        "response_model": text(metadata.get("model_name")) or text(metadata.get("model")) or text(outputs.get("model")),
        "finish_reason": text(metadata.get("finish_reason"))
        or text(metadata.get("stop_reason"))
        or text(info.get("finish_reason"))
        or text(choice.get("finish_reason")),
    }
    known = _context(run)
    return {name: value for name, value in found.items() if value is not None and name not in known}


def _first_token_at(run: Run) -> datetime | None:
    return next((moment_of(event.get("time")) for event in _events(run) if event.get("name") == "new_token"), None)


def _events(run: Run) -> list[dict[str, Any]]:
    return [mapping(item) for item in sequence(run.get("events"))]


def _metadata(run: Run) -> dict[str, Any]:
    return mapping(mapping(run.get("extra")).get("metadata"))


def _run_type(run: Run) -> str:
    return (text(run.get("run_type")) or "chain")[:MAX_NAME_CHARS]


def _trace_id(run: Run) -> str | None:
    """Return the trace of a run: what it says, else the first of its ``dotted_order``, else itself if it is a root."""
    dotted = text(run.get("dotted_order"))
    if found := _uuid(run.get("trace_id")):
        return found
    if dotted is not None and (found := _uuid(dotted.partition(".")[0][-36:])):
        return found
    return None if run.get("parent_run_id") else _uuid(run.get("id"))


def _began_at(run: Run) -> datetime:
    """Return when a run began; without any report, it is now."""
    begun = moment_of(run.get("start_time")) or dotted_moment(run.get("dotted_order"))
    return begun or moment_of(run.get("end_time")) or clock.now()


def _duration_ms(run: Run) -> tuple[float | None, list[str]]:
    """Return (how long a run took, flags); None where its times do not say: see ``otlp_events.times_of``."""
    begin = moment_of(run.get("start_time")) or dotted_moment(run.get("dotted_order"))
    end, now = moment_of(run.get("end_time")), clock.now()
    if begin is None or end is None or end < begin:
        return None, [arrival.FLAG]
    if arrival.is_plausible(begin, now) != arrival.is_plausible(end, now):
        return None, [arrival.FLAG]
    return _ms_between(begin, end), []


def _is_small(inputs: Any) -> bool:
    try:
        return len(json.encode(inputs)) <= SMALL_INPUTS_BYTES
    except (TypeError, ValueError, RecursionError):
        return False


def _ms_between(begin: datetime, end: datetime) -> float:
    return round(max(0.0, (end - begin).total_seconds() * 1e3), 3)


def _uuid(value: Any) -> str | None:
    return parse_uuid(value) if isinstance(value, str) else None
