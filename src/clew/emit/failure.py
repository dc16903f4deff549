"""What was raised, as an event reports it: its type, its message, and the frames it went through.

An exception is written as Python prints it, what caused it before it. Members of a group are beside each
other, below the group, each with the causes of its own::

      File "app.py", line 3, in answer
    ExceptionGroup: two tasks (2 sub-exceptions)
      +---------------- 1 ----------------
      |   File "app.py", line 9, in fetch
      | ValueError: no chunk
      +---------------- 2 ----------------
      | KeyError: 'model'

The frames are walked, not formatted: ``traceback.format_exception`` reads source files and takes 250 µs for
nine frames, this a few.

Exceptions have code of their own, too. Where one hides a part of itself behind a property that fails, what
the interpreter knows of it is reported.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from clew.emit.safe.foreign import STOPS, UNREADABLE, name_of
from clew.emit.sanitize import message_of

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["MAX_CAUSES", "MAX_FRAMES", "MAX_MEMBERS", "Described", "describe_error", "encode_error"]

MAX_CAUSES: Final = 5  # of a chain
MAX_MEMBERS: Final = 15  # of a group; as many as Python prints
MAX_EXCEPTIONS: Final = 40  # of an event
MAX_FRAMES: Final = 50
MAX_NOTES: Final = 20


class Described(NamedTuple):
    """What was raised, and which of its texts are to be searched for secrets.

    Attributes:
        error: As ``encode_error`` returns it.
        texts: All of it but the frames that are known to be harmless.
        frames: File and function of each frame that is not known yet, and is among the texts.
    """

    error: dict[str, Any]
    texts: list[str]
    frames: set[tuple[str, str]]


def encode_error(error: BaseException, flags: set[str] | None = None) -> dict[str, Any]:
    """Describe what was raised.

    Args:
        error: The exception.
        flags: ``"unreadable"`` is added to it if some of that could not be read.

    Returns:
        ``{"type": name, "message": text, "stack": one frame a line, innermost last}``; causes
        stand before what they caused, as Python prints them, and the exceptions of a group below it.

    Example:
        >>> encode_error(ValueError("no chunk"))
        {'type': 'ValueError', 'message': 'no chunk', 'stack': 'ValueError: no chunk'}
    """
    return describe_error(error, set() if flags is None else flags, ()).error


def describe_error(error: BaseException, flags: set[str], known: Container[tuple[str, str]]) -> Described:
    """Do the same, and collect what is to be searched.

    A frame is nothing but code: its file and its function. Where these have been searched once, the same frame
    need not be searched again, and most of a stack is frames.

    Args:
        error: The exception.
        flags: ``"unreadable"`` is added to it if some of that could not be read.
        known: File and function of frames in which nothing is secret.
    """
    description = _Description(flags, known)
    stack = description.chain(error)
    described = {"type": name_of(type(error)), "message": description.message, "stack": stack}
    return Described(described, description.texts, description.frames)


class _Description:
    """One event's account of an exception: what it has reported already, and what could not be read."""

    __slots__ = ("_flags", "_known", "_seen", "frames", "message", "texts")

    def __init__(self, flags: set[str], known: Container[tuple[str, str]]) -> None:
        self.message = ""
        self.texts: list[str] = []
        self.frames: set[tuple[str, str]] = set()
        self._flags = flags
        self._known = known
        self._seen: set[int] = set()

    def chain(self, error: BaseException) -> str:
        """Describe an exception and what caused it, the first cause first."""
        parts: list[str] = []
        link: BaseException | None = error
        seen = self._seen
        while link is not None and len(parts) < MAX_CAUSES and len(seen) < MAX_EXCEPTIONS and id(link) not in seen:
            seen.add(id(link))
            trace, cause, context, notes = self._parts(link)
            parts.append(self._one(link, trace, notes))
            if cause is None and context is not None and not _suppresses_context(link):
                cause = context
            link = cause
        if len(parts) == 1:
            return parts[0]
        parts.reverse()
        return "\n\ncaused\n\n".join(parts)

    def _parts(
        self, error: BaseException
    ) -> tuple[TracebackType | None, BaseException | None, BaseException | None, object]:
        """Return (traceback, cause, context, notes) of an exception; where its code fails, ask the interpreter."""
        notes: object = UNREADABLE
        try:
            notes = getattr(error, "__notes__", None)
            trace, cause, context, _ = error.__traceback__, error.__cause__, error.__context__, error.args
        except STOPS:
            raise
        except BaseException:  # noqa: BLE001 - foreign code, run inside a call that promised never to raise
            trace = cause = context = UNREADABLE
        if (
            (trace is None or type(trace) is TracebackType)
            and (cause is None or issubclass(type(cause), BaseException))
            and (context is None or issubclass(type(context), BaseException))
        ):
            return trace, cause, context, notes  # pyright: ignore[reportReturnType]
        self._flags.add("unreadable")
        trace, cause, context = (read(error) for read in _read_parts)
        return trace, cause, context, notes

    def _one(self, error: BaseException, trace: TracebackType | None, notes: object) -> str:
        kind = type(error)
        message = message_of(error, self._flags)
        said = f"{_qualified_name(kind)}: {message}"
        if len(self._seen) == 1:
            self.message = message
            self.texts.append(message)  # as it stands in its own field, without the type before it
        self.texts.append(said)
        lines = self._frames(trace)
        lines.append(said)
        if notes is not None:
            lines += self._notes(notes)
        if issubclass(kind, BaseExceptionGroup):
            lines += self._members(error)
        return "\n".join(lines)

    def _frames(self, trace: TracebackType | None) -> list[str]:
        lines: list[str] = []
        known = self._known
        while trace is not None and len(lines) < MAX_FRAMES:
            code = trace.tb_frame.f_code
            name = file, function = code.co_filename, code.co_qualname
            line = f'  File "{file}", line {trace.tb_lineno}, in {function}'
            lines.append(line)
            if name not in known:
                self.frames.add(name)
                self.texts.append(line)
            trace = trace.tb_next
        return lines if trace is None else self._shortened(lines, trace)

    def _shortened(self, lines: list[str], trace: TracebackType | None) -> list[str]:
        """Keep the first and the last of more frames than are reported; *trace* comes behind *lines*."""
        half = MAX_FRAMES // 2
        last: deque[TracebackType] = deque(maxlen=half)
        count = len(lines)
        while trace is not None:
            last.append(trace)
            count += 1
            trace = trace.tb_next
        end = (lines + self._frames(last[0]))[-half:]
        return [*lines[:half], f"  … {count - 2 * half} frames left out …", *end]

    def _notes(self, notes: object) -> list[str]:
        if type(notes) is not list:
            self._flags.add("unreadable")
            return []
        some = cast("list[object]", notes)[:MAX_NOTES]
        lines = [note if type(note) is str else repr(UNREADABLE) for note in some]
        self.texts += lines
        return lines

    def _members(self, group: BaseException) -> list[str]:
        members: tuple[BaseException, ...] = BaseExceptionGroup.__dict__["exceptions"].__get__(group)
        lines: list[str] = []
        for number, member in enumerate(members[:MAX_MEMBERS], 1):
            text = self.chain(member)
            if text:
                lines.append(f"  +---------------- {number} ----------------")
                lines += [f"  | {line}" for line in text.split("\n")]
        if len(members) > MAX_MEMBERS:
            lines.append(f"  +---- and {len(members) - MAX_MEMBERS} more ----")
        return lines


_suppresses_context = BaseException.__dict__["__suppress_context__"].__get__
_read_parts: Final = [BaseException.__dict__[name].__get__ for name in ("__traceback__", "__cause__", "__context__")]


def _qualified_name(kind: type[BaseException]) -> str:
    try:
        module, name = kind.__module__, kind.__qualname__
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - a metaclass
        return name_of(kind)
    if type(module) is not str or type(name) is not str:
        return name_of(kind)
    return name if module == "builtins" else f"{module}.{name}"
