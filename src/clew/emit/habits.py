"""What people know from ``logging``, made into an event: ``%`` arguments, ``extra``, ``stack_info``, levels.

Nothing here raises, whatever the arguments are and do: ``logging`` prints a traceback to stderr where a message
and its arguments do not fit together; we keep both and flag the event.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from clew.emit.failure import MAX_FRAMES
from clew.emit.safe.foreign import UNREADABLE, attempt, describe, text_of
from clew.emit.sanitize import message_of, safe_repr

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["LOGGING_WORDS", "TEMPLATE_FIELD", "format_message", "level_of", "read_logging_words"]

LOGGING_WORDS: Final = frozenset({"extra", "stack_info", "stacklevel"})
"""Keywords of ``logging``'s methods that are no fields of an event; ``exc_info`` is the logger's own."""

TEMPLATE_FIELD: Final = "message_template"
ARGUMENTS_FIELD: Final = "message_args"
LEVEL_FIELD: Final = "level_given"

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_NUMBERED: Final = ((50, "CRITICAL"), (40, "ERROR"), (30, "WARNING"), (20, "INFO"))
_NAMED: Final = {
    **{name: name for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")},
    "WARN": "WARNING",
    "FATAL": "CRITICAL",
    "TRACE": "DEBUG",
    "NOTICE": "INFO",
    "SUCCESS": "INFO",
    "NOTSET": "DEBUG",
}


def format_message(template: object, args: tuple[object, ...]) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Put arguments into a message, as ``logging`` does: by ``%``, or by name where the only one is a mapping.

    Returns:
        (message, fields about it, flags). The template is recorded, for users who count messages by it.

    Example:
        >>> format_message("read %d of %s", (3, "a.pdf"))
        ('read 3 of a.pdf', {'message_template': 'read %d of %s'}, ())
        >>> format_message("read %d pages", ("many",))
        ('read %d pages', {'message_args': ['many']}, ('format',))
    """
    text = text_of(template)
    values: Any = args[0] if len(args) == 1 and _is_mapping(args[0]) and attempt(bool, args[0]) is True else args
    is_plain = values is args and _PLAIN.issuperset(map(type, args))
    message = attempt(text.__mod__, values) if is_plain else describe(text.__mod__, values)
    flags: tuple[str, ...] = ()
    if message is None:  # it does not fit, or the code of an argument failed: then its neighbours can still be reported
        message, flags = attempt(text.__mod__, _as_texts(values)), ("unreadable",)
    if type(message) is str and (values is args or message != text):
        return message, {TEMPLATE_FIELD: text}, flags
    return text, {ARGUMENTS_FIELD: list(args)}, ("format",)


def _as_texts(arguments: Any) -> Any:
    """Replace arguments by texts that no foreign code has to make any more."""
    if type(arguments) is tuple:
        return tuple(map(_as_text, cast("tuple[object, ...]", arguments)))
    pairs = attempt(_pairs, arguments)
    return {name: _as_text(value) for name, value in pairs} if type(pairs) is list else ()


def _as_text(value: object) -> object:
    """Stand in for an argument whose own code may fail."""
    if type(value) in _PLAIN:
        return value
    if issubclass(type(value), BaseException):
        return message_of(value)  # pyright: ignore[reportArgumentType]
    text = describe(str, value)
    return safe_repr(value) if text is None else text


def level_of(level: object) -> tuple[str, dict[str, Any]]:
    """Find the level that ``log`` was given, by number or by name.

    A number between two levels is the lower one's. A name that is not known here may be one of
    ``logging.addLevelName``; else it is INFO.

    Returns:
        (name of the level, fields that hold what was given, if that was something else).

    Example:
        >>> level_of(40), level_of("warn"), level_of(25)
        (('ERROR', {}), ('WARNING', {}), ('INFO', {'level_given': 25}))
    """
    if issubclass(type(level), int):
        number = int.__int__(level)  # pyright: ignore[reportArgumentType]
        name = next((name for least, name in _NUMBERED if number >= least), "DEBUG")
        return name, {} if number % 10 == 0 and 10 <= number <= 50 else {LEVEL_FIELD: number}
    text = text_of(level)
    name = _NAMED.get(text.strip().upper())
    if name is not None:
        return name, {} if text.strip().upper() in {name, "WARN", "FATAL"} else {LEVEL_FIELD: text}
    logging = sys.modules.get("logging")
    known: Any = attempt(logging.getLevelName, text) if logging is not None else None
    return (level_of(known)[0] if type(known) is int else "INFO"), {LEVEL_FIELD: text}


def read_logging_words(fields: dict[str, Any]) -> dict[str, Any]:
    """Return *fields* with what ``logging``'s keywords mean in their place.

    What ``extra`` holds are fields, given ones first; ``stack_info`` is the way to the call; ``stacklevel`` says
    how many of its last frames are no matter. What has another type than in ``logging`` is a field like any other.
    """
    fields = dict(fields)
    level: Any = fields.get("stacklevel", 1)
    if type(level) is int:
        fields.pop("stacklevel", None)
    if type(fields.get("stack_info")) is bool and fields.pop("stack_info"):
        fields["stack_info"] = _stack(level if type(level) is int else 1)
    extra = fields.get("extra", UNREADABLE)
    items = [] if extra is None else attempt(_pairs, extra) if _is_mapping(extra) else UNREADABLE
    if type(items) is list:
        del fields["extra"]
        for name, value in items:
            fields.setdefault(text_of(name), value)
    return fields


def _is_mapping(value: object) -> bool:
    return attempt(issubclass, type(value), Mapping) is True


def _pairs(mapping: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return [(name, value) for name, value in mapping.items()]


def _stack(level: int) -> str:
    """Write the frames that lead to the call, as ``failure`` writes those of an exception, innermost last."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as `logging` finds its caller
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "clew":
        frame = frame.f_back
    lines: list[str] = []
    while frame is not None and len(lines) < MAX_FRAMES:
        level -= 1
        if level <= 0:
            lines.append(f'  File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_qualname}')
        frame = frame.f_back
    return "\n".join(reversed(lines))
