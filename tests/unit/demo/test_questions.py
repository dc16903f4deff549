"""What is asked."""

from __future__ import annotations

from collections import Counter

import pytest

from clew.demo.corpus import Document, broken_document, default_documents
from clew.demo.questions import plan
from support.fix_demo import GUIDE


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, {"new": 1}),
        (2, {"new": 1, "again": 1}),
        (3, {"new": 1, "again": 1, "unanswerable": 1}),
        (12, {"new": 6, "again": 4, "unanswerable": 2}),
        (100, {"new": 14, "again": 66, "unanswerable": 20}),
    ],
)
def test_the_questions_are_new_or_again_or_unanswerable(count: int, expected: dict[str, int]) -> None:
    """As many as asked for; when there are no more new ones, old ones are asked again."""
    asked = plan(default_documents(), count)

    assert len(asked) == count
    assert Counter(question.purpose for question in asked) == expected


def test_what_is_asked_again_was_asked_before() -> None:
    """In other words, and after it."""
    asked = [question.purpose for question in plan(default_documents(), 12)]

    assert asked == sorted(asked, key=["new", "unanswerable", "again"].index)


def test_every_document_is_asked_about_before_any_is_twice() -> None:
    """Six questions go to six of the default documents."""
    first = [question.text for question in plan(default_documents(), 12) if question.purpose == "new"]

    assert len(set(first)) == 6
    assert sum("clew" in text for text in first) == 1


def test_documents_of_the_user_are_asked_about_by_their_headings() -> None:
    """Or by their first sentence, where there are none; what cannot be read is not asked about."""
    documents = [
        Document("guide.md", "text/markdown", GUIDE.encode()),
        Document("note.txt", "text/plain", b"The mole is closed. Go home."),
        broken_document(),
    ]
    asked = [question.text for question in plan(documents, 4) if question.purpose == "new"]

    assert asked == ["What is said about: The harbour guide?", "What is said about: The mole is closed?"]


def test_documents_that_say_nothing_still_get_a_question() -> None:
    """There is always something to ask."""
    assert plan([broken_document()], 1)[0].text == "What are these documents about?"
