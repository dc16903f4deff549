"""Say on stderr what goes wrong beside the application, each thing once; no logging, which may lead back here."""

from __future__ import annotations

import sys

from clew.emit.safe.foreign import name_of
from clew.emit.sanitize import message_of

__all__ = ["Notices"]


class Notices:
    """What a process has said on stderr.

    Threads:
        Any, and re-entrantly: two at once may say the same thing twice.

    Example:
        >>> notices = Notices()
        >>> notices.say("no agent runs", about="shipping")  # on stderr: clew: no agent runs
        >>> notices.say("no agent runs", about="shipping")  # nothing
    """

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, text: str, *, about: str) -> None:
        """Write one line, unless one was written *about* the same thing."""
        stderr = getattr(sys, "stderr", None)  # None in a process without a console; print would then take stdout
        if about in self._said or stderr is None:
            return
        self._said.add(about)
        try:
            print(f"clew: {text}", file=stderr, flush=True)
        except (OSError, ValueError, AttributeError):
            return  # no stderr, or it is closed: nobody can be reached

    def say_once(self, line: str) -> None:
        """Write a line, unless it was written before."""
        self.say(line, about=line)

    def say_failure(self, what: str, failure: BaseException) -> None:
        """Write what failed beside emitting, and why; no event is lost by it."""
        self.say(f"{what}: {name_of(type(failure))}: {message_of(failure)}", about=what)

    def forget(self, about: str) -> None:
        """Have the next line about a thing written again."""
        self._said.discard(about)

    def clear(self) -> None:
        """Have every line written again."""
        self._said.clear()
