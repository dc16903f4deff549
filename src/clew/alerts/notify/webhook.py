"""A webhook of somebody's program: the notice as JSON, signed.

The form is that of Standard Webhooks, for which there are libraries in many languages::

    POST …
    webhook-id: a1:1:webhook                           the same at every attempt, so that a repeat is recognised
    webhook-timestamp: 1764538380                      seconds since 1970, of this attempt
    webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=

    {"type": "alert.firing", "timestamp": "…", "data": {"first_line": …, "dedupe_key": …, "notice": {…}}}

The signature is the base64 of HMAC-SHA256 over ``id.timestamp.body``. A secret that begins with ``whsec_`` is the base64
of the key, any other one is the key itself. Without a secret there is no signature.

Before: ``outbox``. After: ``posting``.

Source:
    Standard Webhooks, https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from msgspec import json, to_builtins

from clew import clock
from clew.alerts.notice import dedupe_key, first_line
from clew.alerts.notify.posting import judge_reply
from clew.alerts.notify.receiver import SendOutcome, Sent
from clew.alerts.notify.text import fit, one_line
from clew.errors import ConfigError

if TYPE_CHECKING:
    from clew.alerts.notice import Notice
    from clew.alerts.notify.posting import HttpPoster

__all__ = ["Webhook", "sign", "signing_key"]

PREFIX: Final = "whsec_"


class Webhook:
    """A program that takes notices by HTTP.

    Args:
        url: Where it takes them.
        secret: What to sign with; None for no signature.
        poster: Who posts.

    Raises:
        ConfigError: The secret begins with ``whsec_``, and no base64 follows.
    """

    name = "webhook"

    def __init__(self, url: str, secret: str | None, poster: HttpPoster) -> None:
        self._url = url
        self._key = None if secret is None else signing_key(secret)
        self._poster = poster

    def send(self, notice: Notice, thread: str) -> SendOutcome:  # noqa: ARG002 - what belongs together has the alert's id
        """Try once to post the notice; any answer from 200 to 299 means that it was taken."""
        key = one_line(dedupe_key(notice, self.name))
        body = _body(notice, key)
        id_ = quote(key, safe=":").replace(".", "%2E")  # the parts that are signed end at dots
        timestamp = clock.nanoseconds_of(clock.now()) // 1_000_000_000
        headers = {"Content-Type": "application/json", "webhook-id": id_, "webhook-timestamp": str(timestamp)}
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, id_, timestamp, body)
        judged = judge_reply(self._poster.post(self._url, body, headers))
        return Sent() if judged is None else judged


def sign(key: bytes, id_: str, timestamp: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``.

    Args:
        key: What ``signing_key`` returned.
        id_: ``webhook-id``.
        timestamp: ``webhook-timestamp``, in seconds since 1970.
        body: The body, as it is sent.

    Example:
        >>> sign(signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
        ...     b'{"test": 2432232314}')
        'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = hmac.digest(key, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{b64encode(signed).decode('ascii')}"


def signing_key(secret: str) -> bytes:
    """Return the key that a secret stands for.

    Raises:
        ConfigError: It begins with ``whsec_``, and no base64 follows.
    """
    if not secret.startswith(PREFIX):
        return secret.encode()
    key = b""
    with suppress(binascii.Error, ValueError):
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    if not key:
        raise ConfigError(
            f"the setting webhook_secret begins with {PREFIX}, but no base64 follows",
            hint="copy it whole, or use a secret without this prefix",
        )
    return key


def _body(notice: Notice, key: str) -> bytes:
    short = fit(notice)
    data = {
        "first_line": first_line(short),
        "dedupe_key": key,
        "notice": to_builtins(short, str_keys=True),
    }
    return json.encode({"type": f"alert.{notice.kind}", "timestamp": notice.at, "data": data})
