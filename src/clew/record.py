"""The event: what it holds, and how it becomes one line of JSON.

Encoding happens in the caller, so that what is logged is the value at the time of the call.
The ordinary way is short: look the fields over, build one ``Event``, encode it with msgspec.
Whatever is refused on that way (a foreign type, NaN, a NUL, a secret's name, an oversize
text) is rebuilt by ``sanitize`` and flagged; that way never raises.

``Event`` lists the keys of the public format in their order; ``COLUMNS`` the columns of the
``events`` table in theirs, shared by ``COPY`` and the schema.

Before: ``logger`` or ``tracing``, with message and fields. After: ``process``, with bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from msgspec import UNSET, Raw, Struct, UnsetType, json
from msgspec.structs import asdict, replace

from clew.catalog import METRIC_FIELDS, STAGE_OF
from clew.context import Context
from clew.failure import encode_error
from clew.foreign import STOPS, text_of
from clew.habits import LOGGING_WORDS, read_logging_words
from clew.redact import MEMO_KEYS, MIN_CARD_DIGITS
from clew.sanitize import MAX_DEPTH, MAX_INT, MIN_INT, Sanitizer

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from clew.redact import Redactor

__all__ = [
    "COLUMNS",
    "ENDED",
    "LEVELS",
    "Event",
    "Head",
    "Limits",
    "Origin",
    "encode_event",
    "encode_field",
    "encode_value",
    "is_clean",
    "stage_of",
]

LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
"""Level names and their numbers, as in ``logging``."""

ENDED: Final = "ended"
"""Status of a ``span_start`` that comes after its ``span``: it begins nothing, and only adds to the span in the store."""

COLUMNS: Final = (
    ("timestamp", "timestamptz"),
    ("duration_ms", "float8"),
    ("cost_usd", "float8"),
    ("level", "int2"),
    ("event_id", "uuid"),
    ("trace_id", "uuid"),
    ("span_id", "uuid"),
    ("parent_span_id", "uuid"),
    ("kind", "text"),
    ("stage", "text"),
    ("message", "text"),
    ("service", "text"),
    ("environment", "text"),
    ("version", "text"),
    ("logger", "text"),
    ("user_id", "text"),
    ("request_id", "text"),
    ("session_id", "text"),
    ("run_type", "text"),
    ("status", "text"),
    ("context", "jsonb"),
    ("metrics", "jsonb"),
    ("error", "jsonb"),
    ("sanitized", "text[]"),
)
"""(name, PostgreSQL type) of the columns of ``events``: the one order of ``COPY`` and the schema."""

MAX_NAME_CHARS = 200
MAX_REMEMBERED_CHARS = 200
_AT, _EQUALS, _COLON = "@=:"
FLAGS_BYTES = 32  # what the flag "truncated" adds to an event at most


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
        context: What was told about the event.
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


class Origin(NamedTuple):
    """What is the same for all events of a process."""

    service: str
    environment: str | UnsetType
    version: str | UnsetType


class Limits(NamedTuple):
    """What an event may hold.

    Attributes:
        redactor: Which fields lose their values.
        max_field_bytes: Longest string to keep whole.
        max_event_bytes: Largest event.
        capture_max_bytes: Largest input or output to record whole.
    """

    redactor: Redactor
    max_field_bytes: int
    max_event_bytes: int
    capture_max_bytes: int = 32 * 1024


class Head(Struct, frozen=True, gc=False):
    """The part of an event that is not fields.

    Attributes:
        timestamp: When it happened, UTC.
        kind: ``"log"``, ``"span_start"`` or ``"span"``.
        level: A name of ``LEVELS``.
        message: What happened.
        logger: Name of the logger.
        run_type: Kind of a span.
        status: Status of a span.
        sanitized: What had been changed in its values before (see ``encode_value``).
    """

    timestamp: datetime
    kind: str
    level: str
    message: str
    logger: str | UnsetType = UNSET
    run_type: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    sanitized: tuple[str, ...] = ()


_NEVER_LEARNT: Final = LOGGING_WORDS | {"metrics", "context"}  # each of their values has to be looked into
_encode = json.Encoder().encode
_BACKSLASH, _BRACE = b"\\{"  # numbers: looking for one byte by its number is four times as fast as by a bytes object


def stage_of(message: str, context: Context) -> str:
    """Name the stage of an event: the catalogue's, else the surrounding span's, else ``"other"``."""
    return STAGE_OF.get(message) or context.stage or "other"


def encode_event(
    head: Head,
    fields: dict[str, Any],
    error: BaseException | dict[str, Any] | None,
    context: Context,
    origin: Origin,
    limits: Limits,
) -> bytes:
    """Encode one event.

    Args:
        head: When, what, how grave.
        fields: What was told. Names of ``METRIC_FIELDS`` become metrics, and so does
            what a mapping ``metrics`` holds; the rest becomes context.
        error: What was raised, if anything, or what another system told of it as ``failure.encode_error`` would.
        context: The ids in force.
        origin: The emitting service.
        limits: What an event may hold.

    Returns:
        One line of compact JSON, UTF-8, at most ``max_event_bytes`` long. The order of keys is
        that of ``Event``.
    """
    told = UNSET
    if error is not None:
        if type(error) is dict:
            told = error
        else:
            flags = set(head.sanitized)
            told = encode_error(cast("BaseException", error), flags)
            if len(flags) > len(head.sanitized):
                head = replace(head, sanitized=tuple(sorted(flags)))
    redactor = limits.redactor
    try:
        plain, metrics, is_safe, is_innocent = _look_over(fields, redactor, is_span=head.kind != "log")
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - a name is a text of a foreign type, whose code fails
        named = {str.__str__(name): value for name, value in fields.items()}
        plain, metrics, is_safe, is_innocent = *_by_role(named), False, False
    if is_safe and type(head.message) is str:
        event = _build(head, context, origin, plain, metrics, told, list(head.sanitized) if head.sanitized else UNSET)
        try:
            payload = _encode(event)
        except (TypeError, ValueError, OverflowError, RecursionError):
            payload = b""
        if (
            payload
            and len(payload) <= limits.max_field_bytes
            and not (_BACKSLASH in payload and b"\\u0000" in payload)
            and (head.message in STAGE_OF or redactor.is_harmless_message(head.message))
        ):
            if is_innocent and error is None:
                return payload
            if not redactor.may_hold_secret(payload[payload.find(_BRACE, 1) :]):  # ids stand before the brace
                _remember_texts(fields, redactor)
                return payload
    return _encode_unclean(head, plain, metrics, told, context, origin, limits)


# The hottest loop there is, in one piece: a call for each field would cost more than looking at it.
def _look_over(  # noqa: C901, PLR0912
    fields: dict[str, Any], redactor: Redactor, *, is_span: bool
) -> tuple[dict[str, Any], dict[str, Any], bool, bool]:
    """Sort *fields*, and tell whether they can be encoded as they are, and whether they are too plain for a secret.

    Returns:
        (context, metrics, is safe to encode, is innocent): innocent are numbers, texts too short for a secret,
        texts that the same field has held before, and what a span has encoded: ``encode_value`` has searched that.
    """
    plain: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    roles, last_texts = redactor.roles, redactor.last_texts
    is_innocent = not redactor.has_own_rules
    for name, value in fields.items():
        role = roles.get(name)
        if role is None:
            return _look_closely(fields, redactor, is_span=is_span)
        if role:
            metrics[name] = value
        else:
            plain[name] = value
        kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
        if kind is int:
            if MIN_INT <= value <= MAX_INT:
                continue
        elif kind is str:
            if role:
                return _look_closely(fields, redactor, is_span=is_span)  # a text where a number is expected
            if len(value) < MIN_CARD_DIGITS:
                if _AT in value or _EQUALS in value or _COLON in value:
                    is_innocent = False
            elif name not in last_texts or last_texts[name] != value:
                is_innocent = False
            continue
        elif kind is float:
            if value - value == 0.0:  # not so for NaN and the infinities
                continue
        elif kind is bool or value is None or (kind is Raw and is_span):
            continue
        elif (kind is dict or kind is list or kind is tuple) and is_clean(value, redactor.harmless):
            is_innocent = False
            continue
        return _look_closely(fields, redactor, is_span=is_span)
    return plain, metrics, True, is_innocent


def _look_closely(
    fields: dict[str, Any], redactor: Redactor, *, is_span: bool
) -> tuple[dict[str, Any], dict[str, Any], bool, bool]:
    """Do the same for fields of which one is not known yet, or has to be made safe; learn its name if it can be."""
    if not is_span and not LOGGING_WORDS.isdisjoint(fields):
        fields = read_logging_words(fields)
    plain: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    is_safe = True
    for name, value in fields.items():
        kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
        if name in METRIC_FIELDS:
            metrics[name] = value
        elif name in ("metrics", "context") and kind is dict:
            (metrics if name == "metrics" else plain).update(value)
        else:
            plain[name] = value
        if name not in redactor.harmless:
            is_safe = False
        elif name not in _NEVER_LEARNT and len(redactor.roles) < MEMO_KEYS:
            redactor.roles[name] = name in METRIC_FIELDS
        is_text_for_number = kind is str and name in METRIC_FIELDS
        is_safe = (
            is_safe and not is_text_for_number and ((kind is Raw and is_span) or is_clean([value], redactor.harmless))
        )
    return plain, metrics, is_safe, False


def _by_role(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort fields into (context, metrics) by their names alone."""
    metrics = {name: value for name, value in fields.items() if name in METRIC_FIELDS}
    return {name: value for name, value in fields.items() if name not in metrics}, metrics


