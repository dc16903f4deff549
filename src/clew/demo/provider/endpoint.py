"""The provider over HTTP: ``POST /v1/chat/completions``, streamed.

Source:
    https://platform.openai.com/docs/api-reference/chat-streaming (server-sent events, with
    ``stream_options.include_usage``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec import DecodeError, Struct, ValidationError, json
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from clew.demo.generation.generate import ModelError
from clew.emit.context import mint_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from starlette.requests import Request

    from clew.demo.faults.fault import CallPlan
    from clew.demo.generation.generate import Finish
    from clew.demo.provider.prompt_reader import PromptReader

__all__ = ["create_provider"]

WORDS_A_PIECE: Final = 6


class _Message(Struct):
    role: str
    content: str


class _Request(Struct):
    model: str
    messages: list[_Message]
    stream: bool = False

    def text_of(self, role: str) -> str:
        return "\n\n".join(message.content for message in self.messages if message.role == role)


def create_provider(model: PromptReader, plan: Callable[[str], CallPlan]) -> Starlette:
    """Make the provider's application.

    Args:
        model: Answers.
        plan: Takes the model's name, and returns what becomes of a call that arrives now.
    """

    async def complete(request: Request) -> Response:
        try:
            asked = json.decode(await request.body(), type=_Request)
        except (DecodeError, ValidationError) as error:
            return _refuse(400, {"error": _error(str(error), "invalid_request_error")})
        if not asked.stream:
            return _refuse(400, {"error": _error("this provider answers as a stream only", "invalid_request_error")})
        planned = plan(asked.model)
        if planned.refusal is not None:
            return _refuse(planned.refusal.status, planned.refusal.body, planned.refusal.headers)
        try:
            words, finish = await model.answer(asked.text_of("system"), asked.text_of("user"))
        except ModelError as error:
            return _refuse(500, {"error": _error(str(error), "server_error")})
        return StreamingResponse(_stream(words, finish, planned), media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])


async def _stream(words: Sequence[str], finish: Finish, planned: CallPlan) -> AsyncGenerator[bytes]:
    """Write an answer piece by piece, as slowly as is planned."""
    head = {"id": f"chatcmpl-{mint_id()}", "object": "chat.completion.chunk", "model": finish.response_model}
    await asyncio.sleep(planned.first_piece_s)
    yield _piece(head, {"role": "assistant", "content": ""})
    for begin in range(0, len(words), WORDS_A_PIECE):
        if begin:
            await asyncio.sleep(planned.next_piece_s)
        yield _piece(head, {"content": "".join(words[begin : begin + WORDS_A_PIECE])})
    yield _piece(head, {}, finish.reason)
    usage = {"prompt_tokens": finish.tokens_in, "completion_tokens": finish.tokens_out}
    yield _line(head | {"choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _piece(head: dict[str, Any], delta: dict[str, str], reason: str | None = None) -> bytes:
    return _line(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None})


def _line(data: dict[str, Any]) -> bytes:
    return b"data: " + json.encode(data) + b"\n\n"


def _error(message: str, kind: str) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": None, "code": None}


def _refuse(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(json.encode(body), status, headers, "application/json")
