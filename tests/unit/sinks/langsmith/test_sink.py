"""Spans on their way to LangSmith: what arrives, and what each answer means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew import config
from clew.errors import ConfigError
from clew.sinks.base import Batch, Delivered, Producer, Rejected, Retry
from clew.sinks.langsmith import project
from clew.sinks.langsmith.sink import LangsmithSink, make
from clew.spool.directory import new_producer_id
from clew.spool.format import position_of
from support.langsmith_server import Answer, LangsmithServer
from support.rag_trace import HITS, rag_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PRODUCER = Producer(new_producer_id(1_700_000_000_000_000_000), "rag-api")
OTHER = Producer(new_producer_id(1_700_000_001_000_000_000), "rag-api")
THIRD = Producer(new_producer_id(1_700_000_002_000_000_000), "rag-api")
EVENTS = rag_trace()
SPANS = {event["message"]: event for event in EVENTS if event["kind"] == "span"}
ROOT = SPANS["ask"]


@pytest.fixture
def serve() -> Iterator[Callable[..., LangsmithServer]]:
    """Give a function that starts a stand-in; closed at the end of the test."""
    started: list[LangsmithServer] = []

    def start(*script: Answer, **options: Any) -> LangsmithServer:
        started.append(LangsmithServer(*script, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def sink_to(tmp_path: Path) -> Iterator[Callable[..., LangsmithSink]]:
    """Give a function that makes a sink for an address; closed at the end of the test."""
    made: list[LangsmithSink] = []

    def make_one(url: str, **told: Any) -> LangsmithSink:
        settings = config.load(data_dir=tmp_path, langsmith_endpoint=url, langsmith_api_key="key-1", **told)
        made.append(make(settings, {}))
        return made[-1]

    yield make_one
    for sink in made:
        sink.close()


def batch_of(events: list[dict[str, Any]], producer: Producer = PRODUCER) -> Batch:
    """Make a batch of events that stand one after the other."""
    positions = [position_of(1, 64 + 8 * index) for index in range(len(events) + 1)]
    payloads = [json.encode(event) for event in events]
    return Batch(producer, list(zip(positions, payloads, strict=False)), positions[0], positions[-1])


def test_a_trace_arrives_as_nested_runs(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """One upload holds every span as a finished run; dotted orders nest as the spans do, and begin with the root."""
    server = serve()

    outcome = sink_to(server.url).deliver(batch_of(EVENTS))

    assert outcome == Delivered()
    assert server.uploads() == [("/runs/multipart", 202)]
    assert {run["name"] for run in server.runs.values()} == set(SPANS)
    assert {run["trace_id"] for run in server.runs.values()} == {ROOT["span_id"]}
    for name, span in SPANS.items():
        run = server.run(name)
        assert run["id"] == run["dotted_order"][-36:] == span["span_id"]
        assert run["dotted_order"].split(".")[0][-36:] == run["trace_id"]
        assert run["session_name"] == "rag-api"
        if name != "ask":
            parent = server.runs[run["parent_run_id"]]
            assert run["dotted_order"].startswith(f"{parent['dotted_order']}.")
            assert parent["start_time"] <= run["start_time"] <= run["end_time"]
    assert "parent_run_id" not in server.run("ask")


def test_runs_are_in_the_shapes_that_langsmith_renders(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """Documents of a retriever, messages and usage of a model, errors, threads, tags, scores."""
    server = serve()

    sink_to(server.url, langsmith_project="production").deliver(batch_of(EVENTS))

    documents = server.run("hybrid_search")["outputs"]["documents"]
    assert [document["metadata"]["id"] for document in documents] == [hit["chunk_id"] for hit in HITS]
    assert documents[0]["metadata"]["score"] == HITS[0]["score"]
    assert {document["type"] for document in documents} == {"Document"}
    call = server.run("generate_answer")
    assert call["run_type"] == "llm"
    assert call["inputs"]["messages"][1] == {"role": "user", "content": "Why a spool?"}
    assert call["outputs"]["messages"] == [{"role": "assistant", "content": "Because processes die."}]
    assert call["extra"]["metadata"]["ls_model_name"] == "gpt-4o-mini"
    assert call["extra"]["metadata"]["ls_provider"] == "openai"
    assert call["extra"]["metadata"]["usage_metadata"] == {
        "input_tokens": 1000,
        "output_tokens": 200,
        "total_tokens": 1200,
        "total_cost": 0.0002475,
        "input_token_details": {"cache_read": 300, "cache_creation": 100},
    }
    assert call["events"][0]["name"] == "new_token"
    assert "generation_complete" in [event["name"] for event in call["events"]]
    failed = server.run("cite")
    assert failed["error"].startswith("LookupError('no such chunk')\n\n")
    assert failed["tags"] == ["beta"]
    for run in server.runs.values():
        metadata = run["extra"]["metadata"]
        assert (metadata["session_id"], metadata["user_id"]) == ("session-1", "user-123")
        assert (metadata["revision_id"], metadata["trace_id"]) == ("1.4.2", ROOT["trace_id"])
        assert run["session_name"] == "production"
    [score] = server.feedback.values()
    assert (score["key"], score["score"], score["comment"]) == ("faithfulness", 0.8, "four of five claims")
    assert score["run_id"] == server.run("evaluate_answer")["id"]
    assert score["trace_id"] == server.run("ask")["trace_id"]


def test_the_request_says_who_asks_and_is_compressed(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """Key and workspace go in headers; the body is zstd where the server takes it."""
    server = serve()

    sink_to(server.url, langsmith_workspace="workspace-1").deliver(batch_of(EVENTS))

    headers = next(headers for asked, _, headers in server.requests if asked == "POST /runs/multipart")
    assert headers["x-api-key"] == "key-1"
    assert headers["x-tenant-id"] == "workspace-1"
    assert headers["content-encoding"] == "zstd"
    assert int(headers["x-post-compressed-size"]) == int(headers["content-length"])
    assert headers["user-agent"].startswith("clew/")


def test_a_foreign_trace_id_is_kept(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """A trace whose id a caller chose is a LangSmith trace under its first span, and its metadata hold the id."""
    foreign = "550e8400-e29b-41d4-a716-446655440000"
    server = serve()

    sink_to(server.url).deliver(batch_of([{**event, "trace_id": foreign} for event in EVENTS]))

    assert {run["trace_id"] for run in server.runs.values()} == {ROOT["span_id"]}
    assert {run["extra"]["metadata"]["trace_id"] for run in server.runs.values()} == {foreign}


def test_a_span_of_another_machine_hangs_below_the_root(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """Where the parent is not known, the trace's id tells the root and when it began."""
    server = serve()
    remote = {**SPANS["rerank"], "parent_span_id": "01a20000-0000-7000-8000-00000000dead"}

    sink_to(server.url).deliver(batch_of([remote]))

    run = server.run("rerank")
    assert run["parent_run_id"] == run["trace_id"] == ROOT["trace_id"]
    assert run["dotted_order"].count(".") == 1
    assert run["extra"]["metadata"]["parent_span_id"] == "01a20000-0000-7000-8000-00000000dead"


