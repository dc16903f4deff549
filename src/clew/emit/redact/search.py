"""Where the secrets of a text are: cheap where there are none.

Every text of every event is looked at, and hardly one holds a secret. So hints come first, in two steps. Two
translations in C show long runs of the characters of tokens, and digits in groups; a few characters and beginnings are
asked for (``is_suspect``). Only of a text that has one of these the words are looked up in one set (``ghp``,
``bearer``, ``visa`` …), and a search is made only for what a word speaks of (``hints_of``). What is left, the names
and the addresses of an ordinary text, is asked for by its ``=``, ``:`` and ``@`` alone.

The first step may be taken for several texts at once, joined by ``BETWEEN``; the others for one text, or what is in one
would be taken for a part of the next.

Nothing here runs longer than in proportion to the text: patterns are bounded, and begin at a hint.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from clew.emit.redact.names import NAME_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "BETWEEN",
    "MAIL",
    "NAME",
    "SecretSpan",
    "find_spans",
    "has_telling_word",
    "hints_of",
    "import_rules",
    "is_suspect",
    "merge",
]


class SecretSpan(NamedTuple):
    """A secret in a text.

    Attributes:
        start: Its first character.
        end: The first behind it.
        kind: What it is.
    """

    start: int
    end: int
    kind: str


TOKEN, NAME, CARD, SCHEME, SENTENCE, COMMAND, BLOCK, MAIL, RUN, PHRASE, PAIR = (1 << bit for bit in range(11))

_NAME_WORDS: Final = (
    "auth authorization cookie cookies credential credentials creds cred session sessionid phpsessid jsessionid "
    "aspsessionid sid sig signature cvv cvc cvv2 cvc2 otp totp pin ssn iban jwt bearer dsn pw connection conn "
    "connectionstring connstr phrase mnemonic webhook code pwd dbpwd kennwort contrase senha"
)
_CARD_WORDS: Final = (
    "card cards visa mastercard maestro amex discover diners jcb unionpay credit debit kreditkarte karte carte tarjeta "
    "cc pan cvv cvc express cardnumber cardno creditcard"
)
_SENTENCE_WORDS: Final = (
    "password passwd passwort passphrase passcode kennwort pin identified authenticate contrase mot pragma"
)
_PHRASE_WORDS: Final = "key apikey token secret password passphrase passwd pass pwd credential credentials env arg setenv config configure login"
_COMMAND_WORDS: Final = (
    "curl wget mysql mysqldump mysqladmin mysqlimport mariadb sshpass mongo mongosh mongodump mongorestore docker podman "
    "helm az oc skopeo redis sqlcmd bcp ldapsearch ldapmodify ldapadd ldappasswd ldapwhoami "
    "twine cqlsh zip 7z 7za unzip openssl vault htpasswd smbclient net http https"
)
_WORDS_ALONE: Final = bytes(
    ord(chr(byte).lower()) if byte < 0x80 and chr(byte).isalnum() else 0x20 for byte in range(256)
)
_ALNUM_TO_X: Final = bytes(0x78 if byte < 0x80 and chr(byte).isalnum() else 0x20 for byte in range(256))
_TOKEN_TO_X: Final = bytes(
    0x78 if byte < 0x80 and (chr(byte).isalnum() or chr(byte) in "_.-") else 0x20 for byte in range(256)
)
_DIGITS_TO_0: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_LONG: Final = b"x" * 23  # shorter are only AKIA…, ASIA… and, by parts, whsec_…; the id of a chunk has often 22
_LONG_WORD: Final = b"x" * 18  # AKIA…, eyJ… and their like are letters and digits alone
_DIGITS: Final = b"0" * 13
BETWEEN: Final = "\0 "  # ends a number and a run; an option of a command has a blank before it
_BETWEEN: Final = BETWEEN.encode()
_MAX_PATH: Final = 256
_NUMBER: Final = re.compile(rb"[0-9](?:[ -]*[0-9]){12,}")
_RUN_CHARACTERS: Final = NAME_CHARACTERS.encode()
_ID: Final = re.compile(
    rb"(?:([a-z]{1,16})[-_])?(?:([a-z]{1,16})[-_])?[0-9a-f]{8,64}(?:-[0-9a-f]{4,32}){0,4}(?:\.[a-z]{1,5})?(?![\w.-])"
)
# Numbers: one byte is found by its number four times as fast as by a bytes object.
_BACKSLASH, _PERCENT, _EQUALS, _COLON, _AT, _TILDE, _SLASH, _NUL = b"\\%=:@~/\0"
_IN_QUOTES: Final = (
    b"identified", b"authorization", b"cookie", b"key", b"token", b"secret", b"pass", b"pwd", b"cred", b"auth", b"session", b"'-", b'"-',
)  # fmt: skip
_FOREIGN_WORDS: Final = ("密码", "密碼", "口令", "パスワード", "비밀번호", "ароль", "ontraseña", "hasło", "şifre")
_ESCAPES: Final = (
    ("\\n", " "), ("\\r", " "), ("\\t", " "), ("\\u003d", "="), ("%3d", "="), ("%3a", ":"), ("%22", " "), ("%20", " "),
    ("%26", " "), ("%3f", " "), ("%40", "@"),
)  # fmt: skip


def is_suspect(text: str, encoded: bytes) -> bool:
    """Whether a text, or one of several joined by ``BETWEEN``, has what makes it worth looking up its words.

    ``find`` and not ``in`` for bytes: CPython 3.11 raises and swallows an exception at each ``in``. What is one character
    or begins with a rare one is found in 20 ns, the others in five times that.

    Args:
        text: Any text.
        encoded: The same in UTF-8.
    """
    runs = encoded.translate(_TOKEN_TO_X)
    at = runs.find(_LONG)
    return (
        (at >= 0 and not _are_ids(text, encoded, runs, at))
        or (encoded.translate(_DIGITS_TO_0, b" -").find(_DIGITS) >= 0 and not _are_in_ids(encoded))
        or " -" in text
        or "assw" in text
        or "earer " in text
        or "asic " in text
        or "<" in text
        or "\\" in text
        or "%" in text
        or ("W" in text and "ASSW" in text)
        or ("K" in text and "AKIA" in text)
        or ("I" in text and ("ASIA" in text or "ABIA" in text))
        or ("_" in text and ("whsec_" in text or "ENV " in text or "setenv " in text or " set " in text))
        or ("~" in text and "Q~" in text)
        or (("'" in text or '"' in text) and _is_named_in_quotes(encoded.lower()))
        or ("\n" in text and "\n-" in text)
        or text[:1] == "-"
        or (not text.isascii() and is_foreign(text))
    )


def _are_ids(text: str, encoded: bytes, runs: bytes, at: int) -> bool:
    """Whether all long runs, the first of them at *at*, are ids (see ``_end_of_id``)."""
    while at >= 0:
        end = _end_of_id(encoded, at)
        if end < 0:
            return False
        at = runs.find(_LONG, end)
    return "/" not in text or "hook" not in text  # a webhook's address, whose secret is a part of its path


def _are_in_ids(encoded: bytes) -> bool:
    """Whether all long numbers are a part of an id that has letters too, as those in hex have by chance."""
    number = _NUMBER.search(encoded)
    while number is not None:
        start, end = number.span()
        near = encoded[max(0, start - 64) : start]
        begin = start - len(near) + len(near.rstrip(_RUN_CHARACTERS))
        end_of_id = _end_of_id(encoded, begin)
        if end_of_id < end or (begin == start and not encoded[end : end + 1].isalpha()):
            return False
        number = _NUMBER.search(encoded, end_of_id)
    return True


def _end_of_id(encoded: bytes, at: int) -> int:
    """Return where the id ends that begins at *at*; -1 if none does: one in hex, behind a word or two.

    UUIDs, digests and ids of 24 or 32 hex digits are among the most ordinary texts. Where one is a text of its own, or
    a part of a path, it is no token that is known by its form, unless it has the first word of one. In a text of
    several words it may be what those before it speak of: ``the token 0f3b…``.
    """
    begins = at == 0 or encoded.startswith(_BETWEEN, at - 2)
    if not begins and (encoded[at - 1] != _SLASH or encoded[at - 2 : at] == b"//"):
        return -1
    id_ = _ID.match(encoded, at)
    if id_ is None:
        return -1
    first, second = id_.groups()
    if first is not None and (first in _first_words() or second in _first_words()):
        return -1
    end = id_.end()
    if begins and (end == len(encoded) or encoded[end] == _NUL):
        return end
    return end if _is_one_word(encoded, at, end) else -1


def _is_one_word(encoded: bytes, start: int, end: int) -> bool:
    """Whether there is no blank in the text, one of several, that has a part from *start* to *end*."""
    before = encoded[max(0, start - _MAX_PATH) : start].rpartition(_BETWEEN)
    behind = encoded[end : end + _MAX_PATH].partition(_BETWEEN)
    if (not before[1] and start > _MAX_PATH) or (not behind[1] and end + _MAX_PATH < len(encoded)):
        return False
    return len((before[2] + b"." + behind[0]).split(None, 1)) == 1


def has_telling_word(text: str) -> bool:
    """Whether a text with a separator has one of the words that make it worth looking up all of them."""
    if "hooks" in text or (('"' in text or "'" in text) and ("kty" in text or "value:" in text)):
        return True
    # An address has no blank, and what the others speak of does.
    return len(text.split(None, 1)) > 1 and (
        "passe" in text
        or "kty" in text
        or "value:" in text
        or "RSAKey" in text
        or "atoken" in text
        or "login" in text
        or ("http" in text and ("http " in text or "https " in text))
        or "net use" in text
    )


def _is_named_in_quotes(lowered: bytes) -> bool:
    """Whether there may be a statement of SQL, or a header and its value, one in quotes after the other."""
    if lowered.find(b"',") >= 0 or lowered.find(b'",') >= 0:
        return any(lowered.find(word) >= 0 for word in _IN_QUOTES)
    return any(lowered.find(word) >= 0 for word in (b"identified", b"secret", b"token", b"pragma"))


def is_foreign(text: str) -> bool:
    """Whether a text has another language's word for password, in letters that ASCII lacks."""
    return any(word in text for word in _FOREIGN_WORDS)


