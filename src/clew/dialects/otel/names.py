"""The attributes that we write, each by one constant.

The conventions for generative AI are in development and change names between releases, and their Python
package marks every one of them as deprecated since they moved to a repository of their own. So this table is
ours; ``GEN_AI_VERSION`` says which state of the conventions it follows. Fields of the catalogue are not in it:
their attribute stands at the field (``catalog.Field.attribute``).

Sources:
    https://github.com/open-telemetry/semantic-conventions-genai (v0.1.0, Development);
    https://opentelemetry.io/docs/specs/semconv/ (1.45.0: ``error.type``, ``exception.*``, ``service.*``);
    https://github.com/Arize-ai/openinference, spec/semantic_conventions.md (0.1.42).
"""

from __future__ import annotations

from typing import Final

GEN_AI_VERSION: Final = "0.1.0"
"""Release of the conventions for generative AI that the names follow."""

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.45.0"
"""Schema of the stable attributes."""

# Ours: what no convention has a place for.
CLEW_SPAN_ID: Final = "clew.span_id"
"""The whole id of a span, or of the span that a log belongs to; a span that has it was ours once."""
CLEW_PARENT_SPAN_ID: Final = "clew.parent_span_id"
CLEW_REQUEST_ID: Final = "clew.request_id"
CLEW_LEVEL: Final = "clew.level"
CLEW_STATUS: Final = "clew.status"
CLEW_RUN_TYPE: Final = "clew.run_type"
CLEW_LOGGER: Final = "clew.logger"
CLEW_FIELDS: Final = "clew.fields"
"""JSON of an event's fields (see ``own``)."""
CLEW_ERROR: Final = "clew.error"
"""JSON of an error that the attributes of an exception do not hold exactly."""
CLEW_SANITIZED: Final = "clew.sanitized"
CLEW_DROPPED_LOGS: Final = "clew.dropped_logs"
"""How many logs of a span are not among its events."""
CLEW_FIELD_PREFIX: Final = "clew.field."
"""Before the name of a field that the catalogue does not know."""

# Ours, of retrieval-augmented generation.
RAG_STAGE: Final = "rag.stage"

# OpenTelemetry.
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
ENVIRONMENT: Final = "deployment.environment.name"
USER_ID: Final = "user.id"
SESSION_ID: Final = "session.id"
ERROR_TYPE: Final = "error.type"
EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
LOG_RECORD_UID: Final = "log.record.uid"

# OpenTelemetry, generative AI.
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_RETRIEVAL_DOCUMENTS: Final = "gen_ai.retrieval.documents"
GEN_AI_EVALUATION_RESULT: Final = "gen_ai.evaluation.result"
"""Name of the event that reports a score."""

# OpenInference.
OPENINFERENCE_KIND: Final = "openinference.span.kind"
OPENINFERENCE_PROJECT: Final = "openinference.project.name"
INPUT_VALUE: Final = "input.value"
INPUT_MIME_TYPE: Final = "input.mime_type"
OUTPUT_VALUE: Final = "output.value"
OUTPUT_MIME_TYPE: Final = "output.mime_type"
MIME_JSON: Final = "application/json"
MIME_TEXT: Final = "text/plain"
TAGS: Final = "tag.tags"
METADATA: Final = "metadata"
TOOL_NAME: Final = "tool.name"
LLM_MODEL_NAME: Final = "llm.model_name"
LLM_PROVIDER: Final = "llm.provider"
LLM_INVOCATION_PARAMETERS: Final = "llm.invocation_parameters"
LLM_TOKENS_PROMPT: Final = "llm.token_count.prompt"
LLM_TOKENS_COMPLETION: Final = "llm.token_count.completion"
LLM_TOKENS_TOTAL: Final = "llm.token_count.total"
LLM_TOKENS_CACHE_READ: Final = "llm.token_count.prompt_details.cache_read"
LLM_TOKENS_CACHE_WRITE: Final = "llm.token_count.prompt_details.cache_write"
LLM_TOKENS_REASONING: Final = "llm.token_count.completion_details.reasoning"
LLM_COST_TOTAL: Final = "llm.cost.total"
LLM_INPUT_MESSAGES: Final = "llm.input_messages"
LLM_OUTPUT_MESSAGES: Final = "llm.output_messages"
EMBEDDING_MODEL_NAME: Final = "embedding.model_name"
RETRIEVAL_DOCUMENTS: Final = "retrieval.documents"
RERANKER_QUERY: Final = "reranker.query"
RERANKER_MODEL_NAME: Final = "reranker.model_name"
RERANKER_TOP_K: Final = "reranker.top_k"
RERANKER_INPUT: Final = "reranker.input_documents"
RERANKER_OUTPUT: Final = "reranker.output_documents"
