"""What becomes of fields by their names."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pydantic
import pytest

from clew.emit.context import Context
from clew.emit.record import Head, Limits, Origin, encode_event
from clew.emit.redact import Redactor
from clew.emit.redact.redactor import MEMO_MESSAGES
from clew.emit.values import encode_value

LIMITS = Limits(Redactor(), 32 * 1024, 256 * 1024)


def context_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Emit an event twice, and return the fields of the second: by then its names are known."""
    head = Head(datetime.now(UTC), "log", "INFO", "told")
    payloads = [encode_event(head, dict(fields), None, Context(), Origin("a", "b", "c"), LIMITS) for _ in range(2)]
    event = json.loads(payloads[-1])
    return {**event["context"], **event["metrics"]}


@pytest.mark.parametrize(
    "name",
    ["pwd", "pass", "pw", "passwd", "passwort", "passphrase", "auth", "session", "sessionid", "sid", "private key",
     "conn_str", "AccountKey", "account_key", "signing_key", "encryption_key", "ssh_key", "service_key", "license_key",
     "otp", "pin", "cvv", "cvc", "ssn", "iban", "sig", "signature", "webhook_url", "x-api-key", "X-Auth-Token",
     "csrfmiddlewaretoken", "client-secret", "SECRET_KEY", "refreshToken", "basic_auth", "PHPSESSID", "OPENAI_KEY",
     "frobnicator_key", "verification_code", "apikey", "dsn"],
)  # fmt: skip
def test_a_field_that_is_named_like_a_secret_loses_its_value(name: str) -> None:
    """In every spelling, at any depth."""
    secret = "a1b2c3d4e5f6a7b8c9"

    assert context_of({name: secret})[name] == "[redacted]"
    assert secret not in json.dumps(context_of({"request": {"headers": [{name: secret}]}}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_id", "a1b2c3d4e5f6a7b8"),
        ("cache_key", "a1b2c3d4e5f6a7b8"),
        ("primary_key", "a1b2c3d4e5f6a7b8"),
        ("idempotency_key", "a1b2c3d4e5f6a7b8"),
        ("partition_key", "a1b2c3d4e5f6a7b8"),
        ("key", "documents/a1b2c3d4e5f6a7b8"),
        ("public_key", "ssh-ed25519"),
        ("tokens", 512),
        ("tokens", ["the", "answer", "is"]),
        ("max_tokens", 512),
        ("tokenizer", "cl100k_base"),
        ("stop_token", "<eos>"),
        ("next_page_token", "CAUQAA"),
        ("token_type", "bearer"),
        ("auth", "none"),
        ("auth", {"method": "oidc"}),
        ("auth_method", "password"),
        ("session", "started"),
        ("session", {"turns": 3}),
        ("pass", 3),
        ("first_pass", "ok"),
        ("pwd", "/srv/app"),
        ("signature", "def f(x: int) -> str"),
        ("has_password", True),
        ("password", None),
        ("password_policy", "strong"),
        ("secretary", "Ms Smith"),
        ("author", "Jane"),
        ("database_url", "postgresql://localhost/shop"),
        ("required", ["password", "email"]),
        ("bypass", "north"),
    ],
)
def test_a_field_that_merely_sounds_so_keeps_it(name: str, value: Any) -> None:
    """Ids, counts, words and what is not there."""
    assert context_of({name: value})[name] == value


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ([("authorization", "Basic aGVsbG86d29ybGQ")], "aGVsbG86d29ybGQ"),
        ([["Cookie", "sid=a1b2c3d4"], ["Accept", "text/html"]], "a1b2c3d4"),
        ({"headers": [{"name": "Authorization", "value": "Basic aGVsbG86d29ybGQ"}]}, "aGVsbG86d29ybGQ"),
        (["mysql", "--password", "hunter2x", "shop"], "hunter2x"),
        (["mytool", "--api-key=a1b2c3d4", "run"], "a1b2c3d4"),
        (["curl", "-u", "app:hunter2x", "https://x"], "hunter2x"),
        ({"api_tokens": ["a1b2c3d4e5f6a7b8c9"]}, "a1b2c3d4e5f6a7b8c9"),
        ({"tokens": ["a1b2c3d4e5f6a7b8c9"]}, "a1b2c3d4e5f6a7b8c9"),
        ({"database_url": "postgresql://app:p@ss/w0rd@db/shop"}, "w0rd"),
        ({"invocation": '{"api_key": "a1b2c3d4", "n": 1}'}, "a1b2c3d4"),
        ({"auth": ("app", "hunter2x")}, "hunter2x"),
        ({"sk-" + "a1B2" * 10: 1}, "a1B2a1B2"),
    ],
)  # fmt: skip
def test_a_secret_beside_its_name_is_taken_out(value: Any, secret: str) -> None:
    """Headers as pairs, arguments of commands, lists of tokens, JSON in a text; as a field and as what is captured."""
    assert secret not in json.dumps(context_of({"request": value}))
    assert secret.encode() not in bytes(encode_value(value, LIMITS))


