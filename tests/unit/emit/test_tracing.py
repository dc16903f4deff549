"""``span()`` and ``@traceable``: what they record, and that the traced code never notices."""

from __future__ import annotations

import asyncio
import gc
import inspect
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import clew
from clew.emit import process
from clew.emit.context import Context
from clew.testing import CapturedEvents

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from support.fix_events import Emitted

pytest_plugins = ["support.fix_events"]


class Refused(Exception):  # noqa: N818
    """What the traced code of these tests raises."""


def test_a_span_is_written_when_it_opens_and_when_it_ends(emitted: Emitted) -> None:
    """A span leaves a ``span_start`` and a ``span`` with one id, and puts itself in force between them."""
    with clew.span("rerank", stage="retrieval", tags=["t"], metadata={"m": 1}, top_k=5) as rerank:
        inside = clew.current()
        rerank.set(kept=3, cost_usd=0.5)
        rerank.set_outputs([1, 2])

    start, end = emitted()
    assert (start["kind"], start["status"], end["kind"], end["status"]) == ("span_start", "running", "span", "ok")
    assert start["span_id"] == end["span_id"] == end["trace_id"] == inside.span_id == rerank.span_id
    assert end["stage"] == "retrieval"
    assert end["context"] == {"top_k": 5, "tags": ["t"], "metadata": {"m": 1}, "kept": 3, "outputs": [1, 2]}
    assert end["metrics"]["cost_usd"] == 0.5
    assert end["metrics"]["duration_ms"] >= 0
    assert clew.current() == Context()


def test_a_nested_span_is_below_the_outer_one_and_inherits_its_stage(emitted: Emitted) -> None:
    """A span inside another has it as its parent, in one trace, and its stage unless it has one."""
    with clew.span("answer", run_type="llm") as answer, clew.span("inner"):
        pass

    inner = emitted.span("inner")
    assert (inner["trace_id"], inner["parent_span_id"]) == (answer.trace_id, answer.span_id)
    assert inner["stage"] == emitted.span("answer")["stage"] == "generation"


def test_a_span_works_in_async_with(emitted: Emitted) -> None:
    """``async with`` opens and ends a span as ``with`` does."""

    async def main() -> None:
        async with clew.span("fetch"):
            await asyncio.sleep(0)

    asyncio.run(main())

    assert emitted.span("fetch")["status"] == "ok"


def test_a_renamed_span_ends_under_its_new_name(emitted: Emitted) -> None:
    """A span that learns its name while it runs ends with it."""
    with clew.span("GET /docs/7") as request:
        request.rename("GET /docs/{id}")

    assert [e["message"] for e in emitted()] == ["GET /docs/7", "GET /docs/{id}"]


def test_a_failure_dealt_with_is_on_the_span(emitted: Emitted) -> None:
    """``fail`` marks a span as failed although nothing is raised."""
    with clew.span("call") as call:
        call.fail(Refused("no quota"))

    span = emitted.span("call")
    assert (span["status"], span["level"]) == ("error", "ERROR")
    assert (span["error"]["type"], span["error"]["message"]) == ("Refused", "no quota")


def test_an_exception_is_recorded_with_its_stack_and_raised(emitted: Emitted) -> None:
    """What a traced function raises is on its span with the frames it went through, and goes on, the same object."""
    refusal = Refused("bad input")

    def deep() -> None:
        raise refusal

    @clew.traceable
    def work() -> None:
        deep()

    with pytest.raises(Refused) as caught:
        work()

    span = emitted.span("work")
    assert caught.value is refusal
    assert (span["status"], span["level"]) == ("error", "ERROR")
    assert (span["error"]["type"], span["error"]["message"]) == ("Refused", "bad input")
    assert "in test_an_exception_is_recorded_with_its_stack_and_raised.<locals>.deep" in span["error"]["stack"]
    assert clew.current() == Context()


def test_an_exception_that_is_false_is_still_an_error(emitted: Emitted) -> None:
    """An exception whose truth value is false is recorded like any other."""

    class Empty(Exception):  # noqa: N818
        def __len__(self) -> int:
            return 0

    with pytest.raises(Empty), clew.span("work"):
        raise Empty

    assert emitted.span("work")["error"]["type"] == "Empty"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_being_stopped_is_no_failure(emitted: Emitted, stop: type[BaseException]) -> None:
    """Work that somebody stopped is cancelled, not failed."""
    with pytest.raises(stop), clew.span("work"):
        raise stop

    span = emitted.span("work")
    assert span["status"] == "cancelled"
    assert "error" not in span


