"""Which names say that a secret is behind them.

One judgement for fields of events and for names within texts (``DB_PASSWORD=…``, ``"apiKey": "…"``). A name is
split into words (``OPENAI_API_KEY``, ``apiKey`` and ``api-key`` end in the same two) and judged by them:

========= =====================================================================================================
class     the value is
========= =====================================================================================================
secret    taken out, whatever it is: ``password``, ``client_secret``, ``api_key``, ``Set-Cookie``, ``cvv``
path      a secret, unless it is the path of a directory: ``pwd``
weak      taken out where it looks like a secret and not like a word: ``session``, ``auth``, ``signature``
address   taken out where it has credentials in it: ``database_url``
tokens    a list; texts in it that look like secrets are taken out: ``tokens``, ``api_tokens``
card      looked at for a card number, also where it is a number: ``card``, ``pan``
unknown   taken out where it looks drawn: a ``…_key`` of which nobody knows what it opens
(none)    left alone: ``max_tokens``, ``cache_key``, ``session_id``, ``password_policy``
========= =====================================================================================================
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = [
    "ADDRESS",
    "CARD",
    "MAX_NAME",
    "NAME_CHARACTERS",
    "PATH",
    "SECRET",
    "TOKENS",
    "UNKNOWN",
    "WEAK",
    "classify",
    "is_identifier",
    "is_plain_word",
    "looks_random",
    "taken_apart",
    "words_of",
]

SECRET: Final = "secret"  # noqa: S105 - the name of a class
PATH: Final = "path"
WEAK: Final = "weak"
ADDRESS: Final = "address"
TOKENS: Final = "tokens"
CARD: Final = "card"
UNKNOWN: Final = "unknown"

MAX_NAME: Final = 100
"""Characters of a name within a text, at most."""
NAME_CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
"""Characters of which it consists."""
MAX_NAME_CHARS: Final = 200  # a longer one is a text that somebody made a key, and is searched as a text

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_STEM = re.compile(
    r"passw(?:or[dt]|d)(?!less)|passphrase|passcode|secret(?!ar|smanager)|credential|api_?key|private_?key|access_?key|"
    r"authorization|cookie|connection_?str|conn_?str|sessid|account_?key|kennwort|contrase|motdepasse|wachtwoord|senha$"
)
_PASSWORDS = re.compile(r"passw(?:or[dt]|d)|passphrase|passcode|\bpwd\b|\bpass\b|\bpw\b")
_UNSPLIT_KEY = re.compile(
    r"(?:account|signing|encryption|ssh|service|licen[sc]e|private|access|secret|api|master|shared|deploy|hmac|"
    r"root|subscription)keys?$"
)


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_HARMLESS_ENDS: Final = _set_of(
    "age algorithm at attempts changed count dir directory enabled endpoint expired expires expiry field file filename length "
    "name names path policy present required reset rotation status strength ttl type valid version"
)
_HARMLESS_ADDRESSES: Final = _set_of("auth authorization cookie oauth secret secrets session token tokens")
_SECRET_ENDS: Final = _set_of("bearer creds cred cvc cvc2 cvv cvv2 iban jwt mnemonic otp passwd pass pin pw ssn totp")
_WEAK_ENDS: Final = _set_of("auth session sessionid sid sig signature")
_ENDS_IN_PASS: Final = _set_of(
    "bandpass bypass compass encompass highpass lowpass multipass overpass surpass trespass underpass"
)
_PASSES: Final = _set_of("first second third last next final single multi each boarding forward backward by")

_TOKEN_AFTER: Final = _set_of(
    "budget chunk cost count counter details embedding embeddings id ids index latency len length level limit logprob "
    "logprobs map ms offset overlap per position price prob probs rate ratio size splitter text time total type "
    "usage window"
)
_TOKEN_BEFORE: Final = _set_of(
    "bos cached cls completion continuation each end eos first input last mask max min new next num output pad page "
    "per prompt query reasoning sentence sep single special start stop sub text total unk vocab word"
)
_TOKENS_OF_A_PERSON: Final = _set_of(
    "api app auth bearer bot csrf device deploy oauth personal push service session user users"
)
_TOKENS_THAT_COUNT: Final = _set_of(
    "audio cache cached candidates completion context creation embedding embeddings generated image in input max min "
    "new num number of out output prompt query read reasoning remaining saved thinking thoughts tool total used "
    "video"
)

_KEY_OF_A_SECRET: Final = _set_of(
    "account admin aes aead algolia anthropic api app application auth azure bot client cohere cosmos crypto datadog dd decryption "
    "deepl deepseek deploy elastic encryption fernet functions gemini google gpg groq hf hmac huggingface jina jwt langfuse "
    "langsmith license licence llm master meili mistral openai openrouter pem perplexity pgp pinecone private qdrant redact "
    "replicate root rsa secret sendgrid serpapi serper server service session shared signature signing ssh ssl "
    "stripe subscription supabase tavily tls together twilio vault voyage wallet weaviate webhook xai"
)
_KEY_OF_AN_ID: Final = _set_of(
    "answer blob bucket business cache child chunk column doc composite config context custom dedup dedupe deduplication "
    "dict dictionary document entity event feature field file flag foreign group hash history i18n idempotency index "
    "input item job join json label lock lookup map memory message metadata metric natural node object order output parent "
    "partition primary prompt property public query queue range record redis request result routing row s3 schema "
    "search section shard sort state storage surrogate tag task template tenant topic trace translation unique "
    "url"
)
_SERVICES: Final = _set_of(
    "algolia aws azure cosmos elastic gcp google ibm meili openai pinecone qdrant supabase typesense"
)
_OF_SERVICES: Final = _set_of("functions language search speech storage translator vision")
_CODES: Final = _set_of("access auth backup fa mfa otp recovery security sms verification")
_ADDRESSES: Final = _set_of(
    "amqp broker conn connection database db mongo mongodb mysql pg postgres postgresql redis sqlalchemy"
)
_CARD_NAMES: Final = _set_of(
    "card cards cardnumber cardno cc ccnumber ccnum creditcard creditcardnumber debitcard kreditkarte kartennummer pan "
    "paymentcard primaryaccountnumber"
)

_IDS: Final = _set_of("hash id ids isbn digest sha256 sha1 md5 uuid guid ref reference timestamp")


def words_of(name: str) -> list[str]:
    """Split a name into its words, lower case.

    Example:
        >>> words_of("OPENAI_API_KEY"), words_of("x-apiKey")
        (['openai', 'api', 'key'], ['x', 'api', 'key'])
    """
    return [word.lower() for word in _WORD.findall(name)]


@lru_cache(maxsize=1024)
def taken_apart(name: str) -> tuple[list[str], str, bool]:
    """Return the words of a name, these put together, and whether it is the name of a password."""
    words = words_of(name)
    joined = "".join(words)
    return words, joined, bool(_PASSWORDS.search(" ".join(words)) or _PASSWORDS.search(joined))


@lru_cache(maxsize=4096)
def is_identifier(name: str) -> bool:
    """Whether a field of this name is an id, a digest or a reference: digits in it are no card number."""
    words = words_of(name)
    return bool(words) and (words[-1] in _IDS or words[-1] == "key")


@lru_cache(maxsize=8192)
def classify(name: str) -> str:
    """Judge a name.

    Returns:
        A class of this module's table; ``""`` for a name that says nothing of a secret.

    Example:
        >>> [classify(name) for name in ("signingKey", "cache_key", "tokens_in", "auth", "DATABASE_URL")]
        ['secret', '', '', 'weak', 'address']
    """
    if len(name) > MAX_NAME_CHARS:
        return ""
    words = words_of(name)
    if not words:
        return ""
    joined = "".join(words)
    if joined in _CARD_NAMES or joined.endswith(("cardnumber", "cardno")):
        return CARD
    if words[-1] in _HARMLESS_ENDS or words[-2:] == ["expires", "in"]:
        return ""
    if words[-1] in {"url", "uri"} and len(words) > 1 and words[-2] in _HARMLESS_ADDRESSES:
        return ""  # token_url: what is in it is searched as every text is
    if _STEM.search(joined) or _is_secret_token(words) or _is_secret_key(words, joined):
        return SECRET
    return _classify_by_end(words, joined)


def _classify_by_end(words: list[str], joined: str) -> str:  # noqa: PLR0911 - one reason a line
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last == "pwd":
        return PATH
    if "dsn" in words or (last in _SECRET_ENDS and not (last == "pass" and before in _PASSES)):
        return SECRET
    if last.endswith("pass") and len(last) > 4 and last not in _ENDS_IN_PASS:
        return SECRET
    if (last == "code" and before in _CODES) or (last == "phrase" and before in {"seed", "recovery"}):
        return SECRET
    if joined in {"authheader", "sasurl", "webhookurl", "socialsecuritynumber"} or joined.endswith("webhookurl"):
        return SECRET
    if last in _WEAK_ENDS:
        return WEAK
    if last in {"url", "uri"} and before in _ADDRESSES | {"database"}:
        return ADDRESS
    if last == "tokens" and before not in _TOKENS_THAT_COUNT:
        return TOKENS
    if before.isdigit() and len(words) > 2:  # s3_key
        before = words[-3] + before
    return UNKNOWN if last == "key" and before and before not in _KEY_OF_AN_ID else ""


def _is_secret_token(words: list[str]) -> bool:
    """Whether one of the words is ``token`` and its neighbours do not say that tokens are counted or paged through."""
    for position, word in enumerate(words):
        before = words[position - 1] if position else ""
        after = words[position + 1] if position + 1 < len(words) else ""
        if word == "tokens" and before in {"access", "refresh"}:
            return True
        if word != "token" and word.endswith("token") and word[:-5] not in _TOKEN_BEFORE:
            return True
        if word == "token" and after not in _TOKEN_AFTER and before not in _TOKEN_BEFORE:
            return True
    return False


def _is_secret_key(words: list[str], joined: str) -> bool:
    """Whether the name ends in a key that opens something, not in one under which something is found."""
    if words[-1] not in {"key", "keys"}:
        return bool(_UNSPLIT_KEY.search(joined))
    if len(words) < 2:
        return False
    if words[-2] in _OF_SERVICES and not _SERVICES.isdisjoint(words):  # AZURE_STORAGE_KEY; a search_key is a column
        return True
    return any(word in _KEY_OF_A_SECRET for word in words[:-1]) and words[-2] not in _KEY_OF_AN_ID


def is_plain_word(value: str) -> bool:
    """Whether a value is a word as people and programs use them, not one that somebody drew.

    Example:
        >>> is_plain_word("none"), is_plain_word("oauth2"), is_plain_word("8f3kd92ks")
        (True, True, False)
    """
    return value in ("oauth2", "base64", "sha256", "md5", "hs256", "rs256") or (
        len(value) <= 24 and all(part.isalpha() and part == part.lower() for part in re.split(r"[ _.-]", value) if part)
    )


_HAS_DIGIT = re.compile(r"[0-9]")
_HAS_LETTER = re.compile(r"[A-Za-z]")


def looks_random(value: str, least: int = 16) -> bool:
    """Whether a value can be a key: long, without blanks, of letters and digits.

    Example:
        >>> looks_random("a8f5f167f44f4964e6c998de"), looks_random("quarterly-report"), looks_random("a b")
        (True, False, False)
    """
    if len(value) < least or len(value) > 4096 or " " in value or "\n" in value or "\t" in value:
        return False
    return bool(_HAS_DIGIT.search(value) and _HAS_LETTER.search(value))