@pytest.mark.parametrize(
    "fields",
    [
        {"hint": "use --password", "title": "quarterly"},
        {"tool": "the client of mysql", "note": "-pages 3 and 4"},
        {"tool": "fetched by curl", "note": "-u is for units:metres"},
        {"form": "see <password>", "note": "Monday</b>"},
        {"payment": "by card", "order": "4111111111111111"},
        {"quote": "it's --token", "answer": "forty-two"},
        {"steps": ["run it with --secret", "quarterly", "then wait"]},
    ],
)
def test_what_one_text_says_takes_nothing_out_of_the_next(fields: dict[str, Any]) -> None:
    """Neither a command without its value, nor an open element, nor a word that says what numbers are."""
    assert context_of(fields) == fields


@pytest.mark.parametrize(
    ("fields", "secret"),
    [
        ({"first": "it's fine", "header": "Authorization: Bearer abc'def0123456789"}, "def0123456789"),
        ({"first": "Server=db", "note": "password=abc;def0123"}, "def0123"),
        ({"id": "0f3b" * 8, "note": "the token " + "0f3b" * 8}, "the token 0f3b"),
        ({"ids": ["chunk-" + "0f3b" * 6] * 3, "note": "https://x.example/?token=a1b2c3d4"}, "a1b2c3d4"),
    ],
)
def test_what_one_text_says_leaves_nothing_of_the_next(fields: dict[str, Any], secret: str) -> None:
    """Where a secret ends, its own text says; and an id beside it does not make it one."""
    assert secret not in json.dumps(context_of(fields))


def test_a_mail_address_alone_is_seen_by_the_rules_of_the_operator_too() -> None:
    """What is a mail address and nothing else goes at once, and says so; where there are own rules, they come first."""
    head = Head(datetime.now(UTC), "log", "INFO", "told")
    fields: dict[str, Any] = {"author": "jane@example.org", "remote": "git@github.com", "nan": float("nan")}
    told: dict[str, Any] = {}
    for patterns in ({}, {"company": r"example\.org"}):
        limits = Limits(Redactor(patterns=patterns), 32 * 1024, 256 * 1024)
        for names in (("author", "remote"), ("author", "remote"), ("author", "remote", "nan")):
            part = {name: fields[name] for name in names}
            told = json.loads(encode_event(head, part, None, Context(), Origin("a", "b", "c"), limits))
            assert told["context"]["author"] == "[redacted:email]"
            assert told["context"]["remote"] == "git@github.com"
            assert told["sanitized"] == (["nonfinite", "redacted"] if "nan" in names else ["redacted"])


class Login(NamedTuple):
    """A tuple whose second item is a secret by its name alone."""

    user: str
    password: str


def test_a_named_tuple_keeps_its_names() -> None:
    """So that a name in it can say that its value is secret."""
    assert context_of({"login": Login("app", "hunter2x")})["login"] == {"user": "app", "password": "[redacted]"}


