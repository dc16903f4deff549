"""Where the secrets of a text are: cheap where there are none.

Every text of every event is looked at, and hardly one holds a secret. So hints come first, in two steps. Two
translations in C show long runs of the characters of tokens, and digits in groups; a few characters and beginnings are
asked for. Only of a text that has one of these the words are looked up in one set (``ghp``, ``bearer``, ``visa`` …),
and a search is made only for what a word speaks of.

Nothing here runs longer than in proportion to the text: patterns are bounded, and begin at a hint.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from clew.redact.names import MAX_NAME, NAME_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Span", "find_spans", "hints_of", "import_rules", "merge"]


class Span(NamedTuple):
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
# Numbers: one byte is found by its number four times as fast as by a bytes object.
_BACKSLASH, _PERCENT, _EQUALS, _COLON, _AT, _TILDE, _LESS, _QUOTE, _DOUBLE, _UNDERSCORE = b"\\%=:@~<'\"_"
_BIG_I, _BIG_K, _BIG_W = b"IKW"
_WITH_AN_UNDERSCORE: Final = ("whsec_", "ENV ", "setenv ", " set ")
_WITH_A_SEPARATOR: Final = (
    "asic ",
    "hooks",
    "passe",
    "kty",
    "value:",
    "RSAKey",
    "atoken",
    "login",
    "http ",
    "https ",
    "net use",
)
_IN_QUOTES: Final = (
    b"identified", b"authorization", b"cookie", b"key", b"token", b"secret", b"pass", b"pwd", b"cred", b"auth", b"session", b"'-", b'"-',
)  # fmt: skip
_FOREIGN_WORDS: Final = ("密码", "密碼", "口令", "パスワード", "비밀번호", "ароль", "ontraseña", "hasło", "şifre")
FEW: Final = 6  # separators that are looked at one by one for less than looking up every word takes
_ESCAPES: Final = (
    ("\\n", " "), ("\\r", " "), ("\\t", " "), ("\\u003d", "="), ("%3d", "="), ("%3a", ":"), ("%22", " "), ("%20", " "),
    ("%26", " "), ("%3f", " "), ("%40", "@"),
)  # fmt: skip


def hints_of(text: str) -> tuple[int, Iterable[bytes]]:
    """Tell what *text* may hold, and by which words; zero for nothing.

    ``find`` and not ``in`` for bytes: CPython 3.11 raises and swallows an exception at each ``in``.
    """
    encoded = text.encode("ascii", "replace")
    if (
        encoded.translate(_TOKEN_TO_X).find(_LONG) >= 0
        or encoded.translate(_DIGITS_TO_0, b" -").find(_DIGITS) >= 0
        or " -" in text
        or "\n-" in text
        or "assw" in text
        or "earer " in text
        or (_BIG_W in encoded and "ASSW" in text)
        or (_BIG_K in encoded and "AKIA" in text)
        or (_BIG_I in encoded and ("ASIA" in text or "ABIA" in text))
        or (_UNDERSCORE in encoded and any(word in text for word in _WITH_AN_UNDERSCORE))
        or _LESS in encoded
        or _BACKSLASH in encoded
        or _PERCENT in encoded
        or (_TILDE in encoded and "Q~" in text)
        or ((_QUOTE in encoded or _DOUBLE in encoded) and _is_named_in_quotes(encoded.lower()))
        or (encoded.find(b"asic ") >= 0)
        or (not text.isascii() and is_foreign(text))
    ):
        return _hints_by_words(text, encoded)
    hints = MAIL if _AT in encoded else 0
    if _EQUALS in encoded or _COLON in encoded:
        if encoded.count(b"=") + encoded.count(b":") > FEW or any(word in text for word in _WITH_A_SEPARATOR):
            return _hints_by_words(text, encoded)
        hints |= NAME
    return hints, ()


def _is_named_in_quotes(lowered: bytes) -> bool:
    """Whether there may be a statement of SQL, or a header and its value, one in quotes after the other."""
    if lowered.find(b"',") >= 0 or lowered.find(b'",') >= 0:
        return any(lowered.find(word) >= 0 for word in _IN_QUOTES)
    return any(lowered.find(word) >= 0 for word in (b"identified", b"secret", b"token", b"pragma"))


def is_foreign(text: str) -> bool:
    """Whether a text has another language's word for password, in letters that ASCII lacks."""
    return any(word in text for word in _FOREIGN_WORDS)