def hints_of(text: str, encoded: bytes) -> tuple[int, Iterable[bytes]]:
    """Return what a text may hold, and by which of its words; zero for nothing.

    Args:
        text: One text.
        encoded: The same in UTF-8.
    """
    if _BACKSLASH in encoded or _PERCENT in encoded:
        text = _unescaped(text)
        encoded = text.encode("utf-8", "replace")
    words = encoded.translate(_WORDS_ALONE).split()
    hints = 0
    meanings = _meanings()
    if not meanings.keys().isdisjoint(words):
        words = meanings.keys() & words
        for word in words:
            hints |= meanings[word]
    if _EQUALS in encoded or _COLON in encoded:  # what is before each is judged by itself: a name is seldom one word
        hints |= NAME
    if _AT in encoded:
        hints |= MAIL
    if not text.isascii() and is_foreign(text):
        hints |= SENTENCE
    if (encoded.find(b"',") >= 0 or encoded.find(b'",') >= 0) and (hints & NAME or _has_name(text.lower())):
        hints |= PAIR
    if encoded.find(b"--") >= 0 or encoded.find(b"</") >= 0:
        hints |= COMMAND
    if encoded.translate(_ALNUM_TO_X).find(_LONG_WORD) >= 0 or _TILDE in encoded:
        hints |= RUN
    return hints, words


