"""Errors by the fault behind them: what counts as the same, and what is told of each."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from clew import get_logger, span, traceable
from clew.cli.main import run
from clew.emit.failure import encode_error
from clew.query import parse
from clew.store.postgres import fingerprints
from clew.store.postgres.connect import connect
from clew.store.postgres.fingerprints import FaultList, fetch_faults, fingerprint
from clew.store.postgres.reading import read
from clew.testing import CapturedEvents
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from support.fix_server import AskServer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
STACK = '  File "/srv/app/rag/serve.py", line 3, in ask\n  File "/srv/app/rag/llm.py", line 40, in call\nKeyError: x'


def error(type_: str = "KeyError", message: str = "x", stack: str = STACK) -> dict[str, Any]:
    """Make an error of the public format."""
    return {"type": type_, "message": message, "stack": stack}


@pytest.mark.parametrize(
    "other",
    [
        error(message="another"),
        error("builtins.KeyError"),
        error(stack=STACK.replace("40", "41")),
        error(stack=STACK.replace("/srv/app", "/opt/venv/lib/python3.12")),
        error(stack=STACK.replace("/", "\\")),
        error(stack=STACK.replace("KeyError: x", '  File "/srv/app/rag/llm.py", line 44, in call\nKeyError: y')),
        error(stack="Traceback (most recent call last):\n" + STACK.replace("in call", "in call\n    return call(x)")),
    ],
)
def test_the_same_fault_has_one_fingerprint(other: dict[str, Any]) -> None:
    """Neither message, line numbers, places of installation, recursion nor quoted source count."""
    assert fingerprint(other) == fingerprint(error())


@pytest.mark.parametrize(
    "other",
    [
        error("ValueError"),
        error(stack=STACK.replace("in call", "in send")),
        error(stack=STACK.replace("llm.py", "http.py")),
        error(stack=""),
    ],
)
def test_another_fault_has_another_fingerprint(other: dict[str, Any]) -> None:
    """Type, functions and files count."""
    assert fingerprint(other) != fingerprint(error())


def test_without_a_stack_the_message_counts_but_for_what_varies() -> None:
    """Numbers, ids and quoted values differ from one time to the next; words tell faults apart."""
    first = error(message="no chunk 'a b' in doc-17 after 3.5 s", stack="")

    assert fingerprint(first) == fingerprint(error(message='no chunk "c" in doc-4 after 12 s', stack=""))
    assert fingerprint(first) != fingerprint(error(message="no index 'a b' in doc-17 after 3.5 s", stack=""))


@pytest.mark.parametrize(
    "stack",
    [
        "TypeError: x\n    at call (/srv/app/dist/llm.js:10:5)\n    at async ask (/srv/app/dist/serve.js:3:1)",
        "java.io.IOException: x\n\tat org.app.Llm.call(Llm.java:10)\n\tat org.app.Serve.ask(Serve.java:3)",
    ],
)
def test_stacks_of_other_languages_are_read(stack: str) -> None:
    """JavaScript's and Java's frames count like Python's, without their lines."""
    told = fingerprint(error(stack=stack))

    assert told == fingerprint(error(stack=stack.replace("10", "99"), message="y"))
    assert told != fingerprint(error(stack=stack.replace("call", "send")))


@pytest.mark.parametrize(
    "stack",
    [
        "TypeError: x\n    at call (/srv/app/rag/llm.js:10:5)\n    at async ask (/srv/app/dist/serve.js:3:1)",
        STACK.replace("llm.py", "llm.js"),
    ],
)
def test_a_fault_is_where_it_was_raised(stack: str, postgres: str) -> None:
    """The innermost function is the first of JavaScript's frames, and the last of Python's."""
    store_events(postgres, make_event(NOON, error=error(stack=stack), level="ERROR"))

    assert [one.where for one in faults(postgres).errors] == ["rag/llm.js:call"]


def test_what_we_record_of_an_exception_has_frames() -> None:
    """The form in which an error is recorded is one that is read here."""

    def failing(text: str) -> None:
        raise ValueError(text)

    recorded = []
    for text in ("one", "two"):
        try:
            failing(text)
        except ValueError as raised:
            recorded.append(encode_error(raised))

    assert fingerprint(recorded[0]) == fingerprint(recorded[1])


@pytest.mark.parametrize("told", [{}, {"type": None, "stack": 5, "message": ["x"]}, {"stack": "\ud800"}])
def test_whatever_an_error_holds_it_has_a_fingerprint(told: dict[str, Any]) -> None:
    """Errors from elsewhere may lack anything."""
    assert len(fingerprint(told)) == 16


@pytest.fixture
def stored(postgres: str) -> str:
    """A store with three events of one fault in two traces, and one of another."""
    first, second = str(uuid4()), "550e8400-e29b-41d4-a716-446655440000"
    store_events(
        postgres,
        make_event(NOON, error=error(message="old"), trace_id=first, user_id="ann", version="1.4", level="ERROR"),
        make_event(NOON + timedelta(seconds=1), error=error(), trace_id=first, user_id="ann", version="1.5"),
        make_event(NOON + timedelta(seconds=2), error=error(message="new"), trace_id=second, user_id="bob"),
        make_event(NOON + timedelta(seconds=3), error=error("ReadTimeout\x1b[2J", stack=""), stage="retrieval"),
        make_event(NOON + timedelta(seconds=4), message="fine"),
    )
    return postgres