def test_a_generator_that_raises_fails_at_that_item(emitted: Emitted) -> None:
    """An exception in the middle of a generator is on its span, with the items before it."""

    @clew.traceable
    def stream() -> Generator[int, None, None]:
        yield 1
        raise Refused

    items = stream()
    assert next(items) == 1
    with pytest.raises(Refused):
        next(items)

    span = emitted.span("stream")
    assert (span["status"], span["error"]["type"], span["context"]["outputs"]) == ("error", "Refused", [1])


def test_an_async_generator_that_raises_fails_at_that_item(emitted: Emitted) -> None:
    """An exception in the middle of an async generator is on its span, with the items before it."""

    @clew.traceable
    async def stream() -> AsyncGenerator[int, None]:
        yield 1
        raise Refused

    async def main() -> None:
        with pytest.raises(Refused):
            async for _ in stream():
                pass

    asyncio.run(main())

    span = emitted.span("stream")
    assert (span["status"], span["error"]["type"], span["context"]["outputs"]) == ("error", "Refused", [1])


def test_send_throw_and_return_values_pass_through_a_generator(emitted: Emitted) -> None:
    """A traced generator answers ``send`` and ``throw`` and returns as the untraced one does."""

    def talk() -> Generator[Any, Any, str]:
        heard = yield "first"
        try:
            yield heard
        except Refused as refusal:
            yield f"caught {refusal}"
        return "bye"

    def drive(items: Generator[Any, Any, str]) -> list[Any]:
        said = [next(items), items.send("hello"), items.throw(Refused("you"))]
        with pytest.raises(StopIteration) as stop:
            next(items)
        return [*said, stop.value.value]

    assert drive(clew.traceable(talk)()) == drive(talk()) == ["first", "hello", "caught you", "bye"]
    assert emitted.span("talk")["status"] == "ok"


def test_asend_athrow_and_aclose_pass_through_an_async_generator(emitted: Emitted) -> None:
    """A traced async generator answers ``asend``, ``athrow`` and ``aclose`` as the untraced one does."""

    async def talk() -> AsyncGenerator[Any, Any]:
        heard = yield "first"
        try:
            yield heard
        except Refused as refusal:
            yield f"caught {refusal}"

    async def drive(items: AsyncGenerator[Any, Any]) -> list[Any]:
        said = [await anext(items), await items.asend("hello"), await items.athrow(Refused("you"))]
        await items.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(items)
        return said

    async def main() -> None:
        assert await drive(clew.traceable(talk)()) == await drive(talk()) == ["first", "hello", "caught you"]

    asyncio.run(main())

    assert emitted.span("talk")["status"] == "cancelled"


def test_yield_from_a_traced_generator_gives_its_return_value(emitted: Emitted) -> None:
    """``yield from`` a traced generator works, and its span is below the outer generator's."""

    @clew.traceable
    def inner() -> Generator[int, None, int]:
        yield 1
        return 2

    @clew.traceable
    def outer() -> Generator[int, None, None]:
        yield (yield from inner())

    assert list(outer()) == [1, 2]
    assert emitted.span("inner")["parent_span_id"] == emitted.span("outer")["span_id"]


def test_a_coroutine_is_traced_and_stays_a_coroutine(emitted: Emitted) -> None:
    """A traced coroutine function is still one, keeps its name and signature, and returns the same."""

    @clew.traceable(run_type="retriever", name="find")
    async def search(query: str, k: int = 5) -> list[str]:
        """Search."""
        await asyncio.sleep(0)
        return [query] * k

    assert inspect.iscoroutinefunction(search)
    assert (search.__name__, search.__doc__, list(inspect.signature(search).parameters)) == (
        "search",
        "Search.",
        ["query", "k"],
    )
    assert asyncio.run(search("why", k=2)) == ["why", "why"]
    span = emitted.span("find")
    assert (span["run_type"], span["stage"]) == ("retriever", "retrieval")
    assert span["context"] == {"inputs": {"query": "why", "k": 2}, "outputs": ["why", "why"]}


