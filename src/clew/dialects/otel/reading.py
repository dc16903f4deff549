"""Read attributes of any dialect into the words of clew.

What OpenTelemetry's, OpenInference's and Traceloop's instrumentations report of the same thing becomes the same field
of the catalogue. What we wrote ourselves (``own``) is taken for what it was. Attributes that nobody here knows
stand under their own names in ``emit.context.attributes``: nothing is lost.

=================  ===========================================================================================
kind               ``openinference.span.kind``, ``gen_ai.operation.name``, ``traceloop.span.kind``, ``llm.request.type``
documents          lists of attributes, or JSON: ``hits``, with the beginning of each text
messages           lists of attributes, or JSON: ``inputs.messages``, ``outputs.messages``
tokens and cost    metrics of model calls alone; of agents and chains they are sums, and stay attributes
=================  ===========================================================================================

Every value may be of any type and size: what cannot be meant is passed over, and stays an attribute.

Before: ``dialects.otel.events``, ``integrations.otel``. After: ``record``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from msgspec import Struct, field

from clew.catalog.events import STAGE_OF_RUN_TYPE
from clew.catalog.usage import settle
from clew.dialects.loose import mapping, number, parsed, sequence, text
from clew.dialects.otel import names
from clew.dialects.otel.own import unpack
from clew.dialects.otel.reading_content import Content, documents_of_event, message_of_event, read_content
from clew.dialects.otel.vocabulary import (
    FIELD_PLACES,
    IDENTITIES,
    IN_METADATA,
    METRIC_PLACES,
    OPERATIONS,
    RUN_TYPES,
    TOKENS,
    TOTALS,
)
from clew.event import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "KnownEvent",
    "Read",
    "ServiceResource",
    "error_of",
    "read_event",
    "read_log",
    "read_resource",
    "read_span",
    "reported_error",
]

UNKNOWN_SERVICE: Final = "unknown_service"
SCORE: Final = "score_computed"

_MS_PER_S: Final = 1000
_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
_KINDS: Final = (names.OPENINFERENCE_KIND, "traceloop.span.kind")
_OPERATIONS: Final = (names.GEN_AI_OPERATION, "llm.request.type")
_ENVIRONMENTS: Final = (names.ENVIRONMENT, "deployment.environment")
_VECTOR_STORES: Final = frozenset(
    {"chroma", "pinecone", "qdrant", "weaviate", "milvus", "lancedb", "marqo", "pgvector", "opensearch"}
)
_SEARCHES: Final = frozenset({"query", "search", "query_points", "get", "hybrid_search", "search_batch"})
_EXCEPTION: Final = frozenset({names.EXCEPTION_TYPE, names.EXCEPTION_MESSAGE, names.EXCEPTION_STACKTRACE})
_FORMS: Final = frozenset({"exception.escaped", *TOTALS})
"""What is said elsewhere already, or is a sum."""


class _Table:
    """One of ``dialects``' tables, asked for by the attributes that there are: a span has twenty, the tables hundreds.

    Args:
        table: The attributes by the field that they report.
    """

    def __init__(self, table: Mapping[str, tuple[str, ...]]) -> None:
        self._entries = [*table.items()]
        self._at: dict[str, list[int]] = {}
        for at, (_, places) in enumerate(self._entries):
            for place in places:
                self._at.setdefault(place, []).append(at)

    def present(self, attributes: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
        """Return the entries of which an attribute is there, in the order of the table."""
        at = self._at
        found = {entry for name in attributes if name in at for entry in at[name]}
        return [self._entries[entry] for entry in sorted(found)]


_identities: Final = _Table(IDENTITIES)
_fields: Final = _Table(FIELD_PLACES)
_metric_fields: Final = _Table(METRIC_PLACES)


class Read(Struct, kw_only=True):
    """What attributes report, in the words of clew.

    Attributes:
        run_type: Kind of a span; None for none reported.
        stage: One of ``event.STAGES``, as reported, or as the run type implies.
        status: Of a span that clew wrote.
        level: Of an event that clew wrote.
        logger: Of an event that clew wrote.
        user_id: On whose behalf.
        session_id: The conversation.
        request_id: The request.
        span_id: The whole id of a span that clew wrote, or of the one that its log belongs to.
        parent_span_id: The whole id of its parent.
        fields: ``{"context": {…}, "metrics": {…}}``.
        error: Of an event that clew wrote; of others it is an event of its own (``error_of``).
        sanitized: What had been changed to make it safe, of an event that clew wrote.
        is_own: Whether clew wrote it.
        message: Of a log record that conventions know, its name in the catalogue.
        has_body: Whether the fields report all that a log record's body does.
    """

    run_type: str | None = None
    stage: str | None = None
    status: str | None = None
    level: str | None = None
    logger: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    error: dict[str, Any] | None = None
    sanitized: list[str] = field(default_factory=list[str])
    is_own: bool = False
    message: str | None = None
    has_body: bool = False


class ServiceResource(NamedTuple):
    """The service behind a span or record.

    Attributes:
        service: Its name.
        environment: Where it runs.
        version: Its version.
    """

    service: str
    environment: str | None
    version: str | None


class KnownEvent(NamedTuple):
    """What an event of a span reports that conventions know.

    Attributes:
        message: A name of the catalogue; None if it is about the span itself.
        fields: ``{"context": {…}, "metrics": {…}}``.
    """

    message: str | None
    fields: dict[str, Any]


def read_span(name: str, attributes: Mapping[str, Any]) -> Read:
    """Read the attributes of a span.

    Args:
        name: The span's name, for spans without a kind.
        attributes: Plain values by their names.

    Example:
        >>> read = read_span("chat", {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7})
        >>> read.run_type, read.stage, read.fields["metrics"]
        ('llm', 'generation', {'tokens_in': 7})
    """
    if (own := _read_own(attributes)) is not None:
        return own
    rest = dict(attributes)
    kind = _take_kind(rest)
    run_type = _run_type(kind, rest)
    content = read_content(rest, run_type=run_type, is_reranker=kind in {"reranker", "rerank"})
    read = _read(rest, content, reports_tokens=run_type in {None, "llm", "embedding"})
    read.run_type = run_type
    if read.stage is None:
        read.stage = "evaluation" if kind == "evaluator" else STAGE_OF_RUN_TYPE.get(run_type or "")
    context = read.fields["context"]
    if run_type == "embedding" and "model" in context:
        context.setdefault("embedding_model", context.pop("model"))
    if run_type == "tool":
        context.setdefault("tool_name", text(context.get("tool_name")) or name)
    return read


def read_log(attributes: Mapping[str, Any], event_name: str = "", body: Any = None) -> Read:
    """Read the attributes of a log record, or of an event of a span that has no meaning of its own.

    Args:
        attributes: Plain values by their names.
        event_name: What kind of event a log record is; empty for none.
        body: The body of a log record; where older conventions report messages.
    """
    if (own := _read_own(attributes)) is not None:
        return own
    rest = {name: value for name, value in attributes.items() if name not in _EXCEPTION}
    rest.pop(names.LOG_RECORD_UID, None)
    if event_name == names.GEN_AI_EVALUATION_RESULT:
        return _read_score(rest)
    inside = dict(mapping(body))
    said = message_of_event(event_name, inside or rest)
    read = _read(rest, Content(said or {}), reports_tokens=True)
    read.has_body = bool(body) and not inside and said is not None
    return read


def read_event(name: str, attributes: Mapping[str, Any]) -> KnownEvent | None:
    """Read an event of a span whose meaning conventions define.

    Args:
        name: Its name.
        attributes: Its attributes.

    Returns:
        None for one that they do not know, or that reports nothing.
    """
    if name == names.GEN_AI_EVALUATION_RESULT:
        return KnownEvent(SCORE, _read_score(dict(attributes)).fields)
    content = message_of_event(name, dict(attributes)) or documents_of_event(name, attributes)
    return None if content is None else KnownEvent(None, {"context": content})


def read_resource(attributes: Mapping[str, Any]) -> ServiceResource:
    """Read the service behind a resource: service, environment and version.

    Example:
        >>> read_resource({"service.name": "rag-api", "deployment.environment": "prod"})
        ServiceResource(service='rag-api', environment='prod', version=None)
    """
    environment = next((found for name in _ENVIRONMENTS if (found := text(attributes.get(name)))), None)
    service = text(attributes.get(names.SERVICE_NAME)) or UNKNOWN_SERVICE
    return ServiceResource(service, environment, text(attributes.get(names.SERVICE_VERSION)))


def error_of(attributes: Mapping[str, Any], *, is_own: bool = False) -> dict[str, Any]:
    """Read what was raised: ``{"type", "message", "stack"}``; the type without its module, unless clew wrote it."""
    kind, message, stack = (
        attributes.get(name) for name in (names.EXCEPTION_TYPE, names.EXCEPTION_MESSAGE, names.EXCEPTION_STACKTRACE)
    )
    name = text(kind) or ""
    return {
        "type": name if is_own else name.rpartition(".")[2],
        "message": text(message) or "",
        "stack": text(stack) or "",
    }


def reported_error(attributes: Mapping[str, Any], message: str) -> dict[str, Any]:
    """Read the error of a failed span in which nothing was raised: the type as an exception's, where it has one."""
    kind = text(attributes.get(names.ERROR_TYPE)) or names.EXCEPTION
    return error_of({names.EXCEPTION_TYPE: kind, names.EXCEPTION_MESSAGE: message})


