"""Attributes as real instrumentations send them, in the words of clew."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import json

from clew.agent.pricing.prices import Prices, Use
from clew.dialects.otel.inside import SpanEvent, read_inside
from clew.dialects.otel.reading import ServiceResource, error_of, read_event, read_log, read_resource, read_span

MESSAGES = [{"role": "user", "parts": [{"type": "text", "content": "how out?"}]}]
ANSWER = [{"role": "assistant", "parts": [{"type": "text", "content": "By the thread."}], "finish_reason": "stop"}]


def context(attributes: dict[str, Any], name: str = "span") -> dict[str, Any]:
    """Read the context of a span."""
    return read_span(name, attributes).fields["context"]


def metrics(attributes: dict[str, Any]) -> dict[str, Any]:
    """Read the metrics of a span."""
    return read_span("span", attributes).fields["metrics"]


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"openinference.span.kind": "LLM"}, ("llm", "generation")),
        ({"openinference.span.kind": "RETRIEVER"}, ("retriever", "retrieval")),
        ({"openinference.span.kind": "RERANKER"}, ("retriever", "retrieval")),
        ({"openinference.span.kind": "EMBEDDING"}, ("embedding", None)),
        ({"openinference.span.kind": "EVALUATOR"}, ("chain", "evaluation")),
        ({"openinference.span.kind": "CHAIN", "rag.stage": "ingestion"}, ("chain", "ingestion")),
        ({"gen_ai.operation.name": "chat"}, ("llm", "generation")),
        ({"gen_ai.operation.name": "retrieval"}, ("retriever", "retrieval")),
        ({"gen_ai.operation.name": "execute_tool"}, ("tool", None)),
        ({"gen_ai.operation.name": "invoke_agent"}, ("chain", None)),
        ({"traceloop.span.kind": "workflow"}, ("chain", None)),
        ({"traceloop.span.kind": "task", "llm.request.type": "chat"}, ("llm", "generation")),
        ({"llm.request.type": "rerank"}, ("retriever", "retrieval")),
        ({"db.system": "chroma", "db.operation": "query"}, ("retriever", "retrieval")),
        ({"db.system": "postgresql", "db.operation": "query"}, (None, None)),
        ({"gen_ai.usage.output_tokens": 1}, ("llm", "generation")),
        ({"openinference.span.kind": "NOVEL"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_the_kind_is_read(attributes: dict[str, Any], kind: tuple[str | None, str | None]) -> None:
    """Each dialect names kinds in its own words; unknown ones are none."""
    read = read_span("span", attributes)

    assert (read.run_type, read.stage) == kind


@pytest.mark.parametrize(
    "attributes",
    [
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "acme",
            "gen_ai.request.model": "acme-1",
            "gen_ai.usage.input_tokens": 120,
            "gen_ai.usage.output_tokens": 8,
            "gen_ai.usage.cache_read.input_tokens": 100,
            "gen_ai.request.temperature": 0.2,
            "gen_ai.input.messages": json.encode(MESSAGES).decode(),
            "gen_ai.output.messages": json.encode(ANSWER).decode(),
        },
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "acme",
            "gen_ai.request.model": "acme-1",
            "gen_ai.usage.prompt_tokens": 120,
            "gen_ai.usage.completion_tokens": 8,
            "gen_ai.usage.cache_read_input_tokens": 100,
            "gen_ai.request.temperature": 0.2,
            "llm.usage.total_tokens": 128,
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": "how out?",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "By the thread.",
            "gen_ai.completion.0.finish_reason": "stop",
        },
        {
            "openinference.span.kind": "LLM",
            "llm.provider": "acme",
            "llm.model_name": "acme-1",
            "llm.token_count.prompt": 120,
            "llm.token_count.completion": 8,
            "llm.token_count.total": 128,
            "llm.token_count.prompt_details.cache_read": 100,
            "llm.invocation_parameters": '{"temperature": 0.2}',
            "input.value": '{"messages": "the whole request"}',
            "input.mime_type": "application/json",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": "how out?",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": "By the thread.",
            "llm.output_messages.0.message.finish_reason": "stop",
        },
    ],
    ids=["genai", "genai before, traceloop", "openinference"],
)
def test_a_model_call_reads_the_same_in_every_dialect(attributes: dict[str, Any]) -> None:
    """Provider, model, tokens, parameters and messages come out alike."""
    told = context(attributes)

    assert (told["provider"], told["model"], told["temperature"]) == ("acme", "acme-1", 0.2)
    assert metrics(attributes) == {"tokens_in": 120, "tokens_out": 8, "tokens_cached": 100}
    assert told["inputs"] == {"messages": [{"role": "user", "content": "how out?"}]}
    [answer] = told["outputs"]["messages"]
    assert (answer["role"], answer["content"], answer["finish_reason"]) == ("assistant", "By the thread.", "stop")
    assert set(told.get("attributes", {})) <= {"llm.invocation_parameters"}


GENAI, DETAILS, COUNT = "gen_ai.usage.", "gen_ai.usage.details.", "llm.token_count."
INSIDE = {f"{GENAI}input_tokens": 10000, f"{GENAI}output_tokens": 100}


@pytest.mark.parametrize(
    "attributes",
    [
        INSIDE | {f"{GENAI}cache_read.input_tokens": 8000, f"{GENAI}cache_creation.input_tokens": 1500},
        INSIDE | {f"{GENAI}cache_read_input_tokens": 8000, f"{GENAI}cache_creation_input_tokens": 1500},
        INSIDE | {f"{DETAILS}cache_read_tokens": 8000, f"{DETAILS}cache_write_tokens": 1500},
        INSIDE | {f"{DETAILS}cache_read_input_tokens": 8000, f"{DETAILS}cache_creation_input_tokens": 1500},
        INSIDE | {f"{GENAI}input_tokens.cached": 8000, f"{GENAI}input_tokens.cache_write": 1500},
        {
            f"{GENAI}input_tokens": 500,
            f"{GENAI}output_tokens": 100,
            f"{GENAI}cache_read_input_tokens": 8000,
            f"{GENAI}cache_creation_input_tokens": 1500,
        },
        {
            "llm.usage.prompt_tokens": 500,
            "llm.usage.completion_tokens": 100,
            "llm.usage.cache_read_input_tokens": 8000,
            "llm.usage.cache_creation_input_tokens": 1500,
        },
        {
            f"{COUNT}prompt": 10000,
            f"{COUNT}completion": 100,
            f"{COUNT}total": 10100,
            f"{COUNT}prompt_details.cache_read": 8000,
            f"{COUNT}prompt_details.cache_write": 1500,
        },
    ],
    ids=[
        "genai",
        "genai before",
        "pydantic-ai",
        "its details",
        "sentry",
        "beside",
        "traceloop beside",
        "openinference",
    ],
)
def test_tokens_of_the_cache_cost_what_they_cost_in_every_dialect(attributes: dict[str, Any]) -> None:
    """Inside of the tokens read, as the conventions say, or beside them where they cannot be inside: Anthropic's $0.011025."""
    told = metrics(attributes)

    assert told == {"tokens_in": 10000, "tokens_out": 100, "tokens_cached": 8000, "tokens_cache_written": 1500}
    cost = Prices().cost(("claude-sonnet-4-5",), "anthropic", datetime(2026, 7, 1, tzinfo=UTC), Use(**told))
    assert cost is not None
    assert cost.usd == pytest.approx((500 * 3 + 8000 * 0.3 + 1500 * 3.75 + 100 * 15) / 1e6)


