"""What was raised, as an event tells it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

import clew
from clew.emit.failure import MAX_CAUSES, MAX_EXCEPTIONS, MAX_FRAMES, MAX_MEMBERS, describe_error, encode_error
from support.hostile import PanicException

if TYPE_CHECKING:
    from support.fix_events import Emitted


def test_an_error_is_described_with_its_frames_and_causes() -> None:
    """Type, message, and the frames of every link, innermost cause first."""
    try:
        try:
            {}["missing"]
        except KeyError as cause:
            raise clew.ClewError("cannot parse", hint="look") from cause
    except clew.ClewError as caught:
        told = encode_error(caught)

    assert (told["type"], told["message"]) == ("ClewError", "cannot parse; look")
    first, second = told["stack"].split("\n\ncaused\n\n")
    assert first.endswith("KeyError: 'missing'")
    assert second.endswith("clew.errors.ClewError: cannot parse; look")
    assert f'File "{__file__}", line ' in second
    assert second.splitlines()[0].endswith("in test_an_error_is_described_with_its_frames_and_causes")


def test_a_cause_that_was_disowned_is_left_out() -> None:
    """``raise … from None`` says that the context does not matter."""
    try:
        try:
            {}["missing"]
        except KeyError:
            raise ValueError("told") from None
    except ValueError as caught:
        told = encode_error(caught)

    assert "KeyError" not in told["stack"]


def test_chains_and_stacks_are_bounded() -> None:
    """A ring of causes ends, a chain is cut, a deep recursion keeps its ends."""
    ring = ValueError("a")
    ring.__cause__ = ValueError("b")
    ring.__cause__.__cause__ = ring
    chain = ValueError("0")
    for n in range(1, 20):
        link = ValueError(str(n))
        link.__cause__, chain = chain, link

    def recurse(n: int) -> None:
        if n:
            recurse(n - 1)
        raise ValueError(n)

    with pytest.raises(ValueError, match="0") as deep:
        recurse(300)

    assert encode_error(ring)["stack"].count("ValueError") == 2
    assert encode_error(chain)["stack"].count("ValueError") == MAX_CAUSES
    lines = encode_error(deep.value)["stack"].splitlines()
    assert len(lines) == MAX_FRAMES + 2
    assert "frames left out" in lines[MAX_FRAMES // 2]


def test_members_of_a_group_stand_beside_each_other_below_it() -> None:
    """A task group says how many failed; which and why is in what it holds, and none of them caused another."""
    told = encode_error(ExceptionGroup("two tasks", [ValueError("no chunk"), KeyError("model")]))

    assert (told["type"], told["message"]) == ("ExceptionGroup", "two tasks (2 sub-exceptions)")
    assert told["stack"].splitlines() == [
        "ExceptionGroup: two tasks (2 sub-exceptions)",
        "  +---------------- 1 ----------------",
        "  | ValueError: no chunk",
        "  +---------------- 2 ----------------",
        "  | KeyError: 'model'",
    ]


def test_groups_in_groups_and_causes_of_members_stand_where_they_belong() -> None:
    """Each member tells what caused it, a group in a group is further in, and a group's own cause stands before it."""
    member = ValueError("no chunk")
    member.__cause__ = OSError("no disk")
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [member]), TypeError("second")])
    group.__cause__ = RuntimeError("first of all")

    before, after = encode_error(group)["stack"].split("\n\ncaused\n\n")

    assert before == "RuntimeError: first of all"
    assert after.splitlines() == [
        "ExceptionGroup: outer (2 sub-exceptions)",
        "  +---------------- 1 ----------------",
        "  | ExceptionGroup: inner (1 sub-exception)",
        "  |   +---------------- 1 ----------------",
        "  |   | OSError: no disk",
        "  |   | ",
        "  |   | caused",
        "  |   | ",
        "  |   | ValueError: no chunk",
        "  +---------------- 2 ----------------",
        "  | TypeError: second",
    ]


def test_a_group_of_many_is_bounded_and_says_so() -> None:
    """Neither the members of one group nor groups in groups grow without end."""
    wide = encode_error(ExceptionGroup("wide", [ValueError(str(n)) for n in range(MAX_MEMBERS + 7)]))["stack"]
    deep: Exception = ValueError("bottom")
    for _ in range(200):
        deep = ExceptionGroup("deep", [deep])

    assert wide.count("ValueError") == MAX_MEMBERS
    assert wide.endswith("  +---- and 7 more ----")
    assert encode_error(deep)["stack"].count("ExceptionGroup") == MAX_EXCEPTIONS


def test_notes_stand_behind_the_exception_they_were_added_to() -> None:
    """``add_note`` is how libraries say what they were at."""
    error = ValueError("no chunk")
    error.add_note("while reading a.pdf")

    assert encode_error(error)["stack"] == "ValueError: no chunk\nwhile reading a.pdf"


def _hide(name: str, kind: type[BaseException]) -> type[Exception]:
    """Make a type of exceptions, one part of which raises when it is read."""

    def fail(self: Exception) -> Any:
        raise kind(name)

    return type(f"Hides_{name.strip('_')}", (Exception,), {name: fail if name == "__str__" else property(fail)})


