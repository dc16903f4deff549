"""Unmodified applications that trace with LangSmith's own clients, sent to clew by their environment alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.fix_receiving import Receiving

RUN = "019ab000-0000-7000-8000-000000000001"
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


WAYS_TO_END = """
import asyncio
import langsmith as ls

@ls.traceable
async def sleeper(has_begun):
    has_begun.set()
    await asyncio.sleep(60)

@ls.traceable(run_type="llm")
def tokens():
    yield "By "
    yield "the thread."

@ls.traceable(run_type="tool")
def breaks(name):
    raise ValueError(f"no document {name!r}")

@ls.traceable(run_type="embedding")
def embed(text):
    return [0.1, 0.2]

@ls.traceable(run_type="retriever")
def search(text):
    embed(text)
    return []

@ls.traceable
async def ways():
    print(ls.get_current_run_tree().trace_id)
    assert list(tokens()) == ["By ", "the thread."]
    for token in tokens():
        break
    try:
        breaks("d1")
    except ValueError:
        pass
    has_begun = asyncio.Event()
    task = asyncio.create_task(sleeper(has_begun))
    await has_begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with ls.ContextThreadPoolExecutor() as pool:
        list(pool.map(search, ["a", "b"]))

asyncio.run(ways())
"""

LANGCHAIN = """
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tracers.context import collect_runs

