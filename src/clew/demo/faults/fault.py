"""What a fault of the demo is: a name, its cause, and what it makes the provider of the model do.

A fault of the provider is a function from a call to what becomes of it (``CallPlan``). It knows how long the fault has
been in force and has no state of its own, so that the same call at the same time has the same end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec import Struct, field

__all__ = ["CallPlan", "ChosenFault", "DemoFault", "ModelCall", "Refusal"]


class ModelCall(NamedTuple):
    """A call to the model that arrives at the provider.

    Attributes:
        model: The model that is asked for.
        elapsed_s: How long the fault has been in force, in seconds.
    """

    model: str
    elapsed_s: float


class Refusal(Struct, frozen=True):
    """An answer other than 200.

    Attributes:
        status: HTTP status.
        body: Its body, to be sent as JSON.
        headers: More headers.
    """

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict[str, str])


class CallPlan(Struct, frozen=True):
    """What becomes of a call.

    Attributes:
        refusal: How it is refused; None if it is answered.
        first_piece_s: How long the first piece of the answer takes longer than usual, in seconds.
        next_piece_s: The same for each further piece.
    """

    refusal: Refusal | None = None
    first_piece_s: float = 0.0
    next_piece_s: float = 0.0


class DemoFault(Struct, frozen=True, kw_only=True):
    """A fault that the demo can have.

    Attributes:
        name: What it is called on the command line.
        cause: The cause that a diagnosis of it has to name.
        stage: The stage that it breaks.
        description: What is broken, in a sentence.
        severity_is: What the severity is a measure of.
        default_severity: How severe it is where nothing else is asked for, from 0 to 1.
        fix: What ``--fix`` does, in a sentence.
        plan_call: Takes a call and the severity, and returns what becomes of the call.
    """

    name: str
    cause: str
    stage: str
    description: str
    severity_is: str
    default_severity: float
    fix: str
    plan_call: Callable[[ModelCall, float], CallPlan]


class ChosenFault(NamedTuple):
    """A fault, and how severe it is to be.

    Attributes:
        fault: The fault.
        severity: From 0, which breaks nothing, to 1.
    """

    fault: DemoFault
    severity: float

    def __str__(self) -> str:
        """Write it as it is given on the command line."""
        return f"{self.fault.name}:{self.severity:g}"
