"""The logger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import clew
from clew.emit.logger import Logger, get_logger
from clew.event import LEVELS
from clew.testing import CapturedEvents

if TYPE_CHECKING:
    from support.fix_events import Emitted


@pytest.mark.parametrize("level", list(LEVELS))
def test_each_method_emits_its_level(emitted: Emitted, level: str) -> None:
    """``log.info`` emits INFO, and so on."""
    getattr(get_logger("rag.ingest"), level.lower())("told", n=1)

    event = emitted.log("told")
    assert (event["level"], event["logger"], event["context"]) == (level, "rag.ingest", {"n": 1})


def test_a_nameless_logger_says_no_name(emitted: Emitted) -> None:
    """The key is absent."""
    get_logger().info("told")

    assert "logger" not in emitted.log("told")


def test_events_carry_the_ids_in_force(emitted: Emitted) -> None:
    """Trace, span, user, request and session, without being told."""
    with clew.trace_context(user_id="u", request_id="r", session_id="s") as context, clew.span("work") as span:
        get_logger().info("told")

    event = emitted.log("told")
    assert (event["trace_id"], event["span_id"]) == (context.trace_id, span.span_id)
    assert (event["user_id"], event["request_id"], event["session_id"]) == ("u", "r", "s")
    assert "parent_span_id" not in event


@pytest.mark.parametrize("level", list(LEVELS))
def test_events_below_the_level_are_not_emitted(level: str) -> None:
    """The setting's level and all above it."""
    log = get_logger()

    with CapturedEvents(level=level) as captured:
        for name in LEVELS:
            getattr(log, name.lower())(name)

    assert [event["level"] for event in captured.logs()] == [name for name in LEVELS if LEVELS[name] >= LEVELS[level]]


def test_bound_fields_are_on_every_event_and_told_ones_win(emitted: Emitted) -> None:
    """Binding makes a new logger and leaves the old one alone."""
    log = get_logger("rag")
    bound = log.bind(document_id="d", n=1, tokens_in=5).bind(n=2)

    bound.info("bound")
    bound.info("told", n=3)
    log.info("bare")

    assert emitted.log("bound")["context"] == {"document_id": "d", "n": 2}
    assert emitted.log("bound")["metrics"] == {"tokens_in": 5}
    assert emitted.log("told")["context"]["n"] == 3
    assert emitted.log("bare")["context"] == {}
    assert repr(bound) == "Logger('rag', document_id='d', n=2, tokens_in=5)"
    assert repr(Logger()) == "Logger(None)"


def test_fields_may_be_called_what_the_event_calls_its_own(emitted: Emitted) -> None:
    """``message``, ``level``, ``self`` and the like are fields like any other."""
    get_logger().info("told", message="m", level="l", self="s", timestamp="t", trace_id="x", kind="k")

    event = emitted.log("told")
    assert event["context"] == {
        "message": "m", "level": "l", "self": "s", "timestamp": "t", "trace_id": "x", "kind": "k",
    }  # fmt: skip
    assert (event["level"], event["trace_id"]) == ("INFO", None)


def test_an_exception_is_attached_however_it_is_given(emitted: Emitted) -> None:
    """``error=``, ``exc_info=`` in all its forms, and ``exception`` in a handler."""
    log = get_logger()
    try:
        {}["missing"]
    except KeyError as error:
        log.error("1", error=error)  # noqa: TRY400
        log.error("2", exc_info=error)  # noqa: TRY400
        log.error("3", exc_info=True)  # noqa: G201
        log.error("4", exc_info=(KeyError, error, None))  # noqa: TRY400
        log.exception("5")
        log.error("6", error=error, exc_info=True)  # noqa: G201

    for message in "123456":
        event = emitted.log(message)
        assert (event["error"]["type"], event["error"]["message"]) == ("KeyError", "'missing'")
        assert "test_an_exception_is_attached" in event["error"]["stack"]
        assert (event["level"], event["context"]) == ("ERROR", {})


def test_without_an_exception_none_is_attached(emitted: Emitted) -> None:
    """Outside of a handler, or when ``error`` is a plain field."""
    log = get_logger()

    log.exception("1")  # noqa: LOG004
    log.error("2", exc_info=False)
    log.error("3", error="a text", exc_info=(None, None, None))

    assert all("error" not in emitted.log(message) for message in "123")
    assert emitted.log("3")["context"] == {"error": "a text"}


def test_what_is_logged_is_the_value_at_the_time_of_the_call(emitted: Emitted) -> None:
    """What the application changes later does not show."""
    hits = [{"rank": 1}]

    get_logger().info("told", hits=hits)
    hits[0]["rank"] = 9

    assert emitted.log("told")["context"] == {"hits": [{"rank": 1}]}
