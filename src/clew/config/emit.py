"""What a process that emits needs to know: who it is, what it records, and what it takes out."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from clew.config.declaring import MIB, OwnerSettings, Secret

__all__ = ["EmitSettings"]


class EmitSettings(OwnerSettings, frozen=True, kw_only=True):
    """The settings of what emits.

    Attributes:
        service: Name of the service that emits.
        environment: Where it runs, such as ``"prod"``; None for unknown.
        version: Its version; None for unknown.
        level: Events below this level are not emitted.
        capture: Whether ``@traceable`` and ``span`` record inputs and outputs.
        capture_max_bytes: Largest input or output to record whole, as JSON.
        propagate: What carries the context into threads: ``"executors"``, ``"threads"``.
        redact: Further field names whose values never reach the disk.
        redact_allow: Field names that are never redacted.
        redact_patterns: Further patterns to take out of texts, by kind: a table in ``clew.toml``, or
            ``kind=pattern`` each on a line of its own in the environment.
        redact_key: Key of hash mode: what is redacted becomes a keyed hash, so that equal values still join.
        max_field_bytes: Longest string to keep whole.
        max_event_bytes: Largest event.
    """

    service: str
    environment: str | None = None
    version: str | None = None
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "DEBUG"
    capture: bool = True
    capture_max_bytes: Annotated[int, Meta(ge=256)] = 32 * 1024
    propagate: tuple[Literal["executors", "threads"], ...] = ("executors",)
    redact: tuple[str, ...] = ()
    redact_allow: tuple[str, ...] = ()
    redact_patterns: dict[str, str] = field(default_factory=dict[str, str])
    redact_key: Secret | None = None
    max_field_bytes: Annotated[int, Meta(ge=256)] = 32 * 1024
    max_event_bytes: Annotated[int, Meta(ge=4096, le=16 * MIB)] = 256 * 1024

    @classmethod
    def complete(cls, values: dict[str, Any], sources: Mapping[str, str]) -> None:
        """Name the service after the program when nobody else does; levels are written in capitals."""
        super().complete(values, sources)
        values.setdefault("service", _program_name())
        values["level"] = str(values.get("level", "DEBUG")).upper()


def _program_name() -> str:
    name = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else ""
    return name if name and name not in {"-c", "-m", "__main__"} else "python"
