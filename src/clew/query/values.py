"""Read what stands behind an operator: durations, amounts, moments, names out of a list."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from clew.event import STAGES
from clew.ids import parse_uuid

__all__ = [
    "LEVEL_NAMES",
    "ValueProblem",
    "read_duration_ms",
    "read_id",
    "read_level",
    "read_moment",
    "read_number",
    "read_stage",
]

LEVEL_NAMES: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_SHORT_LEVELS: Final = {"WARN": "WARNING", "ERR": "ERROR", "FATAL": "CRITICAL"}
_UNITS_MS: Final = {
    "us": 1e-3,
    "µs": 1e-3,
    "ms": 1.0,
    "s": 1e3,
    "m": 60e3,
    "min": 60e3,
    "h": 3600e3,
    "d": 86400e3,
    "w": 604800e3,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)", re.IGNORECASE)
_NUMBER = re.compile(r"[$]?([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d{1,3})?)(%?)", re.IGNORECASE)
_LONGEST = timedelta(days=36500)


class ValueProblem(ValueError):  # noqa: N818 - reads as what it is
    """A value cannot be read; its text says what it should look like."""


def read_duration_ms(text: str) -> float:
    """Read a duration; a bare number is in milliseconds.

    Returns:
        Milliseconds.

    Raises:
        ValueProblem: It is none.

    Example:
        >>> read_duration_ms("1.5s"), read_duration_ms("250")
        (1500.0, 250.0)
    """
    match = _DURATION.fullmatch(text)
    if match and match[2].lower() in _UNITS_MS:
        return float(match[1]) * _UNITS_MS[match[2].lower()]
    number = _NUMBER.fullmatch(text)
    if number and not number[2]:
        return float(number[1])
    raise ValueProblem("a duration looks like 250ms, 2s, 1.5m or 1h")


def read_number(text: str) -> float:
    """Read a number; ``%`` divides by a hundred, a leading ``$`` is allowed.

    Raises:
        ValueProblem: It is none.

    Example:
        >>> read_number("$0.01"), read_number("70%")
        (0.01, 0.7)
    """
    match = _NUMBER.fullmatch(text)
    if not match:
        raise ValueProblem("a number looks like 5, 0.01 or 70%")
    return float(match[1]) / 100 if match[2] else float(match[1])


def read_moment(text: str, now: datetime) -> datetime:
    """Read a moment: an age such as ``15m``, ``now``, ``today``, or an ISO 8601 date or time (UTC unless it says otherwise).

    Raises:
        ValueProblem: It is none.

    Example:
        >>> read_moment("1h", datetime(2026, 11, 23, 12, tzinfo=UTC)).hour
        11
    """
    folded = text.lower()
    if folded == "now":
        return now
    if folded in ("today", "yesterday"):
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight if folded == "today" else midnight - timedelta(days=1)
    match = _DURATION.fullmatch(text)
    try:
        if match and match[2].lower() in _UNITS_MS:
            age = timedelta(milliseconds=float(match[1]) * _UNITS_MS[match[2].lower()])
            if age <= _LONGEST:
                return now - age
        else:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueProblem("a time looks like 15m, 2h, 7d, today or 2026-11-23T10:00")


def read_level(text: str) -> str:
    """Read a level by its name or short name, in any case.

    Raises:
        ValueProblem: There is none of this name.
    """
    name = _SHORT_LEVELS.get(text.upper(), text.upper())
    if name not in LEVEL_NAMES:
        raise ValueProblem(f"a level is one of {', '.join(LEVEL_NAMES).lower()}")
    return name


def read_stage(text: str) -> str:
    """Read a stage.

    Raises:
        ValueProblem: There is none of this name.
    """
    if text.lower() not in STAGES:
        raise ValueProblem(f"a stage is one of {', '.join(STAGES)}")
    return text.lower()


def read_id(text: str) -> str:
    """Read the id of a trace or a span.

    Raises:
        ValueProblem: It is none.
    """
    found = parse_uuid(text)
    if found is None:
        raise ValueProblem("an id is a UUID, or its 32 hex digits")
    return found