@pytest.mark.parametrize("is_below", [True, False], ids=["decorator below", "decorator above"])
def test_methods_are_traced_without_self_and_cls(emitted: Emitted, is_below: bool) -> None:
    """Methods, class methods and static methods work in either order of decorators; ``self`` is no input."""

    def order(kind: Any, function: Any) -> Any:
        return kind(clew.traceable(function)) if is_below else clew.traceable(name=function.__name__)(kind(function))

    class Store:
        @clew.traceable
        def method(self, x: int) -> tuple[type, int]:
            return type(self), x

        def of_class(cls, x: int) -> tuple[object, int]:  # noqa: N805
            return cls, x

        def static(x: int) -> int:  # noqa: N805
            return x

        class_method = order(classmethod, of_class)
        static_method = order(staticmethod, static)

    assert Store().method(1) == (Store, 1)
    assert Store.class_method(2) == Store().class_method(2) == (Store, 2)
    assert Store.static_method(3) == Store().static_method(3) == 3
    assert emitted.span("method")["context"]["inputs"] == {"x": 1}
    assert [e["context"]["inputs"] for e in emitted("span", "of_class")] == [{"x": 2}] * 2
    assert [e["context"]["inputs"] for e in emitted("span", "static")] == [{"x": 3}] * 2


def test_callables_of_other_kinds_are_traced(emitted: Emitted) -> None:
    """Objects with ``__call__`` and partial functions are traced by what they do, coroutines included."""

    class Embed:
        async def __call__(self, text: str) -> int:
            return len(text)

    async def cut(size: int, text: str) -> str:
        return text[:size]

    def double(x: int) -> int:
        return 2 * x

    async def main() -> tuple[Any, ...]:
        return (
            await clew.traceable(Embed())("abc"),
            await clew.traceable(partial(cut, 2))("abc"),
            clew.traceable(partial(double))(4),
        )

    assert asyncio.run(main()) == (3, "ab", 8)
    assert emitted.span("Embed")["context"]["outputs"] == 3
    assert emitted.span("cut")["context"]["outputs"] == "ab"
    assert emitted.span("double")["context"]["outputs"] == 8


def test_inputs_are_what_they_were_at_the_call(emitted: Emitted) -> None:
    """A function that changes its arguments does not change what is recorded of them."""

    @clew.traceable
    def consume(items: list[int], *rest: int, sep: str = ",", **more: int) -> int:
        items.clear()
        return len(rest) + len(more)

    consume([1, 2], 3, 4, other=5)

    assert emitted.span("consume")["context"]["inputs"] == {"items": [1, 2], "rest": [3, 4], "other": 5, "sep": ","}


def test_langsmith_extra_is_taken_and_not_passed_on(emitted: Emitted) -> None:
    """``langsmith_extra`` names, tags and describes one call; the function never sees it."""

    @clew.traceable(tags=["always"], metadata={"a": 1}, client=object(), project_name="p")
    def work(x: int) -> int:
        return x

    work(1, langsmith_extra={"name": "special", "tags": ["once"], "metadata": {"b": 2}, "run_id": "r"})
    work(2)

    special, plain = emitted.span("special"), emitted.span("work")
    assert (special["context"]["tags"], special["context"]["metadata"]) == (["always", "once"], {"a": 1, "b": 2})
    assert (plain["context"]["tags"], plain["context"]["metadata"]) == (["always"], {"a": 1})


@pytest.mark.parametrize("extra", [None, 5, {"tags": 5, "metadata": 7, "name": 3}, {"metadata": {1: object()}}])
def test_a_malformed_langsmith_extra_fails_no_call(emitted: Emitted, extra: object) -> None:
    """Whatever ``langsmith_extra`` holds, the call goes through and its span arrives."""
    assert clew.traceable(lambda: 1)(langsmith_extra=extra) == 1

    assert len(emitted("span")) == 1


def test_process_functions_change_what_is_recorded_only(emitted: Emitted) -> None:
    """``process_inputs`` and ``process_outputs`` choose what is recorded; the call keeps its own."""

    @clew.traceable(process_inputs=lambda inputs: {"chars": len(inputs["text"])}, process_outputs=lambda out: out[:1])
    def shout(text: str) -> str:
        return text.upper()

    assert shout("abc") == "ABC"
    assert emitted.span("shout")["context"] == {"inputs": {"chars": 3}, "outputs": "A"}