@pytest.mark.parametrize(
    ("status", "error"), [("aborted", "ProcessAborted('killed')"), ("cancelled", "CancelledError()")]
)
def test_a_span_that_was_stopped_is_a_run_that_failed(
    status: str, error: str, serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """LangSmith knows success and error; which of the ends it was stands in the metadata."""
    server = serve()
    told = {"error": {"type": "ProcessAborted", "message": "killed", "stack": ""}} if status == "aborted" else {}

    sink_to(server.url).deliver(batch_of([{**ROOT, "status": status, **told}]))

    assert server.run("ask")["error"] == error
    assert server.run("ask")["extra"]["metadata"]["status"] == status


def test_a_late_log_becomes_a_run_of_its_own_and_a_late_score_feedback(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """What comes after its span has been sent still arrives, the same at every replay."""
    server = serve()
    sink = sink_to(server.url)
    log = next(event for event in EVENTS if event["message"] == "query_received")
    score = next(event for event in EVENTS if event["message"] == "score_computed")
    sink.deliver(batch_of([ROOT, SPANS["evaluate_answer"]]))

    outcomes = [sink.deliver(batch_of([log, score], producer)) for producer in (OTHER, THIRD)]

    assert outcomes == [Delivered()] * 2
    run = server.run("query_received")
    assert (run["parent_run_id"], run["start_time"]) == (ROOT["span_id"], run["end_time"])
    assert server.repeats == 1
    assert len(server.feedback) == 1


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(409), Delivered()),
        (Answer(503), Retry("HTTP 503: {}")),
        (Answer(422), Rejected(tuple(range(len(EVENTS))), "HTTP 422: {}")),
    ],
)
def test_an_answer_means(
    answer: Answer, outcome: object, serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """Later, or never; a conflict is success."""
    server = serve(answer)

    assert sink_to(server.url).deliver(batch_of(EVENTS)) == outcome


def test_an_old_server_gets_json(serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]) -> None:
    """Without the multipart endpoint runs go in one body, and scores each in their own."""
    server = serve(is_old=True)
    sink = sink_to(server.url)

    outcomes = [sink.deliver(batch_of(EVENTS, producer)) for producer in (PRODUCER, OTHER)]

    assert outcomes == [Delivered()] * 2
    assert server.uploads() == [("/runs/multipart", 404), *[("/runs/batch", 202), ("/feedback", 202)] * 2]
    assert len(server.runs) == len(SPANS)


