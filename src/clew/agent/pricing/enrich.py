"""Write onto each event what it cost, and give it a time that can be believed, before any sink sees it.

What: an event that reports tokens and a model, and no cost, gets ``metrics.cost_usd``; so does one that an own
price by call or document fits. ``emit.context.price_source`` says where the price is from: ``"override"``,
``"genai-prices:"`` and its version, or ``"unknown"``, and then there is no cost.

Why here: the application need not know prices, and every sink, and every replay, sees the same number. An
event is priced by itself and by the prices of its own day. What repeats what another event reports (the tokens
of a call stand in ``token_usage_recorded``, perhaps in ``generation_complete``, and in its span) is priced
like it; who adds up counts one of them (``store.trace_tree``).

Only what may be the end of a call is priced: logs, and spans of the kinds ``llm``, ``embedding`` and
``retriever``. A chain or an agent that reports the tokens of everything inside it is not: they are of many models.

The time is that of the event, unless no clock can mean it (``arrival``): then it is that of its arrival here.

Everything else of the event stays as it is, byte for byte. An event that is no event passes as it is.

Metrics: ``clew_agent_unpriced_events_total`` by model.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import DecodeError, Raw, Struct, ValidationError, json

from clew import arrival, clock
from clew.agent.pricing.prices import Cost, Prices, Use
from clew.catalog.bill import PAID_MESSAGES, PAID_RUN_TYPES, paid_for
from clew.catalog.usage import TOKENS

if TYPE_CHECKING:
    from clew.catalog.bill import Paid

__all__ = ["OTHER_MODELS", "UNKNOWN", "Enricher"]

UNKNOWN: Final = "unknown"
"""Price source of an event whose price nobody knows."""

MOST_MODELS: Final = 50
"""Models that are counted by name; applications may name any number of models."""

OTHER_MODELS: Final = "other"
"""What the models beyond are counted as."""

_MOST_NAME_CHARS = 100
_DATE = slice(len(b'{"timestamp":"'), len(b'{"timestamp":"2000-01-01'))
_EARLIEST = arrival.EARLIEST.date().isoformat().encode()
_DAY_S: Final = 86_400
_TOKENS = b'"tokens_'


class _Event(Struct):
    """What an event says about its cost."""

    timestamp: datetime
    kind: str
    message: str
    context: dict[str, Raw]
    metrics: dict[str, Raw]
    stage: str | None = None
    run_type: str | None = None


class Enricher:
    """Price events.

    Args:
        prices: The prices.

    Example:
        >>> Enricher(Prices())(b'{"message":"query_received"}')
        b'{"message":"query_received"}'

    Threads:
        One for all workers of an agent.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._lock = threading.Lock()
        self._unpriced: dict[str, int] = {}
        self._until_s = 0.0
        self._tomorrow = b""
        self._flat = [own for own in prices.own if own.per_request is not None or own.per_document is not None]
        self._signs = (_TOKENS, *dict.fromkeys(_sign(own.model) for own in self._flat))

    def __call__(self, payload: bytes, *, is_counting: bool = False) -> bytes:
        """Return *payload* with its cost; the very same object if there is nothing to add.

        Args:
            payload: One event, as it stands on the spool.
            is_counting: Count it if its price is unknown; for one sink only, as all of them see each event.
        """
        if not self._is_in_time(payload):
            payload = _in_time(payload)
        for sign in self._signs:
            if payload.rfind(sign) >= 0:  # 0.1 µs in 500 bytes; from the front it is three times as long
                return self._enrich(payload, is_counting=is_counting)
        return payload

    def _is_in_time(self, payload: bytes) -> bool:
        """Whether an event is surely of a day that can be believed, by the date it begins with."""
        now_s = time.time()
        if now_s >= self._until_s:
            self._until_s = (now_s // _DAY_S + 1) * _DAY_S
            self._tomorrow = datetime.fromtimestamp(self._until_s, UTC).date().isoformat().encode()
        return _EARLIEST <= payload[_DATE] < self._tomorrow

    def counting(self, payload: bytes) -> bytes:
        """Do the same, and count what has no price."""
        return self(payload, is_counting=True)

    def unpriced(self) -> dict[str, int]:
        """Return how many events had no known price, by model; ``"other"`` for models beyond the first 50."""
        with self._lock:
            return dict(self._unpriced)

    def _enrich(self, payload: bytes, *, is_counting: bool) -> bytes:
        try:
            event = _decode_event(payload)
            if event.metrics.get("cost_usd", _NULL) != _NULL:
                return payload
            priced = self._price(event)
            if priced is None:
                return payload
            cost, model = priced
            whole = _decode_parts(payload)
            whole["context"] = Raw(_encode({**event.context, "price_source": cost.source if cost else UNKNOWN}))
            if cost is not None:
                whole["metrics"] = Raw(_encode({**event.metrics, "cost_usd": cost.usd}))
            enriched = _encode(whole)
        except (DecodeError, ValidationError, UnicodeDecodeError, OverflowError, RecursionError):
            return payload  # no event, or none of ours: the sinks judge it
        if cost is None and is_counting:
            self._count(model)
        return enriched

    def _price(self, event: _Event) -> tuple[Cost | None, str] | None:
        """Return (cost, model); the cost is None when it is unknown. None when there is nothing to price."""
        is_span = event.kind == "span"
        if not is_span and event.kind != "log":
            return None
        if is_span and event.run_type not in PAID_RUN_TYPES and event.message not in PAID_MESSAGES:
            return None
        paid = paid_for(event.message, event.run_type if is_span else None, event.stage, event.context)
        names = tuple(text for name in paid.named_by if (text := _text(event.context.get(name))))
        use = _use(event, paid)
        if not use.has_tokens() and not (names and self._is_paid_flat(event, is_span=is_span)):
            return None
        moment = event.timestamp if event.timestamp.tzinfo else event.timestamp.replace(tzinfo=UTC)
        cost = self._prices.cost(names, _text(event.context.get("provider")) or None, moment, use) if names else None
        if cost is None and not use.has_tokens():
            return None
        asked = _text(event.context.get("model"))
        return cost, asked if asked in names else names[0] if names else ""

    def _is_paid_flat(self, event: _Event, *, is_span: bool) -> bool:
        return bool(self._flat) and (is_span or event.message in PAID_MESSAGES)

    def _count(self, model: str) -> None:
        name = model[:_MOST_NAME_CHARS]
        with self._lock:
            if name not in self._unpriced and len(self._unpriced) >= MOST_MODELS:
                name = OTHER_MODELS
            self._unpriced[name] = self._unpriced.get(name, 0) + 1


_encode = json.Encoder().encode
_decode_event = json.Decoder(_Event).decode
_decode_parts = json.Decoder(dict[str, Raw]).decode
_decode_any = json.Decoder().decode
_NULL = Raw(b"null")


def _in_time(payload: bytes) -> bytes:
    """Give an event whose time cannot be believed that of its arrival, which is now; see ``arrival``."""
    try:
        event, now = _decode_event(payload), clock.now()
        moment = event.timestamp if event.timestamp.tzinfo else event.timestamp.replace(tzinfo=UTC)
        if arrival.is_plausible(moment, now):
            return payload
        whole = _decode_parts(payload)
        duration_ms = _decode_any(event.metrics.get("duration_ms", _NULL)) if event.kind == "span" else None
        flags: list[str] = _decode_any(whole.get("sanitized", _NULL)) or []
        changed: dict[str, Any] = {
            "timestamp": arrival.arrived_at(now, duration_ms),
            "context": {**event.context, arrival.SENT: whole["timestamp"]},
            "sanitized": sorted({*flags, arrival.FLAG}),
        }
        return _encode({**whole, **changed})
    except (DecodeError, ValidationError, UnicodeDecodeError, OverflowError, RecursionError, TypeError):
        return payload  # no event, or none of ours: the sinks judge it


def _sign(model: str) -> bytes:
    """Return what stands in every event that names *model*, so that others are not looked at more closely."""
    beginning = _encode(model.removesuffix("*"))[:-1]
    return b":" + beginning


def _use(event: _Event, paid: Paid) -> Use:
    tokens = {name: _number(event.metrics.get(name)) for name in TOKENS}
    counts = (_count_of(event.context.get(name)) for name in paid.counted_by)
    return Use(**tokens, documents=next((count for count in counts if count is not None), None))


def _text(raw: Raw | None) -> str | None:
    value = None if raw is None else _decode_any(raw)
    return value if isinstance(value, str) else None


def _number(raw: Raw | None) -> int | float | None:
    value: Any = None if raw is None else _decode_any(raw)
    return value if type(value) in {int, float} and value >= 0 else None


def _count_of(raw: Raw | None) -> int | float | None:
    """Read how many documents a field reports: it holds a number, or a list of them."""
    value: Any = None if raw is None else _decode_any(raw)
    return len(cast("list[Any]", value)) if isinstance(value, list) else _number(raw)
