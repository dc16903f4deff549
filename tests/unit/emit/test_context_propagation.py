"""The trace goes wherever the work goes: tasks, threads, executors, generators."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import clew
from clew.emit import process, propagation
from clew.emit.context import Context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

    from support.fix_events import Emitted

pytest_plugins = ["support.fix_events"]

log = clew.get_logger()


@pytest.fixture
def propagated_threads(emitted: Emitted) -> Callable[[], object]:
    """Carry the context into bare threads too, as ``configure(propagate=("executors", "threads"))`` does."""
    settings = process.settings()
    process.configure(service="test", data_dir=settings.data_dir, agent="external", propagate=("executors", "threads"))
    return propagation.uninstall


def here() -> Context:
    """Say where we are, and log it."""
    log.info("work_done")
    return clew.current()


def test_a_task_is_in_the_trace_that_created_it(emitted: Emitted) -> None:
    """An asyncio task logs into the trace of the code that created it."""

    async def main() -> None:
        with clew.span("request"):
            await asyncio.create_task(asyncio.sleep(0, here()))
            await asyncio.gather(work(), work())

    async def work() -> None:
        await asyncio.sleep(0)
        here()

    asyncio.run(main())

    root = emitted.span("request")
    assert [e["span_id"] for e in emitted("log")] == [root["span_id"]] * 3


def test_tasks_side_by_side_do_not_mix_their_traces(emitted: Emitted) -> None:
    """Tasks that interleave at every await keep to their own traces and users."""
    rounds = 5

    async def request(user: str) -> None:
        with clew.trace_context(user_id=user), clew.span("request"):
            for _ in range(rounds):
                log.info("step", user=user)
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(request(f"user-{n}") for n in range(8)))

    asyncio.run(main())

    steps = emitted("log", "step")
    assert len(steps) == 8 * rounds
    assert all(e["user_id"] == e["context"]["user"] for e in steps)
    assert len({(e["user_id"], e["trace_id"]) for e in steps}) == 8


def test_to_thread_is_in_the_trace(emitted: Emitted) -> None:
    """``asyncio.to_thread`` works in the trace of its caller."""

    async def main() -> None:
        with clew.span("request"):
            await asyncio.to_thread(here)

    asyncio.run(main())

    assert emitted.log("work_done")["span_id"] == emitted.span("request")["span_id"]


def test_submit_is_in_the_trace(emitted: Emitted) -> None:
    """``ThreadPoolExecutor.submit`` works in the trace of who submits, also in a thread that served others."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(here).result()
        with clew.span("first") as first:
            one = pool.submit(here).result()
        with clew.span("second") as second:
            two = pool.submit(here).result()
        after = pool.submit(here).result()

    assert (one.span_id, two.span_id, after.span_id) == (first.span_id, second.span_id, None)
    assert [e["trace_id"] for e in emitted("log")] == [None, first.trace_id, second.trace_id, None]


def test_executor_map_is_in_the_trace(emitted: Emitted) -> None:
    """``ThreadPoolExecutor.map`` works in the trace of its caller, for every item."""
    with ThreadPoolExecutor(2) as pool, clew.span("request") as request:
        places = list(pool.map(lambda _: here(), range(6)))

    assert {place.span_id for place in places} == {request.span_id}
    assert len(emitted("log", "work_done")) == 6