def test_an_exception_counts_once_however_many_spans_it_leaves(postgres: str) -> None:
    """It is logged inside, leaves two spans, and is logged again around them; a second attempt is a second error."""
    trace, outer, first, second = (str(uuid4()) for _ in range(4))
    inside = {"trace_id": trace, "level": "ERROR"}
    again = '  File "/srv/app/rag/retry.py", line 1, in attempt\n' + STACK
    store_events(
        postgres,
        make_event(NOON, **inside, error=error(), span_id=first),
        make_event(NOON, **inside, error=error(), kind="span", span_id=first, parent_span_id=outer),
        make_event(NOON, **inside, error=error(), kind="span", span_id=second, parent_span_id=outer),
        make_event(NOON, **inside, error=error(stack=again), span_id=outer),
        make_event(NOON, **inside, error=error(stack=again), kind="span", span_id=outer),
        make_event(NOON, error=error("OSError"), level="ERROR"),
        make_event(NOON, error=error("OSError"), level="ERROR"),
    )

    found = {one.type: (one.count, one.traces) for one in faults(postgres).errors}

    assert found == {"KeyError": (2, 1), "OSError": (2, 0)}


def faults(dsn: str, query: str = "", since: datetime = NOON) -> FaultList:
    """List the faults of the minute after *since*."""
    with connect(dsn, is_reader=True) as connection:
        return read(connection, fetch_faults(parse(query), since=since, until=since + timedelta(minutes=1)))


def test_a_fault_tells_how_often_since_when_and_where(stored: str) -> None:
    """Counts, the first and the last time, who was met, and the newest message and trace."""
    found = faults(stored)

    [often, once] = found.errors
    assert (often.type, often.message, often.where) == ("KeyError", "new", "rag/llm.py:call")
    assert (often.count, often.traces, often.users, often.versions) == (3, 2, 2, ["1.4", "1.5"])
    assert (often.first_seen, often.last_seen) == ("2026-11-23T12:00:00.000000Z", "2026-11-23T12:00:02.000000Z")
    assert often.trace_id == "550e8400-e29b-41d4-a716-446655440000"
    assert (once.count, once.traces, once.where, once.trace_id) == (1, 0, "", None)
    assert not found.is_truncated


def test_faults_are_narrowed_by_query_and_time(stored: str) -> None:
    """Only what fits is counted."""
    assert [one.count for one in faults(stored, "user:ann").errors] == [2]
    assert [one.count for one in faults(stored, since=NOON + timedelta(seconds=2)).errors] == [1, 1]


