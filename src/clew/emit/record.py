"""The event: what it holds, and how it becomes one line of JSON.

Encoding happens in the caller, so that what is logged is the value at the time of the call.
The ordinary way is short: look the fields over, build one ``Event``, encode it with msgspec.
Whatever is refused on that way (a foreign type, NaN, a NUL, a secret's name, an oversize
text) is rebuilt by ``sanitize`` and flagged; that way never raises.

Before: ``logger`` or ``tracing``, with message and fields. After: ``process``, with bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from msgspec import UNSET, Raw, Struct, UnsetType, json
from msgspec.structs import asdict, replace

from clew.catalog.events import METRIC_FIELDS, STAGE_OF
from clew.emit.context import Context
from clew.emit.failure import Described, describe_error
from clew.emit.habits import LOGGING_WORDS, read_logging_words
from clew.emit.redact import MEMO_KEYS
from clew.emit.redact.names import is_identifier
from clew.emit.safe.foreign import STOPS, text_of
from clew.emit.sanitize import MAX_INT, MIN_INT, Sanitizer
from clew.emit.values import collect, is_collected, with_replaced
from clew.event import Event

if TYPE_CHECKING:
    from clew.emit.redact import Redactor

__all__ = [
    "Head",
    "Limits",
    "Origin",
    "encode_event",
    "stage_of",
]

MAX_NAME_CHARS = 200
MAX_REMEMBERED_CHARS = 200
FLAGS_BYTES = 32  # what the flag "truncated" adds to an event at most


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
_BACKSLASH = b"\\"[0]  # a number: one byte is found by it four times as fast as by a bytes object


def stage_of(message: str, context: Context) -> str:
    """Name the stage of an event: the catalogue's, else the surrounding span's, else ``"other"``."""
    return STAGE_OF.get(message) or context.stage or "other"


def encode_event(  # noqa: C901, PLR0912 - as hot as the loop below
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
        fields: What the application gave. Names of ``METRIC_FIELDS`` become metrics, and so does
            what a mapping ``metrics`` holds; the rest becomes context.
        error: What was raised, if anything, or how another system describes it, as ``emit.failure.encode_error`` would.
        context: The ids in force.
        origin: The emitting service.
        limits: What an event may hold.

    Returns:
        One line of compact JSON, UTF-8, at most ``max_event_bytes`` long. The order of keys is
        that of ``Event``.
    """
    redactor = limits.redactor
    described, head = (None, head) if error is None else _describe(error, head, redactor)
    error_fields = UNSET if described is None else described.error
    if context is not redactor.last_context:
        context = _without_tokens(context, redactor)
    try:
        plain, metrics, texts, is_redacted = _look_over(fields, redactor, is_span=head.kind != "log")
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - a name is a text of a foreign type, whose code fails; or another thread
        named = {str.__str__(name): value for name, value in fields.items()}
        plain, metrics, texts, is_redacted = *_by_role(named), None, False
    if (
        texts is not None
        and type(head.message) is str
        and (described is None or _is_described(described, redactor, texts))
    ):
        # Types that JSON knows, and names that are harmless: the texts alone have to be searched.
        flags: UnsetType | list[str] = list(head.sanitized) if head.sanitized else UNSET
        if is_redacted:
            flags = _with_redacted(flags)
        message = head.message
        is_clean = (
            message in STAGE_OF
            or message in redactor.harmless_messages
            or (len(message) <= limits.max_field_bytes and redactor.is_harmless_message(message))
        )
        if texts:
            found = redactor.search(texts, limits.max_field_bytes)
            if found is None:
                is_clean = False
            elif not found:
                redactor.turn += 1
                if described is not None or not redactor.turn & 7:
                    _remember_texts(plain, described, redactor)
            elif _replace_texts(plain, metrics, described, found):
                flags = _with_redacted(flags)
            else:
                is_clean = False
        if is_clean:
            try:
                payload = _encode(_build(head, context, origin, plain, metrics, error_fields, flags))
            except (TypeError, ValueError, OverflowError, RecursionError):
                payload = b""
            if 0 < len(payload) <= limits.max_field_bytes and not (
                _BACKSLASH in payload and payload.find(b"\\u0000") >= 0
            ):
                return payload
    if is_redacted:
        head = replace(head, sanitized=(*head.sanitized, "redacted"))
    return _encode_unclean(head, plain, metrics, error_fields, context, origin, limits)


