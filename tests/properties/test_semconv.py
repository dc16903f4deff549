"""Any event of ours survives the way through attributes and protobuf, every field of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from clew.catalog.events import EVENTS, FIELDS, METRIC_FIELDS
from clew.dialects.otel.events import log_event, origin_of, span_events
from clew.dialects.otel.reading import error_of, read_event, read_log, read_resource, read_span
from clew.dialects.otel.vocabulary import FIELD_PLACES, IDENTITIES, METRIC_PLACES
from clew.dialects.otel.wire.records import LogItem, SpanItem
from clew.dialects.otel.wire.requests import PROTOBUF, read_logs, read_spans
from clew.dialects.otel.wire.writing import encode_logs, encode_spans
from clew.dialects.otel.writing import write_log, write_span
from clew.event import LEVELS, STAGES

if TYPE_CHECKING:
    from clew.dialects.draft_event import DraftEvent

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(sorted({*FIELDS} - METRIC_FIELDS)) | st.sampled_from(["inputs", "outputs", "tags", "metadata"])
ids = st.uuids().filter(lambda uuid: uuid.int % 2**64 and uuid.int >> 64).map(str)
times = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(lambda time: f"{time.isoformat()}Z")  # noqa: DTZ001
optional = st.none() | texts.filter(bool)
errors = (
    st.none()
    | st.fixed_dictionaries({"type": texts, "message": texts, "stack": texts})
    | st.dictionaries(texts, values)
)

KEYS = ("trace_id", "span_id", "user_id", "parent_span_id", "request_id", "session_id", "logger", "run_type", "status")


@st.composite
def events(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Make an event in the public format; a key that is None is not there."""
    event = {
        "timestamp": draw(times),
        "kind": kind,
        "level": draw(st.sampled_from(sorted(LEVELS))),
        "message": draw(texts | st.sampled_from(sorted(EVENTS))),
        "trace_id": draw(ids),
        "span_id": draw(ids),
        "user_id": draw(optional),
        "parent_span_id": draw(st.none() | ids),
        "request_id": draw(optional),
        "session_id": draw(optional),
        "service": draw(texts.filter(bool)),
        "environment": draw(optional),
        "version": draw(optional),
        "stage": draw(st.sampled_from(STAGES)),
        "logger": draw(optional),
        "run_type": draw(
            st.none() | st.sampled_from(["chain", "llm", "retriever", "embedding", "tool"]) | texts.filter(bool)
        ),
        "status": draw(st.none() | st.sampled_from(["ok", "error", "cancelled", "aborted"])),
        "context": draw(st.dictionaries(names | texts, values, max_size=6)),
        "metrics": draw(st.dictionaries(st.sampled_from(sorted(METRIC_FIELDS)), numbers, max_size=4)),
        "error": draw(errors),
        "sanitized": draw(st.none() | st.lists(texts, min_size=1, max_size=2)),
    }
    return {name: value for name, value in event.items() if value is not None}


def as_event(received: DraftEvent) -> dict[str, Any]:
    """Return what a receiver made of a span or record in the public format; a key that is None is not there."""
    told = {name: getattr(received, name) for name in KEYS}
    told |= {
        "timestamp": received.timestamp.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z",
        "kind": received.kind,
        "level": received.level,
        "message": received.message,
        "service": received.service,
        "environment": received.environment,
        "version": received.version,
        "stage": received.stage,
        "context": received.fields["context"],
        "metrics": received.fields["metrics"],
        "error": received.error,
        "sanitized": received.sanitized or None,
    }
    return {name: value for name, value in told.items() if value is not None}


@given(events("span"), st.lists(events("log"), max_size=2))
def test_a_span_comes_back_from_the_wire(event: dict[str, Any], logs: list[dict[str, Any]]) -> None:
    """Whatever its fields, whatever the logs inside it tell: what was written is read, and nothing else."""
    (group,) = read_spans(encode_spans([write_span(event, logs)]), PROTOBUF)
    (span,) = group.records
    assert isinstance(span, SpanItem)

    (received,) = span_events(span, origin_of(group.resource, group.scope), is_outermost=True)

    assert as_event(received) == event


@given(events("log"))
def test_a_log_comes_back_from_the_wire(event: dict[str, Any]) -> None:
    """The same for a log record."""
    (group,) = read_logs(encode_logs([write_log(event, event["span_id"])]), PROTOBUF)
    (record,) = group.records
    assert isinstance(record, LogItem)

    received = log_event(record, origin_of(group.resource, group.scope))

    assert as_event(received) == event


hostile = st.recursive(
    st.none()
    | st.booleans()
    | numbers
    | texts
    | st.binary(max_size=8)
    | st.sampled_from(["[", "{", "[[[", "[1]", "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
known = st.sampled_from(
    [
        *(place for places in {**METRIC_PLACES, **FIELD_PLACES, **IDENTITIES}.values() for place in places),
        *("openinference.span.kind", "gen_ai.operation.name", "traceloop.span.kind", "llm.request.type", "metadata"),
        *("input.value", "output.value", "gen_ai.input.messages", "gen_ai.output.messages", "clew.fields", "tag.tags"),
        *("gen_ai.retrieval.documents", "gen_ai.system_instructions", "traceloop.entity.input", "db.system"),
        *("retrieval.documents.0.document.id", "retrieval.documents.99999999999.document", "retrieval.documents.x"),
        *("retrieval.documents.0", "llm.input_messages.0.message", "llm.input_messages.0.message.contents.0.x"),
        *("gen_ai.prompt.0.content", "gen_ai.completion.0.role", "embedding.embeddings.0.embedding.vector"),
        *("reranker.output_documents.1.document.score", "llm.invocation_parameters", "llm.cost.prompt"),
        *("db.query.result.metadata", "message", "content", "exception.type", "rag.stage", "clew.span_id"),
    ]
)
"""Names that are read, and some that look as if."""


@given(texts, st.dictionaries(known | texts, hostile, max_size=8))
def test_attributes_of_any_shape_are_read(name: str, attributes: dict[str, Any]) -> None:
    """Nothing raises, everything can be encoded, and the attributes stay as they were."""
    before = repr(attributes)

    read = [read_span(name, attributes).fields, read_log(attributes).fields]
    events_of = ["gen_ai.evaluation.result", "gen_ai.choice", "gen_ai.user.message", "gen_ai.content.prompt"]
    read += [told.fields for one in [*events_of, "db.query.result", name] if (told := read_event(one, attributes))]
    error_of(attributes)
    read_resource(attributes)

    assert repr(attributes) == before
    for fields in read:
        assert set(fields) <= {"context", "metrics"}
        assert all(type(value) in {int, float} for value in fields.get("metrics", {}).values())
