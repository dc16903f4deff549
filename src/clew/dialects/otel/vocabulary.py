"""The words of others, as tables: what an attribute of each dialect is called here.

Of several attributes for one field the first that reports something counts. The names of our own writer come first,
then OpenTelemetry's of today, those it had before, OpenInference's, Traceloop's.

Sources:
    https://github.com/open-telemetry/semantic-conventions-genai (v0.1.0), and the names before it
    (``gen_ai.system``, ``gen_ai.usage.prompt_tokens``) in semantic-conventions 1.27;
    https://github.com/Arize-ai/openinference, spec/semantic_conventions.md (0.1.42);
    opentelemetry-semantic-conventions-ai 0.4 (Traceloop), and what its packages 0.62 send.
"""

from __future__ import annotations

from typing import Final

from clew.catalog import usage
from clew.catalog.events import FIELDS, METRIC_FIELDS
from clew.dialects.otel import names

__all__ = ["FIELD_PLACES", "IDENTITIES", "IN_METADATA", "METRIC_PLACES", "OPERATIONS", "RUN_TYPES", "TOKENS", "TOTALS"]

_OURS: Final = {field.name: (field.attribute,) for field in FIELDS.values() if field.attribute.startswith("rag.")}

METRIC_PLACES: Final[dict[str, tuple[str, ...]]] = {
    **{name: places for name, places in _OURS.items() if name in METRIC_FIELDS},
    "tokens_in": (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        names.LLM_TOKENS_PROMPT,
        "llm.usage.prompt_tokens",
    ),
    "tokens_out": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        names.LLM_TOKENS_COMPLETION,
        "llm.usage.completion_tokens",
    ),
    "tokens_cached": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        names.LLM_TOKENS_CACHE_READ,
        "gen_ai.usage.input_tokens.cached",
        "gen_ai.usage.cached_input_tokens",
        "gen_ai.usage.cached_tokens",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.details.cache_read_input_tokens",
        "gen_ai.usage.details.cached_tokens",
        "llm.usage.cache_read_input_tokens",
        "ai.usage.cachedInputTokens",
    ),
    "tokens_cache_written": (
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
        names.LLM_TOKENS_CACHE_WRITE,
        "gen_ai.usage.input_tokens.cache_write",
        "gen_ai.usage.details.cache_write_tokens",
        "gen_ai.usage.details.cache_creation_input_tokens",
        "llm.usage.cache_creation_input_tokens",
    ),
    "tokens_reasoning": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        names.LLM_TOKENS_REASONING,
        "gen_ai.usage.output_tokens.reasoning",
        "gen_ai.usage.details.reasoning_tokens",
        "gen_ai.usage.details.thoughts_tokens",
        "llm.usage.reasoning_tokens",
        "ai.usage.reasoningTokens",
    ),
    "cost_usd": ("rag.cost.usd", names.LLM_COST_TOTAL, "gen_ai.usage.cost"),
    "score": ("gen_ai.evaluation.score.value",),
}
"""Where numbers are. All of these count the cache and the reasoning in; who does not is found by ``usage.settle``."""

TOTALS: Final = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", names.LLM_TOKENS_TOTAL)
"""Where the sum of all tokens of a call is."""

TOKENS: Final = frozenset({*usage.TOKENS, "cost_usd"})
"""What only the span of a model call says of itself: agents and chains report the sum of what is below them."""

FIELD_PLACES: Final[dict[str, tuple[str, ...]]] = {
    **{name: places for name, places in _OURS.items() if name not in METRIC_FIELDS},
    "model": ("gen_ai.request.model", names.LLM_MODEL_NAME, "llm.request.model"),
    "response_model": ("gen_ai.response.model", "llm.response.model"),
    "provider": ("gen_ai.provider.name", "gen_ai.system", names.LLM_PROVIDER, "llm.system", "llm.vendor"),
    "embedding_model": (names.EMBEDDING_MODEL_NAME,),
    "embedding_dimension": ("gen_ai.embeddings.dimension.count",),
    "reranker": ("rag.reranker.name", names.RERANKER_MODEL_NAME),
    "temperature": ("gen_ai.request.temperature", "llm.temperature"),
    "max_output_tokens": ("gen_ai.request.max_tokens", "llm.request.max_tokens"),
    "is_streaming": ("gen_ai.request.stream", "llm.is_streaming", "gen_ai.is_streaming"),
    "finish_reason": ("gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", "llm.finish_reason"),
    "query": ("gen_ai.retrieval.query.text", names.RERANKER_QUERY),
    "top_k": ("gen_ai.retrieval.top_k", names.RERANKER_TOP_K, "db.vector.query.top_k", "db.chroma.query.n_results"),
    "index_name": ("gen_ai.data_source.id", "db.collection.name"),
    "prompt_name": ("gen_ai.prompt.name",),
    "prompt_version": ("gen_ai.prompt.version", "llm.prompt_template.version"),
    "tool_name": (names.GEN_AI_TOOL_NAME, names.TOOL_NAME),
    "metric_name": ("gen_ai.evaluation.name",),
    "reason": ("gen_ai.evaluation.explanation",),
    "error_type": (names.ERROR_TYPE,),
    "status_code": ("http.response.status_code",),
}
"""Where texts, counts and switches stand."""

_PROPERTIES: Final = "traceloop.association.properties."
IDENTITIES: Final[dict[str, tuple[str, ...]]] = {
    "user_id": (names.USER_ID, "enduser.id", f"{_PROPERTIES}user_id", "langfuse.user.id"),
    "session_id": (
        names.SESSION_ID,
        names.GEN_AI_CONVERSATION_ID,
        f"{_PROPERTIES}session_id",
        f"{_PROPERTIES}conversation_id",
        "langfuse.session.id",
    ),
    "request_id": (names.CLEW_REQUEST_ID, f"{_PROPERTIES}request_id"),
}
"""Who and what an event is about."""

IN_METADATA: Final[dict[str, tuple[str, ...]]] = {
    "user_id": ("user_id",),
    "session_id": ("session_id", "conversation_id", "thread_id"),
    "request_id": ("request_id",),
}
"""The same in the metadata of a call, where LangChain's users report it: what no attribute reports."""

RUN_TYPES: Final = {
    "llm": "llm",
    "retriever": "retriever",
    "reranker": "retriever",
    "embedding": "embedding",
    "tool": "tool",
    "prompt": "prompt",
    "agent": "chain",
    "workflow": "chain",
    "task": "chain",
    "chain": "chain",
    "guardrail": "chain",
    "evaluator": "chain",
}
"""Run types by the kind that OpenInference (``LLM``) and Traceloop (``workflow``) name."""

OPERATIONS: Final = {
    "chat": "llm",
    "completion": "llm",
    "text_completion": "llm",
    "generate_content": "llm",
    "fetch_response": "llm",
    "embeddings": "embedding",
    "embedding": "embedding",
    "retrieval": "retriever",
    "rerank": "retriever",
    "execute_tool": "tool",
    "create_agent": "chain",
    "invoke_agent": "chain",
    "invoke_workflow": "chain",
    "plan": "chain",
}
"""Run types by OpenTelemetry's operation (``gen_ai.operation.name``) and Traceloop's ``llm.request.type``."""