def _describe(error: BaseException | dict[str, Any], head: Head, redactor: Redactor) -> tuple[Described, Head]:
    """Describe what was raised, and flag in the head what of it could not be read."""
    if type(error) is dict:
        return Described(error, [], set()), head
    flags = set(head.sanitized)
    described = describe_error(cast("BaseException", error), flags, redactor.harmless_frames)
    if len(flags) != len(head.sanitized):
        head = replace(head, sanitized=tuple(sorted(flags)))
    return described, head


def _is_described(described: Described, redactor: Redactor, texts: list[str]) -> bool:
    """Collect the texts of what was raised; False if another system describes it by something that is no text."""
    if described.texts:
        known = redactor.harmless_messages
        texts += [text for text in described.texts if text not in known]
        return True
    return is_collected(described.error, redactor, texts)


def _with_redacted(flags: UnsetType | list[str]) -> list[str]:
    return ["redacted"] if flags is UNSET else sorted({*flags, "redacted"})


def _replace_texts(
    plain: dict[str, Any], metrics: dict[str, Any], described: Described | None, found: dict[str, str]
) -> bool:
    """Put what is left of the texts that were *found* to hold secrets in their places; False if one has no place.

    The dicts are ours alone; a container in them is the caller's, and rebuilt.
    """
    if described is not None and (not described.texts or not found.keys().isdisjoint(described.texts)):
        return False  # a stack holds the texts of its messages, put together: it is searched whole
    places = 0
    for fields in (plain, metrics):
        for name, value in fields.items():
            kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
            if kind is str:
                if value in found:
                    if is_identifier(name):
                        return False
                    fields[name] = found[value]
                    places += 1
            elif kind is dict or kind is list or kind is tuple:
                rebuilt = with_replaced(value, found)
                if rebuilt is not None:
                    fields[name] = rebuilt
                    places += 1
    return places > 0


def _without_tokens(context: Context, redactor: Redactor) -> Context:
    """Take tokens out of the ids: an id has to stay what it is in order to be found, unless it opens something."""
    ids = (context.user_id, context.request_id, context.session_id)
    if ids != redactor.last_ids:
        cleaned = [redactor.clean_id(id_) if type(id_) is str else id_ for id_ in ids]
        if cleaned != [*ids]:
            return replace(context, user_id=cleaned[0], request_id=cleaned[1], session_id=cleaned[2])
    redactor.last_context, redactor.last_ids = context, ids
    return context


# The hottest loop there is, in one piece: a call for each field would cost more than looking at it.
def _look_over(  # noqa: C901, PLR0912
    fields: dict[str, Any], redactor: Redactor, *, is_span: bool
) -> tuple[dict[str, Any], dict[str, Any], list[str] | None, bool]:
    """Sort *fields*, and collect the texts that are to be searched for secrets.

    Returns:
        (context, metrics, texts, is_redacted). No texts: all are numbers, or too short for a secret, or the same that
        the field has held before, or encoded already by a span (``encode_value`` has searched that). None in their
        place: the fields cannot be encoded as they are. Redacted is what is a mail address and nothing else.
    """
    plain: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    texts: list[str] = []
    is_redacted = False
    roles, last_texts, shortest = redactor.roles, redactor.last_texts, redactor.shortest
    for name, value in fields.items():
        role = roles.get(name)
        if role is None:
            return _look_closely(fields, redactor, is_span=is_span)
        if role:
            metrics[name] = value
        else:
            plain[name] = value
        kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
        if kind is str:
            if role:
                return _look_closely(fields, redactor, is_span=is_span)  # a text where a number is expected
            if len(value) < shortest:
                if "@" in value or "=" in value or ":" in value:
                    texts.append(value)
            elif last_texts.get(name) != value:
                if "@" in value and redactor.is_mail(value):
                    plain[name] = redactor.stand_in("email", value)
                    is_redacted = True
                else:
                    texts.append(value)
            continue
        if kind is int:
            if MIN_INT <= value <= MAX_INT:
                continue
        elif kind is float:
            if value - value == 0.0:  # not so for NaN and the infinities
                continue
        elif (
            kind is bool
            or value is None
            or (kind is Raw and is_span)
            or ((kind is dict or kind is list or kind is tuple) and collect(value, redactor, texts))
        ):
            continue
        return _look_closely(fields, redactor, is_span=is_span)
    return plain, metrics, texts, is_redacted