def _hints_by_words(text: str, encoded: bytes) -> tuple[int, Iterable[bytes]]:
    """Tell the same by looking up every word."""
    if _BACKSLASH in encoded or _PERCENT in encoded:
        text = _unescaped(text)
        encoded = text.encode("ascii", "replace")
    words = encoded.translate(_WORDS_ALONE).split()
    hints = 0
    meanings = _meanings()
    if not meanings.keys().isdisjoint(words):
        words = meanings.keys() & words
        for word in words:
            hints |= meanings[word]
    if (_EQUALS in encoded or _COLON in encoded) and not hints & NAME and _has_name(text.lower()):
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
    from clew.redact.cards import FIRST_GROUPS
    from clew.redact.tokens import FIRST_WORDS

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


def find_spans(text: str, hints: int, words: Iterable[bytes], judge: Callable[[str], str]) -> list[Span]:
    """Find the secrets that the *hints* speak of, in order; none overlaps another.

    Args:
        text: Any text.
        hints: What ``hints_of`` told of it, and
        words: by which words.
        judge: The judgement of a name, as ``names.classify``.
    """
    found: list[tuple[int, int, str]] = []
    if hints & (TOKEN | RUN):  # each module is imported when it is first needed: `import clew` stays cheap
        from clew.redact.tokens import find_long_tokens, find_tokens

        found += find_tokens(text, (word.decode() for word in words)) if hints & TOKEN else ()
        found += find_long_tokens(text) if hints & RUN else ()
    if hints & NAME and (
        ("=" in text or ":" in text or "%3" in text or "u003" in text) if words else _may_name_a_secret(text, judge)
    ):
        from clew.redact.assigned import find_assigned

        found += find_assigned(text, judge)
    if hints & MAIL:
        found += _addresses()(text)
    if hints & BLOCK:
        from clew.redact.blocks import find_private_keys

        found += find_private_keys(text)
    if hints & (SCHEME | SENTENCE | COMMAND) or (hints & NAME and "alue" in text):
        from clew.redact.commands import find_around_names, find_in_commands, find_in_sentences, find_schemes

        if hints & SCHEME:
            found += find_schemes(text)
        if hints & SENTENCE:
            found += find_in_sentences(text)
        if hints & COMMAND:
            found += find_in_commands(text, judge)
        found += find_around_names(text, judge)
    if hints & (PHRASE | PAIR | SENTENCE):
        from clew.redact.phrases import find_foreign, find_pairs, find_phrases

        found += find_pairs(text, judge) if hints & PAIR else ()
        found += find_phrases(text, judge) if hints & PHRASE else ()
        found += find_foreign(text) if hints & SENTENCE else ()
    if hints & CARD:
        from clew.redact.cards import find_cards

        found += ((start, end, "card") for start, end in find_cards(text))
    return merge(found)


@cache
def _addresses() -> Callable[[str], Iterable[tuple[int, int, str]]]:
    """Import what is needed for every mail address once: an import statement takes as long as looking at a text."""
    from clew.redact.addresses import find_addresses

    return find_addresses


def _may_name_a_secret(text: str, judge: Callable[[str], str]) -> bool:
    """Whether one of the few separators of a text may have the name of a secret before it.

    It asks what ``find_assigned`` asks first, for less; URLs and times are full of names that say nothing.
    """
    for separator in "=:":
        at = text.find(separator)
        while at >= 0:
            if separator == "=" or not text.startswith("//", at + 1):
                near = text[max(0, at - MAX_NAME) : at]
                name = near[len(near.rstrip(NAME_CHARACTERS)) :]
                if not name or name.lower() in ("key", "keys", "code") or judge(name.strip("-.")):
                    return True
            at = text.find(separator, at + 1)
    return False


def merge(found: list[tuple[int, int, str]]) -> list[Span]:
    """Put findings in order, and join those that overlap; the more special kind names them."""
    if len(found) < 2:
        return [Span(*one) for one in found]
    found.sort(key=lambda one: (one[0], one[2] in ("secret", "password"), -one[1]))
    spans: list[Span] = []
    for start, end, kind in found:
        if spans and start < spans[-1].end:
            last = spans[-1]
            if kind == "email" and last.kind == "url_password":  # name:password@host.example looks like one
                continue
            spans[-1] = Span(last.start, max(end, last.end), last.kind)
        else:
            spans.append(Span(start, end, kind))
    return spans


def import_rules() -> None:
    """Import every rule, for texts that are searched when nothing can be imported any more."""
    from clew.redact import addresses, assigned, blocks, cards, commands, phrases, tokens

    _meanings()
    assert all((addresses, assigned, blocks, cards, commands, phrases, tokens))
