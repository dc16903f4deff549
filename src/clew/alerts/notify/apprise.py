"""Every other service, through Apprise: it is given the same text, and says whether it was sent.

Apprise answers yes or no, so a no is always tried again: whether the address is wrong or the service away, nobody knows.
It makes its own connections. Where a URL names a host (``json://``, ``ntfy://``, ``mailto://``), that name must not lead to
a private address, as for any webhook, but Apprise looks it up once more by itself; only ``posting`` rules that out.
Redirections are not followed by the versions of Apprise that can be kept from it (2.3 can, 1.9.5 cannot).

Before: ``outbox``. After: the package apprise (``clew[apprise]``).
"""

from __future__ import annotations

import logging
import socket
from collections import OrderedDict
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, cast

from clew.alerts.notice import dedupe_key, first_line
from clew.alerts.notify.address import RefusedAddressError, find_addresses
from clew.alerts.notify.connection import ATTEMPT_S, Deadline
from clew.alerts.notify.receiver import SendLater, SendOutcome, Sent, Undeliverable
from clew.alerts.notify.text import fit, text_body
from clew.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.alerts.notice import Notice
    from clew.alerts.notify.address import Lookup

__all__ = ["AppriseServices", "make_apprise", "split_urls"]

REMEMBERED: Final = 1000
_THREAD: Final = "clew-apprise"
_KINDS: Final = {"critical": "failure", "warning": "warning", "info": "info"}


class AppriseServices:
    """All services that Apprise notifies, at the same time; one that has a notice is not sent it again with the others.

    Args:
        plugins: What Apprise made of each URL.
        may_be_private: They may be at private addresses.
        limit_s: Seconds that an attempt takes at most.
        lookup: Who is asked for the addresses of their hosts.
    """

    name = "apprise"

    def __init__(
        self,
        plugins: Sequence[Any],
        *,
        may_be_private: bool,
        limit_s: float = ATTEMPT_S,
        lookup: Lookup = socket.getaddrinfo,
    ) -> None:
        self._services = [_Service(plugin, may_be_private=may_be_private, lookup=lookup) for plugin in plugins]
        self._limit_s = limit_s
        self._have_it: OrderedDict[str, set[int]] = OrderedDict()

    def send(self, notice: Notice, thread: str) -> SendOutcome:  # noqa: ARG002 - Apprise has no threads
        """Try once to send the notice, to the services that do not have it yet.

        An attempt that hangs is left behind, and until it has ended that service gets no other.
        """
        deadline = Deadline(self._limit_s)
        has_it = self._have_it.setdefault(dedupe_key(notice, self.name), set())
        missing = [index for index in range(len(self._services)) if index not in has_it]
        short = fit(notice)
        for index in missing:
            self._services[index].start(short, deadline)
        reasons: dict[int, SendLater | Undeliverable] = {}
        for index in missing:
            outcome = self._services[index].finish(deadline)
            if isinstance(outcome, Sent):
                has_it.add(index)
            else:
                reasons[index] = outcome
        while len(self._have_it) > REMEMBERED:
            self._have_it.popitem(last=False)
        return self._sum_up(reasons)

    def _sum_up(self, reasons: dict[int, SendLater | Undeliverable]) -> SendOutcome:
        if not reasons:
            return Sent()
        reason = "; ".join(
            f"service {index + 1} of {len(self._services)}: {it.reason}" for index, it in reasons.items()
        )
        is_over = all(isinstance(outcome, Undeliverable) for outcome in reasons.values())
        return Undeliverable(reason) if is_over else SendLater(reason)


