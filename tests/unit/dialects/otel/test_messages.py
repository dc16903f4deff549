"""Messages are found in every usual shape of inputs and outputs."""

from __future__ import annotations

from typing import Any

import pytest

from clew.dialects.otel.messages import Message, ToolCall, messages_in, write

HELLO = [Message("user", "hello")]


@pytest.mark.parametrize(
    "inputs",
    [
        "hello",
        ["hello"],
        {"question": "hello"},
        {"messages": [{"role": "user", "content": "hello"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]},
        {"messages": [[{"type": "human", "content": "hello"}]]},
        {"messages": [[{"lc": 1, "id": ["x"], "kwargs": {"type": "human", "content": "hello"}}]]},
        {"input": {"messages": [{"role": "user", "content": "hello"}]}},
    ],
)
def test_inputs_hold_messages_of_the_user(inputs: Any) -> None:
    """Whatever the library, the question is found."""
    assert messages_in(inputs, "user") == HELLO


@pytest.mark.parametrize(
    "outputs",
    [
        "so",
        {"answer": "so", "finish_reason": "stop"},
        {"role": "assistant", "content": "so"},
        {"message": {"role": "assistant", "content": "so"}},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "so"}}]},
        {"generations": [[{"text": "so", "message": {"type": "ai", "content": "so"}}]]},
        {"output": "so"},
    ],
)
def test_outputs_hold_messages_of_the_assistant(outputs: Any) -> None:
    """Whatever the library, the answer is found."""
    assert messages_in(outputs, "assistant") == [Message("assistant", "so")]


@pytest.mark.parametrize("value", [None, 7, {}, [], "", {"a": 1}, {"messages": []}, [[[[[[[["deep"]]]]]]]]])
def test_what_holds_no_message_has_none(value: Any) -> None:
    """Numbers, empty things and other objects are no messages; nor is what lies very deep."""
    assert messages_in(value, "user") == []


def test_calls_of_tools_are_kept() -> None:
    """Both forms of a tool call: OpenAI's with a function, LangChain's with args."""
    openai = {"id": "1", "function": {"name": "add", "arguments": '{"a":1}'}}
    langchain = {"id": "2", "name": "add", "args": {"a": 1}}

    found = messages_in({"role": "assistant", "content": None, "tool_calls": [openai, langchain]}, "assistant")

    assert found[0].tool_calls == (ToolCall("1", "add", '{"a":1}'), ToolCall("2", "add", '{"a":1}'))


def test_messages_are_written_in_both_dialects() -> None:
    """One attribute a part for OpenInference; one JSON text for OpenTelemetry."""
    attributes = write(HELLO, [Message("assistant", "", (ToolCall("1", "add", "{}"),))], "tool_calls")

    assert attributes == {
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"hello"}]}]',
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "hello",
        "gen_ai.output.messages": (
            '[{"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"add","arguments":"{}"}],'
            '"finish_reason":"tool_calls"}]'
        ),
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "add",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": "{}",
    }
