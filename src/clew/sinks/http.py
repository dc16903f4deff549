"""What sinks that speak HTTP have in common: one connection, bounded waits, and what an answer means.

========================================  ==============================================================
answer                                    outcome
========================================  ==============================================================
2xx                                       none: taken
408, 425, 429, 5xx, no answer             ``Retry``, after ``Retry-After`` if that is given
401, 403, 404, 405, 3xx                   ``Retry``, misconfigured: the address or the key is wrong
everything else                           none: the sink knows best (400 and 422 refuse data, 413 is too large)
========================================  ==============================================================
"""

from __future__ import annotations

import contextlib
import socket
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from clew.sinks.base import Retry

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Client", "Response", "judge"]

TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0)
ONE_CONNECTION: Final = httpx.Limits(max_connections=1)
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_REASON_CHARS: Final = 200

_LATER: Final = frozenset({408, 425, 429})
_MISCONFIGURED: Final = frozenset({401, 403, 404, 405})


class Response(NamedTuple):
    """An answer, or why there was none.

    Attributes:
        status: The status; 0 when nobody answered.
        headers: Its headers, by name in small letters.
        body: Its body, of which a megabyte at most is read.
        trouble: Why nobody answered; empty when somebody did.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    trouble: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the request was taken."""
        return 200 <= self.status < 300

    @property
    def reason(self) -> str:
        """Return the answer in a line."""
        if self.trouble:
            return self.trouble
        text = " ".join(self.body[: MAX_REASON_CHARS * 4].decode("utf-8", "replace").split())[:MAX_REASON_CHARS]
        return f"HTTP {self.status}: {text}" if text else f"HTTP {self.status}"


class Client:
    """A client that neither follows redirects nor reads the environment.

    Threads:
        Belongs to the sink's worker; ``interrupt`` may come from another thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._stream: Any = None

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send *body*; no answer is a ``Response`` too, with status 0."""
        return self._ask("POST", url, body, headers)

    def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """Ask for *url*."""
        return self._ask("GET", url, b"", headers)

    def interrupt(self) -> None:
        """Have the request under way fail: its connection is cut, which wakes whoever waits for its answer."""
        stream = self._stream
        end: Any = None if stream is None else stream.get_extra_info("socket")
        if end is not None:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connections; the next request opens them anew."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(httpx.HTTPError, RuntimeError, OSError):
                client.close()

    def _ask(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        try:
            asked = self._open().build_request(
                method, url, content=body or None, headers=dict(headers), extensions={"trace": self._note_connection}
            )
            with contextlib.closing(self._open().send(asked, stream=True)) as answer:
                content = b""
                for part in answer.iter_bytes():
                    content += part[: MAX_BODY_BYTES - len(content)]
                return Response(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, content)
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError, OSError) as error:
            self.close()  # what is left of a connection that failed is of no use
            return Response(0, {}, b"", f"{type(error).__name__}: {error or url}")

    def _open(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(timeout=TIMEOUT, trust_env=False, limits=ONE_CONNECTION)
            return self._client

    def _note_connection(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember the connection, as httpcore reports it, for ``interrupt``."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._stream = info["return_value"]


def judge(status: int, headers: Mapping[str, str], reason: str) -> Retry | None:
    """Return what an answer means for the batch, as far as it is the same for every sink.

    Args:
        status: The status; 0 when nobody answered.
        headers: Its headers, by name in small letters.
        reason: What people are shown.

    Returns:
        Why to try again; None when the request was taken, or when the sink has to look closer.

    Example:
        >>> judge(429, {"retry-after": "7"}, "slow down").after_s
        7.0
    """
    if status == 0 or status in _LATER or status >= 500:
        return Retry(reason, after_s=_retry_after_s(headers.get("retry-after", "")))
    if status in _MISCONFIGURED or 300 <= status < 400:
        return Retry(reason, is_misconfigured=True)
    return None


def _retry_after_s(text: str) -> float | None:
    """Read ``Retry-After``: seconds, or a date (RFC 9110, section 10.2.3)."""
    if text.strip().isdigit():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return None
