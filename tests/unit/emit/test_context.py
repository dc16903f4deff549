"""The ids in force, and the headers that carry them."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.emit.context import (
    MAX_OPAQUE_ID_CHARS,
    Context,
    current,
    enter,
    from_headers,
    leave,
    left,
    mint_id,
    opaque_id,
    to_headers,
    trace_context,
)

if TYPE_CHECKING:
    from collections.abc import Generator

TRACE = "550e8400-e29b-41d4-a716-446655440000"
DIGITS = TRACE.replace("-", "")
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{DIGITS}-{SPAN}-01"
RUN = "20261123T101530123456Z"


def test_nothing_is_in_force_at_first() -> None:
    """Outside of any block all ids are None."""
    assert current() == Context()


def test_a_block_begins_a_trace_and_ends_with_it() -> None:
    """Without a trace around it, it mints one; behind it there is none again."""
    with trace_context(user_id="u", request_id="r", session_id="s") as context:
        assert current() is context
        assert (context.user_id, context.request_id, context.session_id) == ("u", "r", "s")
        assert UUID(context.trace_id).version == 7

    assert current() == Context()


def test_an_inner_block_keeps_what_it_is_not_told() -> None:
    """It stays in the trace and changes one id; another trace id begins at no span."""
    with trace_context(trace_id=TRACE, user_id="u", parent_span_id=SPAN) as outer:
        with trace_context(session_id="s") as inner:
            assert inner == Context(TRACE, outer.span_id, "u", None, "s")
        with trace_context(parent_span_id=TRACE) as inner:
            assert (inner.trace_id, inner.span_id) == (TRACE, TRACE)
        with trace_context(trace_id="1" * 32) as other:
            assert (other.trace_id, other.span_id, other.user_id) == (str(UUID("1" * 32)), None, "u")
        assert current() is outer


@pytest.mark.parametrize("malformed", ["", "x", "0" * 32, "zz" * 16, 5, b"\x00"])
def test_malformed_ids_are_ignored(malformed: Any) -> None:
    """A block with a malformed trace id or parent begins a trace of its own."""
    with trace_context(trace_id=malformed, parent_span_id=malformed) as context:
        assert UUID(context.trace_id).version == 7
        assert context.span_id is None


def test_a_block_ends_whatever_happens_in_it() -> None:
    """An exception passes through and the ids are put back."""
    with pytest.raises(KeyError), trace_context():
        raise KeyError

    assert current() == Context()


def test_a_block_can_be_used_again_and_inside_itself() -> None:
    """One configured block, entered twice at once."""
    block = trace_context(user_id="u")

    with block, block() as inner:
        assert inner.user_id == "u"

    assert current() == Context()


def test_a_block_works_in_async_with() -> None:
    """It lasts over awaits, and tasks inside inherit it."""

    async def main() -> tuple[Context, Context]:
        async with trace_context(user_id="u") as context:
            await asyncio.sleep(0)
            return context, await asyncio.create_task(now())

    async def now() -> Context:
        return current()

    context, inherited = asyncio.run(main())
    assert inherited is context


def test_leaving_leaves_another_context_alone() -> None:
    """What ends before what it holds moves that nowhere, and is not in force again after it."""
    outer = current()
    mine = enter(Context(user_id="mine"))
    other = enter(Context(user_id="other"))

    leave(mine)
    between = current()
    leave(other)

    assert (between.user_id, current()) == ("other", outer)
    leave(other)  # once more changes nothing
    assert current() is outer


@pytest.mark.parametrize("where", ["a task", "a thread", "a copied context"])
def test_what_is_left_elsewhere_is_in_force_nowhere(where: str) -> None:
    """Whoever still has it in force gets what was in force around it; blocks inside it that were left as well, too."""
    outer = enter(Context(user_id="outer"))
    inner = enter(Context(user_id="inner"))
    innermost = enter(Context(user_id="innermost"))

    def leave_both() -> None:
        leave(innermost)
        leave(inner)

    async def main() -> None:
        leave_both()

    if where == "a task":
        asyncio.run(main())
    elif where == "a thread":
        with ThreadPoolExecutor(1) as pool:
            pool.submit(leave_both).result()
    else:
        copy_context().run(leave_both)

    assert current().user_id == "outer"
    leave(outer)
    assert current() == Context()


def test_nothing_is_remembered_of_contexts_that_are_gone() -> None:
    """What was left elsewhere is forgotten with the last one who could find it in force."""

    def hold() -> Generator[None]:
        with trace_context(user_id="held"):
            yield

    def cut_short() -> None:
        holding = hold()
        copy_context().run(next, holding)
        holding.close()

    for _ in range(100):
        cut_short()
    gc.collect()

    assert not left


def test_tasks_that_share_a_block_each_leave_their_own() -> None:
    """One configured block, in two tasks that take turns, gives neither of them the other's ids."""
    block = trace_context(user_id="u")

    async def work(mine: str, steps: int) -> tuple[str | None, str | None]:
        with trace_context(session_id=mine):
            with block:
                for _ in range(steps):
                    await asyncio.sleep(0)
                inside = current().session_id
            return inside, current().user_id

    async def main() -> list[tuple[str | None, str | None]]:
        return await asyncio.gather(work("a", 1), work("b", 3), work("c", 2))

    assert asyncio.run(main()) == [("a", None), ("b", None), ("c", None)]


