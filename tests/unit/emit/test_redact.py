"""Which names are secret."""

from __future__ import annotations

import pytest
from msgspec import json

from clew.emit.redact import MEMO_KEYS, Redactor
from clew.errors import ConfigError


@pytest.mark.parametrize(
    "name",
    ["password", "user_password", "passwd", "passphrase", "secret", "client_secret", "token", "access_token",
     "access_tokens", "refresh_tokens", "accessToken", "api_key", "apiKey", "API-KEY", "OPENAI_API_KEY", "Authorization",
     "cookie", "Set-Cookie", "credentials", "private_key", "dsn", "CLEW_DSN", "postgres_dsn", "connection_string",
     "aws_access_key_id", "bearer", "jwt", "secret_token_id"],
)  # fmt: skip
def test_a_secret_is_known_by_its_name(name: str) -> None:
    """Whatever the case and the separators."""
    assert Redactor().is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["tokens", "token_count", "max_tokens", "tokens_in", "tokens_out", "prompt_tokens", "token_budget", "token_ids",
     "input_token_details", "token_usage", "tokenCount", "time_to_first_token_ms", "first_token_received", "document_id", "passage", "author",
     "key", "message", "adsnap"],
)  # fmt: skip
def test_counts_of_tokens_and_lookalikes_are_kept(name: str) -> None:
    """Figures of a RAG system are no secrets."""
    assert not Redactor().is_secret(name)


def test_the_operator_has_the_last_word() -> None:
    """Further names are redacted and others allowed, without regard to case."""
    redactor = Redactor(secret=["Diagnosis"], allowed=["session_TOKEN"])

    assert redactor.is_secret("diagnosis")
    assert not redactor.is_secret("Session_Token")
    assert not Redactor().is_secret("diagnosis")


def test_what_is_secret_wins_over_what_is_allowed() -> None:
    """A name on both lists is redacted: better too little on the disk than too much."""
    assert Redactor(secret=["pin"], allowed=["pin"]).is_secret("pin")


def test_the_memo_of_harmless_names_is_bounded() -> None:
    """Names that are data are judged each time, and never remembered without end."""
    redactor = Redactor()

    for n in range(MEMO_KEYS + 10):
        assert not redactor.is_secret(f"user-{n}")

    assert len(redactor.harmless) == MEMO_KEYS
    assert redactor.is_secret("password")
    assert "password" not in redactor.harmless


SECRETS = {
    "private_key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "aws_key": "AKIAIOSFODNN7EXAMPLE",
    "api_key": "sk-proj-abcDEF0123456789abcDEF0123456789",
    "github_token": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "slack_token": "xoxb-123456789012-123456789012-abcdefghijklmnopqrstuvwx",
    "google_key": "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "access_token": "lsv2_pt_0123456789abcdef0123456789abcdef_0123456789",
    "bearer_token": "Bearer abcdef0123456789abcdef",
    "url_password": "postgresql://clew:hunter2@db.internal/clew",
    "password": "password=hunter2",
    "email": "jane.doe+rag@example.org",
    "card": "4111 1111 1111 1111",
}
"""One secret of each kind; none is in use anywhere."""


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_in_a_text_is_taken_out_by_its_kind(kind: str) -> None:
    """Each kind is found in the middle of a sentence, and what stands around it stays."""
    text = f"before {SECRETS[kind]} after"

    cleaned = Redactor().clean_text(text)

    assert Redactor().may_hold_secret(text.encode())
    assert f"[redacted:{kind}]" in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")
    assert not Redactor().may_hold_secret(cleaned.encode())


