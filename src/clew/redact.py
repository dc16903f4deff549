"""Secrets never reach the disk.

Two layers, both before an event is written to the spool:

1. *Names.* A field whose name says that it holds a secret loses its value, at any depth. Names that
   merely look alike and are wanted (``token_count``, ``max_tokens``, ``tokens_in`` …) are kept.
2. *Values.* Credentials, e-mail addresses and card numbers are taken out of texts, wherever they stand.

Looking for values has to be cheap, since every event is looked at and hardly any holds one. Five
questions to the encoded event, each answered by one or two passes in C, decide whether it can hold a
secret at all: is there an ``@``, an ``=``, the word password, a run of sixteen letters and digits, or a
run of thirteen digits? Only then the patterns are tried, and only where one matches the event is rebuilt.

Every pattern is bounded, so that the time it takes grows linearly with the text. Rules of users are
compiled with ``re2`` where that is installed; without it a rule that repeats within a repetition, whose time
can grow exponentially, is refused.

What is taken out is replaced by ``[redacted:<kind>]``, or in hash mode by ``[<kind>:<hash>]``: the first 16 hex
digits of HMAC-SHA256 under your key, so that equal values can still be joined and none can be read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from clew.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["REDACTED", "Redactor", "Rule"]

REDACTED: Final = "[redacted]"
MEMO_KEYS = 10_000  # distinct field names to remember; more means that names are data, and a memo would leak
HASH_DIGITS = 16
MIN_CARD_DIGITS, MAX_CARD_DIGITS = 13, 19

_SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|api[_-]?key|authorization|cookie|credential|private[_-]?key|"
    r"(?<![a-z])dsn(?![a-z])|"
    r"connection[_-]?string|access[_-]?key|bearer|jwt",
    re.IGNORECASE,
)
_COUNTS_TOKENS = re.compile(
    r"(?<!access_)(?<!refresh_)(?<!auth_)token(s|_?(count|usage|budget|limit|details|ids?$|type|index))|first_token",
    re.IGNORECASE,
)


class Rule(NamedTuple):
    """One kind of secret in texts.

    Attributes:
        kind: What it is called where it stood.
        pattern: Its pattern, bounded. A group named ``keep`` stands before the secret and is kept.
        hints: Texts, without case, one of which stands in whatever the pattern matches: looking for them takes
            a fiftieth of trying the pattern. Empty for digits, which ``may_hold_secret`` looks for itself.
    """

    kind: str
    pattern: str
    hints: tuple[str, ...] = ()


_NOT_TAKEN_OUT = r"(?!\[\w+:\w+\]|\[redacted\])"  # what stands there already because a secret was taken out

_RULES: Final = (
    Rule(
        "private_key",
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{0,8192}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?",
        ("-----begin ",),
    ),
    Rule("jwt", r"\beyJ[A-Za-z0-9_-]{8,2048}\.[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,1024}", ("eyj",)),
    Rule("aws_key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", ("akia", "asia")),
    Rule(
        "api_key",
        r"\b(?:sk|pk|rk)[-_](?:[a-z]{1,8}[-_]){0,3}[A-Za-z0-9_-]{16,256}",
        ("sk-", "sk_", "pk-", "pk_", "rk-", "rk_"),
    ),
    Rule(
        "github_token",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{30,255})",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    ),
    Rule(
        "slack_token",
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,250}|hooks\.slack\.com/services/[A-Za-z0-9/]{10,200}",
        ("xox", "hooks.slack.com/"),
    ),
    Rule("google_key", r"\bAIza[A-Za-z0-9_-]{35}", ("aiza",)),
    Rule(
        "access_token",
        r"\b(?:lsv2_(?:pt|sk)_[A-Za-z0-9_]{16,200}|hf_[A-Za-z0-9]{30,100}|glpat-[A-Za-z0-9_-]{20,100})",
        ("lsv2_", "hf_", "glpat-"),
    ),
    Rule("bearer_token", r"(?P<keep>\b[Bb]earer {1,4})[A-Za-z0-9._~+/-]{16,2048}={0,2}", ("earer ",)),
    Rule("url_password", r"(?P<keep>://[^/\s:@\"]{0,256}:)" + _NOT_TAKEN_OUT + r"[^/\s@\"]{1,256}(?=@)", ("://",)),
    Rule(
        "password",
        # With a colon, passwords alone: "token: a word" is what texts say, and what keys look like is known.
        r"(?i:(?P<keep>\b(?:(?:password|passwd|pwd|secret|api[_-]?key|token)\"?\s{0,4}="
        r"|(?:password|passwd)\\{0,3}\"?\s{0,4}:)\s{0,4}+\\{0,3}+\"?+))"
        + _NOT_TAKEN_OUT
        + r"(?:[^\s\"&;,\\]|\\(?!\")){1,256}",
        ("passw", "pwd", "secret", "api", "token"),
    ),
    Rule("email", r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})\.[A-Za-z]{2,24}\b", ("@",)),
    Rule("card", r"(?<![\w-])(?:\d[ -]?){12,18}\d(?![\w-])"),
)

_ALNUM_TO_X = bytes(0x78 if byte < 0x80 and chr(byte).isalnum() else byte for byte in range(256))
_DIGIT_TO_0 = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_SEPARATORS = b" -"
_AT, _EQUALS = b"@="  # numbers: looking for one byte by its number is four times as fast as by a bytes object
_LONG_RUN = b"x" * 16
_PASSWORD, _PASSWORD_LOUD = b"assw", b"ASSW"
_DIGIT_RUN = b"0" * MIN_CARD_DIGITS


class Redactor:
    """Take secrets out of events.

    Args:
        secret: Further field names to redact, compared without case.
        allowed: Field names never to redact, compared without case.
        patterns: Further patterns to take out of texts, as regular expressions by kind.
        key: The key of hash mode; None replaces what is found by its kind alone.

    Raises:
        ConfigError: A pattern is malformed, or its time may grow faster than the text.

    Example:
        >>> redactor = Redactor()
        >>> redactor.is_secret("OPENAI_API_KEY"), redactor.is_secret("prompt_tokens")
        (True, False)
        >>> redactor.clean_text("write to jane@example.org")
        'write to [redacted:email]'
    """

    def __init__(
        self,
        *,
        secret: Iterable[str] = (),
        allowed: Iterable[str] = (),
        patterns: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> None:
        self._secret = {name.lower() for name in secret}
        self._allowed = {name.lower() for name in allowed}
        self._key = None if key is None else key.encode()
        self._own = [(kind, _compile_own(kind, pattern)) for kind, pattern in (patterns or {}).items()]
        self._rules: list[tuple[str, Any]] = [(rule.kind, re.compile(rule.pattern)) for rule in _RULES]
        self._hinted = [
            (pattern, rule.hints) for rule, (_, pattern) in zip(_RULES, self._rules, strict=True) if rule.hints
        ]
        self._card = self._rules[-1][1]
        self.harmless: set[str] = set()
        """Names known to be harmless: the memo that is asked first."""
        self.roles: dict[str, bool] = {}
        """Of names known to be harmless, whether they are metrics: filled and asked by ``record``."""
        self.last_texts: dict[str, str] = {}
        """The last text of each field in which no secret was found: most fields hold few, or the same again."""
        self.has_own_rules = bool(self._own)
        self._harmless_messages: set[str] = set()

    def is_secret(self, name: str) -> bool:
        """Whether a field of this *name* holds a secret."""
        folded = name.lower()
        if folded in self._secret:
            return True
        if folded not in self._allowed and _SECRET.search(name) and _SECRET.search(_COUNTS_TOKENS.sub("", name)):
            return True
        if len(self.harmless) < MEMO_KEYS:
            self.harmless.add(name)
        return False

    def is_harmless_message(self, message: str) -> bool:
        """Whether *message* holds no secret; names of spans and messages recur, so that is remembered."""
        if message in self._harmless_messages:
            return True
        if self.may_hold_secret(message.encode("utf-8", "replace")):
            return False
        if len(self._harmless_messages) < MEMO_KEYS:
            self._harmless_messages.add(message)
        return True

    def may_hold_secret(self, encoded: bytes) -> bool:
        """Whether encoded text holds something that looks like a secret; cheap where it does not.

        Args:
            encoded: UTF-8, of any length.
        """
        if self._own:
            text = encoded.decode("utf-8", "replace")
            if any(pattern.search(text) for _, pattern in self._own):
                return True
        has_card = _DIGIT_RUN in encoded.translate(_DIGIT_TO_0, _SEPARATORS)
        has_more = (
            _AT in encoded
            or _EQUALS in encoded
            or _PASSWORD in encoded
            or _PASSWORD_LOUD in encoded
            or _LONG_RUN in encoded.translate(_ALNUM_TO_X)
        )
        if not has_card and not has_more:
            return False
        text = encoded.decode("utf-8", "replace")
        folded = text.casefold()
        for pattern, hints in self._hinted:
            for hint in hints:
                if hint in folded:
                    if pattern.search(text):
                        return True
                    break
        return has_card and any(_is_card(match[0]) for match in self._card.finditer(text))

    def clean_text(self, text: str) -> str:
        """Replace every secret in *text*."""
        for kind, pattern in (*self._rules, *self._own):
            replacement: Callable[[Any], str] = lambda match, kind=kind: self._replace(kind, match)  # noqa: E731
            text = pattern.sub(replacement, text)
        return text

    def replace_value(self, value: object) -> str:
        """Stand in for the value of a field whose name is secret."""
        return REDACTED if self._key is None else f"[secret:{self._hash(str(value))}]"

    def _replace(self, kind: str, match: re.Match[str]) -> str:
        found = match[0]
        if kind == "card" and not _is_card(found):
            return found
        kept = match.groupdict().get("keep") or ""
        if self._key is None:
            return f"{kept}[redacted:{kind}]"
        return f"{kept}[{kind}:{self._hash(found[len(kept) :])}]"

    def _hash(self, text: str) -> str:
        import hmac  # brings the library of OpenSSL along, which only hash mode needs

        assert self._key is not None
        return hmac.digest(self._key, text.encode(), "sha256").hex()[:HASH_DIGITS]


def _is_card(text: str) -> bool:
    """Whether the digits of *text* can be a card number, by their count and their check digit.

    Source:
        The Luhn algorithm, ISO/IEC 7812-1, annex B.
    """
    digits = [int(letter) for letter in text if letter.isdigit()]
    if not MIN_CARD_DIGITS <= len(digits) <= MAX_CARD_DIGITS or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _compile_own(kind: str, pattern: str) -> Any:
    """Compile a user's rule so that its time grows linearly with the text."""
    try:
        import re2  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

        return re2.compile(pattern)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    except ImportError:
        pass
    except Exception as error:
        message = f"the redaction rule {kind!r} is malformed: {error}"
        raise ConfigError(message) from error
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        message = f"the redaction rule {kind!r} is malformed: {error}"
        raise ConfigError(message) from error
    if _repeats_within_repetition(pattern):
        message = f"the redaction rule {kind!r} repeats within a repetition, whose time can grow exponentially"
        raise ConfigError(message, hint="rewrite it, or pip install google-re2, which has no such case")
    return compiled


def _repeats_within_repetition(pattern: str) -> bool:
    """Whether a pattern has an open-ended repetition in another one, or a reference back."""
    from re import _parser  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue, reportUnknownVariableType]

    def walk(node: Any, inside: bool) -> bool:
        for operation, argument in node:
            name = str(operation)
            if name in {"GROUPREF", "GROUPREF_EXISTS"}:
                return True
            if name in {"MAX_REPEAT", "MIN_REPEAT"}:
                _, most, body = argument
                is_open = most > 1000
                if (is_open and inside) or walk(body, inside or is_open):
                    return True
            elif any(walk(part, inside) for part in _bodies(name, argument)):
                return True
        return False

    return walk(_parser.parse(pattern), inside=False)  # pyright: ignore[reportUnknownMemberType]


def _bodies(name: str, argument: Any) -> list[Any]:
    """Return the patterns inside one operation of a parsed pattern."""
    if name == "SUBPATTERN":
        return [argument[-1]]
    if name == "BRANCH":
        return list(argument[1])
    if name in {"ASSERT", "ASSERT_NOT"}:
        return [argument[1]]
    return [argument] if name == "ATOMIC_GROUP" else []