def test_run_in_executor_is_in_the_trace(emitted: Emitted) -> None:
    """``loop.run_in_executor`` works in the trace of its caller, with the default and with an own executor."""

    async def main(pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        with clew.span("request"):
            await loop.run_in_executor(None, here)
            await loop.run_in_executor(pool, here)

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(main(pool))

    assert [e["span_id"] for e in emitted("log")] == [emitted.span("request")["span_id"]] * 2


def test_a_traced_function_in_a_pool_is_below_its_submitter(emitted: Emitted) -> None:
    """A span that opens in a worker thread has the submitter's span as its parent, and stays in that thread."""
    traced = clew.traceable(here)

    with ThreadPoolExecutor(1) as pool, clew.span("request") as request:
        pool.submit(traced).result()
        assert clew.current().span_id == request.span_id

    assert emitted.span("here")["parent_span_id"] == request.span_id


def test_a_bare_thread_is_in_the_trace_when_asked_for(emitted: Emitted, propagated_threads: object) -> None:
    """A bare thread works in the trace of who started it, once threads are to be propagated."""
    with clew.span("request") as request:
        thread = threading.Thread(target=here)
        thread.start()
        thread.join()

    assert emitted.log("work_done")["span_id"] == request.span_id


def test_a_bare_thread_is_on_its_own_by_default(emitted: Emitted) -> None:
    """Without being asked to, clew leaves ``threading.Thread`` as it is."""
    with clew.span("request"):
        thread = threading.Thread(target=here)
        thread.start()
        thread.join()

    assert emitted.log("work_done")["trace_id"] is None


def test_a_subclass_of_thread_and_a_timer_are_in_the_trace(emitted: Emitted, propagated_threads: object) -> None:
    """What overrides ``Thread.run`` is propagated like a target."""

    class Work(threading.Thread):
        def run(self) -> None:
            here()

    with clew.span("request") as request:
        for thread in (Work(), threading.Timer(0, here)):
            thread.start()
            thread.join()

    assert [e["span_id"] for e in emitted("log")] == [request.span_id] * 2


def test_the_threads_of_a_pool_do_not_keep_the_trace_of_their_first_user(emitted: Emitted) -> None:
    """Propagating threads propagates executors too, whose threads would keep the trace of who came first."""
    propagation.uninstall()
    propagation.install(["threads"])

    with ThreadPoolExecutor(1) as pool:
        with clew.span("first"):
            pool.submit(int).result()
        later = pool.submit(here).result()

    assert later.trace_id is None


def test_a_finished_thread_is_not_kept_alive(emitted: Emitted, propagated_threads: object) -> None:
    """Propagating leaves no cycle behind that would keep a finished thread until the next collection."""
    freed = threading.Event()

    class Payload:
        def __del__(self) -> None:
            freed.set()

    class Work(threading.Thread):
        payload = None

    gc.collect()
    gc.disable()
    try:
        thread = Work(target=here)
        thread.payload = Payload()
        thread.start()
        thread.join()
        del thread
        assert freed.is_set()
    finally:
        gc.enable()


def test_patches_can_be_undone(emitted: Emitted) -> None:
    """Uninstalling puts the very same functions back."""
    propagation.uninstall()
    before = ThreadPoolExecutor.submit, threading.Thread.start

    propagation.install(["executors", "threads", "unknown"])
    propagation.install(["executors", "threads"])
    patched = ThreadPoolExecutor.submit, threading.Thread.start
    propagation.uninstall()

    assert patched[0] is not before[0]
    assert patched[1] is not before[1]
    assert (ThreadPoolExecutor.submit, threading.Thread.start) == before


# Generators that are consumed after the decorated function has returned.


@clew.traceable
def numbers(count: int) -> Generator[int, Any, str]:
    """Give numbers, with a log and a nested span for each."""
    for number in range(count):
        log.info("inside", number=number)
        with clew.span("step"):
            log.info("in_step")
        yield number
    return "done"


@clew.traceable
async def async_numbers(count: int) -> AsyncGenerator[int, Any]:
    """Give numbers, as ``numbers`` does."""
    for number in range(count):
        log.info("inside", number=number)
        await asyncio.sleep(0)
        with clew.span("step"):
            log.info("in_step")
        yield number


def test_a_generator_is_one_span_that_ends_at_its_last_item(emitted: Emitted) -> None:
    """A generator consumed after its function returned is in the caller's trace until its last item."""
    with clew.span("request") as request:
        items = numbers(2)
    assert emitted("span_start", "numbers") == []

    taken = []
    for item in items:
        assert clew.current() == Context()  # the consumer is not inside
        assert emitted("span", "numbers") == []
        taken.append(item)

    span = emitted.span("numbers")
    assert taken == [0, 1]
    assert (span["status"], span["trace_id"], span["parent_span_id"]) == ("ok", request.trace_id, request.span_id)
    assert span["context"] == {"inputs": {"count": 2}, "outputs": [0, 1]}
    assert {e["span_id"] for e in emitted("log", "inside")} == {span["span_id"]}
    assert {e["parent_span_id"] for e in emitted("span", "step")} == {span["span_id"]}


def test_an_async_generator_is_one_span_that_ends_at_its_last_item(emitted: Emitted) -> None:
    """An async generator consumed after its function returned is in the caller's trace until its last item."""

    async def main() -> list[int]:
        with clew.span("request"):
            items = async_numbers(2)
        taken = []
        async for item in items:
            assert clew.current() == Context()
            assert emitted("span", "async_numbers") == []
            taken.append(item)
        return taken

    taken = asyncio.run(main())

    span, request = emitted.span("async_numbers"), emitted.span("request")
    assert taken == [0, 1]
    assert (span["status"], span["parent_span_id"]) == ("ok", request["span_id"])
    assert span["context"]["outputs"] == [0, 1]
    assert {e["span_id"] for e in emitted("log", "inside")} == {span["span_id"]}
    assert {e["parent_span_id"] for e in emitted("span", "step")} == {span["span_id"]}


def test_generators_side_by_side_do_not_mix(emitted: Emitted) -> None:
    """Two generators consumed in turns keep their spans apart, and so does their consumer."""
    with clew.span("request") as request:
        for _ in zip(numbers(2), one_by_one(numbers(2)), strict=True):
            log.info("consumed")
        assert clew.current().span_id == request.span_id

    assert {e["span_id"] for e in emitted("log", "consumed")} == {request.span_id}
    assert {e["parent_span_id"] for e in emitted("span", "numbers")} == {request.span_id}


def one_by_one(items: Iterator[int]) -> Iterator[int]:
    """Hand items on one by one, in a frame of its own."""
    yield from items


def test_an_abandoned_generator_is_cancelled(emitted: Emitted) -> None:
    """A generator that is dropped after an item is cancelled, with the items so far; its cleanup is in its span."""

    @clew.traceable
    def stream() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
        finally:
            log.info("cleaned_up")

    items = stream()
    next(items)
    with clew.span("elsewhere") as elsewhere:
        del items
        gc.collect()
        assert clew.current().span_id == elsewhere.span_id

    span = emitted.span("stream")
    assert (span["status"], span["level"], span["context"]["outputs"]) == ("cancelled", "INFO", [1])
    assert "error" not in span
    assert emitted.log("cleaned_up")["span_id"] == span["span_id"]


def test_an_abandoned_generator_of_a_function_is_cancelled_with_its_items(emitted: Emitted) -> None:
    """A generator that a plain function returned tells what it gave when it is dropped half way."""

    @clew.traceable
    def answer() -> Generator[int, None, None]:
        return untraced()

    def untraced() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
        finally:
            log.info("cleaned_up")

    items = answer()
    next(items)
    del items
    gc.collect()

    span = emitted.span("answer")
    assert (span["status"], span["context"]["outputs"]) == ("cancelled", [1])
    assert [e["message"] for e in emitted() if e["kind"] != "span_start"] == ["cleaned_up", "answer"]
    assert emitted.log("cleaned_up")["span_id"] == span["span_id"]


def test_an_abandoned_async_generator_is_cancelled(emitted: Emitted) -> None:
    """An async generator left by ``break`` is cancelled when the loop closes it; its cleanup is in its span."""

    @clew.traceable
    async def stream(is_closed: asyncio.Event) -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            log.info("cleaned_up")
            is_closed.set()

    async def main() -> None:
        is_closed = asyncio.Event()
        async for _ in stream(is_closed):
            break
        await is_closed.wait()

    asyncio.run(main())

    span = emitted.span("stream")
    assert (span["status"], span["context"]["outputs"]) == ("cancelled", [1])
    assert "error" not in span
    assert emitted.log("cleaned_up")["span_id"] == span["span_id"]


def test_a_cancelled_async_generator_is_cancelled(emitted: Emitted) -> None:
    """An async generator whose consumer is cancelled while it waits is cancelled, not failed."""

    @clew.traceable
    async def stream() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.Event().wait()

    async def consume(has_begun: asyncio.Event) -> None:
        async for _ in stream():
            has_begun.set()

    async def main() -> None:
        has_begun = asyncio.Event()
        task = asyncio.create_task(consume(has_begun))
        await has_begun.wait()
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())

    span = emitted.span("stream")
    assert (span["status"], span["context"]["outputs"]) == ("cancelled", [1])
    assert "error" not in span