@cache
def _meanings() -> dict[bytes, int]:
    """Return the words that are looked up, and what each speaks of; made when a text first asks for it."""
    from clew.emit.redact.cards import FIRST_GROUPS
    from clew.emit.redact.tokens import FIRST_WORDS

    meanings: dict[bytes, int] = {}
    for words, meaning in (
        (" ".join(FIRST_WORDS), TOKEN),
        (_NAME_WORDS, NAME),
        (_CARD_WORDS, CARD),
        (" ".join(FIRST_GROUPS), CARD),
        ("bearer basic authorization cookie api auth", SCHEME),
        (_SENTENCE_WORDS, SENTENCE),
        (_COMMAND_WORDS, COMMAND),
        ("private putty ssh2 rsakeyvalue kty", BLOCK),
        (_PHRASE_WORDS, PHRASE),
    ):
        for word in words.encode().split():
            meanings[word] = meanings.get(word, 0) | meaning
    return meanings


def _has_name(lowered: str) -> bool:
    """Whether there is a part of a name in a text that no word of its own has shown: ``openaiApiKey``."""
    return "pass" in lowered or "token" in lowered or "key" in lowered or "secret" in lowered


def _unescaped(text: str) -> str:
    """Undo the escapes that hide where a word begins, and what is between a name and its value."""
    lowered = text.lower()
    for escape, plain in _ESCAPES:
        lowered = lowered.replace(escape, plain)
    return lowered