def _read_own(attributes: Mapping[str, Any]) -> Read | None:
    own = unpack(attributes)
    if own is None:
        return None
    fields = {"context": own.context, "metrics": own.metrics}
    return Read(**own.keys, fields=fields, error=own.error, sanitized=own.sanitized, is_own=True, has_body=True)


def _read_score(rest: dict[str, Any]) -> Read:
    label = rest.pop("gen_ai.evaluation.score.label", None)
    read = _read(rest, Content(), reports_tokens=False)
    read.message = SCORE
    if label is not None:
        read.fields["context"]["value"] = label
    return read


def _read(rest: dict[str, Any], content: Content, *, reports_tokens: bool) -> Read:
    """Read what every kind of event reports, and take it out of *rest*; what remains are attributes."""
    read = Read()
    for name, places in _identities.present(rest):
        setattr(read, name, text(_take(rest, places)))
    stage = rest.pop(names.RAG_STAGE, None)
    read.stage = stage if stage in STAGES else None
    context = dict(content.context)
    for name, places in _fields.present(rest):
        value = _take(rest, places)
        if value is not None:
            context.setdefault(name, _one(value) if name == "finish_reason" else value)
    if isinstance(metadata := parsed(rest.get(names.METADATA)), dict):
        rest.pop(names.METADATA)
        context["metadata"] = cast("dict[str, Any]", metadata)
        _identify(read, context["metadata"])
    if isinstance(rest.get(names.TAGS), list):
        context["tags"] = rest.pop(names.TAGS)
    context |= {name: value for name, value in _parameters(rest).items() if name not in context}
    metrics = content.metrics | _metrics(rest, reports_tokens=reports_tokens)
    rest = {name: value for name, value in rest.items() if name not in _FORMS and value is not None}
    if rest:
        context["attributes"] = rest
    read.fields = {"context": context, "metrics": metrics}
    return read


