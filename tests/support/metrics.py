"""Events for the Prometheus sink, and what it makes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import json

from clew.sinks.base import Batch, Producer
from clew.spool.directory import new_producer_id
from clew.spool.format import Position, position_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

__all__ = ["NOW", "PRODUCER", "TRACE", "batch", "exemplars", "log", "samples", "span", "start"]

NOW = 1_795_000_000.0
PRODUCER = Producer(new_producer_id(1_700_000_000_000_000_000), "rag-api")
TRACE = "550e8400-e29b-41d4-a716-446655440000"


def event(kind: str, message: str, at: float, **told: Any) -> bytes:
    """Encode an event with the required keys filled in."""
    whole: dict[str, Any] = {
        "timestamp": datetime.fromtimestamp(at, UTC),
        "kind": kind,
        "level": "INFO",
        "message": message,
        "trace_id": TRACE,
        "span_id": None,
        "user_id": "user-123",
        "service": "rag-api",
        "stage": "other",
        "context": {},
        "metrics": {},
    }
    return json.encode({**whole, **told})


def log(message: str, at: float = NOW, **told: Any) -> bytes:
    """Encode a log."""
    return event("log", message, at, **told)


def start(span_id: str, parent: str | None = None, at: float = NOW, **told: Any) -> bytes:
    """Encode the beginning of a span."""
    more = {} if parent is None else {"parent_span_id": parent}
    return event("span_start", "work", at, span_id=span_id, status="running", **more, **told)


def span(span_id: str, parent: str | None = None, at: float = NOW, **told: Any) -> bytes:
    """Encode a span that has ended well, after 100 ms, unless *told* otherwise."""
    more: dict[str, Any] = {} if parent is None else {"parent_span_id": parent}
    metrics = {"duration_ms": 100.0, **told.pop("metrics", {})}
    more = {"run_type": "chain", "status": "ok", **more, **told}
    message = more.pop("message", "work")
    return event("span", message, at, span_id=span_id, metrics=metrics, **more)


def batch(*payloads: bytes, first: int = 64, producer: Producer = PRODUCER) -> Batch:
    """Make a batch of *payloads* a hundred bytes apart."""
    places = [position_of(1, first + 100 * index) for index in range(len(payloads) + 1)]
    return Batch(producer, list(zip(places[:-1], payloads, strict=True)), Position(places[0]), Position(places[-1]))


def samples(families: Iterable[Metric]) -> dict[str, float]:
    """Return every sample by its series, labels in their order of declaration: ``name{a,b}``."""
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in families
        for sample in family.samples
    }


def exemplars(families: Iterable[Metric], name: str) -> list[dict[str, str]]:
    """Return the labels of the exemplars of a metric."""
    return [
        sample.exemplar.labels
        for family in families
        for sample in family.samples
        if sample.name == name and sample.exemplar is not None
    ]
