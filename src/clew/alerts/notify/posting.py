"""Post to a webhook: one request on one connection, to an address that was judged, ended in time.

With the standard library alone, because the address has to be chosen before the connection is made, and a client that
looks names up by itself would do so again. Redirections are not followed, the environment's proxies are not used, and no
more of an answer is read than is needed to understand it.

Before: the receivers that speak HTTP. After: ``address``, ``connection``.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
from base64 import b64encode
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from clew.alerts.notify.address import RefusedAddressError, find_addresses
from clew.alerts.notify.connection import ATTEMPT_S, Deadline, connect, cut_at
from clew.alerts.notify.receiver import SendLater, SendOutcome, Undeliverable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

    from clew.alerts.notify.address import Lookup

__all__ = ["HttpPoster", "HttpReply", "judge_reply"]

MAX_REPLY_BYTES: Final = 64 * 1024
MAX_RETRY_AFTER_S: Final = 24 * 3600.0

_URL_SAFE: Final = "%/:=&?~#+!$,;'@()*[]|"
_LATER: Final = frozenset({408, 425, 429})


class HttpReply(NamedTuple):
    """An answer, or why there is none.

    Attributes:
        status: The status; 0 where nobody answered.
        body: The beginning of its body.
        retry_after_s: Seconds to wait that it asks for; None where it does not.
        trouble: Why nobody answered; without secrets.
        is_refused: Nobody was asked, since the address is not public.
    """

    status: int
    body: bytes = b""
    retry_after_s: float | None = None
    trouble: str = ""
    is_refused: bool = False


class HttpPoster:
    """Posts to addresses from the settings.

    Args:
        may_be_private: They may be loopback and private ones.
        limit_s: Seconds that a post takes at most, looking the name up included.
        lookup: Who is asked for the addresses of a name.
    """

    def __init__(
        self, *, may_be_private: bool, limit_s: float = ATTEMPT_S, lookup: Lookup = socket.getaddrinfo
    ) -> None:
        self._may_be_private = may_be_private
        self._limit_s = limit_s
        self._lookup = lookup

    def start(self) -> Deadline:
        """Return the deadline of an attempt that begins now."""
        return Deadline(self._limit_s)

    def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: Deadline | None = None) -> HttpReply:
        """Post once.

        Args:
            url: Where to; ``user:password@`` in it becomes basic authentication.
            body: What.
            headers: Headers besides those of the connection.
            deadline: By when, for a post that is a part of an attempt; None for one of its own.

        Returns:
            The answer. No answer is one too, with status 0.
        """
        deadline = deadline or self.start()
        target = urlsplit(url)
        try:
            return self._ask(target, body, headers, deadline)
        except RefusedAddressError as error:
            return HttpReply(0, trouble=str(error), is_refused=True)
        except (OSError, HTTPException, ValueError) as error:
            return HttpReply(0, trouble=_describe(error, target.hostname or "", deadline))

    def _ask(self, target: SplitResult, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> HttpReply:
        host = target.hostname or ""
        is_tls = target.scheme == "https"
        port = target.port or (443 if is_tls else 80)
        addresses = find_addresses(
            host, port, deadline=deadline, may_be_private=self._may_be_private, lookup=self._lookup
        )
        sock = connect(addresses, deadline)
        with cut_at(deadline, sock), contextlib.closing(HTTPConnection(host, port)) as connection:
            connection.sock = sock  # so that it makes none by itself
            if is_tls:
                connection.sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
            connection.request("POST", _path(target), body, {**_own_headers(target), **headers})
            response = connection.getresponse()
            return HttpReply(
                response.status, _beginning(response), _retry_after_s(response.headers.get("Retry-After", ""))
            )


def judge_reply(reply: HttpReply) -> SendOutcome | None:
    """Return what an answer means, as far as it is the same for everybody; None for a success.

    Example:
        >>> judge_reply(HttpReply(429, retry_after_s=7.0))
        SendLater(reason='HTTP 429 Too Many Requests', after_s=7.0)
    """
    if reply.is_refused:
        return Undeliverable(f"{reply.trouble}, and only public addresses are allowed; set notify_allow_private")
    if reply.status == 0:
        return SendLater(reply.trouble)
    if reply.status in _LATER or reply.status >= 500:
        return SendLater(_name(reply.status), reply.retry_after_s)
    if 300 <= reply.status < 400:
        return Undeliverable(f"{_name(reply.status)}: it redirects elsewhere, which is not followed")
    return None if 200 <= reply.status < 300 else Undeliverable(_name(reply.status))


def _path(target: SplitResult) -> str:
    return quote((target.path or "/") + (f"?{target.query}" if target.query else ""), safe=_URL_SAFE)


def _own_headers(target: SplitResult) -> dict[str, str]:
    place = target.netloc.rpartition("@")[2]
    own = {"Host": place.encode("idna").decode("ascii"), "Connection": "close", "User-Agent": "clew"}
    if target.username is not None:
        pair = f"{unquote(target.username)}:{unquote(target.password or '')}"
        own["Authorization"] = f"Basic {b64encode(pair.encode()).decode('ascii')}"
    return own


def _beginning(response: HTTPResponse) -> bytes:
    """Read what is of use of the body. That it ends too early matters to nobody: the status has been given."""
    try:
        return response.read(MAX_REPLY_BYTES)
    except (OSError, HTTPException):
        return b""


def _retry_after_s(text: str) -> float | None:
    """Read ``Retry-After``: seconds, or a date (RFC 9110, section 10.2.3)."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if text.strip().isascii() and text.strip().isdigit():
            return min(float(text), MAX_RETRY_AFTER_S)
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        left = (moment - datetime.now(UTC)).total_seconds()
        return min(max(0.0, left), MAX_RETRY_AFTER_S) if math.isfinite(left) else None
    return None


def _describe(error: Exception, host: str, deadline: Deadline) -> str:
    """Say why there is no answer, in words of ours: those of an exception may repeat the URL."""
    if deadline.is_over() or isinstance(error, TimeoutError):
        return f"{host} did not answer within {deadline.seconds:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {host} is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"{host} does not speak TLS as it should: {error.reason or 'it ended the connection'}"
    if isinstance(error, socket.gaierror):
        return f"{host} is not known: {error.strerror}"
    if isinstance(error, OSError):
        return f"no connection to {host}: {error.strerror or type(error).__name__}"
    return f"{host} does not speak HTTP as it should: {type(error).__name__}"


def _name(status: int) -> str:
    from http import HTTPStatus

    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