def _remember_texts(fields: dict[str, Any], redactor: Redactor) -> None:
    """Remember the texts of an event in which no secret was found."""
    for name, value in fields.items():
        if type(value) is str and MIN_CARD_DIGITS <= len(value) <= MAX_REMEMBERED_CHARS and name in redactor.roles:
            redactor.last_texts[name] = value


def is_clean(value: Any, harmless: AbstractSet[str]) -> bool:
    """Tell whether a container can be encoded as it is.

    Args:
        value: A dict, list or tuple.
        harmless: Field names that are known not to hold secrets.

    Returns:
        False at the first thing that needs a closer look: a type that JSON does not know, a
        number that JSON does not know, a name not yet judged, or too deep a nesting. False also
        when another thread changes a container meanwhile, or a key of a foreign type fails.
    """
    try:
        return _is_clean(value, harmless, 0)
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - the ``__hash__`` of a foreign key, or another thread
        return False


def _is_clean(value: Any, harmless: AbstractSet[str], depth: int) -> bool:
    if depth > MAX_DEPTH:
        return False
    items: Any = value
    if type(value) is dict:
        for key in items:
            if key not in harmless:
                return False
        items = items.values()
    for item in items:
        kind: type[object] = type(item)  # pyright: ignore[reportUnknownVariableType]
        if kind is str or kind is bool or item is None:
            continue
        if kind is int:
            if MIN_INT <= item <= MAX_INT:
                continue
            return False
        if kind is float:
            if item - item == 0.0:  # not so for NaN and the infinities
                continue
            return False
        if (kind is dict or kind is list or kind is tuple) and _is_clean(item, harmless, depth + 1):
            continue
        return False
    return True


