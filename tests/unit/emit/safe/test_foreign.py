"""Code that values bring along is run without harm."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import clew.testing
from clew.emit.process import guarded
from clew.emit.safe.foreign import STOPS, UNREADABLE, attempt, describe, name_of, text_of
from support.hostile import PanicException, values_that_raise

RAISED = [RuntimeError, BaseException, GeneratorExit, asyncio.CancelledError, PanicException, StopIteration]


def _raise(kind: type[BaseException]) -> Any:
    raise kind


@pytest.mark.parametrize("kind", RAISED)
def test_what_foreign_code_raises_goes_no_further(kind: type[BaseException]) -> None:
    """Exception or not, it becomes a mark."""
    assert attempt(_raise, kind) is UNREADABLE
    assert describe(lambda _: _raise(kind), 1) is None
    with guarded():
        _raise(kind)


@pytest.mark.parametrize("kind", STOPS)
def test_who_asks_the_process_to_end_is_heard(kind: type[BaseException]) -> None:
    """Ctrl-C and ``sys.exit`` pass, wherever they come."""
    with pytest.raises(kind):
        attempt(_raise, kind)
    with pytest.raises(kind), guarded():
        _raise(kind)
    assert describe(repr, 1) == "1"  # and nothing of it is left behind


@pytest.mark.parametrize("what", list(values_that_raise(PanicException)))
def test_any_value_has_a_text_and_any_type_a_name(what: str) -> None:
    """Whatever their code does."""
    value = values_that_raise(PanicException)[what]

    assert type(text_of(value)) is str
    assert type(name_of(type(value))) is str


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("what", list(values_that_raise(PanicException)))
def test_nothing_that_is_told_raises_and_every_event_arrives(kind: type[BaseException], what: str) -> None:
    """Each value in each place of the public surface where the application hands one over."""
    value: Any = values_that_raise(kind)[what]
    odd: Any = values_that_raise(kind)[what]

    def fail(_: object) -> Any:
        raise kind

    @clew.traceable(process_inputs=fail, process_outputs=fail, metadata={"m": value}, tags=[value])
    def hooked(argument: Any) -> Any:
        return argument

    @clew.traceable(tags=value, metadata=value, name=value, run_type=odd)
    def stream(argument: Any) -> Any:
        yield argument
        yield value

    with clew.testing.CapturedEvents() as captured:
        log = clew.get_logger(value).bind(bound=value)
        log.info("field", value=value, inside=[{"a": value}], cost_usd=value, metrics={"m": value}, kept=1)
        log.info("%s and %r", value, value, kept=1)
        log.info("%(a)s", {"a": value}, kept=1)
        log.info(value, value, kept=1)
        log.log(value, "level", kept=1)
        log.error("error", error=value, exc_info=value, stack_info=value, stacklevel=value, extra=value, kept=1)
        with clew.trace_context(trace_id=value, user_id=value, request_id=value, session_id=value):
            with clew.span(value, run_type=odd, stage=odd, inputs=value, tags=value, metadata=value, kept=1) as work:
                work.set(value=value, cost_usd=value, metrics={"m": value})
                work.set_outputs({"a": value})
                work.rename(value)
            assert hooked(value) is value
            assert [item is value for item in stream(value)] == [True, True]
            assert hooked(value, langsmith_extra={"name": value, "tags": value, "metadata": value}) is value

    events = captured.events
    assert len([event for event in events if event["kind"] == "log"]) == 6
    assert all(event["context"]["kept"] == 1 for event in events if event["kind"] == "log")
    assert len(captured.spans()) == 4


@pytest.mark.parametrize("kind", [GeneratorExit, PanicException])
def test_what_could_not_be_read_is_flagged(kind: type[BaseException]) -> None:
    """An event of which something is missing says so; a hook that fails is recorded by its name."""

    def fail(_: object) -> Any:
        raise kind

    with clew.testing.CapturedEvents() as captured:
        clew.get_logger().info("field", value=values_that_raise(kind)["repr"])
        clew.get_logger().info("record", value=values_that_raise(kind)["dataclass"])
        clew.get_logger().info("half", value=values_that_raise(kind)["sequence iterator"])
        clew.traceable(process_outputs=fail, name="hooked")(len)("abc")

    (field,), (record,), (half,) = captured.logs("field"), captured.logs("record"), captured.logs("half")
    (span,) = captured.spans()
    assert [event["sanitized"] for event in (field, record, half, span)] == [
        ["repr", "unreadable"],
        ["unreadable"],
        ["unreadable"],
        ["unreadable"],
    ]
    assert field["context"] == {"value": "<Odd object>"}
    assert record["context"] == {"value": {"kept": 1, "field": "<cannot be read>"}}
    assert half["context"] == {"value": [1]}
    assert span["context"]["outputs"] == {"not_recorded": f"fail failed: {kind.__name__}"}


def test_the_applications_own_cancellation_passes_through_a_span() -> None:
    """A task that is cancelled inside a span is cancelled, and the span says so."""

    async def main() -> bool:
        async def work() -> None:
            with clew.span("work"):
                await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    with clew.testing.CapturedEvents() as captured:
        assert asyncio.run(main())

    assert captured.spans("work")[0]["status"] == "cancelled"
