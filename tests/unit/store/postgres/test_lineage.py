"""A chunk's way from its document to the answers, followed in a real store from each end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from clew.errors import NotFoundError
from clew.store.postgres.connect import connect
from clew.store.postgres.lineage import Lineage, fetch_lineage
from clew.store.postgres.reading import read
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from clew.store.postgres.lineage import LineageSubject

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
INGESTED, ASKED, OTHER = (f"550e8400-e29b-41d4-a716-44665544000{number}" for number in range(3))


@pytest.fixture
def stored(postgres: str) -> str:
    """Give a store with the ingestion of two documents, an answer that uses both, and one that uses the first alone."""
    made = {
        "document_id": "guide.md",
        "document_version": "v1",
        "chunk_ids": ["guide#1", "guide#2"],
        "chunker": "words",
    }
    hits = [
        {"chunk_id": "guide#2", "document_id": "guide.md", "rank": 1, "score": 0.9},
        {"chunk_id": "faq#1", "document_id": "faq.md", "rank": 2, "score": 0.5},
    ]
    used = {"chunk_ids_used": ["guide#2", "faq#1"]}
    store_events(
        postgres,
        make_event(NOON, trace_id=INGESTED, message="chunks_created", context=made),
        make_event(NOON, message="chunks_created", context={"document_id": "faq.md", "chunk_ids": ["faq#1", "faq#11"]}),
        *_request(ASKED, NOON + timedelta(minutes=1), hits, used, {"answer_id": "a1", "chunk_ids_cited": ["guide#2"]}),
        *_request(OTHER, NOON + timedelta(days=1), hits[:1], {"chunk_ids_used": ["guide#2"]}, {"answer_id": "a2"}),
    )
    return postgres


def _request(trace: str, at: datetime, hits: list[Any], used: dict[str, Any], answer: dict[str, Any]) -> list[Any]:
    told = [
        ("hybrid_search_complete", {"hits": hits}),
        ("prompt_built", used),
        ("generation_complete", {"model": "acme-1", **answer}),
    ]
    return [
        make_event(at + timedelta(seconds=number), trace_id=trace, message=message, context=context)
        for number, (message, context) in enumerate(told)
    ]


def follow(dsn: str, kind: LineageSubject, id_: str, **more: Any) -> Lineage:
    """Ask for a lineage."""
    with connect(dsn, is_reader=True) as connection:
        return read(connection, fetch_lineage(kind, id_, **more))


def test_a_chunk_leads_both_ways(stored: str) -> None:
    """Back to the ingestion that made it, and on to the searches, prompts and answers, the newest first."""
    found = follow(stored, "chunk", "guide#2")

    assert found.documents == ["guide.md"]
    assert [(link.message, link.trace_id) for link in found.made] == [("chunks_created", INGESTED)]
    assert found.made[0].fields == {"document_id": "guide.md", "document_version": "v1", "chunker": "words"}
    assert [link.trace_id for link in found.found] == [OTHER, ASKED]
    assert found.found[1].fields == {"hits": [{"chunk_id": "guide#2", "rank": 1, "score": 0.9}]}
    assert [link.trace_id for link in found.used] == [OTHER, ASKED]
    assert [(link.trace_id, link.fields["answer_id"]) for link in found.cited] == [(ASKED, "a1")]


def test_an_id_that_begins_like_another_is_not_it(stored: str) -> None:
    """The text is found in more events than the id."""
    found = follow(stored, "chunk", "faq#1")

    assert ([link.chunks for link in found.made], len(found.found)) == ([["faq#1"]], 1)


def test_a_document_leads_to_all_answers_of_its_chunks(stored: str) -> None:
    """Through each of its chunks."""
    found = follow(stored, "document", "guide.md")

    assert (found.documents, found.chunks) == (["guide.md"], ["guide#1", "guide#2"])
    assert [link.trace_id for link in found.used] == [OTHER, ASKED]
    assert len(found.cited) == 1


def test_an_answer_leads_back_to_its_documents(stored: str) -> None:
    """Through what was used and cited for it, to the ingestions; other answers of the same chunks are not told."""
    found = follow(stored, "answer", "a1")

    assert found.chunks == ["faq#1", "guide#2"]
    assert sorted(found.documents) == ["faq.md", "guide.md"]
    assert {link.trace_id for link in (*found.found, *found.used, *found.cited)} == {ASKED}
    assert len(found.made) == 2


def test_what_nobody_told_is_not_found(stored: str) -> None:
    """An unknown id, and a text that is an id of nothing."""
    for id_ in ("nothing", "acme-1", "%", "\\"):
        with pytest.raises(NotFoundError):
            follow(stored, "chunk", id_)


def test_the_time_can_be_bounded(stored: str) -> None:
    """Only what happened since."""
    found = follow(stored, "chunk", "guide#2", since=NOON + timedelta(hours=12))

    assert (found.made, [link.trace_id for link in found.used]) == ([], [OTHER])
