"""Read the large things of a span: documents, messages, inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from clew.dialects.hits import hits_of
from clew.dialects.loose import mapping, number, parsed, sequence, text
from clew.dialects.otel import names
from clew.dialects.otel.documents import in_outputs
from clew.dialects.otel.unflatten import unflatten
from clew.dialects.vectors import without_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Content", "documents_of_event", "message_of_event", "read_content"]

_INPUTS: Final = (names.INPUT_VALUE, "traceloop.entity.input", "gen_ai.tool.call.arguments", "gen_ai.prompt")
_OUTPUTS: Final = (names.OUTPUT_VALUE, "traceloop.entity.output", "gen_ai.tool.call.result", "gen_ai.completion")
_INPUT_LISTS: Final = (names.LLM_INPUT_MESSAGES, "gen_ai.prompt", "llm.prompts")
_OUTPUT_LISTS: Final = (names.LLM_OUTPUT_MESSAGES, "gen_ai.completion", "llm.completions")
_ALWAYS_JSON: Final = frozenset({"traceloop.entity.input", "traceloop.entity.output"})
_SYSTEM: Final = "gen_ai.system_instructions"
_EMBEDDINGS: Final = "embedding.embeddings"
_ROLE_EVENTS: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE: Final = "gen_ai.choice"
_CONTENT_EVENTS: Final = frozenset(
    {"gen_ai.client.inference.operation.details", "gen_ai.content.prompt", "gen_ai.content.completion"}
)
_RESULT: Final = "db.query.result"
_LISTS: Final = tuple(
    f"{prefix}."
    for prefix in (
        names.RETRIEVAL_DOCUMENTS,
        names.RERANKER_INPUT,
        names.RERANKER_OUTPUT,
        _EMBEDDINGS,
        *_INPUT_LISTS,
        *_OUTPUT_LISTS,
    )
)
_WHOLE: Final = frozenset(
    {
        names.GEN_AI_RETRIEVAL_DOCUMENTS,
        names.GEN_AI_INPUT_MESSAGES,
        names.GEN_AI_OUTPUT_MESSAGES,
        names.INPUT_MIME_TYPE,
        names.OUTPUT_MIME_TYPE,
        _SYSTEM,
        *_INPUTS,
        *_OUTPUTS,
    }
)
"""Attributes that are read here, beside those of ``_LISTS``: most spans have none of either."""


class Content(Struct):
    """What was found.

    Attributes:
        context: Fields by their names.
        metrics: Numbers by their names.
    """

    context: dict[str, Any] = field(default_factory=dict[str, Any])
    metrics: dict[str, float] = field(default_factory=dict[str, float])


def read_content(rest: dict[str, Any], *, run_type: str | None, is_reranker: bool) -> Content:
    """Read documents, messages, inputs and outputs, and take them out of *rest*.

    Args:
        rest: The attributes of a span that nobody has read so far.
        run_type: Kind of the span.
        is_reranker: Whether what it found are documents in a new order.
    """
    content = Content()
    listed = _listed(rest)
    if not listed and _WHOLE.isdisjoint(rest):
        return content
    found = _take_documents(rest, listed, names.RETRIEVAL_DOCUMENTS, names.GEN_AI_RETRIEVAL_DOCUMENTS)
    before = _take_documents(rest, listed, names.RERANKER_INPUT)
    after = _take_documents(rest, listed, names.RERANKER_OUTPUT) or (found if is_reranker else [])
    content.context |= {"hits_before": hits_of(before)} if before else {}
    content.context |= {"hits_after": hits_of(after)} if after else {}
    _add_said(content, rest, listed, is_model_call=run_type == "llm")
    if found and not is_reranker:
        _add_hits(content, _with_ids(found, content.context.get("outputs")))
    texts = [text(mapping(one.get("embedding")).get("text")) for one in _take_list(rest, listed, _EMBEDDINGS)]
    if any(texts):
        content.context.setdefault("inputs", {"texts": [part for part in texts if part]})
    if run_type == "embedding" and "outputs" in content.context:
        content.context["outputs"] = without_vectors(content.context["outputs"])
    return content


def message_of_event(name: str, rest: dict[str, Any]) -> dict[str, Any] | None:
    """Read an event that says what a model was given or has answered, and take that out of *rest*.

    Args:
        name: Its name.
        rest: Its attributes; of a log record of older conventions, its body.

    Returns:
        ``inputs`` or ``outputs``; None for any other event, and for one that reports no content.
    """
    if name in _CONTENT_EVENTS:
        content = Content()
        _add_said(content, rest, _listed(rest), is_model_call=True)
        return content.context or None
    if name != _CHOICE and name not in _ROLE_EVENTS:
        return None
    plain = {key: rest.pop(key) for key in [key for key in rest if "." not in key]}
    if name in _ROLE_EVENTS:
        return {"inputs": {"messages": [_message({"role": _ROLE_EVENTS[name], **plain})]}} if plain else None
    reason = {"finish_reason": plain["finish_reason"]} if plain.get("finish_reason") else {}
    message = mapping(parsed(plain.get("message"))) or {"content": plain.get("content")}
    return {"outputs": {"messages": [_message({"role": "assistant", **message})]}, **reason} if plain else None


def documents_of_event(name: str, attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read an event that reports one result of a search in a vector store; None for any other."""
    if name != _RESULT:
        return None
    score, distance = number(attributes.get(f"{_RESULT}.score")), number(attributes.get(f"{_RESULT}.distance"))
    metadata = mapping(parsed(attributes.get(f"{_RESULT}.metadata")))
    document = {
        "id": attributes.get(f"{_RESULT}.id"),
        "page_content": attributes.get(f"{_RESULT}.document"),
        "metadata": metadata if score is None else {**metadata, "score": score},
    }
    [hit] = hits_of([document])
    return {"hits": [hit if distance is None else {**hit, "distance": distance}]}