def test_a_total_says_that_the_cache_is_beside() -> None:
    """More was read than came from the cache, so that only the sum tells: 5,000 and 3,000 and 100 are 8,100."""
    beside = {f"{GENAI}input_tokens": 5000, f"{GENAI}output_tokens": 100, f"{GENAI}cache_read_input_tokens": 3000}

    assert metrics(beside | {f"{GENAI}total_tokens": 8100})["tokens_in"] == 8000
    assert metrics(beside | {f"{GENAI}total_tokens": 5100})["tokens_in"] == 5000
    assert metrics(beside)["tokens_in"] == 5000


@pytest.mark.parametrize(
    ("attributes", "written"),
    [
        ({f"{GENAI}output_tokens": 400, f"{GENAI}reasoning.output_tokens": 300}, 400),
        ({f"{GENAI}output_tokens": 400, f"{GENAI}reasoning_tokens": 300}, 400),
        ({f"{GENAI}output_tokens": 400, f"{DETAILS}reasoning_tokens": 300}, 400),
        ({f"{COUNT}completion": 400, f"{COUNT}completion_details.reasoning": 300}, 400),
        ({f"{COUNT}completion": 100, f"{COUNT}completion_details.reasoning": 300}, 400),
    ],
    ids=["genai", "genai before", "pydantic-ai", "openinference", "beside"],
)
def test_reasoning_is_a_metric_of_its_own_in_every_dialect(attributes: dict[str, Any], written: int) -> None:
    """It is part of what was written."""
    assert metrics(attributes) == {"tokens_out": written, "tokens_reasoning": 300}


