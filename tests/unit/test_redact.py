"""Which names are secret."""

from __future__ import annotations

import pytest

from clew.redact import MEMO_KEYS, Redactor


@pytest.mark.parametrize(
    "name",
    ["password", "user_password", "passwd", "passphrase", "secret", "client_secret", "token", "access_token",
     "access_tokens", "refresh_tokens", "accessToken", "api_key", "apiKey", "API-KEY", "OPENAI_API_KEY", "Authorization",
     "cookie", "Set-Cookie", "credentials", "private_key", "dsn", "CLEW_DSN", "postgres_dsn", "connection_string",
     "aws_access_key_id", "bearer", "jwt", "secret_token_id", "api_key_token_count"],
)  # fmt: skip
def test_a_secret_is_known_by_its_name(name: str) -> None:
    """Whatever the case and the separators."""
    assert Redactor().is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["tokens", "token_count", "max_tokens", "tokens_in", "tokens_out", "prompt_tokens", "token_budget", "token_ids",
     "token_usage", "tokenCount", "time_to_first_token_ms", "first_token_received", "document_id", "passage", "author",
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
