"""Sentences, terms and fingerprints."""

from __future__ import annotations

import pytest

from clew.demo.text import content_terms, fingerprint, sentences, squeeze, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It ships, e.g. to PostgreSQL. Done.", ["It ships, e.g. to PostgreSQL.", "Done."]),
        ("See J. Smith. He knows.", ["See J. Smith.", "He knows."]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("Version 3.8 is needed. Really.", ["Version 3.8 is needed.", "Really."]),
        ("first line\nsecond line", ["first line", "second line"]),
        ("   \n\n", []),
        ("Größe zählt. Über alles.", ["Größe zählt.", "Über alles."]),
    ],
)
def test_a_text_is_cut_where_a_reader_would_end_a_sentence(text: str, expected: list[str]) -> None:
    """Abbreviations, initials and decimal points end nothing; line ends always do."""
    assert sentences(text) == expected


@pytest.mark.parametrize(
    "family", [("cache", "caches", "cached", "caching"), ("query", "queries"), ("require", "requires", "required")]
)
def test_forms_of_a_word_meet_in_one_term(family: tuple[str, ...]) -> None:
    """A question in the plural finds a text in the singular."""
    assert len({terms(word)[0] for word in family}) == 1


def test_a_question_is_about_its_content_words() -> None:
    """Common words do not count, and each term counts once."""
    assert content_terms("What does the agent do when the agents are down?") == ["agent", "down"]


def test_a_fingerprint_knows_where_its_parts_end() -> None:
    """Moving a letter from one part to the next is another content."""
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint("ab", b"c") == fingerprint(b"ab", "c")
    assert len(fingerprint("x", length=12)) == 12


def test_squeezing_leaves_single_spaces() -> None:
    """Every kind of white space counts."""
    assert squeeze(" a\t\n b\u00a0c ") == "a b c"