def test_documents_become_hits_in_every_dialect() -> None:
    """Flattened, as JSON, or as events of a vector store: ids, ranks, scores and the beginning of the text."""
    flattened = {
        "openinference.span.kind": "RETRIEVER",
        "retrieval.documents.0.document.id": "c1",
        "retrieval.documents.0.document.score": 0.9,
        "retrieval.documents.0.document.content": "x" * 400,
        "retrieval.documents.0.document.metadata": '{"source": "guide.md"}',
        "retrieval.documents.10.document.id": "c3",
        "retrieval.documents.2.document.id": "c2",
    }
    as_json = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": '[{"id": "c1", "score": 0.9}]'}
    result = {"db.query.result.id": "c1", "db.query.result.distance": 0.1, "db.query.result.document": "text"}
    found = [SpanEvent("db.query.result", 1, {**result, "db.query.result.id": name}) for name in ("c1", "c2")]

    told = context(flattened)
    listed = context(as_json)
    results = read_inside(found, has_failed=False, is_own=False)

    assert [(hit["chunk_id"], hit["rank"]) for hit in told["hits"]] == [("c1", 1), ("c2", 2), ("c3", 3)]
    assert (told["hits"][0]["document_id"], len(told["hits"][0]["content"]), told["hit_count"]) == ("guide.md", 300, 3)
    assert metrics(flattened) == {"top_score": 0.9}
    assert listed["hits"] == [{"chunk_id": "c1", "rank": 1, "score": 0.9}]
    assert [(hit["chunk_id"], hit["rank"]) for hit in results.fields["context"]["hits"]] == [("c1", 1), ("c2", 2)]
    assert results.logs == []


def test_a_reranking_has_both_orders() -> None:
    """What went in and what came out, with the query and the model."""
    told = context(
        {
            "openinference.span.kind": "RERANKER",
            "reranker.query": "how out?",
            "reranker.model_name": "cross-1",
            "reranker.top_k": 1,
            "reranker.input_documents.0.document.id": "c1",
            "reranker.input_documents.1.document.id": "c2",
            "reranker.output_documents.0.document.id": "c2",
            "reranker.output_documents.0.document.score": 0.8,
        }
    )

    assert (told["query"], told["reranker"], told["top_k"]) == ("how out?", "cross-1", 1)
    assert [hit["chunk_id"] for hit in told["hits_before"]] == ["c1", "c2"]
    assert told["hits_after"] == [{"chunk_id": "c2", "rank": 1, "score": 0.8}]


def test_sums_of_agents_are_no_metrics() -> None:
    """An agent tells the tokens of the calls inside it: they must not count twice."""
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 500, "llm.cost.total": 0.1}

    assert metrics(attributes) == {}
    assert context(attributes)["attributes"] == {"gen_ai.usage.input_tokens": 500, "llm.cost.total": 0.1}


