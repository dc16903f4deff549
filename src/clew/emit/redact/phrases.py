"""Secrets beside a name without ``=`` or ``:`` between them: pairs, lines of several formats, and what errors say.

``('password', '…')``, ``- name: DB_PASSWORD`` with ``value: …`` below it, ``ENV API_KEY …``, ``login me password …``,
``Incorrect API key provided: …``. Here a value has to look like a secret, since what stands in its place may be prose
or a list of names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from clew.emit.redact.names import PATH, SECRET, UNKNOWN, WEAK, looks_random

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["find_foreign", "find_pairs", "find_phrases"]

_PAIR = re.compile(
    r"""(?P<around>\\{0,15}["'])(?P<name>[A-Za-z][\w.-]{1,60})(?P=around)\s{0,4},\s{0,4}[bBuU]?(?P<quote>\\{0,15}["'])"""
)
_YAML = re.compile(
    r"""\b(?:name|key):[ \t]{1,4}["']?(?P<name>[\w.-]{2,60})["']?[ \t]{0,4}\n[ \t]{0,40}value:[ \t]{1,4}"""
    r"""(?:"(?P<double>[^"\n]{1,1024})|'(?P<single>[^'\n]{1,1024})|(?P<plain>[^\s"'][^\n]{0,1024}))"""
)
_SET = re.compile(
    r"""(?<![\w-])(?:ENV|ARG|setenv|config(?:ure)? set)[ \t]{1,4}(?:[^\s=]{0,100}[/:])?(?P<name>\w{2,60})[ \t]{1,4}"""
    r"""["']?(?P<value>[^\s"']{1,1024})"""
)
_NETRC = re.compile(r"\blogin[ \t\n]{1,8}\S{1,100}[ \t\n]{1,8}password[ \t\n]{1,8}(?P<value>\S{1,256})")
_SAID = re.compile(
    r"(?i)\b(?:api[ _-]?key|(?:api|access|secret|private|licen[cs]e|service|account|encryption|signing|master|auth|bearer|"
    r"session|refresh|client)[ _-](?:key|token|secret)|token|secret|password|passphrase|credentials?)"
    r"(?:[ ]{1,2}(?:provided|given|used|supplied|sent|received|not|valid|invalid|is|was)){0,3}[ ]{0,2}[:=]?[ ]{1,2}"
    r"[\"'`]?(?P<value>[^\s\"'`,;<>(){}:]{16,512})"
)
_FOREIGN = re.compile(
    r"(?i)(?:密码|密碼|口令|パスワード|비밀번호|пароль|contraseña|mot de passe|senha|wachtwoord|hasło|şifre|parola)"
    r"[ \t]{0,2}[:：=][ \t]{0,2}[\"'`]?(?P<value>[^\s\"'`，。]{4,256})"
)
_SIGNS: Final = frozenset("0123456789!#$%^&*@+=~")
_IS_NONE = re.compile(r"\$|<\w|\{\{|\*{3}|\[redacted|\[\w+:\w+\]|%\w|\?")


def find_pairs(text: str, judge: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Find values in quotes behind their names in quotes: ``('password', '…')``, ``["X-Vault-Token", "…"]``."""
    for match in _PAIR.finditer(text):
        judgement = judge(match["name"])
        if judgement not in (SECRET, PATH, WEAK, UNKNOWN):
            continue
        end = text.find(match["quote"], match.end())
        end = len(text) if end < 0 else end
        value = text[match.end() : end]
        if judgement in (WEAK, UNKNOWN) and not looks_random(value, 8 if judgement == WEAK else 16):
            continue
        if len(value) > 3 and not _SIGNS.isdisjoint(value) and not _IS_NONE.match(value) and not judge(value):
            yield match.end(), end, "secret"


def find_phrases(text: str, judge: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Find values that formats of lines, and sentences of errors, put behind a name and a blank."""
    if "value:" in text:
        for match in _YAML.finditer(text):
            group = match.lastgroup or "plain"
            if judge(match["name"]) in (SECRET, PATH) and not _IS_NONE.match(match[group]):
                yield *match.span(group), "secret"
    for match in _SET.finditer(text):
        if judge(match["name"]) in (SECRET, PATH) and not _IS_NONE.match(match["value"]):
            yield *match.span("value"), "secret"
    if "login" in text:
        for match in _NETRC.finditer(text):
            if not _SIGNS.isdisjoint(match["value"]) and not _IS_NONE.match(match["value"]):
                yield *match.span("value"), "password"
    for match in _SAID.finditer(text):
        value = match["value"].rstrip(".!?])")
        if _is_drawn(value) and not _IS_NONE.match(value):
            yield match.start("value"), match.start("value") + len(value), "secret"


def find_foreign(text: str) -> Iterator[tuple[int, int, str]]:
    """Find passwords behind the words of other languages for one, where they look like one."""
    for match in _FOREIGN.finditer(text):
        if any("0" <= letter <= "9" for letter in match["value"]):
            yield *match.span("value"), "password"


def _is_drawn(value: str) -> bool:
    """Whether a value is a key rather than an address, a path or a name of several words."""
    if not looks_random(value) or value.startswith(("/", "http", "arn:")) or ("/" in value and "." in value):
        return False
    if "-" in value or "_" in value or "." in value:  # words, versions and dates put together are names
        return any(looks_random(part, 6) for part in re.split(r"[-_.]", value))
    return True