@dataclass
class Settings:
    """Keeps a field out of its text."""

    model: str
    licence: str = field(repr=False, default="a1b2c3d4")


class Profile(pydantic.BaseModel):
    """Keeps fields out of its dumps and texts."""

    name: str
    birthday: str = pydantic.Field(exclude=True, default="1990-01-01")
    note: str = pydantic.Field(repr=False, default="private note")
    key: pydantic.SecretStr = pydantic.SecretStr("a1b2c3d4")


class Masked(pydantic.BaseModel):
    """Says itself what of it may be dumped."""

    name: str
    number: str

    @pydantic.field_serializer("number")
    def _mask(self, number: str) -> str:
        return "…" + number[-2:]


def test_what_a_model_keeps_to_itself_stays_there() -> None:
    """Fields that a dataclass does not show, and that a model excludes, does not show or serialises otherwise."""
    fields = context_of(
        {"settings": Settings("small"), "profile": Profile(name="Jane"), "masked": Masked(name="a", number="1234")}
    )

    assert fields["settings"] == {"model": "small"}
    assert set(fields["profile"]) == {"name", "key"}
    assert "a1b2c3d4" not in str(fields)
    assert fields["masked"] == {"name": "a", "number": "…34"}


def test_a_secret_on_the_border_of_what_is_kept_is_taken_out_whole() -> None:
    """Of a long text its head and tail are kept: a secret is looked for before the text is cut, wherever it begins."""
    secret = "sk-proj-" + "a1B2c3D4" * 12
    bounds = Limits(Redactor(), 4000, 256 * 1024)
    for at in (*range(1880, 2020, 7), *range(-2140, -1880, 7)):
        text = [" word" * 20_000, ""]
        place = at if at > 0 else len(text[0]) + at
        long = f"{text[0][:place]} {secret} {text[0][place:]}"
        head = Head(datetime.now(UTC), "log", "INFO", "told")
        payload = encode_event(head, {"text": long}, None, Context(), Origin("a", "b", "c"), bounds).decode()

        assert not any(secret[n : n + 6] in payload for n in range(len(secret) - 6))


def test_a_repr_and_a_message_are_searched_before_they_are_cut() -> None:
    """An object's text is cut to 1,000 characters, an exception's to 4,000: neither in the middle of a secret."""
    secret = "sk-proj-" + "a1B2c3D4" * 12

    class Thing:
        def __repr__(self) -> str:
            return "<Thing " + "x " * 485 + secret + ">"

    assert "a1B2" not in json.dumps(context_of({"thing": Thing()}))
    assert "a1B2" not in json.dumps(context_of({"error": [ValueError("y " * 1990 + secret)]}))


def test_what_is_remembered_of_messages_is_bounded() -> None:
    """Formatted messages differ each time and may be long; names that recur are learnt again."""
    redactor = Redactor()
    tracemalloc.start()
    try:
        for number in range(3000):
            assert redactor.is_harmless_message(f"read {number} " + "page " * (number % 2 * 2000))
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept_bytes < 1_000_000
    assert redactor.is_harmless_message("chunks_created")
    assert not redactor.is_harmless_message("password=hunter2-and-more")


def test_the_message_of_an_error_is_searched_however_often_it_comes() -> None:
    """One that held no secret may be remembered; one that is longer by a secret is another one."""
    limits = Limits(Redactor(), 32 * 1024, 256 * 1024)

    def told(message: str) -> str:
        head = Head(datetime.now(UTC), "log", "ERROR", "told")
        return encode_event(head, {}, ValueError(message), Context(), Origin("a", "b", "c"), limits).decode()

    for _ in range(20):
        assert "no route to db" in told("no route to db")
        assert "hunter2x" not in told("no route to db password=hunter2x")
    assert "no route to db" in limits.redactor.harmless_messages
    assert not any("hunter2x" in message for message in limits.redactor.harmless_messages)
    for number in range(20 * MEMO_MESSAGES):
        told(f"no route to db {number}")
    assert len(limits.redactor.harmless_messages) <= MEMO_MESSAGES
