"""The shapes that backends draw: what depends on the kind of a span.

An LLM span has a model, messages, tokens and a cost; a retriever documents; a tool a name. OpenInference names
the kind (``openinference.span.kind``), OpenTelemetry the operation (``gen_ai.operation.name``); both are derived
from the run type, which is LangSmith's word for the same thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import json

from clew.dialects.otel import documents, messages, names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clew.dialects.otel.own import AttributeValue

__all__ = ["CLIENTS", "MODEL_CALLS", "kind_of", "shape"]

CLIENTS: Final = frozenset({"LLM", "EMBEDDING", "RETRIEVER", "RERANKER"})
"""Kinds that call another system."""

_KINDS: Final = {
    "llm": "LLM",
    "embedding": "EMBEDDING",
    "retriever": "RETRIEVER",
    "reranker": "RERANKER",
    "tool": "TOOL",
    "prompt": "PROMPT",
    "agent": "AGENT",
    "guardrail": "GUARDRAIL",
    "evaluator": "EVALUATOR",
}
_OPERATIONS: Final = {
    "LLM": "chat",
    "EMBEDDING": "embeddings",
    "RETRIEVER": "retrieval",
    "RERANKER": "rerank",
    "TOOL": "execute_tool",
    "AGENT": "invoke_agent",
}

MAX_COUNT: Final = 2**53  # beyond it, a number that may have been a float counts nothing

MODEL_CALLS: Final = frozenset({"LLM", "EMBEDDING"})
"""Kinds whose own fields report tokens that no span below them reports again."""

_encode = json.Encoder().encode


def kind_of(event: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Name the kind of a span in OpenInference's words."""
    kind = _KINDS.get(str(event.get("run_type")), "CHAIN")
    if kind == "RETRIEVER" and "hits" not in facts and ("reranker" in facts or "hits_after" in facts):
        return "RERANKER"
    return "EVALUATOR" if kind == "CHAIN" and event.get("stage") == "evaluation" else kind


def shape(
    event: Mapping[str, Any], kind: str, facts: Mapping[str, Any], log_facts: Mapping[str, Any]
) -> dict[str, AttributeValue]:
    """Write what depends on the kind of span: the shapes that backends draw.

    Tokens and costs of another kind of span than a model call may sum up those below it; they count here only
    if a log inside this very span reports them.
    """
    attributes: dict[str, AttributeValue] = {names.OPENINFERENCE_KIND: kind}
    if kind in _OPERATIONS:
        attributes[names.GEN_AI_OPERATION] = _OPERATIONS[kind]
    attributes |= _usage(facts if kind in MODEL_CALLS else log_facts)
    if kind == "LLM":
        attributes |= _model_call(facts)
    elif kind == "EMBEDDING":
        model = facts.get("embedding_model") or facts.get("model")
        attributes |= {names.EMBEDDING_MODEL_NAME: str(model)} if model else {}
    elif kind == "TOOL":
        attributes |= {names.TOOL_NAME: event["message"], names.GEN_AI_TOOL_NAME: event["message"]}
    if kind == "RETRIEVER" or "hits" in log_facts:
        attributes |= documents.retrieval(facts)
    if kind == "RERANKER" or "hits_after" in facts:
        attributes |= documents.reranking(facts)
    return attributes | _labels(event, facts)


def _labels(event: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Write tags, metadata and the conversation; and as input the question, if the span captured none."""
    attributes: dict[str, AttributeValue] = {}
    if isinstance(facts.get("tags"), list):
        attributes[names.TAGS] = [str(tag) for tag in facts["tags"]]
    if isinstance(facts.get("metadata"), dict):
        attributes[names.METADATA] = _encode(facts["metadata"]).decode()
    if event.get("session_id"):
        attributes[names.GEN_AI_CONVERSATION_ID] = str(event["session_id"])
    if isinstance(facts.get("query"), str):
        attributes |= {names.INPUT_VALUE: facts["query"], names.INPUT_MIME_TYPE: names.MIME_TEXT}
    return attributes


def _usage(facts: Mapping[str, Any]) -> dict[str, AttributeValue]:
    read, written = _count(facts.get("tokens_in")), _count(facts.get("tokens_out"))
    counts = {
        names.LLM_TOKENS_PROMPT: read,
        names.LLM_TOKENS_COMPLETION: written,
        names.LLM_TOKENS_TOTAL: None if read is None else read + (written or 0),
        names.LLM_TOKENS_CACHE_READ: _count(facts.get("tokens_cached")),
        names.LLM_TOKENS_CACHE_WRITE: _count(facts.get("tokens_cache_written")),
        names.LLM_TOKENS_REASONING: _count(facts.get("tokens_reasoning")),
    }
    attributes: dict[str, AttributeValue] = {name: count for name, count in counts.items() if count is not None}
    cost = facts.get("cost_usd")
    if isinstance(cost, (int, float)) and not isinstance(cost, bool):
        attributes[names.LLM_COST_TOTAL] = float(cost)
    return attributes


def _model_call(facts: Mapping[str, Any]) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {}
    model = facts.get("response_model") or facts.get("model")
    if model:
        attributes[names.LLM_MODEL_NAME] = str(model)
    if facts.get("provider"):
        attributes[names.LLM_PROVIDER] = str(facts["provider"])
    parameters = {"temperature": facts.get("temperature"), "max_tokens": facts.get("max_output_tokens")}
    parameters = {name: value for name, value in parameters.items() if value is not None}
    if parameters:
        attributes[names.LLM_INVOCATION_PARAMETERS] = _encode(parameters).decode()
    reason = facts.get("finish_reason")
    return attributes | messages.write(
        messages.messages_in(facts.get("inputs"), "user"),
        messages.messages_in(facts.get("outputs"), "assistant"),
        reason if isinstance(reason, str) else None,
    )


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < MAX_COUNT:
        return None
    return int(value)
