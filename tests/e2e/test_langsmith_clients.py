"""Unmodified applications that trace with LangSmith's own clients, sent to clew by their environment alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.fix_receiving import Receiving

TRACEABLE = """
import langsmith as ls

@ls.traceable(run_type="retriever")
def search(query):
    return [
        {"page_content": "Clew leads out of the maze.", "type": "Document", "metadata": {"chunk_id": "c1", "score": 0.9}},
        {"page_content": "The maze has one way out.", "type": "Document", "metadata": {"chunk_id": "c2", "score": 0.4}},
    ]

@ls.traceable(run_type="llm", metadata={"ls_provider": "acme", "ls_model_name": "acme-1"})
def generate(messages):
    usage = {"input_tokens": 120, "output_tokens": 8, "total_tokens": 128, "input_token_details": {"cache_read": 100}}
    return {"role": "assistant", "content": "By the thread.", "usage_metadata": usage}

@ls.traceable(name="answer", tags=["demo"], metadata={"user_id": "u1", "thread_id": "t1", "revision_id": "v7"})
def answer(question):
    print(ls.get_current_run_tree().trace_id)
    search(question)
    return generate([{"role": "user", "content": question}])["content"]

answer("how out of the maze?")
"""


def as_langsmith(receiving: Receiving) -> dict[str, str]:
    """Name what a user sets to be traced by clew."""
    return {
        "LANGSMITH_ENDPOINT": f"{receiving.url}/langsmith",
        "LANGSMITH_API_KEY": "anything",
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_PROJECT": "maze",
    }


def has_ended(count: int) -> Any:
    """Tell whether a trace has this many spans, all of which have ended."""

    def look(trace: dict[str, Any]) -> bool:
        spans = list(flat(trace["spans"]))
        return len(spans) == count and all(span["status"] != "running" for span in spans)

    return look


def flat(spans: list[dict[str, Any]]) -> Any:
    """List all spans of a tree, parents before their children."""
    for span in spans:
        yield span
        yield from flat(span["children"])


def test_traceable_functions_show_up_whole(receiving: Receiving) -> None:
    """The tree of a traced pipeline has its stages, documents, tokens, model, user, thread and version."""
    trace_id = receiving.run(TRACEABLE, **as_langsmith(receiving))

    trace = receiving.trace(trace_id, has_ended(3))

    [root] = trace["spans"]
    search, generate = root["children"]
    assert (root["message"], root["service"], root["status"], root["version"]) == ("answer", "maze", "ok", "v7")
    assert {(span["user_id"], span["session_id"]) for span in (root, search, generate)} == {("u1", "t1")}
    assert (root["context"]["inputs"], root["context"]["tags"]) == ({"question": "how out of the maze?"}, ["demo"])
    assert (search["stage"], generate["stage"]) == ("retrieval", "generation")
    assert search["context"]["hits"] == [
        {"chunk_id": "c1", "rank": 1, "score": 0.9, "content": "Clew leads out of the maze."},
        {"chunk_id": "c2", "rank": 2, "score": 0.4, "content": "The maze has one way out."},
    ]
    assert search["context"]["outputs"]["output"][0]["metadata"] == {"chunk_id": "c1", "score": 0.9}
    assert (generate["context"]["provider"], generate["context"]["model"]) == ("acme", "acme-1")
    assert {name: generate["metrics"][name] for name in ("tokens_in", "tokens_out", "tokens_cached")} == {
        "tokens_in": 120,
        "tokens_out": 8,
        "tokens_cached": 100,
    }
