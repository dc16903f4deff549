r"""Private keys, as PEM and PGP write them: whole, in one line with ``\n``, cut off at either end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_private_keys"]

MAX_KEY: Final = 16_384

_BEGIN = re.compile(
    r"(?:-----)?BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?(?:-----)?|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----|PuTTY-User-Key-File-[0-9]"
)
_END = re.compile(
    r"-----END (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----|---- END SSH2 ENCRYPTED PRIVATE KEY ----|Private-MAC: ?[0-9a-f]{40,64}"
)
_PARAMETERS = re.compile(
    r"""<(?P<tag>D|P|Q|DP|DQ|InverseQ)>(?P<xml>[A-Za-z0-9+/=\s]{16,2048})</"""
    r"""|(?P<quote>\\{0,31}["'])(?:d|p|q|dp|dq|qi|k)(?P=quote)\s{0,8}:\s{0,8}(?P=quote)(?P<jwk>[A-Za-z0-9_+/=-]{16,2048})"""
)
_MATERIAL = re.compile(
    r"(?:\s|\\+[nrt])+|[A-Za-z-]{1,30}: [^\n\\]{0,200}(?=\n|\\)|[A-Za-z0-9+/=]{16,}|=[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{1,15}={0,2}(?=\n|\\|$)"
)
_MATERIAL_BACKWARDS = re.compile(r"(?:\s|[nrt]\\+)+|[A-Za-z0-9+/=]{4,}")


def find_private_keys(text: str) -> Iterator[tuple[int, int, str]]:
    """Find private keys; of one that was cut off, what is left of it."""
    if "RSAKeyValue" in text or "kty" in text:  # keys of XML, and JSON web keys
        for parameter in _PARAMETERS.finditer(text):
            yield *parameter.span("xml" if parameter["xml"] else "jwk"), "private_key"
    done = 0
    begin = _BEGIN.search(text)
    while begin is not None:
        following = text.find("-----BEGIN", begin.end(), begin.end() + MAX_KEY)
        end = _END.search(text, begin.end(), following if following >= 0 else begin.end() + MAX_KEY)
        done = end.end() if end is not None else _end_of_material(text, begin.end())
        if done > begin.end() + 8:
            yield begin.start(), done, "private_key"
        begin = _BEGIN.search(text, max(done, begin.end()))
    done = 0
    for end in _END.finditer(text):
        opening = text.rfind("-----BEGIN", done, end.start())
        if opening < 0 or "PRIVATE" not in text[opening : opening + 60]:
            start = _begin_of_material(text, done, end.start())
            if end.start() - start > 24:
                yield start, end.end(), "private_key"
        done = end.end()


def _end_of_material(text: str, position: int) -> int:
    end = position
    has_material = False
    while (part := _MATERIAL.match(text, position)) is not None:
        position = part.end()
        if part[0].strip() and not part[0].startswith("\\"):
            has_material = has_material or len(part[0]) >= 16
            end = position
    return end if has_material else 0


def _begin_of_material(text: str, least: int, position: int) -> int:
    window = text[max(least, position - MAX_KEY) : position][::-1]
    at = 0
    while (part := _MATERIAL_BACKWARDS.match(window, at)) is not None:
        at = part.end()
    return position - at
