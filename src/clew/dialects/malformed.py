"""What is said of a request that cannot be read."""

from __future__ import annotations

from clew.errors import UsageError

__all__ = ["WireError"]


class WireError(UsageError):
    """A request cannot be taken.

    Args:
        message: What was wrong.
        status: What to answer: 400 for a malformed body, 413 for one too large, 415 for an unknown encoding,
            422 for a run that cannot be one.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