def test_a_process_function_that_fails_records_nothing_of_the_value(emitted: Emitted) -> None:
    """What was to be hidden stays hidden when the function that hides it fails, and the call goes through."""

    def hide(value: Any) -> Any:
        raise Refused(value)

    @clew.traceable(process_inputs=hide, process_outputs=hide)
    def work(text: str) -> str:
        return text

    @clew.traceable(reduce_fn=hide)
    def stream(count: int) -> Generator[str, None, None]:
        yield "confidential"

    assert work("confidential") == "confidential"
    assert list(stream(1)) == ["confidential"]
    note = {"not_recorded": "hide failed: Refused"}
    assert emitted.span("work")["context"] == {"inputs": note, "outputs": note}
    assert emitted.span("stream")["context"]["outputs"] == note
    assert "confidential" not in str(emitted())


def test_reduce_fn_makes_the_outputs_of_a_generator(emitted: Emitted) -> None:
    """``reduce_fn`` gets all items at the end; what it returns is recorded, after ``process_outputs``."""

    @clew.traceable(run_type="llm", reduce_fn="".join, process_outputs=str.upper)
    def stream() -> Generator[str, None, None]:
        yield from ["a", "b"]

    assert list(stream()) == ["a", "b"]
    span = emitted.span("stream")
    assert span["context"]["outputs"] == "AB"
    assert 0 <= span["metrics"]["time_to_first_token_ms"] <= span["metrics"]["duration_ms"]


def test_a_function_that_returns_a_generator_ends_with_it(emitted: Emitted) -> None:
    """Functions and coroutines that return a generator are one span until its last item."""

    def items() -> Generator[int, None, str]:
        clew.get_logger().info("inside")
        yield 1
        return "end"

    async def async_items() -> AsyncGenerator[int, None]:
        clew.get_logger().info("inside")
        yield 2

    @clew.traceable
    def answer() -> Generator[int, None, str]:
        return items()

    @clew.traceable
    async def async_answer() -> AsyncGenerator[int, None]:
        return async_items()

    async def main() -> list[int]:
        return [item async for item in await async_answer()]

    answered = answer()
    assert emitted("span") == []
    assert list(answered) == [1]
    assert asyncio.run(main()) == [2]
    spans = [emitted.span("answer"), emitted.span("async_answer")]
    assert [span["context"]["outputs"] for span in spans] == [[1], [2]]
    assert [e["span_id"] for e in emitted("log", "inside")] == [span["span_id"] for span in spans]


def test_a_function_that_is_not_enabled_is_left_as_it_is(emitted: Emitted) -> None:
    """``enabled=False`` returns the function itself."""

    def work() -> int:
        return 1

    assert clew.traceable(enabled=False)(work) is work
    assert clew.traceable(enabled=True)(work) is not work


def test_what_was_changed_in_inputs_and_outputs_is_flagged(emitted: Emitted) -> None:
    """A span says what its recorded values lost, beside what its other fields lost."""
    with clew.span("ask", inputs={"mail": "write to jane@example.org", "score": float("nan")}) as span:
        span.set_outputs("x" * 100_000)
        span.set(large=2**70)

    start, end = emitted()
    assert start["sanitized"] == ["nonfinite", "redacted"]
    assert end["sanitized"] == ["bigint", "nonfinite", "redacted", "truncated"]
    assert end["context"]["inputs"] == {"mail": "write to [redacted:email]", "score": "nan"}


def test_a_short_text_with_a_password_is_no_exception(emitted: Emitted) -> None:
    """Texts too short for other secrets are not searched for them; a password can be as short."""
    for _ in range(2):
        clew.get_logger().info("asked", note="passwd: x")

    assert [event["context"]["note"] for event in emitted()] == ["passwd: [redacted:password]"] * 2


def test_no_secret_comes_in_encoded_by_the_application(emitted: Emitted) -> None:
    """JSON that the application hands over as it is, is searched in a span and in a log, each time it is told."""
    told, broken = msgspec.Raw(b'{"mail":"jane@example.org","password":"hunter2"}'), msgspec.Raw(b'{"n": [1, ')
    for _ in range(2):
        with clew.span("ask", inputs={"body": told, "broken": broken}, body=told):
            clew.get_logger().info("asked", body=told, broken=broken)

    events = emitted()
    safe = {"mail": "[redacted:email]", "password": "[redacted]"}
    assert [event["context"]["body"] for event in events] == [safe] * 6
    assert events[0]["context"]["inputs"] == {"body": safe, "broken": '{"n": [1, '}
    assert events[1]["sanitized"] == ["redacted", "repr"]


