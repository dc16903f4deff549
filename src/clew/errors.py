"""Every exception that clew raises on purpose.

Catch broadly or recover narrowly::

    ClewError
    ├── ConfigError            a setting is missing, malformed or contradictory
    ├── UsageError             a request cannot be meant: malformed id, unreadable file
    ├── NotFoundError          a well-formed id or name that nothing is known about
    ├── SpoolError             the on-disk log cannot be opened, written or read
    │   ├── SpoolClosedError   its writer has ended
    │   ├── SpoolFullError     a declared bound (or the disk) leaves no room
    │   └── SpoolFormatError   a file on the spool is not in a format we know
    ├── AgentError             the agent cannot be started or is not to be had
    └── StoreError             the event store cannot serve
        ├── StoreUnreachable   no server answers at the given address
        └── StoreNotMigrated   the server answers, but our tables are not there or too old

Emitting never raises any of these into the application (see ``clew.emit.process``); they reach
people through the command line, the HTTP API and calls such as ``clew.configure``.
A message says what was wrong, with the value; ``hint`` says what to do about it.
"""

from __future__ import annotations

__all__ = [
    "AgentError",
    "ClewError",
    "ConfigError",
    "NotFoundError",
    "SpoolClosedError",
    "SpoolError",
    "SpoolFormatError",
    "SpoolFullError",
    "StoreError",
    "StoreNotMigrated",
    "StoreUnreachable",
    "UsageError",
]


class ClewError(Exception):
    """Be the root of the tree; carries what to do as well as what was wrong.

    Args:
        message: What was wrong, with the offending value.
        hint: What the reader can do about it; empty when there is nothing to add.

    Attributes:
        exit_code: What the command line exits with: 1 failed, 2 bad usage.

    Example:
        >>> str(ClewError("port 4319 is in use", hint="choose another with --port"))
        'port 4319 is in use; choose another with --port'
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Join message and hint into one line."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ConfigError(ClewError):
    """A setting is missing, malformed or contradictory."""

    exit_code = 2


class UsageError(ClewError):
    """A request cannot be meant: a malformed id, an unreadable document."""

    exit_code = 2


class NotFoundError(ClewError):
    """A well-formed id or name that nothing is known about."""


class SpoolError(ClewError):
    """The on-disk log cannot be opened, written or read.

    Args:
        message: What was wrong.
        hint: What to do.
        reason: Under which reason an event is counted that is lost by it (see ``clew.spool.losses``).
    """

    def __init__(self, message: str, *, hint: str = "", reason: str = "disk_error") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class SpoolFullError(SpoolError):
    """A declared bound (``reason`` is ``"spool_full"``), or the disk itself, leaves no room for another segment."""


class SpoolClosedError(SpoolError):
    """The writer of this log has ended, so that nothing can be appended to it any more."""


class SpoolFormatError(SpoolError):
    """A file on the spool is not in a format that this version knows."""


class AgentError(ClewError):
    """The agent cannot be started or is not to be had."""


class StoreError(ClewError):
    """The event store cannot serve."""


class StoreUnreachable(StoreError):  # noqa: N818 - reads as the state that it reports
    """No server answers at the given address."""


class StoreNotMigrated(StoreError):  # noqa: N818 - reads as the state that it reports
    """The server answers, but our tables are missing or too old."""