def test_a_cancelled_coroutine_is_cancelled(emitted: Emitted) -> None:
    """A traced coroutine that is cancelled is recorded so, and stays cancelled."""

    @clew.traceable
    async def wait() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(), timeout=0.01)

    asyncio.run(main())

    assert emitted.span("wait")["status"] == "cancelled"


def test_a_generator_that_nobody_starts_has_no_span(emitted: Emitted) -> None:
    """A generator that is never started did no work, so nothing is recorded."""
    items = numbers(2)
    del items
    gc.collect()

    assert emitted() == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_returned_generator_that_nobody_starts_is_cancelled(emitted: Emitted, kind: str) -> None:
    """A function ran and returned a generator that is never started: its span ends, as cancelled."""

    async def async_items() -> AsyncGenerator[int, None]:
        yield 1

    @clew.traceable
    def answer() -> object:
        return iter_items() if kind == "sync" else async_items()

    def iter_items() -> Generator[int, None, None]:
        yield 1

    items = answer()
    assert clew.current() == Context()
    del items
    gc.collect()

    assert emitted.span("answer")["status"] == "cancelled"


def test_a_generator_consumed_in_another_thread_is_one_trace(emitted: Emitted) -> None:
    """A generator made here and consumed in a bare thread, one item there and one here, is one span."""
    with clew.span("request") as request:
        items = numbers(2)
    taken: list[int] = []

    thread = threading.Thread(target=lambda: taken.append(next(items)))
    thread.start()
    thread.join()
    taken += items

    span = emitted.span("numbers")
    assert taken == [0, 1]
    assert (span["trace_id"], span["parent_span_id"]) == (request.trace_id, request.span_id)
    assert {e["span_id"] for e in emitted("log", "inside")} == {span["span_id"]}
    assert clew.current() == Context()


