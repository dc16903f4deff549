"""User code, which a strict type checker must accept; it is checked, and not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from opentelemetry.sdk.trace import TracerProvider

import clew
from clew.integrations import otel
from clew.testing import CapturedEvents, FakeClock, SequentialIds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

log = clew.get_logger("rag.ingest")
assert_type(log, clew.Logger)

settings = clew.configure(service="rag-api", environment="prod", dsn="postgresql://127.0.0.1/clew", agent="auto")
assert_type(settings.service, str)
assert_type(settings.dsn, str | None)


@clew.traceable
def parse(path: str) -> list[str]:
    """Keep the signature of a bare decorated function."""
    return [path]


@clew.traceable(run_type="retriever", name="search", tags=["t"], metadata={"index": 3}, stage="retrieval")
def search(query: str, *, top_k: int = 5) -> list[int]:
    """Keep the signature of a configured one."""
    log.info("query_received", query_chars=len(query), top_k=top_k)
    return [top_k]


@clew.traceable(run_type="llm")
async def answer(prompt: str) -> str:
    """Keep a coroutine function one."""
    return prompt


@clew.traceable
def stream(prompt: str) -> Iterator[str]:
    """Keep a generator function one."""
    yield prompt


@clew.traceable
async def stream_async(prompt: str) -> AsyncIterator[str]:
    """Keep an async generator function one."""
    yield prompt


async def use() -> None:
    """Call everything with the types that it declares."""
    assert_type(parse("a.pdf"), list[str])
    assert_type(search("why", top_k=3), list[int])
    assert_type(await answer("p"), str)
    for text in stream("p"):
        assert_type(text, str)
    async for text in stream_async("p"):
        assert_type(text, str)
    with clew.span("rerank", run_type="tool", stage="retrieval", top_k=5) as span:
        assert_type(span, clew.Span)
        span.set(kept=3, cost_usd=0.1)
        span.set_outputs([1])
        span.fail(ValueError("told"))
    async with clew.span("fetch"):
        log.bind(document_id="d").warning("told", error=ValueError())
    with clew.trace_context(user_id="u") as context:
        assert_type(context, clew.Context)
        assert_type(clew.current().trace_id, str | None)
    try:
        clew.configure(level="INFO")
    except clew.ClewError as error:
        assert_type(error.exit_code, int)
        log.exception("failed", metrics={"lag_s": 0.5})
    assert_type(clew.flush(1.0), bool)
    clew.shutdown()


def use_testing() -> None:
    """Capture, stop and count."""
    with CapturedEvents(service="test") as captured, FakeClock() as time, SequentialIds():
        time.tick(1.5)
        log.info("told")
    assert_type(captured.logs("told"), list[dict[str, Any]])
    assert_type(captured.spans(), list[dict[str, Any]])


def use_opentelemetry() -> None:
    """Bridge to the SDK: the processor and the ids are what its provider asks for."""
    provider = TracerProvider(id_generator=otel.ids())
    provider.add_span_processor(otel.ClewSpanProcessor())
    with otel.inside() as context:
        assert_type(context, clew.Context)
    with otel.outside():
        pass