def test_costs_are_read() -> None:
    """The total, else the sum of its parts."""
    call = {"openinference.span.kind": "LLM"}

    assert metrics({**call, "llm.cost.total": 0.5, "llm.cost.prompt": 0.2})["cost_usd"] == 0.5
    assert metrics({**call, "llm.cost.prompt": 0.2, "llm.cost.completion": 0.1})["cost_usd"] == pytest.approx(0.3)


def test_embeddings_keep_their_texts_and_not_their_vectors() -> None:
    """The model is the embedding's, the texts are inputs."""
    told = context(
        {
            "openinference.span.kind": "EMBEDDING",
            "embedding.model_name": "e5",
            "embedding.embeddings.0.embedding.text": "how out?",
            "embedding.embeddings.0.embedding.vector": [0.1] * 384,
        }
    )

    assert (told["embedding_model"], told["inputs"]) == ("e5", {"texts": ["how out?"]})
    assert "0.1" not in str(told)


def test_an_answer_that_was_written_down_whole_keeps_no_vectors() -> None:
    """Whether they are numbers or base64; the rest of it stays."""
    answer = {
        "model": "e5",
        "data": [{"index": 0, "embedding": [0.125] * 384}, {"index": 1, "embedding": "zczMPc3MzD0" * 200}],
        "usage": {"prompt_tokens": 9},
    }
    told = context({"openinference.span.kind": "EMBEDDING", "output.value": json.encode(answer).decode()})
    chat = context({"openinference.span.kind": "CHAIN", "output.value": json.encode([1] * 40).decode()})

    assert told["outputs"] == {
        "model": "e5",
        "data": [{"index": 0, "embedding": "384 numbers"}, {"index": 1, "embedding": "2,200 characters"}],
        "usage": {"prompt_tokens": 9},
    }
    assert chat["outputs"] == [1] * 40


def test_inputs_and_outputs_of_traceloop_are_decoded() -> None:
    """Entities are JSON in a text; who it is for stands in association properties."""
    attributes = {
        "traceloop.span.kind": "workflow",
        "traceloop.entity.input": '{"question": "how out?"}',
        "traceloop.entity.output": "plain",
        "traceloop.association.properties.user_id": "u1",
        "traceloop.association.properties.session_id": "t1",
    }
    read = read_span("rag", attributes)

    assert (read.user_id, read.session_id) == ("u1", "t1")
    assert read.fields["context"] == {"inputs": {"question": "how out?"}, "outputs": "plain"}
    assert context({"traceloop.entity.output": '"By the thread."'})["outputs"] == "By the thread."


def test_tools_have_a_name_and_arguments() -> None:
    """The call of a tool has inputs, outputs, and a name."""
    told = context(
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.call.arguments": '{"city": "Knossos"}',
            "gen_ai.tool.call.result": "sunny",
        },
        "execute_tool weather",
    )

    assert (told["inputs"], told["outputs"], told["tool_name"]) == (
        {"city": "Knossos"},
        "sunny",
        "execute_tool weather",
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"traceloop.span.kind": "tool", "gen_ai.tool.name": "weather"},
        {"openinference.span.kind": "TOOL", "tool.name": "weather"},
    ],
)
def test_tools_that_tell_their_name_are_called_so(attributes: dict[str, Any]) -> None:
    """The span is called otherwise: ``weather.tool``, ``execute_tool weather``."""
    assert context(attributes, "weather.tool") == {"tool_name": "weather"}


def test_documents_whose_ids_only_the_outputs_tell_have_them() -> None:
    """OpenInference tells text and metadata of LangChain's documents, and their ids in the whole answer alone."""
    told = {
        "openinference.span.kind": "RETRIEVER",
        "retrieval.documents.0.document.content": "So.",
        "retrieval.documents.0.document.metadata": '{"source": "maze.md"}',
        "retrieval.documents.1.document.content": "Cut",
        "output.value": json.encode(
            {"documents": [{"id": "c1", "page_content": "So."}, {"id": "c2", "page_content": "Cut short."}]}
        ).decode(),
        "output.mime_type": "application/json",
    }

    assert context(told)["hits"] == [
        {"chunk_id": "c1", "document_id": "maze.md", "rank": 1, "content": "So."},
        {"rank": 2, "content": "Cut"},
    ]


