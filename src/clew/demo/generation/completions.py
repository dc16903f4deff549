"""A model behind an OpenAI-compatible endpoint: ``POST <base URL>/chat/completions``, streamed.

Wire::

    data: {"model": "…", "choices": [{"delta": {"content": "The "}, "finish_reason": null}]}
    data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    data: {"choices": [], "usage": {"prompt_tokens": 412, "completion_tokens": 38, …}}
    data: [DONE]

Source:
    https://platform.openai.com/docs/api-reference/chat-streaming (server-sent events, with
    ``stream_options.include_usage``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import httpx
from msgspec import DecodeError, Struct, ValidationError, json

from clew.demo.generation.generate import Finish, ModelError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from clew.demo.generation.prompt import Prompt

__all__ = ["ChatCompletions", "Price", "RateLimitError"]

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
MAX_SHOWN_CHARS = 200
TRANSIENT_STATUS: Final = frozenset({408, 409, 429})


class RateLimitError(ModelError):
    """The endpoint refuses a call because there were too many (429); the name is that of OpenAI's library."""


class Price(Struct, frozen=True):
    """What a model costs.

    Attributes:
        input_usd: US dollars for a million tokens read.
        output_usd: US dollars for a million tokens written.
    """

    input_usd: float
    output_usd: float


class _Delta(Struct):
    content: str | None = None


class _Choice(Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Details(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Piece(Struct):
    model: str | None = None
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class ChatCompletions:
    """A model behind an endpoint.

    Args:
        client: Makes the calls; closed by who made it.
        model: The model to ask for.
        base_url: The endpoint, up to and without ``/chat/completions``.
        api_key: Sent as a bearer token; None for endpoints that want none.
        price: What it costs; None when that is not known, and then no event reports a cost.
    """

    temperature = 0.1
    max_output_tokens = 400

    def __init__(
        self,
        client: httpx.AsyncClient,
        model: str,
        *,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str | None = None,
        price: Price | None = None,
    ) -> None:
        self.name = model
        self.provider = httpx.URL(base_url).host
        self._client = client
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._price = price

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Finish]:
        """Give the answer piece by piece, then how it ended.

        Raises:
            RateLimitError: The endpoint was asked too often.
            ModelError: The endpoint cannot be reached, refuses, or breaks off.
        """
        reason, model, usage = None, self.name, None
        try:
            async with self._client.stream(
                "POST", self._url, json=self._request(prompt), headers=self._headers, timeout=TIMEOUT
            ) as response:
                if response.status_code != 200:
                    raise _refusal(response, await response.aread())
                async for line in response.aiter_lines():
                    piece = _read_line(line)
                    if piece is None:
                        continue
                    model, usage = piece.model or model, piece.usage or usage
                    for choice in piece.choices[:1]:
                        reason = choice.finish_reason or reason
                        if choice.delta is not None and choice.delta.content:
                            yield choice.delta.content
        except httpx.HTTPError as error:
            raise ModelError(f"the call failed: {error or type(error).__name__}", is_transient=True) from error
        if reason is None:
            raise ModelError("the stream broke off before the answer was complete", is_transient=True)
        yield self._finish(reason, model, usage)

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        return {
            "model": self.name,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            "temperature": self.temperature,
            "max_tokens": self.max_output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def _finish(self, reason: str, model: str, usage: _Usage | None) -> Finish:
        if usage is None:
            return Finish(reason, model)
        cost_usd = None
        if self._price is not None:
            paid = usage.prompt_tokens * self._price.input_usd + usage.completion_tokens * self._price.output_usd
            cost_usd = paid / 1_000_000
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
        return Finish(reason, model, usage.prompt_tokens, usage.completion_tokens, cached, cost_usd)


def _read_line(line: str) -> _Piece | None:
    """Read one line of the stream; None for what carries no piece."""
    field, _, value = line.partition(":")
    value = value.strip()
    if field != "data" or value in {"", "[DONE]"}:
        return None
    try:
        piece = json.decode(value, type=_Piece)
    except (DecodeError, ValidationError) as error:
        raise ModelError(f"the endpoint does not speak the protocol: {error}") from error
    if piece.error is not None:
        raise ModelError(f"the endpoint gave up: {_shown(piece.error)}", is_transient=True)
    return piece


def _refusal(response: httpx.Response, body: bytes) -> ModelError:
    """Say what an answer other than 200 means."""
    status = response.status_code
    try:
        reason = json.decode(body, type=_Piece).error
    except (DecodeError, ValidationError):
        reason = None
    why = _shown(reason) if reason is not None else response.reason_phrase
    kind = RateLimitError if status == 429 else ModelError
    return kind(
        f"the endpoint answered {status}: {why}",
        status_code=status,
        is_transient=status in TRANSIENT_STATUS or status >= 500,
        retry_after_s=_seconds(response.headers.get("retry-after")),
    )


def _shown(error: Any) -> str:
    message = error.get("message", error) if isinstance(error, dict) else error  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return str(message)[:MAX_SHOWN_CHARS]  # pyright: ignore[reportUnknownArgumentType]


def _seconds(header: str | None) -> float | None:
    """Read ``Retry-After``; its form as a date is as good as no header, the policy's own wait will do."""
    try:
        seconds = float(header or "nan")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