def _identify(read: Read, metadata: Mapping[str, Any]) -> None:
    """Say who and what it is about, where only the metadata does."""
    for name, keys in IN_METADATA.items():
        if getattr(read, name) is None:
            setattr(read, name, next((found for key in keys if (found := text(metadata.get(key)))), None))


def _metrics(rest: dict[str, Any], *, reports_tokens: bool) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name, places in _metric_fields.present(rest):
        if name in TOKENS and not reports_tokens:
            continue
        for place in places:
            value = None if isinstance(rest.get(place), str) else number(rest.get(place))
            if value is not None and (value >= 0 or name not in TOKENS):
                rest.pop(place)
                metrics.setdefault(name, value)
    if reports_tokens and not metrics.keys().isdisjoint(TOKENS):
        settle(metrics, next((total for name in TOTALS if (total := number(rest.get(name))) is not None), None))
    parts = [number(rest.get(f"llm.cost.{part}")) for part in ("prompt", "completion")]
    if reports_tokens and "cost_usd" not in metrics and any(part is not None for part in parts):
        metrics["cost_usd"] = sum(part or 0.0 for part in parts)
    waited_s = number(rest.get(_FIRST_CHUNK))
    if waited_s is not None and not isinstance(rest[_FIRST_CHUNK], str):
        rest.pop(_FIRST_CHUNK)
        metrics["time_to_first_token_ms"] = waited_s * _MS_PER_S
    return metrics


def _parameters(rest: dict[str, Any]) -> dict[str, Any]:
    """Read what OpenInference reports of a call's parameters, as JSON; the attribute stays."""
    parameters = mapping(parsed(rest.get(names.LLM_INVOCATION_PARAMETERS)))
    longest = next(
        (
            parameters[name]
            for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")
            if name in parameters
        ),
        None,
    )
    found = {"temperature": parameters.get("temperature"), "max_output_tokens": longest}
    return {name: value for name, value in found.items() if number(value) is not None}


def _take(rest: dict[str, Any], places: tuple[str, ...]) -> Any:
    """Return the value of the first of several attributes that has one; all of them are taken out."""
    found: Any = None
    for place in places:
        value: Any = rest.get(place)
        if value is not None and not isinstance(value, (dict, bytes)):
            rest.pop(place)
            found = value if found is None and value != "" else found
    return found


def _one(value: Any) -> Any:
    return next(iter(sequence(value)), None) if isinstance(value, list) else value


def _take_kind(rest: dict[str, Any]) -> str:
    """Return what kind of span the first dialect names, in small letters; empty for none."""
    found = ""
    for name in (*_KINDS, *_OPERATIONS):
        value = rest.get(name)
        if isinstance(value, str) and (value.lower() in RUN_TYPES or value.lower() in OPERATIONS):
            rest.pop(name)
            # "workflow" and "task" say less than an operation does
            if not found or (found in {"workflow", "task"} and value.lower() in OPERATIONS):
                found = value.lower()
    return found


def _run_type(kind: str, rest: Mapping[str, Any]) -> str | None:
    if kind:
        return RUN_TYPES.get(kind) or OPERATIONS.get(kind)
    system = text(rest.get("db.system.name")) or text(rest.get("db.system")) or ""
    operation = text(rest.get("db.operation.name")) or text(rest.get("db.operation")) or ""
    if system.lower() in _VECTOR_STORES and operation.lower() in _SEARCHES:
        return "retriever"
    return "llm" if any(place in rest for place in METRIC_PLACES["tokens_out"]) else None