def test_who_it_is_for_is_read_in_the_metadata_too() -> None:
    """LangChain's users tell it there; an attribute goes before it."""
    told = {"metadata": '{"user_id": "u1", "thread_id": "t1", "k": 1}'}

    read, surer = read_span("span", told), read_span("span", told | {"user.id": "u2"})

    assert (read.user_id, read.session_id) == ("u1", "t1")
    assert (surer.user_id, surer.session_id) == ("u2", "t1")


def test_why_an_answer_ended_is_read_in_openinference() -> None:
    """It has one word for it."""
    assert context({"llm.finish_reason": "length"}) == {"finish_reason": "length"}


def test_tokens_and_costs_below_zero_are_not_believed() -> None:
    """They would be taken off what others have used; they stay attributes."""
    told = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": -5, "llm.cost.total": -1.0}

    assert metrics(told) == {}
    assert context(told)["attributes"] == {"gen_ai.usage.input_tokens": -5, "llm.cost.total": -1.0}


def test_pieces_of_a_stream_tell_how_long_the_first_took() -> None:
    """They are no logs: a long answer has hundreds, and none says anything."""
    pieces = [SpanEvent("gen_ai.content.completion.chunk", 1_000_000_000 + n * 250_000_000, {}) for n in (1, 2, 3)]

    inside = read_inside(pieces, has_failed=False, is_own=False, began_ns=1_000_000_000)

    assert inside.fields == {"metrics": {"time_to_first_token_ms": 250.0}}
    assert inside.logs == []


def test_tags_metadata_and_everything_else_are_kept() -> None:
    """What no dialect names stands under its own name."""
    told = context({"tag.tags": ["a"], "metadata": '{"k": 1}', "server.port": 443, "metadata.x": "y"})

    assert (told["tags"], told["metadata"]) == (["a"], {"k": 1})
    assert told["attributes"] == {"server.port": 443, "metadata.x": "y"}


def test_scores_are_logs() -> None:
    """An evaluation result is what the catalogue calls a computed score."""
    told = read_event(
        "gen_ai.evaluation.result",
        {
            "gen_ai.evaluation.name": "faithfulness",
            "gen_ai.evaluation.score.value": 0.75,
            "gen_ai.evaluation.score.label": "good",
            "gen_ai.evaluation.explanation": "cited",
        },
    )

    assert told is not None
    assert told.message == "score_computed"
    assert told.fields["metrics"] == {"score": 0.75}
    assert told.fields["context"] == {"metric_name": "faithfulness", "reason": "cited", "value": "good"}


def test_messages_in_events_belong_to_the_span() -> None:
    """Older instrumentations tell each message as an event: they come together again, in order."""
    events = [
        SpanEvent("gen_ai.system.message", 1, {"content": "be brief"}),
        SpanEvent("gen_ai.user.message", 2, {"content": "how out?"}),
        SpanEvent("gen_ai.choice", 3, {"finish_reason": "stop", "message": '{"content": "By the thread."}'}),
    ]

    inside = read_inside(events, has_failed=False, is_own=False)

    told = inside.fields["context"]
    assert told["inputs"]["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "how out?"},
    ]
    assert told["outputs"]["messages"] == [{"role": "assistant", "content": "By the thread."}]


def test_resources_logs_and_errors_are_read() -> None:
    """Service, environment and version by their new and old names; exceptions without their modules."""
    resource = {"service.name": "maze", "deployment.environment": "prod", "service.version": 7}

    assert read_resource(resource) == ServiceResource("maze", "prod", "7")
    assert read_resource({}) == ServiceResource("unknown_service", None, None)
    assert error_of({"exception.type": "openai.RateLimitError"})["type"] == "RateLimitError"
    assert read_log({"exception.type": "E", "user.id": "u1"}).fields["context"] == {}
