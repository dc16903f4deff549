"""Generating an answer: one model, asked with patience, heard piece by piece.

Every model is a ``Model``; what surrounds the call is here, once: attempts, waits, and the events
``api_call_started``, ``first_token_received``, ``token_usage_recorded``, ``generation_complete`` and
those of failure.
"""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from clew.demo.generation.prompt import NO_ANSWER
from clew.demo.steps import StepFacts, Stopwatch, record
from clew.emit.tracing import traceable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from clew.demo.generation.prompt import Prompt

__all__ = ["Answer", "Finish", "Model", "ModelError", "RetryPolicy", "generate"]


class Finish(Struct, frozen=True):
    """How a model ended its answer.

    Attributes:
        reason: Why it stopped: ``"stop"``, ``"length"`` …
        response_model: The model that answered, as it names itself.
        tokens_in: Tokens it read; None when it does not say.
        tokens_out: Tokens it wrote; None when it does not say.
        tokens_cached: Tokens of ``tokens_in`` that came from its own cache; None when it does not say.
        cost_usd: What it cost, in US dollars; None when the price is not known.
    """

    reason: str
    response_model: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    cost_usd: float | None = None


class ModelError(Exception):
    """A model did not answer, or not to the end.

    Args:
        message: What happened.
        status_code: HTTP status, if there was one.
        is_transient: Whether another attempt may succeed.
        retry_after_s: How long the model asked to wait, in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        is_transient: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.is_transient = is_transient
        self.retry_after_s = retry_after_s


class Model(Protocol):
    """What answers a prompt.

    Attributes:
        provider: Who runs it.
        name: The model.
        temperature: Its temperature.
        max_output_tokens: Most tokens of an answer.
    """

    provider: str
    name: str
    temperature: float
    max_output_tokens: int

    def stream(self, prompt: Prompt) -> AsyncGenerator[str | Finish]:
        """Give the answer piece by piece, then how it ended.

        Raises:
            ModelError: It did not answer, or not to the end.
        """
        ...


class Answer(Struct, frozen=True):
    """A complete answer.

    Attributes:
        answer_id: Its stable id.
        text: The answer.
        chunk_ids_used: The chunks that the model was given.
        chunk_ids_cited: Those of them that the answer cites.
        model: The model asked.
        provider: Who runs it.
        finish: How it ended.
        retry_count: How many attempts failed before.
    """

    answer_id: str
    text: str
    chunk_ids_used: list[str]
    chunk_ids_cited: list[str]
    model: str
    provider: str
    finish: Finish
    retry_count: int

    @property
    def is_given(self) -> bool:
        """Whether the question was answered, rather than answered that it cannot be."""
        return NO_ANSWER.rstrip(".") not in self.text


class RetryPolicy(Struct, frozen=True):
    """How often and how long to try.

    Attributes:
        max_attempts: Attempts in all.
        base_s: Upper bound of the first wait, in seconds; it doubles with each attempt.
        cap_s: Upper bound of every wait, also of one that the model asks for, in seconds.
    """

    max_attempts: int = 4
    base_s: float = 0.5
    cap_s: float = 20.0

    def wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        """Return how long to wait after a failed attempt, counted from 0."""
        if retry_after_s is not None:
            return min(max(retry_after_s, 0.0), self.cap_s)
        return random.uniform(0, min(self.cap_s, self.base_s * 2**attempt))


def _describe_inputs(inputs: dict[str, Any]) -> dict[str, Any]:
    prompt: Prompt = inputs["prompt"]
    messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
    return {"messages": messages, "model": inputs["model"].name}


def _describe_outputs(pieces: list[Any]) -> dict[str, Any]:
    answer = pieces[-1] if pieces and isinstance(pieces[-1], Answer) else None
    text = answer.text if answer else "".join(pieces)
    return {"answer": text, "finish_reason": answer.finish.reason if answer else None}


@traceable(
    run_type="llm",
    name="generate_answer",
    process_inputs=_describe_inputs,
    reduce_fn=_describe_outputs,
)
async def generate(model: Model, prompt: Prompt, answer_id: str, policy: RetryPolicy) -> AsyncGenerator[str | Answer]:
    """Have a prompt answered.

    A failed attempt is repeated when the failure may pass and no piece has been handed on yet.

    Args:
        model: Who answers.
        prompt: What to.
        answer_id: Id of the answer to be.
        policy: How often and how long to try.

    Yields:
        The pieces of the answer as they come, and at last the whole.

    Raises:
        ModelError: There is no answer.
    """
    facts: StepFacts = {
        "answer_id": answer_id,
        "provider": model.provider,
        "model": model.name,
        "is_streaming": True,
        "temperature": model.temperature,
        "max_output_tokens": model.max_output_tokens,
    }
    whole = Stopwatch()
    for attempt in range(policy.max_attempts):
        pieces: list[str] = []
        finish: Finish | None = None
        facts |= {"retry_count": attempt}
        record("api_call_started", facts)
        call = Stopwatch()
        try:
            async with aclosing(model.stream(prompt)) as stream:
                async for piece in stream:
                    if isinstance(piece, Finish):
                        finish = piece
                        break
                    if not pieces:
                        facts |= {"time_to_first_token_ms": call.ms}
                        record("first_token_received", facts)
                    pieces.append(piece)
                    yield piece
        except ModelError as error:
            facts |= {"status_code": error.status_code, "error": error, "error_type": type(error).__name__}
            record("api_call_failed", facts | {"duration_ms": call.ms})
            if pieces or not error.is_transient or attempt + 1 == policy.max_attempts:
                record("generation_failed", facts | {"duration_ms": whole.ms})
                raise
            await asyncio.sleep(policy.wait_s(attempt, error.retry_after_s))
            continue
        assert finish is not None, "a model that does not raise ends with a Finish"
        writing_s = (call.ms - facts.get("time_to_first_token_ms", 0.0)) / 1000
        yield _complete("".join(pieces), finish, prompt, facts | {"duration_ms": whole.ms}, writing_s)
        return


def _complete(text: str, finish: Finish, prompt: Prompt, facts: StepFacts, writing_s: float) -> Answer:
    """Report that an answer is complete, and what it took; its first token came *writing_s* ago."""
    used = [chunk.chunk_id for chunk in prompt.chunks]
    numbers = dict.fromkeys(int(number) for number in re.findall(r"\[(\d{1,3})\]", text))
    cited = [used[number - 1] for number in numbers if 0 < number <= len(used)]
    facts |= {
        "response_model": finish.response_model,
        "tokens_in": finish.tokens_in,
        "tokens_out": finish.tokens_out,
        "tokens_cached": finish.tokens_cached,
        "cost_usd": finish.cost_usd,
        "finish_reason": finish.reason,
        "answer_chars": len(text),
        "chunk_ids_cited": cited,
    }
    if finish.tokens_out is not None:
        record("token_usage_recorded", facts)
        if finish.tokens_out > 1 and writing_s > 0:
            facts |= {"tokens_per_second": round((finish.tokens_out - 1) / writing_s, 1)}
    record("generation_complete", facts)
    return Answer(
        facts["answer_id"], text, used, cited, facts["model"], facts["provider"], finish, facts["retry_count"]
    )