@pytest.mark.parametrize("kind", [RuntimeError, GeneratorExit, asyncio.CancelledError, PanicException])
@pytest.mark.parametrize("part", ["__cause__", "__context__", "__traceback__", "__notes__", "__str__", "args"])
def test_an_exception_that_hides_a_part_of_itself_is_told_with_the_rest(
    emitted: Emitted, part: str, kind: type[BaseException]
) -> None:
    """The event is there, flagged, with the frames and causes that the interpreter knows."""
    try:
        try:
            {}["missing"]
        except KeyError as cause:
            if part == "__context__":
                raise _hide(part, kind)("told")  # noqa: B904 - the point of this part
            raise _hide(part, kind)("told") from cause
    except Exception:  # noqa: BLE001 - whatever it is
        clew.get_logger().exception("failed", kept=1)

    event = emitted.log("failed")
    assert event["context"] == {"kept": 1}
    assert "unreadable" in event["sanitized"]
    assert event["error"]["type"] == f"Hides_{part.strip('_')}"
    assert "KeyError: 'missing'\n\ncaused\n\n" in event["error"]["stack"]
    assert event["error"]["stack"].count(__file__) == 2
    if part != "__str__":
        assert event["error"]["message"] == "told"


@pytest.mark.parametrize("name", ["__suppress_context__", "__class__", "__bool__", "__len__", "__eq__", "__hash__"])
def test_what_is_not_needed_of_an_exception_is_not_asked(emitted: Emitted, name: str) -> None:
    """Parts that fail and are not told cost nothing."""

    def fail(*_: object) -> Any:
        raise PanicException

    body = property(fail) if name in {"__suppress_context__", "__class__"} else fail
    odd = type("Odd", (Exception,), {name: body})("told")
    odd.__cause__ = type("Cause", (ValueError,), {name: body})("no chunk")

    clew.get_logger().error("by name", error=odd)
    clew.get_logger().error("by habit", exc_info=odd)
    clew.get_logger().error("by tuple", exc_info=(type(odd), odd, None))
    with pytest.raises(odd.__class__ if name != "__class__" else Exception), clew.span("work"):
        raise odd

    for event in (*emitted("log"), emitted.span("work")):
        assert (event["error"]["type"], event["error"]["message"]) == ("Odd", "told")
        assert "Cause: no chunk\n\ncaused" in event["error"]["stack"]


def test_names_of_types_are_read_past_their_metaclass(emitted: Emitted) -> None:
    """A metaclass that fails hides no type."""

    def fail(_: object) -> Any:
        raise PanicException

    Meta = type("Meta", (type,), {"__name__": property(fail), "__module__": property(fail)})  # noqa: N806

    class Odd(Exception, metaclass=Meta):  # noqa: N818
        pass

    clew.get_logger().error("failed", error=Odd("told"))

    assert emitted.log("failed")["error"] == {
        "type": "Odd",
        "message": "told",
        "stack": "Odd: told",
    }


def test_a_traceback_that_is_none_of_the_interpreters_is_not_walked() -> None:
    """What claims to be one is left out."""

    class Odd(Exception):  # noqa: N818
        __traceback__ = 7  # pyright: ignore[reportAssignmentType]

    flags: set[str] = set()

    assert encode_error(Odd("told"), flags)["stack"].endswith("Odd: told")
    assert flags == {"unreadable"}
    assert not issubclass(int, TracebackType)


def _fail_in(file: str, message: str) -> ValueError:
    """Raise from code that says it is in *file*, and return what was raised."""
    caught: list[ValueError] = []
    code = compile(
        "try:\n    raise ValueError(message)\nexcept ValueError as error:\n    caught.append(error)", file, "exec"
    )
    exec(code, {"message": message, "caught": caught})
    return caught[0]


def test_a_frame_is_collected_until_it_is_known() -> None:
    """Messages and notes are to be searched each time, the names in frames once."""
    error = _fail_in("app.py", "no chunk")
    error.add_note("while reading a.pdf")

    first = describe_error(error, set(), ())
    again = describe_error(error, set(), first.frames)

    frame = '  File "app.py", line 2, in <module>'
    assert first.frames == {("app.py", "<module>")}
    assert first.texts == ["no chunk", "ValueError: no chunk", frame, "while reading a.pdf"]
    assert (again.frames, again.texts) == (set(), ["no chunk", "ValueError: no chunk", "while reading a.pdf"])
    assert first.error == again.error == encode_error(error)


def test_a_secret_in_the_name_of_a_file_is_taken_out_each_time(emitted: Emitted) -> None:
    """Code that was compiled under such a name is never taken for harmless."""
    for _ in range(2):
        clew.get_logger().error("failed", error=_fail_in("postgresql://app:hunter22@db/rag", "no chunk"))

    for event in emitted("log", "failed"):
        assert "hunter22" not in event["error"]["stack"]
        assert event["sanitized"] == ["redacted"]


def test_a_secret_in_a_message_is_taken_out_where_the_frames_are_known(emitted: Emitted) -> None:
    """The message stands in the event twice, and in a group once more, further in."""
    secret = "password=hunter2-and-more\napi_key=abcDEF123456"
    for message in ("no chunk", secret):
        error = _fail_in("app.py", message)
        clew.get_logger().error("failed", error=error)
        clew.get_logger().error("failed", error=ExceptionGroup("two", [error, KeyError("model")]))

    events = emitted("log", "failed")
    assert [event.get("sanitized") for event in events] == [None, None, ["redacted"], ["redacted"]]
    assert all("hunter2" not in str(event) and "abcDEF" not in str(event) for event in events)
    assert all('File "app.py", line 2, in <module>' in event["error"]["stack"] for event in events)
