"""What is taken out of texts, and what is left alone."""

from __future__ import annotations

import re

import pytest

from clew.emit.redact import Redactor
from support.secret_texts import ORDINARY, PASSWORDS, SHAPES, SHAPES_OF_KEYS, TOKENS

FRAGMENT = 5  # characters in a row that are too much of a secret to be left


def leaks(cleaned: str, secret: str, around: str = "") -> str:
    """Return the first fragment of *secret* that is left in *cleaned* and is not in what is *around* it anyway."""
    cleaned = re.sub(r"\[redacted(:\w+)?\]", "", cleaned)
    size = min(FRAGMENT, len(secret))
    fragments = (secret[n : n + size] for n in range(len(secret) - size + 1))
    return next((fragment for fragment in fragments if fragment in cleaned and fragment not in around), "")


@pytest.mark.parametrize("service", TOKENS)
def test_a_token_is_taken_out_whole(service: str) -> None:
    """By how it begins, in a sentence, at the end of an address, in quotes and behind an escaped end of line."""
    token = TOKENS[service]
    for template in ("{}", "used {} for it", "see https://x.example/{}", '"{}"', "a\\n{}\\nb", "({})", "`{}`", "a={}"):
        cleaned = Redactor().clean_text(template.format(token))

        assert not leaks(cleaned, token, template), cleaned
        assert Redactor().clean_text(cleaned) == cleaned


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_behind_a_name_is_taken_out_whole(shape: str, password: str) -> None:
    """However the name and its value are written; and what was taken out once stays as it is."""
    secret = PASSWORDS[password]
    if shape in ("query signature", "query key") and password in ("short", "with signs"):
        secret = PASSWORDS["drawn"]  # neither is ever short
    text = SHAPES[shape].format(secret)

    cleaned = Redactor().clean_text(text)

    assert not leaks(cleaned, secret, SHAPES[shape]), cleaned
    assert Redactor().clean_text(cleaned) == cleaned


@pytest.mark.parametrize("shape", SHAPES_OF_KEYS)
def test_a_key_is_taken_out_whole_where_prose_may_stand_as_well(shape: str) -> None:
    """In pairs, behind names in words, and in what errors say."""
    secret = PASSWORDS["drawn"]

    cleaned = Redactor().clean_text(SHAPES_OF_KEYS[shape].format(secret))

    assert not leaks(cleaned, secret, SHAPES_OF_KEYS[shape]), cleaned
    assert Redactor().clean_text(cleaned) == cleaned


@pytest.mark.parametrize("text", ORDINARY)
def test_what_merely_looks_like_a_secret_is_left_alone(text: str) -> None:
    """Counts, ids, digests, code, placeholders and prose are what a RAG system's texts are made of."""
    assert Redactor().clean_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "https://x.example/a?lang=en&version=3.7",
        "at 10:15:30 it took: 12 ms",
        "name = value",
        "https://x.example/a?key=a8f5f167f44f4964",
        "a.b.api-key:a8f5f167f44f",
        "x=1&token=a8f5f167f44f",
        '"password" : "hunter2x"',
        "Schlüssel=Wert, wörtertoken=a8f5f167f44f",
        "dbKennwort: a8f5f167f44f",
        "sessionCookie=a8f5f167f44f",
        "a8f5f167f44f4964a8f5f167f44f4964 auth=a8f5f167f44f",
    ],
)
def test_a_few_separators_are_looked_at_as_many_are(text: str) -> None:
    """What few separators make of a text is what they make of it in a text that has many."""
    many = text + "\n" + "a:b " * 8

    assert Redactor().clean_text(many) == Redactor().clean_text(text) + many[len(text) :]