class Library(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return [
            Document(id="c1", page_content="Clew leads out.", metadata={"document_id": "d1", "relevance_score": 0.9}),
            Document(id="c2", page_content="One way out.", metadata={"document_id": "d2", "relevance_score": 0.4}),
        ]

class Oracle(BaseChatModel):
    model_name: str = "oracle-1"
    @property
    def _llm_type(self):
        return "oracle"
    def _get_ls_params(self, stop=None, **kwargs):
        return {"ls_provider": "delphi", "ls_model_name": self.model_name, "ls_model_type": "chat", "ls_temperature": 0.2}
    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        usage = {"input_tokens": 50, "output_tokens": 4, "total_tokens": 54, "input_token_details": {"cache_read": 10}}
        message = AIMessage(content="By the thread.", usage_metadata=usage,
                            response_metadata={"finish_reason": "stop", "model_name": "oracle-1-2026"})
        return ChatResult(generations=[ChatGeneration(message=message)])

prompt = ChatPromptTemplate.from_messages([("system", "Use only: {context}"), ("human", "{question}")])
chain = {"context": Library(), "question": RunnablePassthrough()} | prompt | Oracle() | RunnableLambda(lambda m: m.content)
"""

LANGCHAIN_CHAIN = (
    LANGCHAIN
    + """
with collect_runs() as runs:
    chain.invoke("how out?", config={"run_name": "rag", "metadata": {"user_id": "u2", "session_id": "s2"}, "tags": ["lc"]})
print(runs.traced_runs[-1].trace_id)
"""
)

LANGGRAPH_GRAPH = (
    LANGCHAIN
    + """
from typing import TypedDict
from langgraph.graph import END, START, StateGraph

class State(TypedDict, total=False):
    question: str
    documents: list
    answer: str

graph = StateGraph(State)
graph.add_node("retrieve", lambda state: {"documents": Library().invoke(state["question"])})
graph.add_node("answer", lambda state: {"answer": Oracle().invoke(state["question"]).content})
graph.add_edge(START, "retrieve")
graph.add_edge("retrieve", "answer")
graph.add_edge("answer", END)
with collect_runs() as runs:
    graph.compile(name="rag").invoke({"question": "how out?"}, config={"configurable": {"thread_id": "t3"}})
print(runs.traced_runs[-1].trace_id)
"""
)


def by_name(trace: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Sort a trace's spans by their names."""
    found: dict[str, list[dict[str, Any]]] = {}
    for span in flat(trace["spans"]):
        found.setdefault(span["message"], []).append(span)
    return found


def test_however_a_run_ends_its_status_says_so(receiving: Receiving) -> None:
    """Errors fail, stopped tasks and abandoned generators are cancelled, and threads keep their parents."""
    trace_id = receiving.run(WAYS_TO_END, **as_langsmith(receiving))

    trace = receiving.trace(trace_id, has_ended(9))

    named = by_name(trace)
    [root], [failed], [cancelled] = named["ways"], named["breaks"], named["sleeper"]
    assert (root["status"], cancelled["status"], failed["status"]) == ("ok", "cancelled", "error")
    assert (failed["level"], failed["error"]["type"]) == ("ERROR", "ValueError")
    assert failed["error"]["message"] == "no document 'd1'"
    assert "in breaks" in failed["error"]["stack"]
    assert sorted(span["status"] for span in named["tokens"]) == ["cancelled", "ok"]
    assert all(span["metrics"]["time_to_first_token_ms"] >= 0 for span in named["tokens"])
    assert [span["parent_span_id"] for span in named["search"]] == [root["span_id"]] * 2
    assert [span["stage"] for span in named["embed"]] == ["retrieval"] * 2


def test_a_langchain_chain_shows_up_with_its_documents_and_tokens(receiving: Receiving) -> None:
    """A chain of retriever, prompt and model is the same tree, with what LangChain tells in its own shapes."""
    trace_id = receiving.run(LANGCHAIN_CHAIN, **as_langsmith(receiving))

    trace = receiving.trace(trace_id, has_ended(7))

    named = by_name(trace)
    [root], [library], [oracle], [prompt] = (named[name] for name in ("rag", "Library", "Oracle", "ChatPromptTemplate"))
    assert (trace["spans"], root["user_id"], root["session_id"]) == ([root], "u2", "s2")
    assert (library["stage"], prompt["stage"], oracle["stage"]) == ("retrieval", "generation", "generation")
    assert_documents_and_tokens(library, oracle)
    assert oracle["user_id"] == "u2"


def test_a_langgraph_graph_shows_up_with_its_documents_and_tokens(receiving: Receiving) -> None:
    """A graph's nodes are spans, with retriever and model inside them, and its thread is the session."""
    trace_id = receiving.run(LANGGRAPH_GRAPH, **as_langsmith(receiving))

    trace = receiving.trace(trace_id, has_ended(5))

    [root] = trace["spans"]
    retrieve, answer = root["children"]
    [library], [oracle] = retrieve["children"], answer["children"]
    assert [span["message"] for span in (root, retrieve, answer)] == ["rag", "retrieve", "answer"]
    assert {span["session_id"] for span in flat(trace["spans"])} == {"t3"}
    assert_documents_and_tokens(library, oracle)


def assert_documents_and_tokens(library: dict[str, Any], oracle: dict[str, Any]) -> None:
    """Check what the retriever and the model of the examples have told."""
    assert library["context"]["hits"] == [
        {"chunk_id": "c1", "document_id": "d1", "rank": 1, "score": 0.9, "content": "Clew leads out."},
        {"chunk_id": "c2", "document_id": "d2", "rank": 2, "score": 0.4, "content": "One way out."},
    ]
    assert (library["context"]["hit_count"], library["metrics"]["top_score"]) == (2, 0.9)
    told = {name: oracle["context"][name] for name in ("provider", "model", "response_model", "finish_reason")}
    assert told == {
        "provider": "delphi",
        "model": "oracle-1",
        "response_model": "oracle-1-2026",
        "finish_reason": "stop",
    }
    assert oracle["context"]["temperature"] == 0.2
    used = {name: oracle["metrics"][name] for name in ("tokens_in", "tokens_out", "tokens_cached")}
    assert used == {"tokens_in": 50, "tokens_out": 4, "tokens_cached": 10}


FEEDBACK = """
import uuid
import langsmith as ls

run_id = uuid.uuid4()

@ls.traceable(project_name="graded")
def answer(question):
    print(ls.get_current_run_tree().trace_id)
    return "By the thread."

answer("how out?", langsmith_extra={"run_id": run_id})
client = ls.Client()
client.create_feedback(run_id, "faithfulness", score=0.75, comment="one claim unsupported",
                       feedback_source_type="model", source_info={"evaluator": "ragas"})
client.create_feedback(run_id, "label", value="good", trace_id=run_id)
ls.run_trees.get_cached_client().flush()
client.flush()
"""


def test_feedback_becomes_scores_of_its_run(receiving: Receiving) -> None:
    """Feedback, sent with the runs or on its own, stands as a score at the span that it is about."""
    trace_id = receiving.run(FEEDBACK, **as_langsmith(receiving))

    trace = receiving.trace(trace_id, lambda told: len(told["logs"]) == 2 and has_ended(1)(told))

    scores = {log["context"]["metric_name"]: log for log in trace["logs"]}
    faithfulness, label = scores["faithfulness"], scores["label"]
    assert {log["message"] for log in trace["logs"]} == {"score_computed"}
    assert {(log["span_id"], log["stage"], log["service"]) for log in trace["logs"]} == {
        (trace["spans"][0]["span_id"], "evaluation", "graded")
    }
    assert faithfulness["metrics"] == {"score": 0.75}
    assert (faithfulness["context"]["judge"], faithfulness["context"]["reason"]) == ("ragas", "one claim unsupported")
    assert (label["context"]["value"], label["metrics"]) == ("good", {})


def test_a_run_outlives_the_server_that_saw_it_begin(receiving: Receiving) -> None:
    """After a restart its end finds in the store what its beginning has told."""
    run = {"id": RUN, "name": "answer", "session_name": "maze", "start_time": "2026-11-23T10:30:58+00:00"}
    receiving.send("POST", "/langsmith/runs", json={**run, "inputs": {"question": "how?"}})
    running = receiving.trace(RUN, lambda told: bool(told["spans"]))

    receiving.stop()
    receiving.start()
    receiving.send("PATCH", f"/langsmith/runs/{RUN}", json={"end_time": "2026-11-23T10:30:59+00:00"})

    [span] = receiving.trace(RUN, has_ended(1))["spans"]
    assert running["spans"][0]["status"] == "running"
    assert (span["status"], span["message"], span["metrics"]) == ("ok", "answer", {"duration_ms": 1000.0})
    assert (span["context"]["inputs"], span["service"]) == ({"question": "how?"}, "maze")
