"""Whatever an event holds, pricing it changes two keys at most."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from clew.agent.pricing.enrich import Enricher
from clew.agent.pricing.price_file import OwnPrice
from clew.agent.pricing.prices import Prices
from clew.catalog.events import EVENTS

ENRICHER = Enricher(
    Prices(
        [
            OwnPrice(model="acme-1", effective_from=date(2020, 1, 1), input=Decimal(1), output=Decimal(2)),
            OwnPrice(model="rank", effective_from=date(2020, 1, 1), per_request=Decimal("0.01")),
        ]
    )
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
models = st.sampled_from(["acme-1", "rank", "gpt-4o-mini", "nobody's"])
contexts = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("model", "response_model", "reranker", "provider", "price_source"), models | values),
)
amounts = st.fixed_dictionaries(
    {},
    optional={
        name: st.integers(0, 10**9) | values for name in ("tokens_in", "tokens_out", "tokens_cached", "cost_usd")
    },
)
events = st.builds(
    lambda head, context, more_context, metrics, more_metrics: {
        **head,
        "context": {**more_context, **context},
        "metrics": {**more_metrics, **metrics},
    },
    st.fixed_dictionaries(
        {
            "timestamp": st.just("2026-07-01T00:00:00Z") | texts,
            "kind": st.sampled_from(["log", "span", "span_start"]),
            "message": st.sampled_from(sorted(EVENTS)) | texts,
        },
        optional={"stage": st.sampled_from(["generation", "evaluation"]), "run_type": texts | st.just("llm"), "error": values},
    ),
    contexts,
    st.dictionaries(texts, values, max_size=3),
    amounts,
    st.dictionaries(texts, values, max_size=3),
)  # fmt: skip


def without(event: dict[str, Any]) -> dict[str, Any]:
    """Leave the two keys out."""
    return {
        **event,
        "context": [item for item in event["context"].items() if item[0] != "price_source"],
        "metrics": [item for item in event["metrics"].items() if item[0] != "cost_usd"],
    }


@given(events)
def test_nothing_but_cost_and_source_changes(event: dict[str, Any]) -> None:
    """Values, their order and their bytes stay; a cost that is told stays too."""
    payload = json.encode(event)

    enriched = ENRICHER(payload)

    after = json.decode(enriched)
    assert json.encode(without(after)) == json.encode(without(event))
    assert list(after) == list(event)
    if event["metrics"].get("cost_usd") is not None:
        assert enriched is payload
    if enriched is not payload:
        assert isinstance(after["context"]["price_source"], str)
        assert (after["metrics"].get("cost_usd") is None) == (after["context"]["price_source"] == "unknown")


@given(events)
def test_pricing_twice_is_pricing_once(event: dict[str, Any]) -> None:
    """A dead letter that goes back to the spool comes out as it went in; so does every replay."""
    payload = json.encode(event)

    once = ENRICHER(payload)

    assert ENRICHER(payload) == once
    assert ENRICHER(once) == once


@given(st.binary() | texts.map(str.encode) | values.map(json.encode))
def test_what_is_no_event_passes(payload: bytes) -> None:
    """Any bytes pass as they are; to judge them is for the sinks."""
    for told in (payload, payload + b'"tokens_in":', b'{"tokens_in":' + payload):
        assert ENRICHER(told) is told
