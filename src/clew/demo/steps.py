"""Recording what a step did, in the words of the catalogue.

A step gathers *facts* while it works. Each event reports those of the facts that the catalogue
declares for it, so that one look at the catalogue says what an event holds, and no event is reported
half here and half there. A step that fails reports its failure, with the facts known until then, and
the exception goes on.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clew.catalog.events import EVENTS
from clew.emit.logger import get_logger
from clew.emit.tracing import span

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Step", "StepFacts", "Stopwatch", "record", "step"]

StepFacts = dict[str, Any]
"""What is known, by the names of the catalogue's fields; None for what is not."""

_log = get_logger("clew.demo")


class Stopwatch:
    """Runs from the moment it is made."""

    def __init__(self) -> None:
        self._begin = time.perf_counter_ns()

    @property
    def ms(self) -> float:
        """Milliseconds since then."""
        return round((time.perf_counter_ns() - self._begin) / 1e6, 3)


class Step:
    """A piece of the pipeline that is under way.

    Attributes:
        facts: What is known so far; shared with the steps before and after.
    """

    def __init__(self, facts: StepFacts) -> None:
        self.facts = facts
        self._watch = Stopwatch()

    def record(self, message: str, **facts: Any) -> None:
        """Emit an event: of these facts and of those known, what the catalogue declares for it."""
        self.facts |= facts
        record(message, {"duration_ms": self._watch.ms, **self.facts})


@contextmanager
def step(
    name: str, facts: StepFacts, *, failure: str, stage: str | None = None, run_type: str = "chain"
) -> Generator[Step]:
    """Run a step in a span of its own.

    Args:
        name: The span's name.
        facts: What is known; the step adds to it.
        failure: The event that reports it if the step raises.
        stage: Its stage; None for that of the step around it.
        run_type: Its kind, in LangSmith's words.

    Yields:
        The step, to report its events with.
    """
    with span(name, run_type=run_type, stage=stage):
        running = Step(facts)
        try:
            yield running
        except Exception as error:
            running.record(failure, error=error, error_type=type(error).__name__)
            raise


def record(message: str, facts: StepFacts) -> None:
    """Emit an event of the catalogue, at its level, with those of *facts* that it declares."""
    event = EVENTS[message]
    known = {name: facts[name] for name in event.fields if facts.get(name) is not None}
    if "error_type" in event.fields and "error" in facts:
        known["error"] = facts["error"]
    emit = {"DEBUG": _log.debug, "INFO": _log.info, "WARNING": _log.warning, "ERROR": _log.error}[event.level]
    emit(message, **known)