@pytest.mark.parametrize(
    "text",
    ["How do I reset the spool?", "550e8400-e29b-41d4-a716-446655440000", "2026-11-23T10:15:30.123456Z",
     "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "RecursiveCharacterTextSplitter",
     "order 4111 1111 1111 1112", "0000 0000 0000 0000", "a = b + c", "user@", "@clew.traceable", "1732366800000",
     "tokens=512 top_k=5", "https://example.org/a?b=c"],
)  # fmt: skip
def test_ordinary_texts_are_left_alone(text: str) -> None:
    """Ids, hashes, times, code and numbers that fail their check digit are no secrets."""
    assert not Redactor().may_hold_secret(text.encode())
    assert Redactor().clean_text(text) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [("password: hunter2", "password: [redacted:password]"),
     ("the Password:hunter2 was set", "the Password:[redacted:password] was set"),
     ("PASSWD : x", "PASSWD : [redacted:password]"),
     ('call({"password": "hunter2", "n": 1})', 'call({"password": "[redacted:password]", "n": 1})'),
     (r'{\"password\": \"hunter2\"}', r'{\"password\": \"[redacted:password]\"}')],
)  # fmt: skip
def test_a_password_behind_a_colon_is_taken_out_too(text: str, cleaned: str) -> None:
    """As people write it, and as JSON in the arguments of a tool does; once is enough."""
    redactor = Redactor()

    assert redactor.may_hold_secret(json.encode(text))
    assert redactor.clean_text(text) == cleaned
    assert redactor.clean_text(cleaned) == cleaned


@pytest.mark.parametrize("text", ["Forgot your password?", "the password: ", "token: a word", "a secret: nobody knows"])
def test_what_merely_speaks_of_secrets_is_left_alone(text: str) -> None:
    """A word before a colon is no secret, unless it says that a password follows."""
    assert Redactor().clean_text(text) == text


def test_the_corpus_is_found_whole_and_nothing_else() -> None:
    """Recall and precision over a page of ordinary text with one secret of each kind."""
    page = "\n".join(f"Line {n}: the retriever returned chunk {n} with score 0.{n}." for n in range(200))
    spiked = page + "".join(f"\n{secret}" for secret in SECRETS.values())

    cleaned = Redactor().clean_text(spiked)

    assert cleaned.startswith(page)
    assert sum(cleaned.count(f"[redacted:{kind}]") for kind in SECRETS) == len(SECRETS)


def test_in_hash_mode_equal_secrets_stay_equal_and_unreadable() -> None:
    """The same address gives the same hash under one key, and another under another."""
    one, other = Redactor(key="k1"), Redactor(key="k2")

    first, second = one.clean_text("to jane@example.org"), one.clean_text("from jane@example.org")

    assert first.split()[1] == second.split()[1]
    assert "jane" not in first
    assert one.clean_text("jane@example.org") != other.clean_text("jane@example.org")
    assert one.replace_value("hunter2") == one.replace_value("hunter2") != one.replace_value("hunter3")


def test_rules_of_the_operator_are_applied() -> None:
    """A pattern of one's own is found and replaced by its kind."""
    redactor = Redactor(patterns={"patient": r"\bPAT-\d{6}\b"})

    assert redactor.may_hold_secret(b"about PAT-123456")
    assert redactor.clean_text("about PAT-123456") == "about [redacted:patient]"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a*)*b", "((ab)+c?)+d", r"(\w+)\1", "(unclosed"])
def test_a_rule_that_could_take_for_ever_is_refused(pattern: str) -> None:
    """Malformed rules and rules whose time can grow exponentially are told at the start, by their name."""
    with pytest.raises(ConfigError, match="mine"):
        Redactor(patterns={"mine": pattern})


def test_a_hostile_text_takes_no_longer_than_its_length_asks() -> None:
    """Texts made to mislead each pattern are worked through: the work is bounded, so the test ends."""
    redactor = Redactor()
    for seed in (
        "a@",
        "eyJ" + "a" * 20 + ".",
        "4 ",
        "-----BEGIN PRIVATE KEY-----",
        "sk-",
        "://a:",
        "password=",
        "password: ",
        "?key=",
        "sig=",
        "password=os.environ[",
        "password: [",
        "curl -u a:b ",
    ):
        redactor.clean_text(seed * (60_000 // len(seed)))
