"""What people know from ``logging``."""

from __future__ import annotations

import logging
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET

import clew.testing
from clew.emit.context import Context
from clew.emit.habits import format_message, level_of
from clew.emit.record import Head, Limits, Origin, encode_event
from clew.emit.redact import Redactor
from clew.testing import CapturedEvents
from support.hostile import Broken, PanicException, values_that_raise

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.fix_events import Emitted


@pytest.mark.parametrize(
    ("template", "args"),
    [
        ("read %d of %s", (3, "a.pdf")),
        ("%s", ("only",)),
        ("%r and %5.1f %%", ("a", 0.25)),
        ("%(file)s: %(pages)d pages", ({"file": "a.pdf", "pages": 3},)),
        ("%s", ({"a": 1},)),
        ("%s", ({},)),
        ("%s %s", ([1, 2], (3, 4))),
        ("%x", (255,)),
        ("%s", (Decimal("0.10"),)),
        ("%s and %s", (None, True)),
        ("%s", (("a", "b"),)),
    ],
)
def test_a_message_is_what_logging_makes_of_it(template: str, args: tuple[Any, ...], emitted: Emitted) -> None:
    """The same text, and the template beside it."""
    expected = logging.LogRecord("x", 20, "x", 1, template, args, None).getMessage()

    clew.get_logger().info(template, *args, kept=1)

    (event,) = emitted("log")
    assert event["message"] == expected
    assert event["context"] == {"message_template": template, "kept": 1}
    assert "sanitized" not in event


@pytest.mark.parametrize(
    ("template", "args"),
    [
        ("read %d of %s", (3,)),
        ("read %d", (3, "a.pdf")),
        ("read", (3,)),
        ("read %d", ("many",)),
        ("read 100% of %s", ("a.pdf",)),
        ("read %", ("a.pdf",)),
        ("%(file)s", ({"name": "a.pdf"},)),
        ("%(file)s", ("a.pdf",)),
        ("told in a dict", ({"pages": 3},)),
        ("%y", (1,)),
    ],
)
def test_a_message_that_does_not_fit_its_arguments_is_kept_beside_them(
    template: str, args: tuple[Any, ...], emitted: Emitted
) -> None:
    """Nothing is raised, nothing is lost, and the event says so."""
    clew.get_logger().info(template, *args, kept=1)

    (event,) = emitted("log")
    assert event["message"] == template
    assert event["context"] == {"message_args": list(args), "kept": 1}
    assert event["sanitized"] == ["format"]


def test_a_message_without_arguments_stays_as_it_is(emitted: Emitted) -> None:
    """A per cent sign in it is one."""
    clew.get_logger().info("100 % of %s %(x)s")

    assert emitted.log("100 % of %s %(x)s")["context"] == {}


def test_an_argument_that_fails_leaves_the_others_their_places(emitted: Emitted) -> None:
    """The message is put together from what can be read."""
    log = clew.get_logger()

    log.info("%s of %s", Broken(), "a.pdf")
    log.info("%(what)s of %(file)s", {"what": Broken(), "file": "a.pdf"})
    log.info("%s of %s", values_that_raise(PanicException)["exception"], 3)

    first, second, third = emitted("log")
    assert first["message"] == second["message"] == "<Broken object> of a.pdf"
    assert third["message"] == "<Odd whose message cannot be read> of 3"
    assert [event["sanitized"] for event in (first, second, third)] == [["unreadable"]] * 3


def test_an_argument_that_logs_itself_does_not_recurse(emitted: Emitted) -> None:
    """One event from outside, one from inside."""
    log = clew.get_logger()

    class Chatty:
        def __str__(self) -> str:
            log.info("inner %s", self)
            return "chatty"

    log.info("outer %s", Chatty())

    assert [event["message"] for event in emitted("log")] == ["inner <Chatty object>", "outer chatty"]


def test_secrets_are_looked_for_in_the_whole_message() -> None:
    """Also where one half of it is in the template, and the other in the arguments."""
    with CapturedEvents() as captured:
        clew.get_logger().info("password=%s was refused", "hunter2")

    (event,) = captured.logs()
    assert "hunter2" not in str(event)
    assert event["message"].endswith(" was refused")


def test_a_message_that_is_not_emitted_is_not_put_together() -> None:
    """Arguments of a level that is off are not asked for their texts."""
    with CapturedEvents(level="INFO") as captured:
        clew.get_logger().debug("%s", values_that_raise(KeyboardInterrupt)["repr"])

    assert captured.logs() == []


def test_what_a_caller_tells_as_the_template_wins(emitted: Emitted) -> None:
    """As with every field."""
    clew.get_logger().info("%s", 1, message_template="mine")

    assert emitted.log("1")["context"] == {"message_template": "mine"}


