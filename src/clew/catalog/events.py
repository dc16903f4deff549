"""Events and fields: what each is called, what it contains, and what it becomes elsewhere.

``FIELDS`` declares every field once, so that one name means one thing in every event. ``EVENTS`` says which fields an
event carries and which metrics (``series``) it feeds.

A field is a *metric* when it is a measurement whose sum or distribution over many events means something by itself:
durations, costs, tokens, scores. A field that describes this one event is *context*, also when it is a number: a chunk
count, a file size, a rank, top-k.

Emitting a message that is not declared here is allowed; it is a log like any other.

Sources:
    Names of attributes: OpenTelemetry semantic conventions for generative AI (v0.1.0, Development);
    ``rag.*`` where those have none. Names of quality scores: Ragas, verbatim.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CALL_METRICS",
    "COST_METRICS",
    "EVENTS",
    "FAILURE_METRICS",
    "FIELDS",
    "METRIC_FIELDS",
    "MODEL_CALLS",
    "STAGE_OF",
    "STAGE_OF_RUN_TYPE",
    "STEP_METRICS",
    "TOKEN_METRICS",
    "EventType",
    "Field",
]

Stage = Literal["ingestion", "retrieval", "generation", "evaluation"]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


STAGE_OF_RUN_TYPE: Final = {"retriever": "retrieval", "llm": "generation", "prompt": "generation"}
"""The stage that a span's run type implies when none is given; other types inherit their parent's."""

MODEL_CALLS: Final = frozenset({"llm", "embedding"})
"""Run types of a call to a model: the answer of such a span reports its tokens."""


class Field(Struct, frozen=True):
    """One field, the same in every event that carries it.

    Attributes:
        name: Its name; the unit ends it.
        type: ``string``, ``integer``, ``number``, ``boolean``, ``list`` or ``object``.
        description: What it means.
        unit: UCUM or plain: ``ms``, ``USD``, ``tokens``, ``By``, ``1`` for a ratio; empty for none.
        is_metric: It goes to the event's ``metrics``, not to its ``context``.
        attribute: What it is called in OpenTelemetry.
        attribute_scale: Factor from its unit to the attribute's.
        langsmith: Where it is in a LangSmith run; empty for ``extra.metadata``, under its own name.
    """

    name: str
    type: str
    description: str
    unit: str = ""
    is_metric: bool = False
    attribute: str = ""
    attribute_scale: float = 1.0
    langsmith: str = ""


class EventType(Struct, frozen=True):
    """One event.

    Attributes:
        message: Its name.
        stage: Its stage.
        description: When it is emitted.
        fields: Names of the fields it carries.
        metrics: Names of the metrics it feeds.
        level: Its usual level.
        run_type: What it belongs to in LangSmith, in that system's words.
    """

    message: str
    stage: Stage
    description: str
    fields: tuple[str, ...]
    metrics: tuple[str, ...] = ()
    level: Level = "INFO"
    run_type: str = "chain"


STEP_METRICS: Final = ("clew_stage_duration_seconds",)
"""What the end of a step feeds."""

FAILURE_METRICS: Final = ("clew_errors_total",)
"""What a failure feeds: a log that reports one, and a failed span unless a log or a span inside it has reported it."""

COST_METRICS: Final = ("clew_cost_usd_total",)
"""What a cost feeds."""

CALL_METRICS: Final = ("gen_ai_client_operation_duration_seconds",)
"""What the end of a call to a model feeds beside the metrics of its own kind."""

TOKEN_METRICS: Final = ("gen_ai_client_token_usage",)
"""What the tokens of a call to a model feed beside the metrics of its own kind."""

_FIELDS = (
    # What a document is, and how it came in.
    Field("document_id", "string", "Stable id of the document.", attribute="rag.document.id"),
    Field("document_version", "string", "Version of its content, such as a hash.", attribute="rag.document.version"),
    Field("document_name", "string", "Its name for people, such as a file name.", attribute="rag.document.name"),
    Field("content_type", "string", "Media type.", attribute="rag.document.content_type"),
    Field("file_size_bytes", "integer", "Size of the file.", "By", attribute="rag.document.size"),
    Field("ingest_run_id", "string", "The run that brought it in; every chunk records it.", attribute="rag.ingest.run_id"),
    Field("parser", "string", "Parser and its version.", attribute="rag.parser.name"),
    Field("page_count", "integer", "Pages found.", attribute="rag.document.page_count"),
    Field("text_chars", "integer", "Characters of text found.", attribute="rag.document.text_chars"),
    # How it was cut.
    Field("chunker", "string", "Chunker and its version.", attribute="rag.chunker.name"),
    Field("chunker_config_hash", "string", "Hash of the chunker's configuration.", attribute="rag.chunker.config_hash"),
    Field("chunk_count", "integer", "Chunks made.", attribute="rag.chunk.count"),
    Field("chunk_ids", "list", "Stable ids of the chunks, in order.", attribute="rag.chunk.ids"),
    Field("chunk_id", "string", "Stable id of one chunk.", attribute="rag.chunk.id"),
    Field("chunk_chars_min", "integer", "Characters of the smallest chunk.", attribute="rag.chunk.chars_min"),
    Field("chunk_chars_mean", "number", "Mean characters of a chunk.", attribute="rag.chunk.chars_mean"),
    Field("chunk_chars_max", "integer", "Characters of the largest chunk.", attribute="rag.chunk.chars_max"),
    # How it was embedded and stored.
    Field("embedding_model", "string", "Embedding model.", attribute="gen_ai.request.model"),
    Field("embedding_dimension", "integer", "Length of a vector.", attribute="gen_ai.embeddings.dimension.count"),
    Field("batch_count", "integer", "Batches sent to the model.", attribute="rag.embedding.batch_count"),
    Field("index_name", "string", "Index written to or read.", attribute="gen_ai.data_source.id"),
    Field("index_version", "string", "Version of the index.", attribute="rag.index.version"),
    Field("stored_count", "integer", "Chunks stored.", attribute="rag.store.count"),
    Field("replaced_count", "integer", "Chunks of an older version removed.", attribute="rag.store.replaced_count"),
    # What was asked, and found.
    Field("query", "string", "The question.", attribute="gen_ai.retrieval.query.text", langsmith="inputs.query"),
    Field("query_chars", "integer", "Length of the question.", attribute="rag.query.chars"),
    Field("top_k", "integer", "How many hits were asked for.", attribute="gen_ai.retrieval.top_k"),
    Field("cache_hit", "boolean", "The cache had an answer.", attribute="rag.cache.hit"),
    Field("cache_similarity", "number", "Similarity of the closest cached question, 0 to 1.", "1",
          attribute="rag.cache.similarity"),
    Field("cache_age_s", "number", "Age of the cached answer.", "s", attribute="rag.cache.age"),
    Field("cache_threshold", "number", "Similarity needed for a hit.", "1", attribute="rag.cache.threshold"),
    Field("search_mode", "string", "How was searched, such as bm25+vector.", attribute="rag.search.mode"),
    Field("fusion", "string", "How lists were joined, such as rrf-60.", attribute="rag.search.fusion"),
    Field("hit_count", "integer", "Hits found.", attribute="rag.retrieval.hit_count"),
    Field("hits", "list", "One object a hit: chunk_id, document_id, rank, score.", attribute="rag.retrieval.hits"),
    Field("reranker", "string", "Reranker and its version.", attribute="rag.reranker.name"),
    Field("hits_before", "list", "The hits before reranking: chunk_id, rank, score.", attribute="rag.reranker.input"),
    Field("hits_after", "list", "The hits after reranking: chunk_id, rank, score.", attribute="rag.reranker.output"),
    # What the model was given, and what it said.
    Field("prompt_name", "string", "Name of the prompt.", attribute="gen_ai.prompt.name"),
    Field("prompt_version", "string", "Version of the prompt.", attribute="gen_ai.prompt.version"),
    Field("chunk_ids_used", "list", "Chunks in the prompt, in order.", attribute="rag.prompt.chunk_ids"),
    Field("chunk_ids_cut", "list", "Chunks that the token budget cut.", attribute="rag.prompt.chunk_ids_cut"),
    Field("token_budget", "integer", "Tokens the prompt may take.", "tokens", attribute="rag.prompt.token_budget"),
    Field("provider", "string", "Who runs the model.",
          attribute="gen_ai.provider.name", langsmith="extra.metadata.ls_provider"),
    Field("model", "string", "The model asked.", attribute="gen_ai.request.model", langsmith="extra.metadata.ls_model_name"),
    Field("response_model", "string", "The model that answered.", attribute="gen_ai.response.model"),
    Field("price_source", "string", "Where the agent has the cost from: override, genai-prices and its version, or unknown.",
          attribute="rag.cost.source"),
    Field("is_streaming", "boolean", "The answer is streamed.", attribute="gen_ai.request.stream"),
    Field("temperature", "number", "Temperature.",
          attribute="gen_ai.request.temperature", langsmith="extra.metadata.ls_temperature"),
    Field("max_output_tokens", "integer", "Most tokens the answer may take.", "tokens",
          attribute="gen_ai.request.max_tokens", langsmith="extra.metadata.ls_max_tokens"),
    Field("finish_reason", "string", "Why the model stopped.", attribute="gen_ai.response.finish_reasons"),
    Field("retry_count", "integer", "Attempts before this one.", attribute="rag.llm.retry_count"),
    Field("status_code", "integer", "HTTP status of the failed call.", attribute="http.response.status_code"),
    Field("answer_id", "string", "Stable id of the answer.", attribute="rag.answer.id"),
    Field("answer_chars", "integer", "Length of the answer.", attribute="rag.answer.chars"),
    Field("chunk_ids_cited", "list", "Chunks that the answer cites.", attribute="rag.answer.chunk_ids"),
    # How good it was.
    Field("metric_name", "string", "What was scored: faithfulness, answer_relevancy, context_precision, context_recall …",
          attribute="gen_ai.evaluation.name", langsmith="feedback.key"),
    Field("judge", "string", "Who scored.", attribute="rag.judge.name"),
    Field("judge_version", "string", "Version of the judge; a change of it is a change of the scale.",
          attribute="rag.judge.version"),
    Field("reason", "string", "Why, in words: the judge's, or what was wrong with a document.",
          attribute="gen_ai.evaluation.explanation", langsmith="feedback.comment"),
    Field("quality_tier", "string", "high, medium, low or unanswered.", attribute="rag.quality.tier"),
    Field("issue", "string", "What is wrong: unsupported_claim, no_answer, off_topic …", attribute="rag.issue.type"),
    Field("severity", "string", "low, medium or high.", attribute="rag.issue.severity"),
    Field("claim_count", "integer", "Claims judged.", attribute="rag.evaluation.claim_count"),
    Field("unsupported_count", "integer", "Claims without support in the context.",
          attribute="rag.evaluation.unsupported_count"),
    Field("error_type", "string", "Type of what was raised.", attribute="error.type"),
    # What was measured.
    Field("duration_ms", "number", "How long it took.", "ms", is_metric=True,
          attribute="rag.duration", attribute_scale=0.001),
    Field("cost_usd", "number", "What it cost.", "USD", is_metric=True,
          attribute="rag.cost.usd", langsmith="extra.metadata.usage_metadata.total_cost"),
    Field("tokens_in", "integer", "Tokens read by the model, those of the provider's cache included.", "tokens", is_metric=True,
          attribute="gen_ai.usage.input_tokens", langsmith="extra.metadata.usage_metadata.input_tokens"),
    Field("tokens_out", "integer", "Tokens written by the model, reasoning included.", "tokens", is_metric=True,
          attribute="gen_ai.usage.output_tokens", langsmith="extra.metadata.usage_metadata.output_tokens"),
    Field("tokens_cached", "integer", "Tokens read from the provider's cache.", "tokens", is_metric=True,
          attribute="gen_ai.usage.cache_read.input_tokens",
          langsmith="extra.metadata.usage_metadata.input_token_details.cache_read"),
    Field("tokens_cache_written", "integer", "Tokens written to the provider's cache.", "tokens", is_metric=True,
          attribute="gen_ai.usage.cache_creation.input_tokens",
          langsmith="extra.metadata.usage_metadata.input_token_details.cache_creation"),
    Field("tokens_cache_written_1h", "integer", "Those of them that stay in the cache for an hour, at a higher price.", "tokens",
          is_metric=True, attribute="rag.llm.tokens_cache_written_1h"),
    Field("tokens_reasoning", "integer", "Tokens that the model wrote to think; part of tokens_out.", "tokens", is_metric=True,
          attribute="gen_ai.usage.reasoning.output_tokens",
          langsmith="extra.metadata.usage_metadata.output_token_details.reasoning"),
    Field("time_to_first_token_ms", "number", "From the call to the first token.", "ms", is_metric=True,
          attribute="gen_ai.response.time_to_first_chunk", attribute_scale=0.001),
    Field("tokens_per_second", "number", "Speed of the answer after its first token.", "tokens/s", is_metric=True,
          attribute="rag.llm.tokens_per_second"),
    Field("prompt_tokens", "integer", "Tokens of the assembled prompt, as counted here.", "tokens", is_metric=True,
          attribute="rag.prompt.tokens"),
    Field("score", "number", "The score, 0 to 1.", "1", is_metric=True,
          attribute="gen_ai.evaluation.score.value", langsmith="feedback.score"),
    Field("top_score", "number", "Score of the best hit.", "1", is_metric=True, attribute="rag.retrieval.top_score"),
    Field("faithfulness", "number", "Share of claims that the context supports (Ragas).", "1", is_metric=True,
          attribute="rag.score.faithfulness"),
    Field("answer_relevancy", "number", "How much the answer is about the question (Ragas).", "1", is_metric=True,
          attribute="rag.score.answer_relevancy"),
    Field("context_precision", "number", "How far up the useful chunks rank (Ragas).", "1", is_metric=True,
          attribute="rag.score.context_precision"),
    Field("context_recall", "number", "How much of the needed text was retrieved (Ragas).", "1", is_metric=True,
          attribute="rag.score.context_recall"),
)  # fmt: skip

_DOCUMENT = ("document_id", "document_version", "ingest_run_id")
_FAILURE = ("error_type", "retry_count", "duration_ms")

_EVENTS = (
    EventType("file_upload_started", "ingestion", "A document begins to arrive.",
          (*_DOCUMENT, "document_name", "content_type", "file_size_bytes")),
    EventType("parsing_complete", "ingestion", "Its text has been taken out.",
          (*_DOCUMENT, "parser", "page_count", "text_chars", "duration_ms"), STEP_METRICS, run_type="parser"),
    EventType("chunking_complete", "ingestion", "Its text has been cut into chunks.",
          (*_DOCUMENT, "parser", "chunker", "chunker_config_hash", "chunk_count", "chunk_ids", "chunk_chars_min",
           "chunk_chars_mean", "chunk_chars_max", "duration_ms"), (*STEP_METRICS, "clew_chunks_total")),
    EventType("chunks_created", "ingestion", "Chunks of a file were made: one event for all of them.",
          ("chunk_count", "file_size_bytes", "duration_ms", "cost_usd"), STEP_METRICS),
    EventType("embedding_complete", "ingestion", "Its chunks have vectors.",
          (*_DOCUMENT, "embedding_model", "embedding_dimension", "chunk_count", "batch_count", "tokens_in", "duration_ms",
           "cost_usd"), (*STEP_METRICS, *COST_METRICS, *CALL_METRICS, *TOKEN_METRICS), run_type="embedding"),
    EventType("storage_complete", "ingestion", "Its chunks are in the index and can be found.",
          (*_DOCUMENT, "parser", "chunker", "chunker_config_hash", "embedding_model", "index_name", "index_version",
           "stored_count", "replaced_count", "chunk_ids", "duration_ms", "cost_usd"),
          (*STEP_METRICS, "clew_documents_total", "clew_cost_usd_total")),
    EventType("query_received", "retrieval", "A question has arrived.", ("query", "query_chars", "top_k")),
    EventType("cache_checked", "retrieval", "The cache was asked for an answer to a like question.",
          ("cache_hit", "cache_similarity", "cache_age_s", "cache_threshold", "answer_id", "duration_ms"),
          (*STEP_METRICS, "clew_cache_requests_total")),
    EventType("hybrid_search_complete", "retrieval", "The index has been searched.",
          ("search_mode", "fusion", "embedding_model", "index_name", "index_version", "top_k", "hit_count", "hits",
           "top_score", "duration_ms", "cost_usd"),
          (*STEP_METRICS, "clew_retrieval_hits_total", "clew_retrieval_hit_count", "clew_retrieval_top_score", "clew_cost_usd_total"),
          run_type="retriever"),
    EventType("reranking_complete", "retrieval", "The hits have been put into a better order.",
          ("reranker", "top_k", "hit_count", "hits_before", "hits_after", "top_score", "duration_ms", "cost_usd"),
          (*STEP_METRICS, "clew_cost_usd_total"), run_type="retriever"),
    EventType("prompt_assembled", "generation", "The prompt is ready.",
          ("prompt_name", "prompt_version", "chunk_ids_used", "chunk_ids_cut", "token_budget", "prompt_tokens",
           "duration_ms"), STEP_METRICS, run_type="prompt"),
    EventType("api_call_started", "generation", "The model is being asked.",
          ("provider", "model", "is_streaming", "temperature", "max_output_tokens", "retry_count"), run_type="llm"),
    EventType("first_token_received", "generation", "The first piece of the answer is here.",
          ("provider", "model", "time_to_first_token_ms"), ("clew_llm_time_to_first_token_seconds",), run_type="llm"),
    EventType("token_usage_recorded", "generation", "What the call used is known.",
          ("provider", "model", "response_model", "tokens_in", "tokens_out", "tokens_cached",
           "tokens_cache_written", "tokens_cache_written_1h", "tokens_reasoning", "cost_usd", "price_source"),
          ("clew_llm_tokens_input_total", "clew_llm_tokens_output_total", *COST_METRICS, *TOKEN_METRICS), run_type="llm"),
    EventType("generation_complete", "generation", "The answer is complete.",
          ("provider", "model", "response_model", "finish_reason", "retry_count", "answer_id", "answer_chars",
           "chunk_ids_cited", "tokens_per_second", "duration_ms"), ("clew_llm_duration_seconds", *CALL_METRICS), run_type="llm"),
    EventType("score_computed", "evaluation", "One aspect of an answer was scored.",
          ("answer_id", "metric_name", "score", "judge", "judge_version", "reason", "claim_count", "unsupported_count",
           "duration_ms", "cost_usd"),
          ("clew_score", "clew_judged_claims_total", "clew_unsupported_claims_total", "clew_cost_usd_total")),
    EventType("metrics_evaluated", "evaluation", "All scores of an answer are there.",
          ("answer_id", "faithfulness", "answer_relevancy", "context_precision", "context_recall", "judge",
           "judge_version", "duration_ms", "cost_usd"), STEP_METRICS),
    EventType("quality_tier_assigned", "evaluation", "The answer was put into a tier.",
          ("answer_id", "quality_tier", "reason", "judge", "judge_version"), ("clew_answers_total",)),
    EventType("issue_detected", "evaluation", "Something is wrong with an answer.",
          ("answer_id", "issue", "severity", "reason", "chunk_ids_used", "judge", "judge_version", "score"),
          ("clew_issues_total",), "WARNING"),
    EventType("file_upload_failed", "ingestion", "A document did not arrive, or may not.",
          (*_DOCUMENT, "document_name", "content_type", "file_size_bytes", "reason", *_FAILURE), FAILURE_METRICS, "ERROR"),
    EventType("parsing_failed", "ingestion", "No text could be taken out of a document.",
          (*_DOCUMENT, "document_name", "content_type", "file_size_bytes", "parser", "reason", *_FAILURE), FAILURE_METRICS, "ERROR",
          "parser"),
    EventType("chunking_failed", "ingestion", "A text could not be cut.",
          (*_DOCUMENT, "chunker", "chunker_config_hash", *_FAILURE), FAILURE_METRICS, "ERROR"),
    EventType("embedding_failed", "ingestion", "Chunks could not be given vectors.",
          (*_DOCUMENT, "embedding_model", "chunk_count", "status_code", *_FAILURE), (*FAILURE_METRICS, *CALL_METRICS), "ERROR", "embedding"),
    EventType("storage_failed", "ingestion", "Chunks could not be stored.",
          (*_DOCUMENT, "index_name", "index_version", "chunk_count", *_FAILURE), FAILURE_METRICS, "ERROR"),
    EventType("cache_failed", "retrieval", "The cache did not answer; the search goes on without it.",
          _FAILURE, FAILURE_METRICS, "WARNING"),
    EventType("search_failed", "retrieval", "The index could not be searched.",
          ("search_mode", "index_name", "index_version", "top_k", *_FAILURE), FAILURE_METRICS, "ERROR", "retriever"),
    EventType("reranking_failed", "retrieval", "The hits could not be put in order.",
          ("reranker", "hit_count", *_FAILURE), FAILURE_METRICS, "ERROR", "retriever"),
    EventType("prompt_assembly_failed", "generation", "No prompt could be made.",
          ("prompt_name", "prompt_version", "token_budget", *_FAILURE), FAILURE_METRICS, "ERROR", "prompt"),
    EventType("api_call_failed", "generation", "A call to the model failed; it may be tried again.",
          ("provider", "model", "status_code", *_FAILURE), FAILURE_METRICS, "WARNING", "llm"),
    EventType("generation_failed", "generation", "There is no answer.",
          ("provider", "model", "status_code", "finish_reason", *_FAILURE), (*FAILURE_METRICS, *CALL_METRICS), "ERROR", "llm"),
    EventType("evaluation_failed", "evaluation", "An answer could not be judged; that is not a score of zero.",
          ("answer_id", "metric_name", "judge", "judge_version", *_FAILURE), FAILURE_METRICS, "ERROR"),
)  # fmt: skip

FIELDS: Final[Mapping[str, Field]] = MappingProxyType({field.name: field for field in _FIELDS})
"""Every declared field, by name."""

EVENTS: Final[Mapping[str, EventType]] = MappingProxyType({event.message: event for event in _EVENTS})
"""Every declared event, by its message, in the order of the pipeline; failures last."""

METRIC_FIELDS: Final = frozenset(field.name for field in _FIELDS if field.is_metric)
"""Names of the fields that go to an event's ``metrics``."""

STAGE_OF: Final[dict[str, str]] = {event.message: event.stage for event in _EVENTS}
"""The stage of each declared event."""
