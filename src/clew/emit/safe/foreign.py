"""Run code that values bring along, inside a call that promised never to raise.

``__repr__``, properties, iterators, ``__class__``: whatever they raise is caught here, and not only what is
an ``Exception``. A panic of a library in Rust is none, nor is ``GeneratorExit`` or ``asyncio.CancelledError``;
raised by the code of a value they are that value's fault, and no reason to lose the event. Two pass, since
they ask the process to end: ``KeyboardInterrupt`` and ``SystemExit``.

Types are asked for by ``type()``, never by ``isinstance``, which runs the value's ``__class__``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STOPS", "UNREADABLE", "Unreadable", "attempt", "describe", "name_of", "text_of"]

R = TypeVar("R")

STOPS: Final = (KeyboardInterrupt, SystemExit)
"""What passes every guard: somebody asked the process to end."""

_running = threading.local()


class Unreadable:
    """What stands for the result of code that failed; there is one."""

    def __repr__(self) -> str:
        return "<cannot be read>"


UNREADABLE: Final = Unreadable()


def attempt(function: Callable[..., R], *args: object) -> R | Unreadable:
    """Call *function*; ``UNREADABLE`` if it raises.

    Example:
        >>> attempt(getattr, 1j, "real"), attempt(getattr, 1j, "name")
        (0.0, <cannot be read>)
    """
    try:
        return function(*args)
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - foreign code, run inside a call that promised never to raise
        return UNREADABLE


def describe(function: Callable[[object], object], value: object) -> str | None:
    """Have a value described by its own code, as ``repr`` and ``str`` do; None if that fails.

    Code that itself emits an event about its object would recurse; the inner event gets None.
    """
    if getattr(_running, "is_running", False):
        return None
    _running.is_running = True
    try:
        text = function(value)
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - as above
        return None
    finally:
        _running.is_running = False
    if type(text) is str:
        return text
    return str.__str__(text) if issubclass(type(text), str) else None  # pyright: ignore[reportArgumentType]


def text_of(value: object) -> str:
    """Return the ``str`` of anything, or a note of its type if that fails.

    Example:
        >>> text_of("told"), text_of(7)
        ('told', '7')
    """
    if type(value) is str:
        return value
    text = attempt(str, value)
    return text if type(text) is str else f"<{name_of(type(value))} object>"


def name_of(kind: type[object]) -> str:
    """Return the name of a type, whatever its metaclass makes of ``__name__``."""
    name = attempt(getattr, kind, "__name__")
    return name if type(name) is str else type.__dict__["__name__"].__get__(kind)
