"""The logger: what an application calls to say that something happened.

    log = clew.get_logger()
    log.info("chunks_created", chunk_count=42, duration_ms=1250)

Before: the application. After: ``record`` (with ``context``) and ``process``.
"""

from __future__ import annotations

import sys
from typing import Any

from msgspec import UNSET

from clew import clock
from clew.emit import process
from clew.emit.context import in_force, left, resolve
from clew.emit.habits import format_message, level_of
from clew.emit.record import Head
from clew.emit.safe.foreign import text_of
from clew.emit.sanitize import safe_repr
from clew.event import LEVELS

__all__ = ["Logger", "get_logger"]


class Logger:
    """Emit logs, each carrying the ids in force and the fields bound to this logger.

    It is called as a logger of ``logging`` is, ``%`` arguments and ``exc_info``, ``stack_info``, ``stacklevel`` and
    ``extra`` included (see ``clew.emit.habits``); fields go beside them. What happens, happens to the event: no call
    raises, whatever its arguments are.

    Args:
        name: Where in the program it belongs, such as ``"rag.ingest"``; None for nowhere.
        bound: Fields that every event of this logger carries.

    Threads:
        Any, and re-entrantly.
    """

    __slots__ = ("_bound", "_name")

    def __init__(self, name: str | None = None, bound: dict[str, Any] | None = None) -> None:
        self._name: Any = UNSET if name is None else text_of(name)
        self._bound = bound

    @property
    def name(self) -> str | None:
        """Where in the program it belongs; None for nowhere."""
        return None if self._name is UNSET else self._name

    def bind(self, **fields: Any) -> Logger:
        """Return a logger whose every event also carries *fields*.

        Example:
            >>> Logger("rag").bind(document_id="d-1")
            Logger('rag', document_id='d-1')
        """
        return Logger(self.name, {**(self._bound or {}), **fields})

    def debug(self, message: object, /, *args: object, **fields: Any) -> None:
        """Emit an event of level DEBUG."""
        self._emit("DEBUG", message, args, fields)

    def info(self, message: object, /, *args: object, **fields: Any) -> None:
        """Emit an event of level INFO.

        Args:
            message: What happened: a name of the catalogue, or any text.
            args: What to put into the message by ``%``; without any, it stays as it is. The message
                before that is recorded as ``message_template``.
            fields: What to record about it. Names that the catalogue lists as metrics
                (``duration_ms``, ``cost_usd``, ``tokens_in`` …) become metrics, the rest
                context; ``metrics={...}`` adds metrics of any name; ``error=exception``
                attaches an error.

        Example:
            >>> get_logger().info("%d of %d pages read", 3, 4, document_id="d-1")
        """
        self._emit("INFO", message, args, fields)

    def warning(self, message: object, /, *args: object, **fields: Any) -> None:
        """Emit an event of level WARNING."""
        self._emit("WARNING", message, args, fields)

    warn = warning

    def error(self, message: object, /, *args: object, **fields: Any) -> None:
        """Emit an event of level ERROR; ``error=exception`` attaches what was raised."""
        self._emit("ERROR", message, args, fields)

    def exception(self, message: object, /, *args: object, **fields: Any) -> None:
        """Emit an event of level ERROR with the exception being handled."""
        fields.setdefault("exc_info", True)
        self._emit("ERROR", message, args, fields)

    def critical(self, message: object, /, *args: object, **fields: Any) -> None:
        """Emit an event of level CRITICAL."""
        self._emit("CRITICAL", message, args, fields)

    fatal = critical

    def log(self, level: int | str, message: object, /, *args: object, **fields: Any) -> None:
        """Emit an event of a level by its number or its name.

        Numbers between two levels are the lower one's, and an unknown name is INFO; what was given is then
        recorded as ``level_given``.
        """
        name, level_fields = level_of(level)
        self._emit(name, message, args, {**level_fields, **fields})

    def isEnabledFor(self, level: int | str) -> bool:  # noqa: N802 - the name that people know
        """Whether an event of this level is emitted."""
        return process.is_enabled(level_of(level)[0])

    def getEffectiveLevel(self) -> int:  # noqa: N802 - the name that people know
        """Return the number of the lowest level that is emitted; it is a setting, the same for every logger."""
        return next((number for name, number in LEVELS.items() if process.is_enabled(name)), LEVELS["CRITICAL"])

    # The hottest function of the application's side. Its handlers ask for no global but `process`: in a finaliser
    # that runs while the interpreter ends, globals may be None.
    def _emit(self, level: str, message: object, args: tuple[object, ...], fields: dict[str, Any]) -> None:
        try:
            if self._bound is not None:
                fields = {**self._bound, **fields}
            error = _take_error(fields) if "error" in fields or "exc_info" in fields else None
            if not args:
                head = Head(clock.now(), "log", level, message, self._name)  # pyright: ignore[reportArgumentType]
            elif process.is_enabled(level):
                text, message_fields, flags = format_message(message, args)
                fields = {**message_fields, **fields}
                head = Head(clock.now(), "log", level, text, self._name, UNSET, UNSET, flags)
            else:
                return
            context = in_force()
            process.emit(head, fields, error, resolve(context) if left else context)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:  # noqa: BLE001 - the emit guard, for what comes before it
            give_up = getattr(process, "give_up", None)
            if give_up is not None:
                give_up(failure)

    def __repr__(self) -> str:
        bound = "".join(f", {name}={safe_repr(value)}" for name, value in (self._bound or {}).items())
        return f"Logger({self.name!r}{bound})"


def get_logger(name: str | None = None) -> Logger:
    """Return a logger.

    Args:
        name: Where in the program it belongs; becomes the event's ``logger``.

    Example:
        >>> get_logger("rag.ingest")
        Logger('rag.ingest')
    """
    return Logger(name)


def _take_error(fields: dict[str, Any]) -> BaseException | None:
    """Take the exception out of *fields*: ``error=`` if it is one, or ``exc_info=`` as in ``logging``."""
    error = fields.get("error")
    if issubclass(type(error), BaseException):
        del fields["error"]
        fields.pop("exc_info", None)
        return error
    given: Any = fields.pop("exc_info", None)
    kind: type[object] = type(given)  # pyright: ignore[reportUnknownVariableType]
    if kind is tuple and len(given) == 3:
        given = given[1]
    if issubclass(type(given), BaseException):
        return given
    is_wanted = given is not None and given is not False and not (kind is int and given == 0)
    return sys.exc_info()[1] if is_wanted else None
