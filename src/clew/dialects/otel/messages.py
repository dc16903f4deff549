"""Messages of a chat, found in inputs and outputs of any usual shape, as attributes.

====================== =====================================================================
OpenAI, Anthropic      ``{"messages": [{"role": …, "content": …}]}``, ``{"choices": [{"message": …}]}``
LangChain              ``{"messages": [[{"type": "human", "content": …}]]}``, ``{"generations": …}``
a text                 a question is a message of the user, an answer one of the assistant
====================== =====================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import Struct, json

from clew.dialects.otel import names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.dialects.otel.own import AttributeValue

__all__ = ["Message", "ToolCall", "messages_in", "write"]

MAX_MESSAGES: Final = 200
MAX_DEPTH: Final = 6

_PLACES: Final = (
    *("messages", "choices", "generations", "message"),
    *("answer", "content", "text", "output", "completion", "prompt", "question", "query", "input"),
)
"""Where in an object the messages may be, the surest first."""

_ROLES: Final = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "HumanMessageChunk": "user"}
_encode = json.Encoder().encode


class ToolCall(Struct, frozen=True):
    """A call of a tool that a message asks for.

    Attributes:
        id: Its id; empty when it has none.
        name: The tool.
        arguments: What to call it with, as JSON.
    """

    id: str
    name: str
    arguments: str


class Message(Struct, frozen=True):
    """One message.

    Attributes:
        role: ``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``.
        content: Its text.
        tool_calls: Calls of tools that it asks for.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()


def messages_in(value: Any, role: str) -> list[Message]:
    """Find the messages in the inputs or outputs of a model call.

    Args:
        value: Inputs or outputs, decoded.
        role: Who speaks where nobody is named: ``"user"`` in inputs, ``"assistant"`` in outputs.

    Example:
        >>> messages_in({"choices": [{"message": {"role": "assistant", "content": "so"}}]}, "assistant")
        [Message(role='assistant', content='so', tool_calls=())]
    """
    return _find(value, role, 0)[:MAX_MESSAGES]


def write(
    inputs: Sequence[Message], outputs: Sequence[Message], finish_reason: str | None = None
) -> dict[str, AttributeValue]:
    """Write messages in both dialects.

    Args:
        inputs: What the model was given.
        outputs: What it answered.
        finish_reason: Why it stopped.
    """
    attributes: dict[str, AttributeValue] = {}
    if inputs:
        attributes[names.GEN_AI_INPUT_MESSAGES] = _encode([_otel(message) for message in inputs]).decode()
        attributes |= _flatten(names.LLM_INPUT_MESSAGES, inputs)
    if outputs:
        reason = {"finish_reason": finish_reason} if finish_reason else {}
        attributes[names.GEN_AI_OUTPUT_MESSAGES] = _encode([_otel(message) | reason for message in outputs]).decode()
        attributes |= _flatten(names.LLM_OUTPUT_MESSAGES, outputs)
    return attributes


def _flatten(prefix: str, messages: Sequence[Message]) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {}
    for index, message in enumerate(messages):
        place = f"{prefix}.{index}.message"
        attributes[f"{place}.role"] = message.role
        attributes[f"{place}.content"] = message.content
        for number, call in enumerate(message.tool_calls):
            attributes[f"{place}.tool_calls.{number}.tool_call.function.name"] = call.name
            attributes[f"{place}.tool_calls.{number}.tool_call.function.arguments"] = call.arguments
    return attributes


def _otel(message: Message) -> dict[str, Any]:
    """Write a message as OpenTelemetry's schema of messages has it: a role, and parts."""
    parts: list[dict[str, Any]] = []
    if message.content or not message.tool_calls:
        parts.append({"type": "text", "content": message.content})
    parts += [
        {"type": "tool_call", "id": call.id or None, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    return {"role": message.role, "parts": parts}


def _find(value: Any, role: str, depth: int) -> list[Message]:
    if depth > MAX_DEPTH or not value:
        return []
    if isinstance(value, str):
        return [Message(role, value)]
    if isinstance(value, list):
        return [message for item in cast("list[Any]", value) for message in _find(item, role, depth + 1)]
    return _find_in_object(cast("dict[str, Any]", value), role, depth) if isinstance(value, dict) else []


def _find_in_object(fields: dict[str, Any], role: str, depth: int) -> list[Message]:
    if isinstance(fields.get("kwargs"), dict):  # a serialised object of LangChain
        return _find(fields["kwargs"], role, depth + 1)
    if isinstance(fields.get("role") or fields.get("type"), str) and ("content" in fields or "tool_calls" in fields):
        return [_message(fields, role)]
    inside = next((fields[name] for name in _PLACES if fields.get(name)), None)
    return _find(inside, role, depth + 1)


def _message(fields: dict[str, Any], role: str) -> Message:
    speaker = str(fields.get("role") or fields.get("type") or role)
    calls = fields.get("tool_calls")
    items = cast("list[Any]", calls) if isinstance(calls, list) else []
    found = tuple(_tool_call(cast("dict[str, Any]", call)) for call in items if isinstance(call, dict))
    return Message(_ROLES.get(speaker, speaker), _text(fields.get("content")), found)


def _text(content: Any) -> str:
    """Return the text of a message; parts that are no text as JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_text(part) for part in cast("list[Any]", content))
    if isinstance(content, dict) and isinstance(cast("dict[str, Any]", content).get("text"), str):
        return cast("dict[str, Any]", content)["text"]
    return _encode(content).decode()


def _tool_call(fields: dict[str, Any]) -> ToolCall:
    function = fields.get("function")
    parts = cast("dict[str, Any]", function) if isinstance(function, dict) else fields
    arguments = parts.get("arguments", parts.get("args"))
    text = arguments if isinstance(arguments, str) else _encode(arguments).decode()
    return ToolCall(str(fields.get("id") or ""), str(parts.get("name") or ""), text)