@pytest.mark.parametrize("is_old", [False, True])
def test_uploads_are_bounded(
    is_old: bool, serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """No request holds more runs than the server says it takes, whichever endpoint it has."""
    server = serve(is_old=is_old, size_limit=3)

    sink_to(server.url).deliver(batch_of(EVENTS))

    uploads = [path for path, status in server.uploads() if status == 202]
    wanted = ["/runs/batch"] * -(-len(SPANS) // 3) + ["/feedback"]
    assert uploads == (wanted if is_old else ["/runs/multipart"] * -(-(len(SPANS) + 1) // 3))
    assert len(server.runs) == len(SPANS)


def test_a_server_without_info_is_asked_once(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """It gets runs that are not compressed; one that is in trouble is asked again."""
    server = serve(size_limit=None)
    sink = sink_to(server.url)

    for producer in (PRODUCER, OTHER):
        assert sink.deliver(batch_of(EVENTS, producer)) == Delivered()

    asked = [headers for asked, _, headers in server.requests if asked == "POST /runs/multipart"]
    assert ["content-encoding" in headers for headers in asked] == [False, False]
    assert sum(asked == "GET /info" for asked, _, _ in server.requests) == 1


def test_a_run_that_is_too_large_alone_goes_without_what_went_in_and_out(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """It says how much was left out."""
    server = serve(limit=20_000)
    large = {**SPANS["generate_answer"]}
    large["context"] = {**large["context"], "outputs": {"answer": "x" * 30_000}}

    outcome = sink_to(server.url).deliver(batch_of([large]))

    assert outcome == Delivered()
    assert server.run("generate_answer")["outputs"] == {}
    assert server.run("generate_answer")["extra"]["metadata"]["left_out_bytes"] > 30_000


def test_the_way_to_each_project_is_saved_for_links(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink], tmp_path: Path
) -> None:
    """Asked once for each, and kept for the next agent; scores then say which project they are for."""
    server = serve()
    other = [{**event, "service": "worker"} for event in EVENTS]

    sink_to(server.url).deliver(batch_of(EVENTS))
    sink_to(server.url).deliver(batch_of(other, OTHER))
    sink_to(server.url).deliver(batch_of(EVENTS, THIRD))

    told = json.decode((tmp_path / "spool" / ".sinks" / "langsmith" / "project.json").read_bytes())
    assert (told["project"], told["project_id"], told["tenant_id"]) == ("worker", "project-1", "tenant-1")
    assert told["projects"].keys() == {"rag-api", "worker"}
    assert sum(asked.startswith("GET /sessions") for asked, _, _ in server.requests) == 2
    assert [score.get("session_id") for score in server.feedback.values()] == ["project-1", None]


def test_a_project_that_is_not_there_yet_is_asked_for_again(
    serve: Callable[..., LangsmithServer],
    sink_to: Callable[..., LangsmithSink],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """LangSmith makes it some time after the first run; what was shipped until then is none the worse."""
    monkeypatch.setattr(project, "ASK_AGAIN_S", 0.0)
    server = serve()
    sink = sink_to(server.url)
    found, server.projects = server.projects, []

    outcomes = [sink.deliver(batch_of(EVENTS))]
    server.projects = found
    outcomes.append(sink.deliver(batch_of(EVENTS, OTHER)))

    assert outcomes == [Delivered()] * 2
    assert (tmp_path / "spool" / ".sinks" / "langsmith" / "project.json").exists()


def test_no_score_is_lost_among_too_many_logs(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """A span keeps so many logs; scores beyond them still become feedback, and the metadata tell what was left out."""
    score = next(event for event in EVENTS if event["message"] == "score_computed")
    span = SPANS["evaluate_answer"]
    scores = [{**score, "context": {**score["context"], "claim": number}} for number in range(250)]
    server = serve()

    outcome = sink_to(server.url).deliver(batch_of([{**span, "kind": "span_start"}, *scores, span]))

    assert outcome == Delivered()
    run = server.run("evaluate_answer")
    assert len(run["events"]) + run["extra"]["metadata"]["dropped_logs"] == 250
    assert len(server.feedback) == 250
    assert {told["run_id"] for told in server.feedback.values()} == {run["id"]}


def test_amounts_that_are_no_numbers_are_told_as_they_are(
    serve: Callable[..., LangsmithServer], sink_to: Callable[..., LangsmithSink]
) -> None:
    """LangSmith computes with usage; what cannot be computed with stays a field."""
    server = serve()
    odd = {
        **SPANS["generate_answer"],
        "metrics": {"tokens_in": "many", "tokens_out": 7, "time_to_first_token_ms": 1e300},
    }

    outcome = sink_to(server.url).deliver(batch_of([odd]))

    assert outcome == Delivered()
    metadata = server.run("generate_answer")["extra"]["metadata"]
    assert (metadata["tokens_in"], metadata["usage_metadata"]) == ("many", {"output_tokens": 7})


def test_the_factory_takes_langsmiths_own_variables_only_when_named(tmp_path: Path) -> None:
    """An application that traces with LangSmith's SDK as well would send everything twice."""
    own = {"LANGSMITH_API_KEY": "their-key", "LANGSMITH_ENDPOINT": "http://127.0.0.1:9/"}
    settings = config.load(data_dir=tmp_path)

    sink = make(settings, own)

    assert settings.sink_names() == ()
    assert sink.name == "langsmith"
    with pytest.raises(ConfigError, match="CLEW_LANGSMITH_API_KEY"):
        make(settings, {})