def _look_closely(
    fields: dict[str, Any], redactor: Redactor, *, is_span: bool
) -> tuple[dict[str, Any], dict[str, Any], list[str] | None, bool]:
    """Do the same for fields of which one is not known yet, or has to be made safe; learn its name if it can be."""
    if not is_span and not LOGGING_WORDS.isdisjoint(fields):
        fields = read_logging_words(fields)
    plain: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    texts: list[str] = []
    is_safe = True
    for name, value in fields.items():
        kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
        if name in METRIC_FIELDS:
            metrics[name] = value
        elif name in ("metrics", "context") and kind is dict:
            (metrics if name == "metrics" else plain).update(value)
            is_safe = is_safe and _is_each_collected(name, value, redactor, texts, is_span=is_span)
            continue
        else:
            plain[name] = value
        if name in redactor.harmless:
            if name not in _NEVER_LEARNT and len(redactor.roles) < MEMO_KEYS:
                redactor.roles[name] = name in METRIC_FIELDS
        elif not ((kind is int or kind is float) and redactor.keeps_number(name)):
            is_safe = False
        is_text_for_number = kind is str and name in METRIC_FIELDS
        is_safe = (
            is_safe and not is_text_for_number and ((kind is Raw and is_span) or is_collected([value], redactor, texts))
        )
    return plain, metrics, texts if is_safe else None, False


def _is_each_collected(
    name: str, values: dict[Any, Any], redactor: Redactor, texts: list[str], *, is_span: bool
) -> bool:
    """Do what ``values.is_collected`` does for what ``metrics`` or ``context`` holds.

    The name itself is not recorded: receivers give what they take in below it, event by event.
    """
    if name == "metrics":
        return all(type(value) in (int, float) for value in values.values()) and is_collected(values, redactor, texts)
    if is_span:  # ``encode_value`` has searched what is encoded already
        values = {key: value for key, value in values.items() if type(value) is not Raw or key not in redactor.harmless}
    return is_collected(values, redactor, texts)


def _by_role(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort fields into (context, metrics) by their names alone."""
    metrics = {name: value for name, value in fields.items() if name in METRIC_FIELDS}
    return {name: value for name, value in fields.items() if name not in metrics}, metrics


def _remember_texts(fields: dict[str, Any], described: Described | None, redactor: Redactor) -> None:
    """Remember the frames and texts in which no secret was found; texts of some events, for most never come again."""
    if described is not None and described.frames:
        redactor.remember_frames(described.frames)
    if redactor.turn & 7:
        return
    if described is not None:
        for text in described.texts[:2]:  # the message of what was raised, alone and behind its type
            redactor.remember_message(text)
    for name, value in fields.items():
        if type(value) is str and redactor.shortest <= len(value) <= MAX_REMEMBERED_CHARS and name in redactor.roles:
            redactor.last_texts[name] = value


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
    keeps_raw = head.kind != "log"  # encode_value has made it, from what a span was given
    sanitizer = Sanitizer(limits.redactor, max_field_bytes=limits.max_field_bytes, keeps_raw=keeps_raw)
    sanitizer.flags.update(head.sanitized)
    safe_fields, safe_metrics = sanitizer.fields(fields), sanitizer.metrics(metrics)
    safe_error = error if error is UNSET else sanitizer.fields(error)
    names = _sanitize_names(sanitizer, head, context, origin)

    def encode() -> bytes:
        return _encode(_build(*names, safe_fields, safe_metrics, safe_error, sorted(sanitizer.flags) or UNSET))

    payload = encode()
    if len(payload) > limits.max_event_bytes:
        sanitizer.flags.add("truncated")
        parts = [safe_fields, safe_metrics, *([] if safe_error is UNSET else [safe_error])]
        _leave_out_largest(parts, len(payload) + FLAGS_BYTES - limits.max_event_bytes)
        payload = encode()
    if len(payload) > limits.max_event_bytes:  # by its names, or by more fields than can be named one by one
        names = _sanitize_names(Sanitizer(limits.redactor, max_field_bytes=MAX_NAME_CHARS), *names)
        safe_fields, safe_metrics = {"left_out_bytes": len(payload)}, {}
        payload = encode()
    return payload


def _sanitize_names(sanitizer: Sanitizer, head: Head, context: Context, origin: Origin) -> tuple[Head, Context, Origin]:
    """Make every text of an event safe that is not a field."""
    ids = sanitizer.keeping_texts()

    def text(value: Any, sanitizer: Sanitizer = sanitizer) -> Any:
        if value is UNSET:
            return value
        return text_of(sanitizer.value(value))

    names = {name: text(value) for name, value in asdict(head).items() if name not in ("timestamp", "sanitized")}
    return (
        Head(head.timestamp, **names, sanitized=head.sanitized),
        Context(**{name: value if value is None else text(value, ids) for name, value in asdict(context).items()}),
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