def encode_field(name: str, value: Any, limits: Limits, flags: set[str]) -> Any:
    """Encode a field as it is now, to be placed into an event later: as ``encode_value`` does, or as the metric it is.

    Args:
        name: Its name.
        value: Anything.
        limits: What an event may hold.
        flags: What had to be changed is added to it.
    """
    if name in METRIC_FIELDS or name == "metrics":
        sanitizer = Sanitizer(limits.redactor, max_field_bytes=limits.max_field_bytes)
        told: Any = sanitizer.metrics(value) if type(value) is dict else sanitizer.metric(value)  # pyright: ignore[reportUnknownArgumentType]
        flags |= sanitizer.flags
        return cast("Any", told) if type(told) is dict and name == "metrics" else Raw(_encode(told))
    return encode_value(value, limits, flags)


def encode_value(value: Any, limits: Limits, flags: set[str] | None = None) -> Raw:
    """Encode a value as it is now, to be placed into an event later.

    Args:
        value: Anything.
        limits: What an event may hold.
        flags: What had to be changed is added to it, for ``Head.sanitized``.

    Returns:
        JSON text, safe for every store; at most ``capture_max_bytes`` long, else a note of its size and
        how it begins.
    """
    if is_clean([value], limits.redactor.harmless):
        try:
            payload = _encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            payload = b""
        is_short = 0 < len(payload) <= min(limits.max_field_bytes, limits.capture_max_bytes)
        if is_short and b"\\u0000" not in payload and not limits.redactor.may_hold_secret(payload):
            return Raw(payload)
    sanitizer = Sanitizer(limits.redactor, max_field_bytes=limits.max_field_bytes)
    payload = _encode(sanitizer.value(value))
    if len(payload) > limits.capture_max_bytes:
        sanitizer.flags.add("truncated")
        beginning = payload[: min(2048, limits.capture_max_bytes // 2)].decode("utf-8", "replace")
        payload = _encode({"truncated_bytes": len(payload), "head": beginning})
    if flags is not None:
        flags |= sanitizer.flags
    return Raw(payload)


def _build(
    head: Head,
    context: Context,
    origin: Origin,
    fields: dict[str, Any],
    metrics: dict[str, Any],
    error: dict[str, Any] | UnsetType,
    sanitized: list[str] | UnsetType,
) -> Event:
    service, environment, version = origin
    return Event(
        head.timestamp,
        head.kind,
        head.level,
        head.message,
        context.trace_id,
        context.span_id,
        context.user_id,
        UNSET if context.parent_span_id is None or head.kind == "log" else context.parent_span_id,
        UNSET if context.request_id is None else context.request_id,
        UNSET if context.session_id is None else context.session_id,
        service,
        environment,
        version,
        STAGE_OF.get(head.message) or context.stage or "other",
        head.logger,
        head.run_type,
        head.status,
        fields,
        metrics,
        error,
        sanitized,
    )


def _encode_unclean(
    head: Head,
    fields: dict[str, Any],
    metrics: dict[str, Any],
    error: dict[str, Any] | UnsetType,
    context: Context,
    origin: Origin,
    limits: Limits,
) -> bytes:
    """Rebuild every part of the event, then encode it; shrink what is still too large."""
    keeps_raw = head.kind != "log"  # encode_value has made it, from what a span was told
    sanitizer = Sanitizer(limits.redactor, max_field_bytes=limits.max_field_bytes, keeps_raw=keeps_raw)
    sanitizer.flags.update(head.sanitized)
    safe_fields, safe_metrics = sanitizer.fields(fields), sanitizer.metrics(metrics)
    told = error if error is UNSET else sanitizer.fields(error)
    names = _sanitize_names(sanitizer, head, context, origin)

    def encode() -> bytes:
        return _encode(_build(*names, safe_fields, safe_metrics, told, sorted(sanitizer.flags) or UNSET))

    payload = encode()
    if len(payload) > limits.max_event_bytes:
        sanitizer.flags.add("truncated")
        parts = [safe_fields, safe_metrics, *([] if told is UNSET else [told])]
        _leave_out_largest(parts, len(payload) + FLAGS_BYTES - limits.max_event_bytes)
        payload = encode()
    if len(payload) > limits.max_event_bytes:  # by its names, or by more fields than can be told one by one
        names = _sanitize_names(Sanitizer(limits.redactor, max_field_bytes=MAX_NAME_CHARS), *names)
        safe_fields, safe_metrics = {"left_out_bytes": len(payload)}, {}
        payload = encode()
    return payload


def _sanitize_names(sanitizer: Sanitizer, head: Head, context: Context, origin: Origin) -> tuple[Head, Context, Origin]:
    """Make every text of an event safe that is not a field."""

    def text(value: Any) -> Any:
        if value is UNSET:
            return value
        return text_of(sanitizer.value(value))

    names = {name: text(value) for name, value in asdict(head).items() if name not in ("timestamp", "sanitized")}
    return (
        Head(head.timestamp, **names, sanitized=head.sanitized),
        Context(**{name: value if value is None else text(value) for name, value in asdict(context).items()}),
        Origin(*map(text, origin)),
    )


def _leave_out_largest(parts: list[dict[str, Any]], excess_bytes: int) -> None:
    """Put notes of their sizes in the places of the largest values, until enough is saved."""
    sized = [(len(_encode(value)), name, part) for part in parts for name, value in part.items()]
    for size, name, part in sorted(sized, key=lambda entry: entry[0], reverse=True):
        note = f"<{size} bytes left out>"
        if excess_bytes <= 0 or size <= len(note) + 2:
            return
        part[name] = note
        excess_bytes -= size - len(note) - 2
