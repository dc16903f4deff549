"""Secrets in command lines, in SQL, and in sentences that say what a password is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from clew.emit.redact.names import PATH, SECRET, is_plain_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["find_around_names", "find_in_commands", "find_in_sentences", "find_schemes"]

_OPTION = re.compile(
    r"(?<![\w-])--?(?P<name>[A-Za-z][\w.-]{2,60})(?P<gap>[ \t\n]{1,4})(?P<value>\"[^\"\n]{1,512}\"?|'[^'\n]{1,512}'?|[^\s\"'-][^\s\"']{0,1024})"
)
_USER = re.compile(
    r"(?<!\S)(?:-u|-U|--user|--proxy-user)(?:[ \t=\n]{0,4})(?P<value>\"[^\"\n]{1,512}\"?|'[^'\n]{1,512}'?|[^\s\"']{1,1024})"
)
_CALLERS = re.compile(r"\b(?:curl|wget|https?|xh|lftp|svn|ncftp|smbclient|rclone)\b")
_TAKEN_OUT = re.compile(r"\[\w{1,40}:\w{1,40}\]|\[redacted\]")
_ARGUMENTS = re.compile(r"""(?P<quote>["']),[ \t]{0,2}(?P=quote)""")
_WHOLE: Final = (  # commands whose secret has no name at all
    re.compile(r"\bvault[ \t]+login[ \t]+(?!-)(?P<value>[^\s\"'=]{8,512})(?!\S)"),
    re.compile(r"\bhtpasswd[ \t]+-[A-Za-z]{0,8}b[A-Za-z]{0,8}[ \t]+\S{1,200}[ \t]+\S{1,100}[ \t]+(?P<value>\S{1,256})"),
    re.compile(r"\bsmbclient\b[^\n]{0,200}[ \t]-U[ \t]{0,2}[^\s%]{1,64}%(?P<value>\S{1,256})"),
    re.compile(r"\bnet[ \t]+use[ \t][^\n]{0,200}/user:\S{1,64}[ \t]+(?P<value>[^\s/]\S{0,255})"),
    re.compile(r"\bhttps?[ \t]+(?:[^\n]{0,100}[ \t])?(?:-a|--auth)[ \t=]{1,2}[^\s:]{1,64}:(?P<value>\S{1,256})"),
)
_LETTERS: Final = (
    (
        re.compile(r"\b(?:sshpass|mongo|mongosh|mongodump|mongorestore|twine|cqlsh)\b"),
        "p",
    ),
    (re.compile(r"\b(?:mysql|mysqldump|mysqladmin|mysqlimport|mariadb|mariadb-dump|7z|7za|unzip)\b"), "mysql"),
    (re.compile(r"\bzip\b"), "P"),
    (re.compile(r"\bopenssl[ \t]+enc\b"), "k"),
    (re.compile(r"\b(?:docker|podman|helm|az|oc|skopeo|nerdctl)\b[^\n]{0,60}\blogin\b"), "p"),
    (re.compile(r"\bredis-cli\b"), "a"),
    (re.compile(r"\b(?:sqlcmd|bcp)\b"), "P"),
    (re.compile(r"\bldap(?:search|modify|add|passwd|whoami)\b"), "w"),
)
_VALUE = r"(?P<value>\"[^\"\n]{1,512}\"?|'[^'\n]{1,512}'?|[^\s\"'-][^\s\"']{0,512})"
_LETTER = {letter: re.compile(rf"(?<!\S)-{letter}[ \t\n]{{0,4}}{_VALUE}") for letter in "paPwk"}
_LETTER["mysql"] = _LETTER["p"]
_REACH: Final = 400
_WORDS_OF_PROSE: Final = (
    "and argument as flag for from in is it must of on option or parameter should switch that the to value was "
    "when which will with"
)
_PROSE: Final = frozenset(_WORDS_OF_PROSE.split())
_SQL = re.compile(
    r"(?i)\b(?:identified(?:[ \t]+with[ \t]+\S{1,60})?[ \t]+(?:by|as)(?:[ \t]+password)?|password|authenticate[ \t]+by|"
    r"set[ \t]+password[^=;\n]{0,100}=|pragma[ \t]+key[ \t]*=)"
    r"[\s(]{1,6}(?:e|n)?(?P<quote>\\?'|\$\$|\\?\")(?=\S)"
)
_NAMED = re.compile(
    r"""(?i)\b(?:name|key)(?P<a>\\{0,7}["'])?\s{0,3}[:=]\s{0,3}(?P<q>\\{0,7}["'])(?P<name>[\w. -]{2,60})(?P=q)[\s,]{1,6}"""
    r"""(?:\\{0,7}["'])?value(?:\\{0,7}["'])?\s{0,3}[:=]\s{0,3}(?:\{\s{0,3}\\{0,7}["']string_?value\\{0,7}["']\s{0,3}:\s{0,3})?(?P<quote>\\{0,7}["'])"""
)
_ELEMENT = re.compile(
    r"<(?P<name>[\w:.-]{2,60})(?:[ \t][^<>]{0,200})?>(?:<!\[CDATA\[)?(?P<value>[^<>]{1,4096})(?:\]\]>)?</"
)
_SPOKEN = re.compile(
    r"(?i)\b(?:password|passwd|passwort|passphrase|passcode|kennwort|pin|contraseña|mot de passe)(?:[ \t]+(?:is|ist|was|war|lautet|es|est)|[ \t]*->|[ \t]*=>|[ \t]*→|[ \t]*\|)"
    r"[ \t:]{1,4}[\"'`]?(?P<value>[^\s\"'`]{4,256})"
)
_BEARER = re.compile(r"(?i)\bbearer[ \t]{1,4}(?P<value>[A-Za-z0-9._~+/=-]{16,4096})")
_BASIC = re.compile(r"(?i)\bbasic[ \t]{1,4}(?P<value>[A-Za-z0-9+/_-]{8,2048}={0,2})")


def find_in_commands(text: str, judge: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Find values of options that are secret: ``--password x``, ``curl -u name:x``, ``mysql -p x``."""
    if "'-" in text or '"-' in text:  # a list of arguments: quotes and commas stand for blanks
        text = _ARGUMENTS.sub(lambda match: " " * len(match[0]), text)
    for match in _OPTION.finditer(text):
        if judge(match["name"]) in (SECRET, PATH) and match["value"].lower().strip(".,;:") not in _PROSE:
            yield from _value(match, "password")
    yield from _find_users(text)
    for whole in _WHOLE:
        for match in whole.finditer(text):
            yield from _value(match, "password")
    for programs, letter in _LETTERS:
        done = 0
        for program in programs.finditer(text):
            end = text.find("\n\n", program.end(), program.end() + _REACH)
            end = end if end >= 0 else program.end() + _REACH
            start, done = max(done, program.end()), max(done, end)
            for match in _LETTER[letter].finditer(text, start, end):
                if letter == "mysql" and match[0][2] in " \t\n" and is_plain_word(match["value"]):
                    continue  # the name of a database: a password is written without a blank before it
                yield from _value(match, "password")


def find_in_sentences(text: str) -> Iterator[tuple[int, int, str]]:
    """Find passwords that a statement of SQL sets, or a sentence states."""
    yield from _find_in_sql(text)
    yield from _find_spoken(text)


def find_around_names(text: str, judge: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Find values whose names are neither before ``=`` nor before ``:``."""
    if "alue" in text:
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


def _find_users(text: str) -> Iterator[tuple[int, int, str]]:
    """Find the passwords of ``-u name:password`` behind a command that takes them so."""
    users = [match for match in _USER.finditer(text) if ":" in match["value"]]
    callers = [match.span() for match in _CALLERS.finditer(text)] if users else []
    number = 0
    for match in users:
        while number < len(callers) and callers[number][1] <= match.start():
            number += 1
        if number == 0 or callers[number - 1][0] < match.start() - _REACH or _TAKEN_OUT.search(match["value"]):
            continue
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