@pytest.mark.parametrize(
    ("told", "level", "fields"),
    [
        (10, "DEBUG", {}),
        (20, "INFO", {}),
        (logging.WARNING, "WARNING", {}),
        (40, "ERROR", {}),
        (logging.FATAL, "CRITICAL", {}),
        (25, "INFO", {"level_given": 25}),
        (5, "DEBUG", {"level_given": 5}),
        (0, "DEBUG", {"level_given": 0}),
        (-7, "DEBUG", {"level_given": -7}),
        (10**30, "CRITICAL", {"level_given": 10**30}),
        ("INFO", "INFO", {}),
        ("error", "ERROR", {}),
        (" Warn ", "WARNING", {}),
        ("fatal", "CRITICAL", {}),
        ("trace", "DEBUG", {"level_given": "trace"}),
        ("SHOUT", "INFO", {"level_given": "SHOUT"}),
        ("AUDIT", "WARNING", {"level_given": "AUDIT"}),
        (None, "INFO", {"level_given": "None"}),
        (2.5, "INFO", {"level_given": "2.5"}),
    ],
)
def test_a_level_is_found_by_its_number_or_its_name(told: Any, level: str, fields: dict[str, Any]) -> None:
    """What is no level of ours is told beside the one that it became."""
    logging.addLevelName(35, "AUDIT")

    assert level_of(told) == (level, fields)


def test_log_emits_at_the_level_it_is_told(emitted: Emitted) -> None:
    """With arguments, by number and by name."""
    log = clew.get_logger()

    log.log(logging.ERROR, "%d pages", 3)
    log.log("warning", "told", n=1)
    log.log(15, "told", level_given="mine")

    assert [(event["level"], event["message"]) for event in emitted("log")] == [
        ("ERROR", "3 pages"),
        ("WARNING", "told"),
        ("DEBUG", "told"),
    ]
    assert emitted("log")[2]["context"] == {"level_given": "mine"}


def test_extra_are_fields_and_told_ones_win(emitted: Emitted) -> None:
    """As with ``logging``, without its ban of names; metrics among them are metrics."""
    log = clew.get_logger()

    log.info("told", extra={"n": 1, "tokens_in": 5, "source": "m", 7: "odd"}, n=2)
    log.info("proxied", extra=MappingProxyType({"n": 1}))
    log.info("none", extra=None)
    log.info("text", extra="not a mapping")

    assert emitted.log("told")["context"] == {"n": 2, "source": "m", "7": "odd"}
    assert emitted.log("told")["metrics"] == {"tokens_in": 5}
    assert emitted.log("proxied")["context"] == {"n": 1}
    assert emitted.log("none")["context"] == {}
    assert emitted.log("text")["context"] == {"extra": "not a mapping"}


def test_a_secret_in_extra_is_one(emitted: Emitted) -> None:
    """Names are judged wherever they stand."""
    for _ in range(3):
        clew.get_logger().info("told", extra={"password": "hunter2"})

    assert [event["context"] for event in emitted("log")] == [{"password": "[redacted]"}] * 3


def _call(emit: Callable[[], None]) -> None:
    emit()


def test_stack_info_tells_the_way_to_the_call(emitted: Emitted) -> None:
    """Innermost last, as a traceback is; ``stacklevel`` leaves the last frames out."""
    log = clew.get_logger()

    _call(lambda: log.info("whole", stack_info=True))
    _call(lambda: log.info("higher", stack_info=True, stacklevel=2))
    _call(lambda: log.info("unwanted", stack_info=False, stacklevel=3))
    _call(lambda: log.info("told", stack_info="mine", stacklevel="mine"))

    whole, higher = (emitted.log(message)["context"]["stack_info"].splitlines() for message in ("whole", "higher"))
    assert whole[-1].endswith("in test_stack_info_tells_the_way_to_the_call.<locals>.<lambda>")
    assert f'File "{__file__}"' in whole[-1]
    assert higher[-1].endswith("in _call")
    assert emitted.log("unwanted")["context"] == {}
    assert emitted.log("told")["context"] == {"stack_info": "mine", "stacklevel": "mine"}


def test_what_others_tell_is_not_read_as_a_habit() -> None:
    """A span's field of such a name is a field."""
    head = Head(clew.testing.START, "span", "INFO", "told")
    payload = encode_event(
        head, {"extra": {"n": 1}}, None, Context(), Origin("s", UNSET, UNSET),
        Limits(Redactor(), 1000, 8000),
    )  # fmt: skip

    assert b'"context":{"extra":{"n":1}}' in payload


def test_formatting_returns_what_was_told() -> None:
    """The parts by themselves."""
    assert format_message("a", (1,)) == ("a", {"message_args": [1]}, ("format",))
    assert format_message(b"a %s", (1,)) == ("b'a 1'", {"message_template": "b'a %s'"}, ())