def test_without_capture_nothing_of_inputs_and_outputs_is_recorded(emitted: Emitted) -> None:
    """``configure(capture=False)`` leaves the spans and takes what went in and came out of them."""
    process.configure(service="test", data_dir=process.settings().data_dir, agent="external", capture=False)

    @clew.traceable
    def work(text: str) -> str:
        return text

    @clew.traceable
    def stream(text: str) -> Generator[str, None, None]:
        yield text

    work("x")
    list(stream("x"))
    with clew.span("block", inputs="x") as block:
        block.set_outputs("x")

    assert [e["context"] for e in emitted()] == [{}] * 6


def test_wrong_settings_do_not_fail_a_traced_call(
    emitted: Emitted, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A malformed environment variable is said on stderr; the traced function works."""
    process.shutdown()
    process._process.settings = None
    process._process.next_attempt = 0.0
    monkeypatch.setenv("CLEW_LEVEL", "LOUD")

    @clew.traceable
    def work(x: int) -> int:
        with clew.span("block", inputs=x, labels=["a"]) as block:
            block.set_outputs(x)
        return x

    assert work(3) == 3
    assert "the setting level is 'LOUD'" in capfd.readouterr().err


def _parent_of(emitted: Emitted, name: str) -> str | None:
    names = {span["span_id"]: span["message"] for span in emitted("span")}
    return names.get(emitted.span(name).get("parent_span_id"))


@pytest.mark.parametrize("how", ["task", "thread", "context", "out of order", "sync generator", "garbage"])
def test_what_follows_a_span_that_ended_elsewhere_is_not_inside_it(emitted: Emitted, how: str) -> None:
    """A generator that holds a span is closed in another task, thread or context: the span around it is the parent."""

    def hold() -> Generator[int]:
        with clew.trace_context(user_id="held"), clew.span("held"):
            yield 1
            yield 2

    async def hold_async() -> AsyncGenerator[int]:
        for item in hold():
            yield item

    async def in_tasks() -> None:
        with clew.span("request"):
            holding = hold_async()
            await anext(holding)
            await asyncio.create_task(holding.aclose())
            with clew.span("after"):
                pass

    if how == "task":
        asyncio.run(in_tasks())
    else:
        with clew.span("request"):
            holding = hold()
            next(holding)
            if how == "thread":
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(holding.close).result()
            elif how == "context":
                copy_context().run(holding.close)
            elif how == "out of order":
                inner = clew.span("inner")
                inner.begin()
                holding.close()
                inner.end()
            elif how == "garbage":
                del holding
                gc.collect()
            else:
                holding.close()
            with clew.span("after"):
                pass

    assert _parent_of(emitted, "after") == "request"
    assert emitted.span("after")["user_id"] is None
    assert clew.current().trace_id is None


def test_a_span_is_begun_and_ended_once(emitted: Emitted) -> None:
    """Used again, it changes nothing; what is inside then belongs to what is around."""
    with clew.span("request"):
        once = clew.span("once")
        with once:
            once.begin()
        once.end()
        with once, clew.span("after"):
            pass

    assert _parent_of(emitted, "after") == "request"
    assert len(emitted("span_start", "once")) == len(emitted("span", "once")) == 1


def test_fields_of_a_span_may_have_any_name(emitted: Emitted) -> None:
    """Also that of the span itself."""
    with clew.span("work", self=1, value=2) as work:
        work.set(self=3)

    assert emitted.span("work")["context"] == {"self": 3, "value": 2}


class Usage(msgspec.Struct):
    """What a provider's library makes of a report."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class Answer(msgspec.Struct):
    """What it makes of an answer."""

    model: str
    usage: Usage | None = None


class Moody:
    """An answer whose every part fails."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name) if name.startswith("_") else Refused(name)


CACHED = {"tokens_in": 10000, "tokens_out": 100, "tokens_cached": 8000, "tokens_cache_written": 1500}


def tokens_of(span: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of a span but its duration."""
    return {name: value for name, value in span["metrics"].items() if name.startswith(("tokens_", "cost_"))}


def test_a_traced_call_says_what_its_answer_used(emitted: Emitted) -> None:
    """LangSmith's arguments and its ``usage_metadata``: tokens, model and provider, with another import and nothing else."""

    @clew.traceable(run_type="llm", metadata={"ls_provider": "anthropic", "ls_model_name": "claude-sonnet-4-5"})
    def call() -> dict[str, Any]:
        details = {"cache_read": 8000, "cache_creation": 1500}
        return {"usage_metadata": {"input_tokens": 10000, "output_tokens": 100, "input_token_details": details}}

    call()

    span = emitted.span("call")
    assert tokens_of(span) == CACHED
    assert (span["context"]["provider"], span["context"]["model"]) == ("anthropic", "claude-sonnet-4-5")
    assert span["context"]["metadata"]["ls_provider"] == "anthropic"


def test_the_metadata_of_a_call_go_before_those_of_its_function(emitted: Emitted) -> None:
    """``langsmith_extra`` names the model that was asked this time."""

    @clew.traceable(run_type="llm", metadata={"ls_model_name": "gpt-4o", "ls_provider": "openai"})
    def call() -> str:
        return "4"

    call(langsmith_extra={"metadata": {"ls_model_name": "gpt-5"}})
    with clew.span("own", run_type="llm", metadata={"ls_model_name": "gpt-4o"}, model="mine"):
        pass

    assert emitted.span("call")["context"]["model"] == "gpt-5"
    assert emitted.span("call")["context"]["provider"] == "openai"
    assert emitted.span("own")["context"]["model"] == "mine"


@pytest.mark.parametrize("run_type", ["llm", "embedding"])
def test_the_answer_of_a_providers_library_is_read_as_it_is(emitted: Emitted, run_type: str) -> None:
    """An object with ``usage`` and ``model``, in the words of its provider."""

    @clew.traceable(run_type=run_type)
    async def call() -> Answer:
        return Answer("claude-sonnet-4-5-20250929", Usage(500, 100, 8000, 1500))

    asyncio.run(call())

    assert tokens_of(emitted.span("call")) == CACHED
    assert emitted.span("call")["context"]["response_model"] == "claude-sonnet-4-5-20250929"


def test_the_answer_is_read_where_nothing_is_captured() -> None:
    """Who keeps inputs and outputs out of the record still wants to know what they cost."""

    @clew.traceable(run_type="llm")
    def call() -> Answer:
        return Answer("claude-sonnet-4-5", Usage(500, 100, 8000, 1500))

    with CapturedEvents(capture=False) as captured:
        call()

    [span] = captured.spans("call")
    assert tokens_of(span) == CACHED
    assert "outputs" not in span["context"]


def test_the_last_item_of_a_stream_says_what_the_whole_used(emitted: Emitted) -> None:
    """As OpenAI's streams do; those before report nothing."""

    @clew.traceable(run_type="llm")
    def call() -> Generator[Answer]:
        yield Answer("gpt-4o")
        yield Answer("gpt-4o", Usage(1000, 10))
        yield Answer("gpt-4o")

    list(call())

    assert tokens_of(emitted.span("call")) == {"tokens_in": 1000, "tokens_out": 10}


def test_tokens_that_the_application_has_set_are_left_alone(emitted: Emitted) -> None:
    """What it counts itself goes before, and is not mixed with what the answer reports."""
    with clew.span("call", run_type="llm") as call:
        call.set(tokens_in=7, tokens_out=3)
        call.set_outputs(Answer("gpt-4o", Usage(500, 100, 8000)))

    assert tokens_of(emitted.span("call")) == {"tokens_in": 7, "tokens_out": 3}


def test_only_a_call_to_a_model_is_asked_for_its_usage(emitted: Emitted) -> None:
    """A chain returns the answer of a call inside it, which has reported it; its own ``usage_metadata`` is its own."""

    @clew.traceable
    def chain() -> Answer:
        return Answer("gpt-4o", Usage(1000, 10))

    @clew.traceable
    def agent() -> dict[str, Any]:
        return {"usage_metadata": {"input_tokens": 1000, "output_tokens": 10, "total_cost": 0.5}}

    chain()
    agent()

    assert tokens_of(emitted.span("chain")) == {}
    assert tokens_of(emitted.span("agent")) == {"tokens_in": 1000, "tokens_out": 10, "cost_usd": 0.5}


@pytest.mark.parametrize(
    "answer",
    [
        "4",
        4,
        None,
        [],
        [1, 2],
        {"usage": "much"},
        {"usage": {"input_tokens": -1}},
        {"usage_metadata": Moody()},
        Moody(),
    ],
)
def test_an_answer_that_reports_nothing_is_an_answer(emitted: Emitted, answer: Any) -> None:
    """Whatever it is and does, the call returns it and the span has no tokens."""

    @clew.traceable(run_type="llm")
    def call() -> Any:
        return answer

    assert call() is answer
    assert tokens_of(emitted.span("call")) == {}