def test_a_generator_consumed_in_other_tasks_is_one_trace(emitted: Emitted) -> None:
    """An async generator whose every item is awaited in a task of its own, in other traces, is one span."""

    async def take(items: AsyncGenerator[int, Any]) -> int:
        with clew.span("consumer") as consumer:
            item = await anext(items)
            assert clew.current().span_id == consumer.span_id
            return item

    async def main() -> None:
        with clew.span("request"):
            items = async_numbers(2)
        for _ in range(2):
            await asyncio.create_task(take(items))
        with pytest.raises(StopAsyncIteration):
            await anext(items)

    asyncio.run(main())

    span, request = emitted.span("async_numbers"), emitted.span("request")
    assert span["parent_span_id"] == request["span_id"]
    assert {e["span_id"] for e in emitted("log", "inside")} == {span["span_id"]}
    assert {e["trace_id"] for e in emitted("span", "step")} == {request["trace_id"]}


def test_a_context_ends_with_its_block() -> None:
    """``trace_context`` puts ids in force for its block, keeps what it is not told, and puts the old ones back."""
    with clew.trace_context(user_id="user-1", request_id="r-1") as outer:
        with clew.trace_context(session_id="s-1") as inner:
            assert clew.current() is inner
        assert clew.current() is outer

    assert (inner.trace_id, inner.user_id, inner.request_id, inner.session_id) == (
        outer.trace_id,
        "user-1",
        "r-1",
        "s-1",
    )
    assert clew.current() == Context()