class _Mute:
    """An id whose own code fails."""

    def __str__(self) -> str:
        raise GeneratorExit


def test_hostile_ids_are_ignored_and_odd_ones_taken_by_their_text() -> None:
    """No id that a block is given raises, whatever it is."""
    mute: Any = _Mute()
    odd: Any = 7

    with trace_context(trace_id=mute, user_id=mute, request_id=odd, session_id="\0\ud800", parent_span_id=mute) as ids:
        assert (ids.user_id, ids.request_id, ids.session_id, ids.span_id) == (None, "7", "\0\ud800", None)
        assert ids.trace_id is not None


def test_minted_ids_are_uuids_of_version_seven() -> None:
    """Each is another one."""
    assert UUID(mint_id()).version == 7
    assert mint_id() != mint_id()


@pytest.mark.parametrize(
    ("headers", "trace_id", "span_id"),
    [
        ({"traceparent": PARENT}, TRACE, f"00000000-0000-0000-00f0-{SPAN[4:]}"),
        ({"traceparent": f" {PARENT} "}, TRACE, f"00000000-0000-0000-00f0-{SPAN[4:]}"),
        ({"traceparent": "01" + PARENT[2:] + "-more"}, TRACE, f"00000000-0000-0000-00f0-{SPAN[4:]}"),
        ({"traceparent": PARENT + "-more"}, None, None),
        ({"traceparent": "ff" + PARENT[2:]}, None, None),
        ({"traceparent": PARENT.upper()}, None, None),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, None, None),
        ({"traceparent": f"00-{DIGITS}-{'0' * 16}-01"}, None, None),
        ({"traceparent": "nonsense"}, None, None),
        ({"x-trace-id": TRACE}, TRACE, None),
        ({"x-trace-id": f" {DIGITS.upper()} "}, TRACE, None),
        ({"x-trace-id": "abc"}, None, None),
        ({"langsmith-trace": f"{RUN}{TRACE}.{RUN}{TRACE[:-1]}1"}, TRACE, f"{TRACE[:-1]}1"),
        ({"langsmith-trace": f"{RUN}{TRACE}."}, None, None),
        ({"langsmith-trace": f"{RUN}{TRACE}." * 1000}, None, None),
        ({"traceparent": "bad", "x-trace-id": TRACE}, TRACE, None),
        ({"traceparent": PARENT, "x-trace-id": "1" * 32}, TRACE, f"00000000-0000-0000-00f0-{SPAN[4:]}"),
        ({}, None, None),
    ],
)
def test_headers_are_read_in_their_order(headers: dict[str, str], trace_id: str | None, span_id: str | None) -> None:
    """``traceparent``, then ``langsmith-trace``, then ``x-trace-id``; what is malformed is ignored."""
    context = from_headers(headers)

    assert (context.trace_id, context.span_id) == (trace_id, span_id)


@given(st.dictionaries(st.sampled_from(["traceparent", "x-trace-id", "x-request-id", "langsmith-trace"]), st.text()))
def test_no_header_ever_fails(headers: dict[str, str]) -> None:
    """Strangers may send what they like."""
    request_id = from_headers(headers).request_id

    assert request_id is None or (request_id.isprintable() and request_id.isascii())


@given(st.uuids().filter(lambda value: value.int), st.uuids().filter(lambda value: value.int & (2**64 - 1)))
def test_what_is_sent_is_received(trace: UUID, span: UUID) -> None:
    """The other service joins the trace; of the span it knows the low 64 bits."""
    received = from_headers(to_headers(Context(str(trace), str(span), request_id="r-1")))

    assert received.trace_id == str(trace)
    assert UUID(received.span_id).int == span.int & (2**64 - 1)
    assert received.request_id == "r-1"


def test_outside_of_a_trace_nothing_is_sent() -> None:
    """No ids, no headers."""
    assert to_headers(Context()) == {}
    assert to_headers(Context(trace_id=TRACE)) == {"x-trace-id": TRACE}


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [(None, None), ("", None), ("\n\0é", None), (" a\nb ", "ab"), ("x" * 9999, "x" * MAX_OPAQUE_ID_CHARS)],
)
def test_an_opaque_id_is_printable_and_short(text: str | None, cleaned: str | None) -> None:
    """It goes into headers and logs, so nothing else may be in it."""
    assert opaque_id(text) == cleaned
