"""Costs on events: which get one, what it says, and that nothing else changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import genai_prices
import psycopg
import pytest
from msgspec import json
from prometheus_client.parser import text_string_to_metric_families

import clew
from clew import config
from clew.agent.pricing.enrich import MOST_MODELS, OTHER_MODELS, Enricher
from clew.agent.pricing.price_file import OwnPrice
from clew.agent.pricing.prices import Prices
from clew.agent.supervisor import Supervisor
from clew.errors import ConfigError
from clew.sinks.prometheus.text import expose
from clew.store.postgres.sink import PostgresSink
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from pathlib import Path

BUILT_IN = f"genai-prices:{genai_prices.__version__}"
TOKENS = {"tokens_in": 1000, "tokens_out": 200, "tokens_cached": 300}
MINI = {"provider": "openai", "model": "gpt-4o-mini"}


def own(model: str, **amounts: str) -> OwnPrice:
    """Make an own price."""
    amounts_usd = {name: Decimal(text) for name, text in amounts.items()}
    return OwnPrice(model=model, effective_from=date(2026, 1, 1), **amounts_usd)


def event(message: str, context: dict[str, Any], metrics: dict[str, Any], **values: Any) -> bytes:
    """Encode an event of the public format."""
    told = {"timestamp": datetime(2026, 7, 1, tzinfo=UTC), "kind": "log", "level": "INFO", "message": message}
    return json.encode(
        {**told, "service": "rag-api", "stage": "other", **values, "context": context, "metrics": metrics}
    )


def told(payload: bytes) -> tuple[float | None, str | None]:
    """Return (cost, price source) of an event."""
    decoded = json.decode(payload)
    return decoded["metrics"].get("cost_usd"), decoded["context"].get("price_source")


def test_tokens_of_a_known_model_have_a_cost() -> None:
    """Cost and source come last in metrics and context; the rest is the same bytes."""
    payload = event("token_usage_recorded", MINI, TOKENS, stage="generation")

    enriched = Enricher(Prices())(payload)

    assert enriched == payload.replace(
        b'"gpt-4o-mini"}', b'"gpt-4o-mini","price_source":"' + BUILT_IN.encode() + b'"}'
    ).replace(b'"tokens_cached":300}', b'"tokens_cached":300,"cost_usd":0.0002475}')


@pytest.mark.parametrize(
    "payload",
    [
        event("query_received", {"query": "why", "model": "gpt-4o-mini"}, {"duration_ms": 1.5}),
        event("token_usage_recorded", MINI, {**TOKENS, "cost_usd": 0.5}),
        event("token_usage_recorded", MINI, {**TOKENS, "cost_usd": 0}),
        event("generation_complete", MINI, {"tokens_per_second": 31.5}),
        event("answer", MINI, TOKENS, kind="span", run_type="chain"),
        event("ChatOpenAI", MINI, TOKENS, kind="span_start", run_type="llm"),
        event("prompt", {"text": '"tokens_in":'}, {}),
        event("token_usage_recorded", MINI, {"tokens_in": None, "tokens_out": "many"}),
        event("token_usage_recorded", MINI, {"tokens_in": -1}),
        b'{"tokens_in":',
        b"\xff\xfe tokens_",
        b'{"tokens_in":1}',
        b'["tokens_in"]',
        event("token_usage_recorded", MINI, TOKENS, timestamp="yesterday"),
        json.encode({**json.decode(event("token_usage_recorded", MINI, {})), "metrics": [{"tokens_in": 1}]}),
        json.encode({**json.decode(event("token_usage_recorded", MINI, TOKENS)), "context": "gpt-4o-mini"}),
        b"",
    ],
    ids=lambda payload: payload[90:130].decode("utf-8", "replace"),
)
def test_an_event_that_needs_nothing_is_the_same_object(payload: bytes) -> None:
    """No cost to add, none that would be right, or no event at all."""
    assert Enricher(Prices())(payload) is payload


def test_an_empty_provider_is_none() -> None:
    """A variable that is not set is no provider whose prices nobody knows."""
    payload = event("token_usage_recorded", {"provider": "", "model": "gpt-4o-mini"}, TOKENS)

    assert told(Enricher(Prices())(payload)) == (0.0002475, BUILT_IN)


def test_an_unknown_model_has_no_cost_and_is_counted() -> None:
    """Unknown is not zero; it is said, and counted by the one sink that counts."""
    enricher = Enricher(Prices())
    payload = event("token_usage_recorded", {"model": "llama-of-ours"}, TOKENS)

    enriched = enricher.counting(payload)
    again = enricher(payload)

    assert told(enriched) == (None, "unknown")
    assert again == enriched
    assert enricher.unpriced() == {"llama-of-ours": 1}


def test_the_names_that_are_counted_are_bounded() -> None:
    """An application that makes up model names makes no endless list of them."""
    enricher = Enricher(Prices())

    for number in range(MOST_MODELS + 10):
        enricher.counting(event("token_usage_recorded", {"model": f"ours-{number}"}, TOKENS))

    assert len(enricher.unpriced()) == MOST_MODELS + 1
    assert enricher.unpriced()[OTHER_MODELS] == 10


def test_a_cost_that_is_null_is_told() -> None:
    """An application that does not know its cost may say so; the key stays where it stands."""
    enriched = Enricher(Prices())(event("token_usage_recorded", MINI, {"cost_usd": None, **TOKENS}))

    assert list(json.decode(enriched)["metrics"]) == ["cost_usd", *TOKENS]
    assert told(enriched) == (0.0002475, BUILT_IN)


@pytest.mark.parametrize("run_type", ["llm", "embedding"])
def test_a_span_of_a_model_call_has_a_cost(run_type: str) -> None:
    """Whether it comes from our decorator or from a receiver."""
    enriched = Enricher(Prices())(event("ChatOpenAI", MINI, TOKENS, kind="span", run_type=run_type))

    assert told(enriched) == (0.0002475, BUILT_IN)


@pytest.mark.parametrize(
    ("message", "context", "cost"),
    [
        ("reranking_complete", {"reranker": "rerank-v4"}, 0.002),
        ("hybrid_search_complete", {"index_name": "docs", "hit_count": 8}, 0.008),
        ("hybrid_search_complete", {"index_name": "docs", "hits": [{}, {}]}, 0.002),
        ("storage_complete", {"index_name": "docs", "stored_count": 42}, 0.042),
        ("score_computed", {"judge": "panel"}, 0.01),
        ("metrics_evaluated", {"judge": "panel"}, 0.01),
        ("embedding_complete", {"embedding_model": "vectors-as-a-service", "chunk_count": 3}, 0.3),
    ],
)
def test_what_is_paid_by_the_call_or_document_has_a_cost(message: str, context: dict[str, Any], cost: float) -> None:
    """Rerankers, stores and judges have no tokens to count."""
    prices = [
        own("rerank-*", per_request="0.002"),
        own("docs", per_document="0.001"),
        own("panel", per_request="0.01"),
        own("vectors-as-a-service", per_document="0.1"),
    ]

    assert told(Enricher(Prices(prices))(event(message, context, {"duration_ms": 3.0}))) == (cost, "override")


def test_a_price_by_the_call_is_of_the_call_alone() -> None:
    """Events that only mention the name stay as they are: the call is told once."""
    enricher = Enricher(Prices([own("rerank-v4", per_request="0.002")]))
    mentions = [
        event("query_received", {"reranker": "rerank-v4"}, {}),
        event("reranking_failed", {"reranker": "rerank-v4"}, {}),
        event("reranking_complete", {"reranker": "rerank-v3", "note": 'not :"rerank-v4'}, {}),
        event("reranker", {"reranker": "rerank-v4"}, {}, kind="span", run_type="chain"),
    ]  # fmt: skip

    assert [enricher(payload) for payload in mentions] == mentions
    assert told(enricher(event("rank", {"reranker": "rerank-v4"}, {}, kind="span", run_type="retriever"))) == (
        0.002,
        "override",
    )


def test_a_model_priced_by_tokens_is_not_priced_without_them() -> None:
    """A call that tells no tokens, beside prices by the call, stays untold rather than too small."""
    enricher = Enricher(Prices([own("judge-1", input="1", per_request="0.5"), own("x", per_request="1")]))
    payload = event("score_computed", {"judge": "judge-1"}, {"score": 0.5})

    assert enricher(payload) is payload


def test_an_agent_writes_the_same_cost_for_every_sink(tmp_path: Path, postgres: str) -> None:
    """Through the real agent: PostgreSQL and another sink hold the same cost; what has none is counted once."""
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[[price]]\nmodel = "rerank-v4"\neffective_from = 2020-01-01\nper_request = 0.002\n', encoding="utf-8"
    )
    settings = config.load(data_dir=tmp_path, service="costs", prices=prices, dsn=postgres)
    clew.configure(service="costs", data_dir=tmp_path, agent="external")
    log = clew.get_logger()
    with clew.span("answer"):
        log.info("reranking_complete", reranker="rerank-v4", hit_count=8)
        log.info("token_usage_recorded", **MINI, **TOKENS)
        log.info("token_usage_recorded", model="llama-of-ours", **TOKENS)
    clew.shutdown()
    recording = RecordingSink()
    agent = Supervisor(settings, sinks=[PostgresSink(postgres), recording], report=lambda _: None)

    agent.start()
    is_drained = agent.drain(30)
    agent.stop()

    taken = [told(payload) for payload in recording.payloads() if b'"kind":"log"' in payload]
    with psycopg.connect(postgres) as connection:
        rows = connection.execute(
            "SELECT cost_usd, context ->> 'price_source' FROM events WHERE kind = 'log' ORDER BY \"timestamp\""
        ).fetchall()
    assert is_drained
    assert taken == rows == [(0.002, "override"), (0.0002475, BUILT_IN), (None, "unknown")]
    assert b'clew_agent_unpriced_events_total{model="llama-of-ours"} 1' in expose(agent.metrics(), None).body


def test_a_model_may_have_any_name(tmp_path: Path) -> None:
    """What an application calls its model cannot break the answer to a scrape."""
    agent = Supervisor(config.load(data_dir=tmp_path), sinks=[RecordingSink()], report=lambda _: None)

    agent._enricher.counting(event("token_usage_recorded", {"model": 'a"b\\c\nd'}, TOKENS))

    families = list(text_string_to_metric_families(expose(agent.metrics(), None).body.decode()))
    told = [sample for family in families for sample in family.samples if "unpriced" in sample.name]
    assert [(sample.labels, sample.value) for sample in told] == [({"model": 'a"b\\c\nd'}, 1.0)]


def test_an_agent_does_not_start_with_prices_that_mean_nothing(tmp_path: Path) -> None:
    """Wrong costs in silence would be worse than an agent that says what to put right."""
    prices = tmp_path / "prices.toml"
    prices.write_text("[[price]]\nmodel = 3\n", encoding="utf-8")

    with pytest.raises(ConfigError, match="line 2: model is 3"):
        Supervisor(config.load(data_dir=tmp_path, prices=prices), sinks=[RecordingSink()])


@pytest.mark.parametrize("timestamp", ["2554-07-21T23:34:33.709551Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_a_time_that_no_clock_can_mean_is_that_of_arrival(timestamp: str) -> None:
    """What was sent stays in the context; a span that ended began as long ago as it took."""
    before = datetime.now(UTC)
    told = json.decode(event("answer", {"a": 1}, {"duration_ms": 3_600_000}, kind="span", timestamp=timestamp))

    found = json.decode(Enricher(Prices())(json.encode({**told, "sanitized": ["nul"]})))

    began = datetime.fromisoformat(found["timestamp"])
    assert before - timedelta(hours=1) <= began <= datetime.now(UTC) - timedelta(hours=1)
    assert (found["context"], found["sanitized"]) == ({"a": 1, "sent_timestamp": timestamp}, ["clock", "nul"])


@pytest.mark.parametrize("hours", [-200_000, -1, 0, 14, 23.9])
def test_a_time_that_a_clock_can_mean_stays(hours: float) -> None:
    """Events wait on the spool, and clocks without a zone are off by some hours."""
    moment = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
    payload = event("answer", {}, {}, timestamp=moment)

    assert Enricher(Prices())(payload) is payload


@pytest.mark.parametrize(
    "payload",
    [
        b'{"timestamp":"9999-',
        b'{"timestamp":"9999-99-99T00:00:00Z","kind":"log"}',
        b"[]",
        b"",
        b'{"timestamp":7,"kind":1}',
    ],
)
def test_what_is_no_event_keeps_its_time(payload: bytes) -> None:
    """The sinks judge it."""
    assert Enricher(Prices())(payload) is payload