def _with_ids(found: list[dict[str, Any]], outputs: Any) -> list[dict[str, Any]]:
    """Take the ids that only the outputs report: OpenInference leaves those of LangChain's documents out."""
    whole = in_outputs(outputs)
    if len(whole) != len(found):
        return found
    return [
        {**document, "id": output.get("id")}
        if document["id"] is None and document["page_content"] == output.get("page_content", output.get("content"))
        else document
        for document, output in zip(found, whole, strict=True)
    ]


def _add_hits(content: Content, found: list[dict[str, Any]]) -> None:
    hits = hits_of(found)
    content.context |= {"hits": hits, "hit_count": len(found)}
    scores = [hit["score"] for hit in hits if "score" in hit]
    if scores:
        content.metrics["top_score"] = max(scores)


def _listed(rest: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that are parts of flattened lists; most spans have none."""
    return {name: rest[name] for name in rest if name.startswith(_LISTS)}


def _add_said(content: Content, rest: dict[str, Any], listed: dict[str, Any], *, is_model_call: bool) -> None:
    """Find inputs and outputs; messages report those of a model call better than the text of its request does."""
    for name, places, lists, messages in (
        ("inputs", _INPUTS, _INPUT_LISTS, names.GEN_AI_INPUT_MESSAGES),
        ("outputs", _OUTPUTS, _OUTPUT_LISTS, names.GEN_AI_OUTPUT_MESSAGES),
    ):
        said = _take_messages(rest, listed, lists, messages)
        if name == "inputs" and (system := parsed(rest.pop(_SYSTEM, None))):
            said = [_message({"role": "system", "parts": system}), *said]
        values = [(place, value) for place in places if (value := rest.pop(place, None)) is not None and value != ""]
        for mime_type in (names.INPUT_MIME_TYPE, names.OUTPUT_MIME_TYPE):
            rest.pop(mime_type, None) if mime_type.startswith(name[:-1]) else None
        if said and (is_model_call or not values):
            content.context[name] = {"messages": said}
        elif values:
            place, value = values[0]
            content.context[name] = parsed(value, is_json=place in _ALWAYS_JSON)


def _take_messages(
    rest: dict[str, Any], listed: dict[str, Any], lists: tuple[str, ...], name: str
) -> list[dict[str, Any]]:
    """Find messages in the list of one attribute, or in those that are flattened; all of them are taken out."""
    messages = [mapping(item) for item in sequence(parsed(rest.get(name)))]
    if messages:
        rest.pop(name)
    for prefix in lists:
        flattened = _take_list(rest, listed, prefix)
        messages = messages or [mapping(item.get("message")) or item for item in flattened]
    return [_message(item) for item in messages if item]


def _message(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write a message as most model clients do: role, content, and what else it has."""
    message = {name: value for name, value in fields.items() if name != "parts" and value is not None}
    parts = fields.get("parts")
    if isinstance(parts, str):
        message["content"] = parts
    for part in map(mapping, sequence(parts)):
        if part.get("type") == "text" or set(part) == {"content"}:
            before = message.get("content")
            message["content"] = f"{before}\n{part.get('content')}" if before else part.get("content")
        elif part:
            message.setdefault("tool_calls", []).append(part)
    if isinstance(calls := message.get("tool_calls"), list):
        message["tool_calls"] = [mapping(call).get("tool_call", call) for call in sequence(calls)]
    contents = [mapping(mapping(one).get("message_content")) for one in sequence(message.get("contents"))]
    if any(contents):
        message.pop("contents")
        message.setdefault("content", "\n".join(text(one.get("text")) or "" for one in contents))
    return {"role": text(message.get("role")) or "user", **message}


def _take_documents(rest: dict[str, Any], listed: dict[str, Any], prefix: str, name: str = "") -> list[dict[str, Any]]:
    """Find documents in flattened attributes, or in the JSON of one; all of them are taken out."""
    whole = [mapping(item) for item in sequence(parsed(rest.get(name)))] if name else []
    if whole:
        rest.pop(name)
    flattened = [mapping(item.get("document")) for item in _take_list(rest, listed, prefix)]
    return [_document(document) for document in flattened or whole]


def _document(fields: dict[str, Any]) -> dict[str, Any]:
    metadata = {**mapping(parsed(fields.get("metadata")))}
    score = number(fields.get("score"))
    if score is not None:
        metadata["score"] = score
    content = fields.get("content", fields.get("page_content"))
    return {"id": fields.get("id"), "page_content": content, "metadata": metadata}


def _take_list(rest: dict[str, Any], listed: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Put a flattened list together, and take its attributes out."""
    items = [mapping(item) for item in unflatten(listed, prefix)] if listed else []
    if items:
        for name in [name for name in listed if name.startswith(f"{prefix}.") and name[len(prefix) + 1].isdigit()]:
            del rest[name]
    return items