class _Service:
    """One service, with the attempt that is under way."""

    def __init__(self, plugin: Any, *, may_be_private: bool, lookup: Lookup) -> None:
        self._plugin = plugin
        self._may_be_private = may_be_private
        self._lookup = lookup
        self._attempt: Thread | None = None
        self._outcomes: list[SendOutcome] | None = None

    def start(self, notice: Notice, deadline: Deadline) -> None:
        self._outcomes = None
        if self._attempt is not None and self._attempt.is_alive():
            return
        outcomes: list[SendOutcome] = []
        self._outcomes = outcomes
        self._attempt = Thread(
            target=lambda: outcomes.append(self._notify(notice, deadline)), name=_THREAD, daemon=True
        )
        self._attempt.start()

    def finish(self, deadline: Deadline) -> SendOutcome:
        if self._attempt is None or self._outcomes is None:
            return SendLater("it still hangs in an earlier attempt")
        self._attempt.join(deadline.left_s())
        return self._outcomes[0] if self._outcomes else SendLater(f"no answer within {deadline.seconds:g} s")

    def _notify(self, notice: Notice, deadline: Deadline) -> SendOutcome:
        try:
            self._check_host(deadline)
        except RefusedAddressError as error:
            return Undeliverable(f"{error}, and only public addresses are allowed; set notify_allow_private")
        except OSError as error:
            return SendLater(f"its host is not known: {error.strerror or 'no answer in time'}")
        kind = "success" if notice.kind == "resolved" else _KINDS[notice.severity]
        try:
            is_sent = self._plugin.notify(
                body=text_body(notice), title=first_line(notice), notify_type=kind, body_format="text"
            )
        except Exception:  # noqa: BLE001 - foreign code, whose messages may have the URL in them
            is_sent = False
        return Sent() if is_sent else SendLater("Apprise could not send it, and does not say why")

    def _check_host(self, deadline: Deadline) -> None:
        """Refuse a host that is not public; elsewhere what Apprise calls host is a part of a token."""
        host: object = getattr(self._plugin, "host", None)
        if self._may_be_private or "host" not in self._plugin.template_tokens or not isinstance(host, str):
            return
        port: object = getattr(self._plugin, "port", None)
        number = port if isinstance(port, int) else 443
        find_addresses(host, number, deadline=deadline, may_be_private=False, lookup=self._lookup)


def make_apprise(urls: Sequence[str], *, may_be_private: bool, limit_s: float = ATTEMPT_S) -> AppriseServices:
    """Make the receiver of all URLs.

    Args:
        urls: The URLs, as Apprise's documentation writes them; a comma may have cut them.
        may_be_private: They may be at private addresses.
        limit_s: Seconds that an attempt takes at most.

    Raises:
        ConfigError: Apprise is not installed, or does not know a URL, which is named by its number.
    """
    if find_spec("apprise") is None:
        raise ConfigError("the setting apprise_urls needs the package apprise", hint="pip install 'clew[apprise]'")
    _hide_logs()
    plugins = [_read(url) for url in split_urls(urls)]
    if None in plugins:
        raise ConfigError(
            f"number {plugins.index(None) + 1} of the setting apprise_urls is no URL that Apprise knows",
            hint="see https://github.com/caronc/apprise/wiki for the form of each service",
        )
    return AppriseServices(plugins, may_be_private=may_be_private, limit_s=limit_s)


def _read(url: str) -> Any:
    """Return Apprise's plugin for a URL; None if there is none. In a thread of our name, whose logs are not shown."""
    from apprise import Apprise

    plugins: list[Any] = []

    def read() -> None:
        plugin = cast(Any, Apprise).instantiate(url, suppress_exceptions=True)
        if plugin is not None:
            plugin.redirects = False  # versions of Apprise that do not know this always follow
        plugins.append(plugin)

    reading = Thread(target=read, name=_THREAD, daemon=True)
    reading.start()
    reading.join()
    return plugins[0] if plugins else None


def split_urls(parts: Sequence[str]) -> list[str]:
    """Join what the commas within a URL have separated: each one begins with its scheme.

    Example:
        >>> split_urls(["mailto://a@b.example?to=c@b.example", "d@b.example", "json://h"])
        ['mailto://a@b.example?to=c@b.example,d@b.example', 'json://h']
    """
    urls: list[str] = []
    for part in parts:
        if "://" in part or not urls:
            urls.append(part)
        else:
            urls[-1] += f",{part}"
    return urls


class _NotOurs(logging.Filter):
    """Drops what Apprise logs in our threads: it may show URLs."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.threadName != _THREAD


def _hide_logs() -> None:
    logger = logging.getLogger("apprise")
    if not any(isinstance(one, _NotOurs) for one in logger.filters):
        logger.addFilter(_NotOurs())
