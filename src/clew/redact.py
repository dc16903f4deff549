"""Secrets never reach the disk.

A field whose name says that it holds a secret loses its value, at any depth, before the event
is written to the spool. Names that merely look alike and are wanted (``token_count``,
``max_tokens``, ``tokens_in`` …) are kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["REDACTED", "Redactor"]

REDACTED = "[redacted]"
MEMO_KEYS = 10_000  # distinct field names to remember; more means that names are data, and a memo would leak

_SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|api[_-]?key|authorization|cookie|credential|private[_-]?key|"
    r"(?<![a-z])dsn(?![a-z])|"
    r"connection[_-]?string|access[_-]?key|bearer|jwt",
    re.IGNORECASE,
)
_COUNTS_TOKENS = re.compile(
    r"(?<!access_)(?<!refresh_)(?<!auth_)token(s|_?(count|usage|budget|limit|ids?$|type|index))|first_token",
    re.IGNORECASE,
)


class Redactor:
    """Decide which fields lose their values.

    Args:
        secret: Further field names to redact, compared without case.
        allowed: Field names never to redact, compared without case.

    Example:
        >>> redactor = Redactor()
        >>> redactor.is_secret("OPENAI_API_KEY"), redactor.is_secret("prompt_tokens")
        (True, False)
    """

    def __init__(self, *, secret: Iterable[str] = (), allowed: Iterable[str] = ()) -> None:
        self._secret = {name.lower() for name in secret}
        self._allowed = {name.lower() for name in allowed}
        self.harmless: set[str] = set()
        """Names known to be harmless: the memo that the hot path asks first."""

    def is_secret(self, name: str) -> bool:
        """Whether a field of this *name* holds a secret."""
        folded = name.lower()
        if folded in self._secret:
            return True
        if folded not in self._allowed and _SECRET.search(name) and _SECRET.search(_COUNTS_TOKENS.sub("", name)):
            return True
        if len(self.harmless) < MEMO_KEYS:
            self.harmless.add(name)
        return False
