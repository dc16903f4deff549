"""Take what is given as a metric for the number it is.

Money is given as ``Decimal``, a ratio as ``Fraction``, a loss as an array of one number without dimensions, and
what came out of somebody's JSON as text. Where a metric is expected all of these are numbers; a decimal one
keeps every digit that was given.
"""

from __future__ import annotations

import operator
import re
from decimal import Decimal
from typing import Any, Final

from msgspec import Raw

__all__ = ["number_of"]

MAX_DIGITS: Final = 64  # longer ones are no measurement, and PostgreSQL's numeric has its bounds too

MAX_INT: Final = 2**63 - 1
MAX_EXPONENT: Final = 200  # with the digits before it well within what a float holds

_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_NUMPY_NUMBERS: Final = "iuf"


def number_of(value: Any) -> int | float | Raw | None:
    """Return the number that *value* is, as JSON has it; None if it is none, or one that JSON knows already.

    Example:
        >>> bytes(number_of(Decimal("0.0042"))), number_of("n/a")
        (b'0.0042', None)
    """
    kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
    if issubclass(kind, Decimal):
        exact = _exactly(Decimal.__str__(value))
        return Decimal.__float__(value) if exact is None else exact
    if issubclass(kind, str):
        return _exactly(str.__str__(value))
    if issubclass(kind, (int, float, complex)) or getattr(value, "shape", ()) != ():
        return None
    numpy_kind = getattr(getattr(value, "dtype", None), "kind", _NUMPY_NUMBERS)
    if numpy_kind not in _NUMPY_NUMBERS:
        return None
    if hasattr(kind, "__index__"):
        try:
            return operator.index(value)
        except TypeError:
            pass  # an array of floats has the method, too
    return float(value) if hasattr(kind, "__float__") else None


def _exactly(text: str) -> Raw | None:
    """Return a decimal number with the digits it was given by, if it has no more of them than others can read."""
    if len(text) > MAX_DIGITS or not _JSON_NUMBER.fullmatch(text):
        return None
    digits, _, exponent = text.lower().partition("e")
    is_far = abs(int(exponent or 0)) > MAX_EXPONENT if exponent else "." not in digits and abs(int(digits)) > MAX_INT
    return None if is_far else Raw(text.encode())
