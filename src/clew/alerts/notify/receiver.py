"""What a receiver is: one attempt to send one notice, and nothing else.

Order, retries, the count of attempts and what was sent already are the outbox's; a receiver answers one question with one
of three outcomes:

=================  ==============================================================
``Sent``           the system behind it has taken the notice
``SendLater``      it could not take it now; try again later
``Undeliverable``  it will never take it: the address is gone, the token is wrong
=================  ==============================================================

Before: ``outbox``. After: Slack, a mail server, somebody's program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from clew.alerts.notice import Notice

__all__ = ["Receiver", "SendLater", "SendOutcome", "Sent", "Undeliverable"]


class Sent(NamedTuple):
    """The notice has been taken.

    Attributes:
        thread: What later notices of the same alert are joined to: the ``ts`` of Slack's message, a mail's Message-ID;
            empty where there are no threads.
    """

    thread: str = ""


class SendLater(NamedTuple):
    """The notice could not be taken now.

    Attributes:
        reason: What stood in the way, for people; without secrets.
        after_s: Seconds to wait that the system asked for; None for the outbox's own backoff.
    """

    reason: str
    after_s: float | None = None


class Undeliverable(NamedTuple):
    """The notice will never be taken.

    Attributes:
        reason: Why, for people; without secrets.
    """

    reason: str


SendOutcome = Sent | SendLater | Undeliverable


class Receiver(Protocol):
    """Somebody who is notified.

    Attributes:
        name: Its name in the store, in metrics and messages: ``slack``, ``mail``, ``webhook`` …
    """

    name: str

    def send(self, notice: Notice, thread: str) -> SendOutcome:
        """Try once to send a notice.

        Args:
            notice: What to say.
            thread: What the first notice of the same alert returned as its thread; empty for the first one.

        Threads:
            Called by one at a time. It takes 10 s at most, whatever the system behind it does.
        """
        ...
