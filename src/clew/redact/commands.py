"""Secrets in command lines, in SQL, and in sentences that say what a password is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from clew.redact.names import PATH, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["find_around_names", "find_in_commands", "find_in_sentences", "find_schemes"]

_OPTION = re.compile(
    r"(?<![\w-])--?(?P<name>[A-Za-z][\w.-]{2,60})(?P<gap>[ \t\n]{1,4})(?P<value>\"[^\"\n]{1,512}\"?|'[^'\n]{1,512}'?|[^\s\"'-][^\s\"']{0,1024})"
)
_USER = re.compile(
    r"(?<!\S)(?:-u|-U|--user|--proxy-user)(?:[ \t=\n]{0,3})(?P<value>\"[^\"\n]{1,512}\"?|'[^'\n]{1,512}'?|[^\s\"']{1,1024})"
)
_CALLERS = re.compile(r"\b(?:curl|wget|https?|xh|lftp|svn|ncftp|smbclient|rclone)\b")
_LETTERS: Final = (
    (
        re.compile(
            r"\b(?:mysql|mysqldump|mysqladmin|mysqlimport|mariadb|mariadb-dump|sshpass|mongo|mongosh|mongodump|mongorestore)\b"
        ),
        "p",
    ),
    (re.compile(r"\b(?:docker|podman|helm|az|oc|skopeo|nerdctl)\b[^\n]{0,60}\blogin\b"), "p"),
    (re.compile(r"\bredis-cli\b"), "a"),
    (re.compile(r"\b(?:sqlcmd|bcp)\b"), "P"),
    (re.compile(r"\bldap(?:search|modify|add|passwd|whoami)\b"), "w"),
)
_LETTER = {
    letter: re.compile(
        rf"(?<!\S)-{letter}[ \t\n]?(?P<value>\"[^\"\n]{{1,512}}\"?|'[^'\n]{{1,512}}'?|[^\s\"'-][^\s\"']{{0,512}})"
    )
    for letter in "paPw"
}
_REACH: Final = 400
_PROSE: Final = frozenset(
    word
    for word in [
        "and",
        "argument",
        "as",
        "flag",
        "for",
        "from",
        "in",
        "is",
        "it",
        "must",
        "of",
        "on",
        "option",
        "or",
        "parameter",
        "should",
        "switch",
        "that",
        "the",
        "to",
        "value",
        "was",
        "when",
        "which",
        "will",
        "with",
    ]
)
_SQL = re.compile(
    r"(?i)\b(?:identified(?:[ \t]+with[ \t]+\S{1,60})?[ \t]+(?:by|as)(?:[ \t]+password)?|password|authenticate[ \t]+by)"
    r"[\s(]{1,6}(?:e|n)?(?P<quote>\\?'|\$\$|\\?\")(?=\S)"
)
_NAMED = re.compile(
    r"""(?i)\b(?:name|key)(?P<a>\\{0,7}["'])?\s{0,3}[:=]\s{0,3}(?P<q>\\{0,7}["'])(?P<name>[\w. -]{2,60})(?P=q)[\s,]{1,6}"""
    r"""(?:\\{0,7}["'])?value(?:\\{0,7}["'])?\s{0,3}[:=]\s{0,3}(?P<quote>\\{0,7}["'])"""
)
_ELEMENT = re.compile(
    r"<(?P<name>[\w:.-]{2,60})(?:[ \t][^<>]{0,200})?>(?:<!\[CDATA\[)?(?P<value>[^<>]{1,4096})(?:\]\]>)?</"
)
_SPOKEN = re.compile(
    r"(?i)\b(?:password|passwd|passwort|passphrase|passcode|kennwort|pin|contraseña|mot de passe)(?:[ \t]+(?:is|ist|was|war|lautet|es|est)|[ \t]*->|[ \t]*=>)"
    r"[ \t:]{1,4}[\"'`]?(?P<value>[^\s\"'`]{4,256})"
)
_BEARER = re.compile(r"(?i)\bbearer[ \t]{1,4}(?P<value>[A-Za-z0-9._~+/=-]{16,4096})")
_PAIR = re.compile(
    r"(?i)(?P<name_quote>\\{0,7}[\"'])(?:proxy-)?(?:authorization|(?:set-)?cookie|x-api-key|api-key|x-auth-token)(?P=name_quote)"
    r"\s{0,4},\s{0,4}b?(?P<quote>\\{0,7}[\"'])"
)
_BASIC = re.compile(r"(?i)\bbasic[ \t]{1,4}(?P<value>[A-Za-z0-9+/_-]{8,2048}={0,2})")


def find_in_commands(text: str, judge: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Find values of options that are secret: ``--password x``, ``curl -u name:x``, ``mysql -p x``."""
    for match in _OPTION.finditer(text):
        if judge(match["name"]) in (SECRET, PATH) and match["value"].lower().strip(".,;:") not in _PROSE:
            yield from _value(match, "password")
    for match in _USER.finditer(text):
        yield from _of_user(text, match)
    for programs, letter in _LETTERS:
        for program in programs.finditer(text):
            end = text.find("\n\n", program.end(), program.end() + _REACH)
            for match in _LETTER[letter].finditer(text, program.end(), end if end >= 0 else program.end() + _REACH):
                yield from _value(match, "password")


def find_in_sentences(text: str) -> Iterator[tuple[int, int, str]]:
    """Find passwords that a statement of SQL sets, or a sentence tells."""
    yield from _find_in_sql(text)
    yield from _find_spoken(text)


def find_around_names(text: str, judge: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Find values whose names are neither before ``=`` nor before ``:``."""
    if "value" in text:
        yield from _find_named(text, judge)
    if "</" in text:
        yield from _find_in_elements(text, judge)


def _find_in_sql(text: str) -> Iterator[tuple[int, int, str]]:
    """Find the passwords of statements: ``PASSWORD '…'``, ``IDENTIFIED BY '…'``."""
    for match in _SQL.finditer(text):
        quote, position = match["quote"], match.end()
        while (end := text.find(quote, position)) >= 0 and text.startswith(quote, end + len(quote)) and len(quote) == 1:
            position = end + 2 * len(quote)  # '' is a quote within
        yield match.end(), len(text) if end < 0 else end, "password"


def _find_named(text: str, judge: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Find values whose name is a value itself: ``{"name": "password", "value": "…"}``."""
    for match in _NAMED.finditer(text):
        if judge(match["name"]) in (SECRET, PATH):
            end = text.find(match["quote"], match.end())
            yield match.end(), len(text) if end < 0 else end, "password"


def _find_in_elements(text: str, judge: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Find the contents of elements of XML whose names are secret: ``<password>…</password>``."""
    for match in _ELEMENT.finditer(text):
        if judge(match["name"].rpartition(":")[2]) in (SECRET, PATH) and match["value"].strip():
            yield *match.span("value"), "password"


def _find_spoken(text: str) -> Iterator[tuple[int, int, str]]:
    """Find what sentences say: ``the password is hunter2``, where it does not look like a word."""
    for match in _SPOKEN.finditer(text):
        value = match["value"].rstrip(".,;:!?)")
        if any(letter.isdigit() or letter in "!#$%^&*@+" for letter in value):
            yield match.start("value"), match.start("value") + len(value), "password"


def find_schemes(text: str) -> Iterator[tuple[int, int, str]]:
    """Find what follows ``Bearer`` and ``Basic``, with or without the name of the header before it."""
    for match in _BEARER.finditer(text):
        if any(letter.isdigit() for letter in match["value"]):
            yield *match.span("value"), "bearer_token"
    for match in _PAIR.finditer(text):
        end = text.find(match["quote"], match.end())
        yield match.end(), len(text) if end < 0 else end, "secret"
    for match in _BASIC.finditer(text):
        if _is_user_and_password(match["value"]):
            yield *match.span("value"), "password"


def _value(match: re.Match[str], kind: str) -> Iterator[tuple[int, int, str]]:
    start, end = match.span("value")
    value = match["value"]
    if value[0] in "\"'":
        start += 1
        end -= value[-1] == value[0] and len(value) > 1
    if start < end and not re.match(
        r"\$\{?[A-Za-z_]|\$\(|<\w|\{\{|\*{3}|\[redacted|\[\w+:\w+\]", match.string[start:end]
    ):
        yield start, end, kind


def _of_user(text: str, match: re.Match[str]) -> Iterator[tuple[int, int, str]]:
    if not _CALLERS.search(text, max(0, match.start() - _REACH), match.start()):
        return
    for start, end, kind in _value(match, "password"):
        colon = text.find(":", start, end)
        if colon >= 0 and colon + 1 < end and not re.fullmatch(r"[0-9]+", text[start:colon] or "-"):
            yield colon + 1, end, kind


def _is_user_and_password(value: str) -> bool:
    import binascii  # a part of the interpreter

    try:
        decoded = binascii.a2b_base64(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return False
    return b":" in decoded and all(32 <= byte < 127 or byte > 160 for byte in decoded)
