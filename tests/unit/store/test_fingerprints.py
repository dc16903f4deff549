"""Errors by the fault behind them: what counts as the same, and what is told of each."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from clew.cli.main import run
from clew.query import parse
from clew.record import encode_error
from clew.store import fingerprints
from clew.store.connect import connect
from clew.store.fingerprints import FaultList, fetch_faults, fingerprint
from clew.store.reading import read
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
    again = STACK.replace("ask\n", 'ask\n  File "/srv/app/rag/retry.py", line 1, in attempt\n')
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
