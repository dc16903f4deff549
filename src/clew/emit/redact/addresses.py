"""Addresses of people, and credentials in addresses of machines.

A password in an address may hold nearly anything, and those that people write by hand do: ``@``, ``/``, ``:`` and
``#`` that should have been encoded. So it goes to the last ``@`` of the address, not to the first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_addresses"]

MAX_ADDRESS: Final = 1024

_LOCAL_BACKWARDS = re.compile(r"[\w.%+'-]{1,64}")
_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}\.[A-Za-z]{2,24}(?![A-Za-z0-9])")
_ADDRESS = re.compile(r"""[^\s"'`<>]{1,1024}""")
_HOST = re.compile(r"[\w.\-\[\]:%]{1,256}")
_PORT = re.compile(r"[0-9]{1,5}(?:/|$)")
_TOKEN_USER = re.compile(r"(?=[A-Za-z_-]{0,64}[0-9])[A-Za-z0-9_-]{20,256}")
_ORACLE = re.compile(r"""jdbc:oracle:[a-z]{2,8}:[^\s"'/@:]{1,64}/(?P<password>[^\s"'<>]{1,128})@""")
_TAKEN_OUT = re.compile(r"\[\w{1,40}:\w{1,40}\]|\[redacted\]")


def find_addresses(text: str) -> Iterator[tuple[int, int, str]]:
    """Find addresses of people, passwords of addresses (``scheme://user:password@host``) and tokens in their users' place."""
    done = 0
    at = text.find("@")
    while at >= 0:
        scheme = text.rfind("://", max(done, at - MAX_ADDRESS), at)
        if scheme >= 0 and (run := _ADDRESS.match(text, scheme + 3)) is not None and run.end() > at:
            done = run.end()
            span = _credential(run[0])
            if span is not None and not (_TAKEN_OUT.match(run[0]) or _TAKEN_OUT.match(run[0], span[0])):
                yield scheme + 3 + span[0], scheme + 3 + span[1], "url_password"
            elif (mail := _mail(text, at, at + 1)) is not None:
                yield mail
            at = text.find("@", at + 1)
            while 0 <= at < done:  # an address of a person in a query, such as ?to=jane@example.org
                if (span is None or at > scheme + 3 + span[1]) and (mail := _mail(text, at, at + 1)) is not None:
                    yield mail
                at = text.find("@", at + 1)
            continue
        if (mail := _mail(text, at, at + 1)) is not None:
            yield mail
        at = text.find("@", at + 1)
    if "jdbc:" in text:
        for match in _ORACLE.finditer(text):
            yield *match.span("password"), "url_password"
    at = text.find("%40") if "%" in text else -1
    while at >= 0:
        if (mail := _mail(text, at, at + 3)) is not None:
            yield mail
        at = text.find("%40", at + 3)


def _mail(text: str, at: int, behind: int) -> tuple[int, int, str] | None:
    domain = _DOMAIN.match(text, behind)
    if domain is None:
        return None
    local = _LOCAL_BACKWARDS.match(text[max(0, at - 64) : at][::-1])
    if local is None:
        return None
    written = local[0][::-1].lstrip("'-.%")
    if written == "git":  # git@github.com:owner/name is nobody's address
        return None
    if behind - at == 3 and "%" in written:  # name%3Djane%40…: what is encoded before the local part is no part of it
        written = written.rpartition("%")[2][2:]
    return (at - len(written), domain.end(), "email") if written else None


def _credential(address: str) -> tuple[int, int] | None:
    first_at = address.find("@")
    if first_at < 0:
        return None
    query = address.find("?", first_at)
    at = address.rfind("@", 0, query if query >= 0 else len(address))
    colon = address.find(":")
    if colon < 0 or colon > first_at or "/" in address[:colon] or "?" in address[:colon]:
        user = address[:first_at]
        return (0, first_at) if _TOKEN_USER.fullmatch(user) else None
    if _PORT.match(address, colon + 1, first_at + 1) and "/" in address[colon:first_at]:
        return None
    if colon + 1 == at or not _HOST.match(address, at + 1):
        return None
    return colon + 1, at
