"""The redactor of one configuration: what is secret in it, and what stands in its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from clew.emit.redact.names import (
    ADDRESS,
    CARD,
    NAME_CHARACTERS,
    PATH,
    SECRET,
    TOKENS,
    UNKNOWN,
    WEAK,
    classify,
    is_identifier,
    is_plain_word,
    looks_random,
)
from clew.emit.redact.search import (
    BETWEEN,
    MAIL,
    NAME,
    SecretSpan,
    find_spans,
    has_telling_word,
    hints_of,
    is_suspect,
    merge,
)
from clew.emit.safe.foreign import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["KEPT", "MEMO_KEYS", "REDACTED", "Redactor"]

REDACTED: Final = "[redacted]"
MEMO_KEYS = 10_000  # distinct field names to remember; more means that names are data, and a memo would leak
MEMO_MESSAGES = 1000  # distinct messages to remember
MEMO_CHARS = 200  # of a message, or of the names of a frame; longer ones are searched each time
HASH_DIGITS = 16
SHORTEST: Final = 13  # a shorter text without one of @ = : holds no secret that our rules know

_NOTHING: Final[dict[str, str]] = {}
_NO_SPANS: Final[list[SecretSpan]] = []
_NAMES_OF_ANYTHING: Final = frozenset({"", "key", "keys", "code"})  # it takes more than the name to judge
KEPT: Final[Any] = object()
"""Says that a value may stay."""

_FEW: Final = 6  # separators that are looked at one by one for less than looking up every word takes
_MOST_NAMES: Final = 10_000  # names within texts to remember; they are forgotten when there are more
_MEMO_NAME: Final = 40  # characters of one
_NAMES_APART: Final = bytes(
    byte if chr(byte) in NAME_CHARACTERS else 0x3D if chr(byte) in "=:" else 0x20 for byte in range(256)
)
_is_mail: Final = re.compile(
    r"(?!git@)[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}\.[A-Za-z]{2,24}"
).fullmatch  # what ``addresses`` finds, where it is the whole of a text
_is_no_mail: Final = re.compile("(?!)").fullmatch
_KEPT_IN_IDS: Final = frozenset({"email", "card", "secret", "password"})
_SCHEME = re.compile(r"(?i)(?:basic|bearer|token|digest|apikey|negotiate|ntlm)\s+\S{4,}")


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
        self._own: list[tuple[str, Any]] = []
        if patterns:
            from clew.emit.redact.patterns import compile_own

            self._own = [(kind, compile_own(kind, pattern)) for kind, pattern in patterns.items()]
        self.harmless: set[str] = set()
        """Names known to be harmless: the memo that is asked first."""
        self.roles: dict[str, bool] = {}
        """Of names known to be harmless, whether they are metrics: filled and asked by ``record``."""
        self.last_texts: dict[str, str] = {}
        """The last text of each field in which no secret was found: most fields hold few, or the same again."""
        self.shortest = 0 if self._own else SHORTEST
        """Texts shorter than this, without one of ``@ = :``, need not be searched."""
        self.is_mail: Callable[[str], object] = _is_no_mail if self._own else _is_mail
        """Tells a text that is a mail address and nothing else, of which nothing is left; own rules are to see it."""
        self.last_context: object = None
        """The context whose ids were looked at last, and"""
        self.last_ids: tuple[Any, ...] = ()
        """the ids in it."""
        self.turn = 0
        """Counts the events of which ``record`` may remember the texts."""
        self.harmless_frames: set[tuple[str, str]] = set()
        """File and function of frames in which no secret was found: the stacks of a program are made of few."""
        self.harmless_messages: set[str] = set()
        """Messages in which no secret was found, of events, spans and errors."""
        self._judgements: dict[str, str] = {}
        self._harmless_words: set[bytes] = set()

    def judge(self, name: str) -> str:
        """Judge a name, as ``names.classify`` does, under the names that the operator has added or allowed."""
        judgement = self._judgements.get(name)
        if judgement is None:
            folded = name.lower()
            judgement = SECRET if folded in self._secret else "" if folded in self._allowed else classify(name)
            if len(self._judgements) < MEMO_KEYS:
                self._judgements[name] = judgement
        return judgement

    def is_secret(self, name: str) -> bool:
        """Whether a field of this *name* holds a secret (of some names only if its value looks like one)."""
        judgement = self.judge(name)
        if judgement in (SECRET, PATH, WEAK, ADDRESS):
            return True
        if not judgement and name not in self.harmless and len(self.harmless) < MEMO_KEYS and not self.find(name):
            self.harmless.add(name)
        return False

    def replacement(self, name: str, value: Any) -> Any:
        """Return what stands in for the *value* of a field of this *name*; ``KEPT`` if it may stay.

        What may stay is still to be searched: a name decides on values as a whole.
        """
        judgement = self.judge(name)
        if not judgement or value is None or type(value) is bool or (type(value) is str and not value):
            return KEPT
        if judgement == CARD:
            from clew.emit.redact.cards import card_in_value

            return self.stand_in("card", str(value)) if card_in_value(value) else KEPT
        if judgement == TOKENS:
            return self._tokens(value)
        return self.replace_value(value) if _must_go(judgement, name, value) else KEPT

    def keeps_number(self, name: str) -> bool:
        """Whether a number may stay in a field of this name, which is not harmless: ``tokens=512``."""
        return type(name) is str and self.judge(name) in (TOKENS, WEAK, UNKNOWN, ADDRESS)

    def is_named_secret(self, items: dict[str, Any]) -> bool:
        """Whether a mapping is a name and its value, and the name is secret: ``{"name": "Cookie", "value": …}``."""
        named = items.get("name") or items.get("key") or items.get("header") or items.get("Name") or items.get("Key")
        return type(named) is str and bool(self.judge(named))

    def is_pair(self, name: str, value: Any) -> bool:
        """Whether two items of a list are a name and its secret: ``("authorization", "Basic …")``."""
        return self.judge(name) != "" and not (type(value) is str and is_plain_word(value))

    def search(self, texts: list[str], most: int) -> dict[str, str] | None:
        """Search *texts*, all at once.

        Args:
            texts: At least one.
            most: Characters to look at.

        Returns:
            What is left of each text that holds a secret; None if they are longer than *most* together, or if
            something may be a secret by the text before it, as the arguments of a command are.
        """
        if self._own:
            if sum(map(len, texts)) > most:
                return None
            return {text: cleaned for text in texts if (cleaned := self.clean_text(text)) is not text}
        joined = texts[0] if len(texts) == 1 else BETWEEN.join(texts)
        if len(joined) > most:
            return None
        if is_suspect(joined, joined.encode("utf-8", "replace")):
            if any(text.startswith("-") for text in texts) and self._spans("\n".join(texts)):
                return None  # an option and its value, if the two are arguments of one command
            return {text: self.replace(text, spans, 0, len(text)) for text in texts if (spans := self._spans(text))}
        if not ("@" in joined or ":" in joined or "=" in joined):
            return _NOTHING
        found: dict[str, str] = {}
        for text in texts:
            if "@" in text and _is_mail(text):
                found[text] = self.stand_in("email", text)
            elif ("=" in text or ":" in text or "@" in text) and (spans := self._beside_marks(text)):
                found[text] = self.replace(text, spans, 0, len(text))
        return found

    def _spans(self, text: str) -> list[SecretSpan]:
        encoded = text.encode("utf-8", "replace")
        if is_suspect(text, encoded):
            hints, words = hints_of(text, encoded)
            return find_spans(text, hints, words, self.judge) if hints else _NO_SPANS
        return self._beside_marks(text)

    def _beside_marks(self, text: str) -> list[SecretSpan]:
        """Find the secrets of a text that is not suspect but for its ``=``, ``:`` and ``@``."""
        hints = 0
        if "=" in text or ":" in text:
            encoded = text.encode("utf-8", "replace")
            names = encoded.translate(_NAMES_APART).split(b"=")
            if len(names) > _FEW + 1 or has_telling_word(text):
                hints, words = hints_of(text, encoded)
                return find_spans(text, hints, words, self.judge) if hints else _NO_SPANS
            names.pop()  # what is behind the last one
            harmless = self._harmless_words
            for near in names:
                name = near.rpartition(b" ")[2]
                if name not in harmless and self._may_be_secret(name):
                    hints = NAME
                    break
            if "@" in text:
                hints |= MAIL
        elif "@" in text:
            hints = MAIL
        return find_spans(text, hints, (), self.judge) if hints else _NO_SPANS

    def _may_be_secret(self, encoded: bytes) -> bool:
        """Whether what is before a separator may be the name of a secret: what ``find_assigned`` asks first, for less.

        Most separators of ordinary texts are those of URLs and times, and what is before them is soon known.
        """
        name = encoded.decode()
        if len(name) > _MEMO_NAME or name.lower() in _NAMES_OF_ANYTHING or self.judge(name.strip("-.")):
            return True
        if len(self._harmless_words) >= _MOST_NAMES:
            self._harmless_words.clear()
        self._harmless_words.add(encoded)
        return False

    def clean_id(self, text: str) -> str:
        """Take tokens and keys out of an id, and leave everything else: mail addresses, numbers, words."""
        spans = [span for span in self.find(text) if span.kind not in _KEPT_IN_IDS]
        return self.replace(text, spans, 0, len(text)) if spans else text

    def clean_arguments(self, items: list[str]) -> list[str]:
        """Take secrets out of the arguments of a command, where one may belong to the one before."""
        joined = "\n".join(items)
        spans = self.find(joined)
        cleaned: list[str] = []
        start = 0
        for item in items:
            cleaned.append(self.replace(joined, spans, start, start + len(item)) if spans else item)
            start += len(item) + 1
        return cleaned

    def is_harmless_message(self, message: str) -> bool:
        """Whether *message* holds no secret; names of spans and messages recur, so that is remembered.

        Formatted messages do not recur, and may be long. What is remembered is short, and forgotten when there is
        much of it: a name is learnt again by its next event.
        """
        if message in self.harmless_messages:
            return True
        if self.find(message):
            return False
        self.remember_message(message)
        return True

    def remember_message(self, message: str) -> None:
        """Remember a message, if it is short, in which no secret was found."""
        if len(message) <= MEMO_CHARS:
            if len(self.harmless_messages) >= MEMO_MESSAGES:
                self.harmless_messages.clear()
            self.harmless_messages.add(message)

    def remember_frames(self, frames: set[tuple[str, str]]) -> None:
        """Remember frames, each by its file and function, in which no secret was found; not if there are ever more."""
        if not self._own and len(self.harmless_frames) < MEMO_KEYS:
            self.harmless_frames |= {names for names in frames if len(names[0]) + len(names[1]) <= MEMO_CHARS}

    def may_hold_secret(self, encoded: bytes) -> bool:
        """Whether encoded text holds something that looks like a secret.

        Args:
            encoded: UTF-8, of any length.
        """
        return bool(self.find(encoded.decode("utf-8", "replace")))

    def find(self, text: str, name: str = "") -> list[SecretSpan]:
        """Find the secrets of *text*, in order.

        Args:
            text: Any text.
            name: The field that holds it: digits in an id are no card number.
        """
        spans = self._spans(text)
        if self._own:
            own = [(*match.span(), kind) for kind, pattern in self._own for match in pattern.finditer(text)]
            spans = merge([*spans, *(one for one in own if one[0] < one[1])])
        if spans and name and is_identifier(name):
            return [span for span in spans if span.kind != "card"]
        return spans

    def clean_text(self, text: str, name: str = "") -> str:
        """Replace every secret in *text*, the text of a field of this *name*."""
        spans = self.find(text, name)
        return self.replace(text, spans, 0, len(text)) if spans else text

    def replace(self, text: str, spans: Iterable[SecretSpan], start: int, end: int) -> str:
        """Replace *spans*, and keep of *text* what is between *start* and *end*; a span on the border goes whole."""
        parts: list[str] = []
        for span in spans:
            if span.end <= start:
                continue
            if span.start >= end:
                break
            parts += [text[start : span.start], self.stand_in(span.kind, text[span.start : span.end])]
            start = span.end
        parts.append(text[start:end])
        return "".join(parts)

    def replace_value(self, value: object) -> str:
        """Stand in for the value of a field whose name is secret."""
        return REDACTED if self._key is None else f"[secret:{self._hash(text_of(value))}]"

    def _tokens(self, value: Any) -> Any:
        if type(value) is str:
            return self.replace_value(value) if looks_random(value) else KEPT
        if type(value) in (list, tuple, set, frozenset) and any(
            type(one) is str and looks_random(one) for one in value
        ):
            return [self.replace_value(one) if type(one) is str and looks_random(one) else one for one in value]
        return KEPT

    def stand_in(self, kind: str, found: str) -> str:
        """Stand in for a secret of a text that was *found*, of this *kind*."""
        return f"[redacted:{kind}]" if self._key is None else f"[{kind}:{self._hash(found)}]"

    def _hash(self, text: str) -> str:
        import hmac  # brings the library of OpenSSL along, which only hash mode needs

        assert self._key is not None
        return hmac.digest(self._key, text.encode("utf-8", "replace"), "sha256").hex()[:HASH_DIGITS]


def _must_go(judgement: str, name: str, value: Any) -> bool:
    if judgement == SECRET:
        return not (type(value) in (int, float) and name.lower() == "pass")  # that many tests have passed
    if judgement == WEAK and type(value) in (list, tuple) and name.lower().endswith("auth"):
        return len(value) == 2 and all(type(one) is str for one in value)  # as requests takes it
    if type(value) is not str:
        return judgement == PATH and type(value) is not dict
    if judgement == PATH:
        return re.match(r"(?:/|~|[A-Za-z]:\\)", value) is None
    if judgement == ADDRESS:
        return "@" in value and "://" in value
    if judgement == UNKNOWN or name.lower().endswith(("sig", "signature")):
        return looks_random(value)
    return bool(_SCHEME.match(value)) or (len(value) > 5 and " " not in value and not is_plain_word(value))
