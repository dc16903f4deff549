"""Documents are found wherever they are told, and written in both dialects."""

from __future__ import annotations

from clew.dialects.otel.documents import MAX_DOCUMENTS, flatten, in_outputs, reranking, retrieval

HIT = {"chunk_id": "c1", "document_id": "d1", "rank": 1, "score": 0.9}


def test_hits_are_written_in_both_dialects() -> None:
    """A hit's chunk is its id; what has no place of its own is metadata."""
    attributes = retrieval({"hits": [HIT]})

    assert attributes == {
        "gen_ai.retrieval.documents": '[{"id":"c1","score":0.9}]',
        "retrieval.documents.0.document.id": "c1",
        "retrieval.documents.0.document.score": 0.9,
        "retrieval.documents.0.document.metadata": '{"document_id":"d1","rank":1}',
    }


def test_documents_that_were_returned_count_where_no_hits_are_told() -> None:
    """A traced retriever of LangChain returns documents with content and metadata."""
    document = {"page_content": "text", "type": "Document", "metadata": {"id": "d1", "score": 0.5, "source": "a.md"}}

    attributes = retrieval({"outputs": {"documents": [document]}})

    assert attributes["retrieval.documents.0.document.id"] == "d1"
    assert attributes["retrieval.documents.0.document.content"] == "text"
    assert attributes["retrieval.documents.0.document.score"] == 0.5
    assert attributes["retrieval.documents.0.document.metadata"] == '{"source":"a.md"}'


def test_a_reranker_tells_what_it_was_given_and_what_it_made() -> None:
    """Query, model, k, and both lists."""
    attributes = reranking({"query": "why", "reranker": "r/1", "top_k": 2, "hits_before": [HIT], "hits_after": [HIT]})

    assert attributes["reranker.query"] == "why"
    assert attributes["reranker.model_name"] == "r/1"
    assert attributes["reranker.top_k"] == 2
    assert attributes["reranker.input_documents.0.document.id"] == "c1"
    assert attributes["reranker.output_documents.0.document.score"] == 0.9


def test_outputs_without_documents_have_none() -> None:
    """Neither texts nor other objects are taken for documents."""
    assert in_outputs("text") == in_outputs(["text"]) == in_outputs([{"a": 1}]) == in_outputs({"answer": "x"}) == []
    assert retrieval({"hits": "many"}) == {}


def test_a_long_list_ends_somewhere() -> None:
    """No span gets thousands of attributes."""
    assert len(flatten("retrieval.documents", [{"id": 1}] * 1000)) == MAX_DOCUMENTS