def test_more_errors_than_are_read_are_said(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of a part says so; the newest are counted."""
    monkeypatch.setattr(fingerprints, "MAX_EVENTS", 3)

    found = faults(stored)

    assert found.is_truncated
    assert sum(one.count for one in found.errors) == 3


def test_the_command_and_the_api_tell_the_same(
    stored: str, ask_server: AskServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON both give the list; people get lines that cannot steer their terminal."""
    span = ["--since", "2026-11-23T12:00:00Z", "--until", "2026-11-23T12:01:00Z", "--dsn", stored]

    code = run(["errors", *span, "--json"])
    told = json.loads(capsys.readouterr().out)
    run(["errors", *span])
    shown = capsys.readouterr().out
    answered = ask_server(stored, "/api/errors?since=2026-11-23T12:00:00Z&until=2026-11-23T12:01:00Z").json()

    assert code == 0
    assert told == answered
    assert "KeyError: new\n  in rag/llm.py:call\n  3 times in 2 traces, 2 users" in shown
    assert "\x1b" not in shown


def test_nothing_found_and_bad_usage_end_as_everywhere(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """1 when there is no error, 2 when it cannot be meant."""
    codes = [
        run(["errors", *more, "--dsn", stored])
        for more in (["user:zoe"], ["lewel:x"], ["--since", "1h", "--until", "2h"])
    ]

    assert codes == [1, 2, 2]
    assert capsys.readouterr().out == ""


def told_by(captured: CapturedEvents, dsn: str) -> list[tuple[str, int, int, int]]:
    """Store what was captured; tell of each fault its type and its counts."""
    told = [{**event, "timestamp": datetime.fromisoformat(event["timestamp"])} for event in captured.events]
    ended = [event for event in told if event["kind"] != "span_start"]
    store_events(dsn, *({**event, "event_id": uuid4()} for event in ended))
    with connect(dsn, is_reader=True) as connection:
        now = datetime.now(UTC) + timedelta(minutes=1)
        found = read(connection, fetch_faults(parse(""), since=now - timedelta(hours=1), until=now))
    return sorted((fault.type, fault.count, fault.events, fault.traces) for fault in found.errors)


def test_an_exception_counts_once_however_many_tell_of_it(postgres: str) -> None:
    """Each span that it ends tells of it, and whoever logs it; it was a fault for each of them."""

    @traceable(name="call")
    def call() -> None:
        reason = "no answer"
        raise TimeoutError(reason)

    @traceable(name="generate")
    def generate() -> None:
        try:
            call()
        except TimeoutError:
            get_logger().exception("generation_failed")
            raise

    with CapturedEvents() as captured:
        for _ in range(2):
            with suppress(TimeoutError), span("ask"):
                generate()

    assert told_by(captured, postgres) == [("TimeoutError", 2, 8, 2)]


def test_exceptions_of_one_trace_that_are_alike_count_each(postgres: str) -> None:
    """Three attempts are three, and the spans around the last one add nothing; so are attempts that are only logged."""

    @traceable(name="attempt")
    def attempt() -> None:
        reason = "no answer"
        raise TimeoutError(reason)

    def answer() -> None:
        for number in range(3):
            try:
                attempt()
            except TimeoutError:
                if number == 2:
                    raise

    def parse_all() -> None:
        for _ in range(4):
            try:
                int("x")
            except ValueError:
                get_logger().exception("not_parsed")

    with CapturedEvents() as captured, suppress(TimeoutError), span("ask"):
        parse_all()
        with span("answer"):
            answer()

    assert told_by(captured, postgres) == [("TimeoutError", 3, 5, 1), ("ValueError", 4, 4, 1)]


def test_what_caused_an_exception_is_no_fault_of_its_own_unless_it_is_told(postgres: str) -> None:
    """A chain is one fault for all spans that it passes; the cause, told further in, is another."""

    @traceable(name="read")
    def read_key() -> str:
        return {}["key"]

    @traceable(name="load")
    def load() -> None:
        try:
            read_key()
        except KeyError as error:
            reason = "no index"
            raise RuntimeError(reason) from error

    with CapturedEvents() as captured, suppress(RuntimeError), span("ask"):
        load()

    assert told_by(captured, postgres) == [("KeyError", 1, 1, 1), ("RuntimeError", 1, 2, 1)]


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [
        (
            "TypeError: x\n    at new Llm (file:///srv/a/llm.mjs:1:2)\n    at /srv/a/serve.js:3:1",
            "TypeError: y\n    at new Llm (file:///opt/a/llm.mjs:7:2)\n    at /opt/a/serve.js:9:4",
            "a/llm.mjs:Llm",
        ),
        (
            "panic: x\n\ngoroutine 1 [running]:\nmain.(*Llm).call(0xc000, {0x1})\n\t/srv/llm/main.go:12 +0x1d",
            "panic: y\n\ngoroutine 7 [running]:\nmain.(*Llm).call(0xd000, {0x2})\n\t/opt/llm/main.go:15 +0x2d",
            "llm/main.go:main.(*Llm).call",
        ),
        (
            "System.Exception: x\n   at App.Llm.Call(String a) in /src/app/Llm.cs:line 12",
            "System.Exception: y\n   at App.Llm.Call(String a) in C:\\src\\app\\Llm.cs:line 13",
            "app/Llm.cs:App.Llm.Call(String a)",
        ),
        (
            "java.lang.X: x\n\tat app.Serve$$Lambda$14/0x0000000800066840.run(Serve.java:3)",
            "java.lang.X: x\n\tat app.Serve$$Lambda$91/0x0000000800077840.run(Serve.java:3)",
            "Serve.java:app.Serve$$Lambda$.run",
        ),
        (
            '  + Exception Group Traceback (most recent call last):\n  |   File "/srv/a/x.py", line 3, in main',
            '  + Exception Group Traceback (most recent call last):\n  |   File "/opt/a/x.py", line 5, in main',
            "a/x.py:main",
        ),
        (
            '  File "/usr/lib/python3.12/threading.py", line 3, in run',
            '  File "/usr/lib/python3.13/threading.py", line 5, in run',
            "python/threading.py:run",
        ),
        ("/app/lib/llm.rb:12:in `call'\n/app/lib/x.rb:3:in 'ask'", "/opt/lib/llm.rb:13:in `call'\n/opt/lib/x.rb:9:in 'ask'", "lib/llm.rb:call"),
    ],
)  # fmt: skip
def test_places_and_addresses_do_not_count_in_any_language(postgres: str, first: str, second: str, where: str) -> None:
    """The same fault on another machine, in another release; and the innermost function is named."""
    store_events(
        postgres,
        make_event(NOON, error=error("E", "one", first), trace_id=str(uuid4())),
        make_event(NOON, error=error("E", "two", second), trace_id=str(uuid4())),
    )

    assert [(fault.count, fault.where) for fault in faults(postgres).errors] == [(2, where)]


def test_ids_and_paths_in_a_message_without_a_stack_do_not_count() -> None:
    """Neither an id of letters alone, nor an address, nor a file."""
    first = error(message="no abcdefab-cafe-4abc-8abc-abcdefabcdef in <Index at 0x7f01> of /srv/a/b.pdf", stack="")
    second = error(message="no deadbeef-feed-4abc-8abc-abcdefabcdea in <Index at 0x7f99> of /opt/x/c.pdf", stack="")

    assert fingerprint(first) == fingerprint(second)
