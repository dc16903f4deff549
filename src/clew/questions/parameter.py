"""How a question is declared and read: one class, whose fields are its parameters.

The fronts know nothing of a parameter but what its declaration says, and hand over the texts that a user wrote. So a
new filter is one field, and the same mistake has the same answer on the command line and over HTTP.

Before: cli.asking, server.asking. After: questions.kinds, which reads one value.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from clew import clock
from clew.errors import UsageError
from clew.questions.kinds import MOMENT, Kind, did_you_mean
from clew.store.events import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

__all__ = ["InTime", "Parameter", "Question", "parameter", "parameters", "read_question", "since", "until"]

Q = TypeVar("Q", bound="Question")

Front = Literal["cli", "http"]

_KEY: Final = "clew"


class Parameter(NamedTuple):
    """One parameter of a question.

    Attributes:
        field: The field of the question's class.
        name: Its name over HTTP and in messages.
        kind: How its text is read, and its limits.
        default: The text that stands for the default; None when there is none.
        is_required: Whether the question cannot be asked without it.
        help: What it is for.
        example: A text that it takes.
        option: Its option on the command line, such as ``--user``; empty for an argument.
        metavar: What stands for it in the help of the command line.
        is_path: Whether it is a part of the path over HTTP.
        fronts: Where it can be given.
    """

    field: str
    name: str
    kind: Kind[Any]
    default: str | None
    is_required: bool
    help: str
    example: str
    option: str
    metavar: str
    is_path: bool
    fronts: tuple[Front, ...]

    @property
    def description(self) -> str:
        """Say what it is for and how it is written."""
        return f"{self.help} ({self.kind.form})" if self.kind.form else self.help


def parameter(  # noqa: PLR0913 - one for each thing that can be said of a parameter
    kind: Kind[Any],
    *,
    help: str,  # noqa: A002 - what typer and argparse call it
    example: str,
    default: Any = None,
    is_required: bool = False,
    text: str | None = None,
    name: str = "",
    option: str | None = None,
    metavar: str = "",
    is_path: bool = False,
    fronts: tuple[Front, ...] = ("cli", "http"),
) -> Any:
    """Declare a parameter, as a field of a ``Question``.

    Args:
        kind: How its text is read.
        help: What it is for, without how it is written, which the kind says.
        example: A text that it takes.
        default: The value when it is not given.
        is_required: Whether the question cannot be asked without it.
        text: The default as a user writes it; ``str(default)`` if left out.
        name: Its name over HTTP; that of the field if left out.
        option: Its option on the command line, ``--name`` if left out; empty for an argument.
        metavar: What stands for it in the help of the command line; what the kind or the field says if left out.
        is_path: Whether it is a part of the path over HTTP.
        fronts: Where it can be given.
    """
    shown = text if text is not None or default is None else str(default)
    declared = Parameter("", name, kind, shown, is_required, help, example, option or "", metavar, is_path, fronts)
    metadata = {_KEY: (declared, option is None)}
    return field(metadata=metadata) if is_required else field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What every question has.

    Attributes:
        now: When it was asked, from which "15m ago" counts.
    """

    now: datetime = field(default_factory=clock.now)


def parameters(question: type[Question], front: Front | None = None) -> tuple[Parameter, ...]:
    """List the parameters of a question: those with a position first, then in the order of their declaration.

    Args:
        question: Its class.
        front: Only what can be given there; everything if left out.
    """
    found: list[Parameter] = []
    for one in dataclasses.fields(question):
        if _KEY in one.metadata:
            declared, is_plain = one.metadata[_KEY]
            name = declared.name or one.name
            option = f"--{name.replace('_', '-')}" if is_plain else declared.option
            metavar = declared.metavar or (declared.kind.metavar if option else one.name.upper())
            found.append(declared._replace(field=one.name, name=name, option=option, metavar=metavar))
    found.sort(key=lambda one: bool(one.option) and not one.is_path)
    return tuple(one for one in found if front is None or front in one.fronts)


def read_question(
    question: type[Q], texts: Mapping[str, str], *, now: datetime | None = None, front: Front = "http"
) -> Q:
    """Read a question from the texts that a user wrote.

    Args:
        question: Its class.
        texts: Texts by the name of their parameter. An empty one is as good as none where it can mean nothing.
        now: When it is asked; the clock's time if left out.
        front: Where it is asked.

    Raises:
        UsageError: There is no such parameter, one is missing, or a value is malformed or out of range.
    """
    now = clock.now() if now is None else now
    known = {one.name: one for one in parameters(question, front)}
    for name in texts:
        if name not in known:
            raise UsageError(f"there is no parameter {_cut(name)!r}", hint=_known_parameters(name, list(known)))
    values: dict[str, Any] = {"now": now}
    for name, one in known.items():
        text = texts.get(name)
        if text is not None and (text.strip() or one.kind.takes_empty):
            values[one.field] = one.kind.read(text, name, now)
        elif one.is_required:
            raise UsageError(f"{name} is missing", hint=f"give {name}, such as {one.example}")
    return question(**values)


def _known_parameters(name: str, known: list[str]) -> str:
    these = f"the parameters are {', '.join(known)}" if known else "this takes no parameters"
    return f"{did_you_mean(name, known)}{these}"


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}…"


def since(*, ago: str = "", of: str = "until") -> Any:
    """Declare ``since``.

    Args:
        ago: How long before *of* it is when it is not given, such as ``24h``; for the help.
        of: What that counts from.
    """
    left_out = f"; {ago} before {of} by default" if ago else ""
    return parameter(MOMENT, help=f"At or after this time{left_out}", example="1h")


def until(*, is_now: bool = False) -> Any:
    """Declare ``until``.

    Args:
        is_now: Whether it is now when it is not given; for the help.
    """
    return parameter(
        MOMENT, help=f"Before this time{'; now by default' if is_now else ''}", example="2026-11-23T10:15:00Z"
    )


@dataclass(frozen=True, kw_only=True)
class InTime(Question):
    """A question about a time range.

    Attributes:
        since: At or after this time; None for any.
        until: Before this time; None for any.

    Raises:
        UsageError: The time range is empty.
    """

    since: datetime | None = since()
    until: datetime | None = until()

    def __post_init__(self) -> None:
        """Refuse a time range that is empty."""
        if self.since is not None and self.until is not None:
            _check_order(self.since, self.until)

    def range(self, default: timedelta) -> tuple[datetime, datetime]:
        """Return the beginning and the end, where neither may be open.

        Args:
            default: How long before the end it begins unless a user said so.

        Raises:
            UsageError: The range is empty, or begins before year 1.
        """
        end = self.now if self.until is None else self.until
        try:
            begin = end - default if self.since is None else self.since
        except OverflowError:
            raise UsageError(
                f"until is {format_timestamp(end)}, and nothing is before", hint="give since too"
            ) from None
        _check_order(begin, end)
        return begin, end


def _check_order(begin: datetime, end: datetime) -> None:
    if begin >= end:
        raise UsageError(
            f"since is not before until: {format_timestamp(begin)} to {format_timestamp(end)}",
            hint="the time range is empty",
        )
