"""All faults of the demo, and how one is chosen: ``NAME`` or ``NAME:SEVERITY``."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from clew.demo.faults.fault import ChosenFault
from clew.demo.faults.rate_limit import RATE_LIMIT
from clew.errors import UsageError
from clew.questions.kinds import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clew.demo.faults.fault import DemoFault

__all__ = ["FAULTS", "choose_fault"]

FAULTS: Final[Mapping[str, DemoFault]] = MappingProxyType({fault.name: fault for fault in (RATE_LIMIT,)})
"""Every fault, by name."""

MAX_SHOWN_CHARS = 40


def choose_fault(text: str) -> ChosenFault:
    """Read ``NAME`` or ``NAME:SEVERITY``.

    Raises:
        UsageError: There is no fault of this name, or the severity is not a number from 0 to 1.

    Example:
        >>> str(choose_fault("rate_limit:0.25")), choose_fault("rate_limit").severity
        ('rate_limit:0.25', 0.75)
    """
    name, colon, severity = text.strip().partition(":")
    fault = FAULTS.get(name)
    if fault is None:
        hint = f"{did_you_mean(name, list(FAULTS))}the faults are {', '.join(FAULTS)}"
        raise UsageError(f"the demo has no fault {name[:MAX_SHOWN_CHARS]!r}", hint=hint)
    return ChosenFault(fault, _severity(severity) if colon else fault.default_severity)


def _severity(text: str) -> float:
    try:
        severity = float(text)
    except ValueError:
        severity = float("nan")
    if 0.0 <= severity <= 1.0:
        return severity
    near = "" if math.isnan(severity) else f"the nearest is {min(max(severity, 0.0), 1.0):g}; "
    raise UsageError(
        f"the severity of a fault is not {text[:MAX_SHOWN_CHARS]!r}",
        hint=f"{near}it is a number from 0 to 1, such as 0.75",
    )
