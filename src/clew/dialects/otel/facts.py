"""What is known of a span: its own fields, and what the logs inside it report.

Conventions put everything that is known of a model call on the span of that call. An application that logs
reports it in events of the catalogue inside the span: ``token_usage_recorded``, ``hybrid_search_complete`` …
So the fields of those events are facts of the span, where it does not say them itself.

Not everything rises. How long a log's step took is no duration of the span; a failed attempt does not make the
call fail; scores and issues are many to one span, and stay events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from clew.catalog.events import EVENTS, FIELDS
from clew.catalog.usage import TOKENS
from clew.dialects.otel import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clew.dialects.otel.own import AttributeValue

__all__ = ["SUMMED", "attributes_of", "fields_of", "risen"]

SUMMED: Final = frozenset({*TOKENS, "cost_usd"})
"""Fields that add up over the logs of a span; of all others the last one counts."""

COST_METRIC: Final = "clew_cost_usd_total"

_RISES: Final = {
    message: frozenset(event.fields) - {"duration_ms", "cost_usd", "error_type"}
    for message, event in EVENTS.items()
    if event.level == "INFO" and event.stage != "evaluation"
}
"""Which fields of which events report about the span around them."""

_COSTS: Final = frozenset(message for message, event in EVENTS.items() if COST_METRIC in event.metrics)
"""Events that report a cost that no other event has reported."""

_DOCUMENTS: Final = frozenset({"hits", "hits_before", "hits_after"})
_APART: Final = frozenset({"inputs", "outputs", "tags", "metadata"}) | _DOCUMENTS
"""Fields that have attributes of another shape (see ``writing`` and ``documents``)."""

_PRECISION: Final = 12  # decimals: 0.1 ms is 0.0001 s, not 0.00010000000000000002 s


def fields_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's fields, context and metrics in one."""
    return {**(event.get("context") or {}), **(event.get("metrics") or {})}


def risen(logs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Gather what the logs inside a span report about it.

    Args:
        logs: Its logs, oldest first.

    Example:
        >>> used = {"message": "token_usage_recorded", "context": {"model": "m"}, "metrics": {"tokens_in": 7}}
        >>> risen([used, used])
        {'model': 'm', 'tokens_in': 14}
    """
    facts: dict[str, Any] = {}
    for log in logs:
        message = log["message"]
        rising = _RISES.get(message, frozenset[str]())
        for name, value in fields_of(log).items():
            if name == "cost_usd" and message not in _COSTS:
                continue
            if value is None or (name != "cost_usd" and name not in rising):
                continue
            if name in SUMMED and _is_number(value) and _is_number(facts.get(name, 0)):
                facts[name] = round(facts.get(name, 0) + value, _PRECISION)
            else:
                facts[name] = value
    return facts


def attributes_of(facts: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Write facts as attributes: those of the catalogue under its names, others as ``clew.field.<name>``.

    Objects that the catalogue does not know have no attribute; ``clew.fields`` holds them.

    Example:
        >>> attributes_of({"top_k": 5, "time_to_first_token_ms": 250.0, "tenant": "blue"})
        {'gen_ai.retrieval.top_k': 5, 'gen_ai.response.time_to_first_chunk': 0.25, 'clew.field.tenant': 'blue'}
    """
    attributes: dict[str, AttributeValue] = {}
    for name, value in facts.items():
        if value is None or name in _APART:
            continue
        field = FIELDS.get(name)
        attribute = field.attribute if field and field.attribute else f"{names.CLEW_FIELD_PREFIX}{name}"
        if name == "embedding_model" and facts.get("model") is not None:
            continue  # both are the model that was asked; the one of the call itself goes first
        if field is not None and field.attribute_scale != 1.0 and _is_number(value):
            attributes[attribute] = round(value * field.attribute_scale, _PRECISION)
        elif name == "finish_reason" and isinstance(value, str):
            attributes[attribute] = [value]
        else:
            written = _value(value)
            if written is not None:
                attributes[attribute] = written
    return attributes


def _value(value: Any) -> AttributeValue | None:
    """Return a value as an attribute can hold it; None for an object."""
    if isinstance(value, (str, bool, int, float)):
        return value
    if not isinstance(value, list):
        return None
    items = cast("list[Any]", value)
    if all(isinstance(item, (str, bool, int, float)) for item in items):
        return [str(item) for item in items]
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
