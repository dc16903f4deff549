"""Who asks what under a fault: many users and sessions, questions that come again, and always new ones."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

import pytest

from clew.demo.corpus import Document, broken_document, default_documents
from clew.demo.questions import UNANSWERABLE, known_questions
from clew.demo.visits import VISITORS, Visit, visits


def some(count: int, documents: list[Document] | None = None) -> list[Visit]:
    """Make up visits, the same each time."""
    return list(islice(visits(default_documents() if documents is None else documents, Random(7)), count))


def test_visits_come_from_many_users_in_several_sessions() -> None:
    """Every user is there, has more than one session, and shares none."""
    made = some(400)

    assert {visit.user for visit in made} == set(VISITORS)
    sessions = {visit.session_id: visit.user for visit in made}
    assert min(Counter(sessions.values()).values()) > 1
    assert len({(visit.user, visit.session_id) for visit in made}) == len(sessions)


def test_a_third_of_the_questions_come_often_and_nearly_all_others_once() -> None:
    """The cache has something to answer, and never all of it, however long it goes on."""
    made = [visit.question for visit in some(2_000)]

    often = {text for pair in known_questions(default_documents()) for text in pair}
    new = [text for text in made if text not in often and text not in UNANSWERABLE]
    assert sum(text in often for text in made) / len(made) == pytest.approx(0.32, abs=0.04)
    assert sum(text in UNANSWERABLE for text in made) / len(made) == pytest.approx(0.04, abs=0.02)
    assert len(set(new)) > 0.98 * len(new)


@pytest.mark.parametrize(
    "documents",
    [[], [broken_document()], [Document("note.txt", "text/plain", b"Closed.")]],
    ids=["none", "bad", "short"],
)
def test_documents_that_say_little_are_still_asked_about(documents: list[Document]) -> None:
    """There is no end and no error, though the questions come again."""
    assert len({visit.question for visit in some(100, documents)}) > 1
