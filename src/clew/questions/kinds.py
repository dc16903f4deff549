"""Kinds of parameters: how a text is read, how it is written, and what is said when it cannot be read.

A message names the parameter, shows the value, and its hint says what would be right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from clew.errors import UsageError
from clew.event import LEVELS
from clew.query import parse
from clew.query.tree import Query
from clew.query.values import ValueProblem, read_level
from clew.questions.when import parse_moment
from clew.store.events import parse_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "ANY_ID",
    "FLAG",
    "LEVEL",
    "MOMENT",
    "QUERY",
    "SPAN_ID",
    "STATEMENT",
    "TEXT",
    "TRACE_ID",
    "Kind",
    "check_choice",
    "choice",
    "did_you_mean",
    "number",
    "seconds",
    "text",
]

T = TypeVar("T")
C = TypeVar("C", bound=str)

ID_FORM: Final = "a UUID, or its 32 hex digits"

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_SECONDS: Final = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[T]):
    """A kind of parameter.

    Attributes:
        read: Reads a text; is given the text, the parameter's name and the time from which "ago" counts.
        form: How it is written, for help; empty when any text will do.
        schema: Its JSON schema, for the OpenAPI document.
        metavar: What stands for a value in the help of the command line.
        takes_empty: Whether the empty text is a value of its own.
    """

    read: Callable[[str, str, datetime], T]
    form: str = ""
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})
    metavar: str = "TEXT"
    takes_empty: bool = False


def did_you_mean(text: str, known: Sequence[str]) -> str:
    """Begin a hint with what a misspelt word was probably meant to be; empty when nothing is near.

    Example:
        >>> did_you_mean("modle", ["line", "stage", "model"]), did_you_mean("colour", ["line", "stage"])
        ('did you mean model? ', '')
    """
    near = get_close_matches(text.strip().lower()[:80], known, n=1)
    return f"did you mean {near[0]}? " if near else ""


def check_choice(text: str, name: str, values: Sequence[C]) -> C:
    """Read one of some values, in any case.

    Raises:
        UsageError: It is none of them.

    Example:
        >>> check_choice("Model", "by", ["line", "model"])
        'model'
    """
    folded = text.strip().lower()
    for value in values:
        if value.lower() == folded:
            return value
    hint = f"{did_you_mean(folded, [value.lower() for value in values])}{name} is one of {', '.join(values)}"
    raise UsageError(f"{name} is {text[:40]!r}, which does not exist", hint=hint)


def choice(values: Sequence[C]) -> Kind[C]:
    """Make the kind that takes one of some values, in any case."""
    return Kind(
        read=lambda text, name, _now: check_choice(text, name, values),
        form=f"one of {', '.join(values)}",
        schema={"type": "string", "enum": [*values]},
    )


def number(least: int, most: int | None = None) -> Kind[int]:
    """Make the kind that takes a whole number.

    Args:
        least: The least.
        most: The most; None for any.
    """
    form = f"{least} to {most}" if most is not None else f"{least} or more"

    def read(text: str, name: str, _now: datetime) -> int:
        if not _NUMBER.fullmatch(text.strip()):
            raise UsageError(f"{name} is {text[:40]!r}, which is not a whole number", hint=f"use {form}")
        value = int(text)
        if value < least or (most is not None and value > most):
            raise UsageError(f"{name} is {value}, which is out of range", hint=f"use {form}")
        return value

    schema = {"type": "integer", "minimum": least, **({"maximum": most} if most is not None else {})}
    return Kind(read=read, form=form, schema=schema, metavar="N")


def seconds(least: float, most: float) -> Kind[float]:
    """Make the kind that takes a time in seconds, with or without a fraction.

    Args:
        least: The least.
        most: The most.
    """
    form = f"seconds, {least:g} to {most:g}"

    def read(text: str, name: str, _now: datetime) -> float:
        if not _SECONDS.fullmatch(text.strip()):
            raise UsageError(f"{name} is {text[:40]!r}, which is not a number", hint=f"use {form}")
        value = float(text)
        if not least <= value <= most:
            raise UsageError(f"{name} is {value:g}, which is out of range", hint=f"use {form}")
        return value

    return Kind(read=read, form=form, schema={"type": "number", "minimum": least, "maximum": most}, metavar="SECONDS")


def text(most: int | None = None) -> Kind[str]:
    """Make the kind that takes any text that the store can hold.

    Args:
        most: The most characters; None for any number.
    """

    def read(text: str, name: str, _now: datetime) -> str:
        if "\x00" in text:
            raise UsageError(f"{name} contains a NUL character", hint="no text in the store does")
        if most is not None and len(text) > most:
            raise UsageError(f"{name} has {len(text)} characters, which is too many", hint=f"use {most} at most")
        return text

    return Kind(read=read, takes_empty=True)


def _read_level(text: str, name: str, _now: datetime) -> str:
    try:
        return read_level(text.strip())
    except ValueProblem:
        return check_choice(text, name, [*LEVELS])


def _read_query(text: str, _name: str, now: datetime) -> Query:
    return parse(text, now=now)


ANY_ID: Final = Kind[str](read=lambda text, _name, _now: text.strip(), metavar="ID")
"""An id of anything, in any form: what it is the id of is found out by looking for it."""

FLAG: Final = Kind[bool](
    read=lambda text, name, _now: check_choice(text, name, ("true", "false")) == "true",
    form="true or false",
    schema={"type": "boolean"},
    metavar="",
)
"""Whether something is asked for; an option without a value on the command line."""

STATEMENT: Final = Kind[str](read=lambda text, _name, _now: text, metavar="SQL")
"""A statement in SQL; the store says which it takes."""

TEXT: Final = text()
"""Any text that the store can hold."""

LEVEL: Final = Kind[str](read=_read_level, form="DEBUG, INFO, WARNING, ERROR, CRITICAL", metavar="LEVEL")
"""The name of a level, in any case."""

MOMENT: Final = Kind[datetime](
    read=lambda text, name, now: parse_moment(text, name, now=now),
    form="RFC 3339, or how long ago: 15m, 1h, 7d",
    metavar="TIME",
)
"""A time."""

QUERY: Final = Kind[Query](read=_read_query, form="see Search the logs", metavar="QUERY")
"""A query in the language of the logs; a mistake is a ``QueryError``, which says where it is."""

TRACE_ID: Final = Kind[str](read=lambda text, _name, _now: parse_id(text, "trace"), form=ID_FORM, metavar="ID")
"""The id of a trace."""

SPAN_ID: Final = Kind[str](read=lambda text, _name, _now: parse_id(text, "span"), form=ID_FORM, metavar="ID")
"""The id of a span."""