def find_spans(text: str, hints: int, words: Iterable[bytes], judge: Callable[[str], str]) -> list[SecretSpan]:
    """Find the secrets that the *hints* speak of, in order; none overlaps another.

    Args:
        text: Any text.
        hints: What ``hints_of`` returned for it, and
        words: by which words.
        judge: The judgement of a name, as ``names.classify``.
    """
    found: list[tuple[int, int, str]] = []
    if hints & (TOKEN | RUN):  # each module is imported when it is first needed: `import clew` stays cheap
        from clew.emit.redact.tokens import find_long_tokens, find_tokens

        found += find_tokens(text, (word.decode() for word in words)) if hints & TOKEN else ()
        found += find_long_tokens(text) if hints & RUN else ()
    if hints & NAME and ("=" in text or ":" in text or "%3" in text or "u003" in text):
        from clew.emit.redact.assigned import find_assigned

        found += find_assigned(text, judge)
    if hints & MAIL:
        from clew.emit.redact.addresses import find_addresses

        found += find_addresses(text)
    if hints & BLOCK:
        from clew.emit.redact.blocks import find_private_keys

        found += find_private_keys(text)
    if hints & (SCHEME | SENTENCE | COMMAND) or (hints & NAME and "alue" in text):
        from clew.emit.redact.commands import find_around_names, find_in_commands, find_in_sentences, find_schemes

        if hints & SCHEME:
            found += find_schemes(text)
        if hints & SENTENCE:
            found += find_in_sentences(text)
        if hints & COMMAND:
            found += find_in_commands(text, judge)
        found += find_around_names(text, judge)
    if hints & (PHRASE | PAIR | SENTENCE):
        from clew.emit.redact.phrases import find_foreign, find_pairs, find_phrases

        found += find_pairs(text, judge) if hints & PAIR else ()
        found += find_phrases(text, judge) if hints & PHRASE else ()
        found += find_foreign(text) if hints & SENTENCE else ()
    if hints & CARD:
        from clew.emit.redact.cards import find_cards

        found += ((start, end, "card") for start, end in find_cards(text))
    return merge(found)


@cache
def _first_words() -> frozenset[bytes]:
    from clew.emit.redact.tokens import FIRST_WORDS

    return frozenset(word.encode() for word in FIRST_WORDS)


def merge(found: list[tuple[int, int, str]]) -> list[SecretSpan]:
    """Put findings in order, and join those that overlap; the more special kind names them."""
    if len(found) < 2:
        return [SecretSpan(*one) for one in found]
    found.sort(key=lambda one: (one[0], one[2] in ("secret", "password"), -one[1]))
    spans: list[SecretSpan] = []
    for start, end, kind in found:
        if spans and start < spans[-1].end:
            last = spans[-1]
            if kind == "email" and last.kind == "url_password":  # name:password@host.example looks like one
                continue
            spans[-1] = SecretSpan(last.start, max(end, last.end), last.kind)
        else:
            spans.append(SecretSpan(start, end, kind))
    return spans


def import_rules() -> None:
    """Import every rule, for texts that are searched when nothing can be imported any more."""
    from clew.emit.redact import addresses, assigned, blocks, cards, commands, phrases, tokens

    _meanings()
    assert all((addresses, assigned, blocks, cards, commands, phrases, tokens))
