"""The logger: what an application calls to say that something happened.

    log = clew.get_logger()
    log.info("chunks_created", chunk_count=42, duration_ms=1250)

Before: the application. After: ``record`` (with ``context``) and ``process``.
"""

from __future__ import annotations

import sys
from typing import Any

from msgspec import UNSET

from clew import clock, process
from clew.context import current
from clew.record import Head

__all__ = ["Logger", "get_logger"]


class Logger:
    """Emit logs, each carrying the ids in force and the fields bound to this logger.

    Args:
        name: Where in the program it belongs, such as ``"rag.ingest"``; None for nowhere.
        bound: Fields that every event of this logger carries.

    Threads:
        Any, and re-entrantly.
    """

    __slots__ = ("_bound", "_name")

    def __init__(self, name: str | None = None, bound: dict[str, Any] | None = None) -> None:
        self._name: Any = UNSET if name is None else str(name)
        self._bound = bound

    def bind(self, **fields: Any) -> Logger:
        """Return a logger whose every event also carries *fields*.

        Example:
            >>> Logger("rag").bind(document_id="d-1")
            Logger('rag', document_id='d-1')
        """
        return Logger(None if self._name is UNSET else self._name, {**(self._bound or {}), **fields})

    def debug(self, message: str, /, **fields: Any) -> None:
        """Emit an event of level DEBUG."""
        self._emit("DEBUG", message, fields)

    def info(self, message: str, /, **fields: Any) -> None:
        """Emit an event of level INFO.

        Args:
            message: What happened: a name of the catalogue, or any text.
            fields: What to tell about it. Names that the catalogue lists as metrics
                (``duration_ms``, ``cost_usd``, ``tokens_in`` …) become metrics, the rest
                context; ``metrics={...}`` adds metrics of any name; ``error=exception``
                attaches an error.
        """
        self._emit("INFO", message, fields)

    def warning(self, message: str, /, **fields: Any) -> None:
        """Emit an event of level WARNING."""
        self._emit("WARNING", message, fields)

    def error(self, message: str, /, **fields: Any) -> None:
        """Emit an event of level ERROR; ``error=exception`` attaches what was raised."""
        self._emit("ERROR", message, fields)

    def exception(self, message: str, /, **fields: Any) -> None:
        """Emit an event of level ERROR with the exception being handled."""
        fields.setdefault("exc_info", True)
        self._emit("ERROR", message, fields)

    def critical(self, message: str, /, **fields: Any) -> None:
        """Emit an event of level CRITICAL."""
        self._emit("CRITICAL", message, fields)

    def _emit(self, level: str, message: str, fields: dict[str, Any]) -> None:
        if self._bound is not None:
            fields = {**self._bound, **fields}
        error = _take_error(fields) if "error" in fields or "exc_info" in fields else None
        process.emit(Head(clock.now(), "log", level, message, self._name), fields, error, current())

    def __repr__(self) -> str:
        bound = "".join(f", {name}={value!r}" for name, value in (self._bound or {}).items())
        return f"Logger({None if self._name is UNSET else self._name!r}{bound})"


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
    if isinstance(error, BaseException):
        del fields["error"]
        fields.pop("exc_info", None)
        return error
    told = fields.pop("exc_info", None)
    if isinstance(told, BaseException):
        return told
    if isinstance(told, tuple) and len(told) == 3 and isinstance(told[1], BaseException):  # pyright: ignore[reportUnknownArgumentType]
        return told[1]
    return sys.exc_info()[1] if told else None
