"""What was raised, as an event tells it: its type, its message, and the frames it went through.

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
the interpreter knows of it is told.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, cast

from clew.foreign import STOPS, UNREADABLE, attempt, name_of
from clew.sanitize import message_of

__all__ = ["MAX_CAUSES", "MAX_FRAMES", "MAX_MEMBERS", "encode_error"]

MAX_CAUSES: Final = 5  # of a chain
MAX_MEMBERS: Final = 15  # of a group; as many as Python prints
MAX_EXCEPTIONS: Final = 40  # of an event
MAX_FRAMES: Final = 50
MAX_NOTES: Final = 20


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
    telling = _Telling(set() if flags is None else flags)
    stack = telling.chain(error)
    return {"type": name_of(type(error)), "message": telling.message, "stack": stack}


class _Telling:
    """One event's account of an exception: what it has told already, and what could not be read."""

    def __init__(self, flags: set[str]) -> None:
        self.message = ""
        self._flags = flags
        self._told: set[int] = set()

    def chain(self, error: BaseException) -> str:
        """Tell an exception and what caused it, the first cause first."""
        parts: list[str] = []
        link: BaseException | None = error
        while link is not None and len(parts) < MAX_CAUSES and len(self._told) < MAX_EXCEPTIONS:
            if id(link) in self._told:
                break
            self._told.add(id(link))
            trace, cause, context = self._parts(link)
            parts.append(self._one(link, trace))
            if cause is None and not _suppresses_context(link):
                cause = context
            link = cause
        return "\n\ncaused\n\n".join(reversed(parts))

    def _parts(self, error: BaseException) -> tuple[TracebackType | None, BaseException | None, BaseException | None]:
        """Return (traceback, cause, context) of an exception; where its own code fails, ask the interpreter."""
        try:
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
            return trace, cause, context  # pyright: ignore[reportReturnType]
        self._flags.add("unreadable")
        parts = (BaseException.__dict__[name].__get__(error) for name in ("__traceback__", "__cause__", "__context__"))
        return tuple(parts)  # pyright: ignore[reportReturnType]

    def _one(self, error: BaseException, trace: TracebackType | None) -> str:
        message = message_of(error, self._flags)
        if len(self._told) == 1:
            self.message = message
        lines = _frames(trace)
        lines.append(f"{_qualified_name(type(error))}: {message}")
        lines += self._notes(error)
        if issubclass(type(error), BaseExceptionGroup):
            lines += self._members(error)
        return "\n".join(lines)

    def _notes(self, error: BaseException) -> list[str]:
        notes: Any = attempt(getattr, error, "__notes__", None)
        if notes is None:
            return []
        if type(notes) is not list:
            self._flags.add("unreadable")
            return []
        return [note if type(note) is str else repr(UNREADABLE) for note in cast("list[object]", notes)[:MAX_NOTES]]

    def _members(self, group: BaseException) -> list[str]:
        members: tuple[BaseException, ...] = BaseExceptionGroup.__dict__["exceptions"].__get__(group)
        lines: list[str] = []
        for number, member in enumerate(members[:MAX_MEMBERS], 1):
            told = self.chain(member)
            if told:
                lines.append(f"  +---------------- {number} ----------------")
                lines += [f"  | {line}" for line in told.split("\n")]
        if len(members) > MAX_MEMBERS:
            lines.append(f"  +---- and {len(members) - MAX_MEMBERS} more ----")
        return lines


_suppresses_context = BaseException.__dict__["__suppress_context__"].__get__


def _frames(trace: TracebackType | None) -> list[str]:
    lines: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_qualname}')
        trace = trace.tb_next
    if len(lines) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        lines[half:-half] = [f"  … {len(lines) - 2 * half} frames left out …"]
    return lines


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
