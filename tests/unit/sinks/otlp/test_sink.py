"""Spans and logs on their way to an OpenTelemetry backend, and what each of its answers means."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from clew import config
from clew.agent.sinks import make_sinks
from clew.errors import ConfigError
from clew.sinks.base import Batch, Delivered, Producer, Rejected, Retry
from clew.sinks.otlp.sink import OtlpSink, make
from clew.spool.directory import new_producer_id
from clew.spool.format import position_of
from support.otlp_server import Answer, OtlpServer
from support.rag_trace import rag_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PRODUCER = Producer(new_producer_id(1_700_000_000_000_000_000), "rag-api")
EVENTS = rag_trace()
SPANS = [event for event in EVENTS if event["kind"] == "span"]
LOGS = [event for event in EVENTS if event["kind"] == "log"]


@pytest.fixture
def serve() -> Iterator[Callable[..., OtlpServer]]:
    """Give a function that starts a receiver; closed at the end of the test."""
    started: list[OtlpServer] = []

    def start(*script: Answer, **options: Any) -> OtlpServer:
        started.append(OtlpServer(*script, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def sink_to(tmp_path: Path) -> Iterator[Callable[[str], OtlpSink]]:
    """Give a function that makes a sink for an address; closed at the end of the test."""
    made: list[OtlpSink] = []

    def make_one(url: str) -> OtlpSink:
        made.append(make(config.load(data_dir=tmp_path, otlp_endpoint=url, otlp_headers={"authorization": "Bearer t"})))
        return made[-1]

    yield make_one
    for sink in made:
        sink.close()


def batch_of(events: list[dict[str, Any]], first: int = 0) -> Batch:
    """Make a batch; its events stand one after the other, the first in a place of its own."""
    positions = [position_of(1, 64 + 8 * (first + index)) for index in range(len(events) + 1)]
    payloads = [json.encode(event) for event in events]
    return Batch(PRODUCER, list(zip(positions, payloads, strict=False)), positions[0], positions[-1])


def test_spans_arrive_with_their_logs_and_logs_as_records(
    serve: Callable[..., OtlpServer], sink_to: Callable[[str], OtlpSink]
) -> None:
    """One batch becomes two requests: spans with events, and log records with the ids of our events."""
    server = serve()

    outcome = sink_to(server.url).deliver(batch_of(EVENTS))

    assert outcome == Delivered()
    assert {span["name"] for span in server.spans.values()} == {span["message"] for span in SPANS}
    assert [log["body"] for log in server.logs] == [log["message"] for log in LOGS]
    assert [name for name, _ in server.span("ask")["events"]] == ["query_received", "not cited"]
    assert server.span("hybrid_search")["attributes"]["retrieval.documents.0.document.id"] == "chunk-1"
    assert server.span("ask")["resource"]["service.name"] == "rag-api"
    assert len({log["attributes"]["log.record.uid"] for log in server.logs}) == len(LOGS)


def test_a_request_is_compressed_protobuf_with_the_headers_that_were_told(
    serve: Callable[..., OtlpServer], sink_to: Callable[[str], OtlpSink]
) -> None:
    """What every receiver of OTLP/HTTP takes."""
    server = serve()

    sink_to(server.url).deliver(batch_of(EVENTS))

    for _, _, headers in server.requests:
        assert headers["content-type"] == "application/x-protobuf"
        assert headers["content-encoding"] == "gzip"
        assert headers["authorization"] == "Bearer t"


def test_a_span_takes_along_logs_of_earlier_batches(
    serve: Callable[..., OtlpServer], sink_to: Callable[[str], OtlpSink]
) -> None:
    """Logs are sent at once as records; their span has them too when it ends, however much later."""
    server = serve()
    sink = sink_to(server.url)

    outcomes = [sink.deliver(batch_of([event], number)) for number, event in enumerate(EVENTS)]

    assert set(outcomes) == {Delivered()}
    assert [name for name, _ in server.span("generate_answer")["events"]] == [
        "api_call_started",
        "first_token_received",
        "token_usage_recorded",
        "generation_complete",
    ]
    assert [log["body"] for log in server.logs] == [log["message"] for log in LOGS]


def test_another_agent_goes_on_where_the_first_one_stopped(serve: Callable[..., OtlpServer], tmp_path: Path) -> None:
    """What is known of open spans outlives the agent; what it has sent is not sent again."""
    server = serve()
    half = len(EVENTS) // 2
    settings = config.load(data_dir=tmp_path, otlp_endpoint=server.url)
    (settings.spool_dir / PRODUCER.service / PRODUCER.id).mkdir(parents=True)
    first = make(settings)
    first.deliver(batch_of(EVENTS[:half]))
    first.close()

    second = make(settings)
    place = second.resume(PRODUCER)
    outcome = second.deliver(batch_of(EVENTS))
    second.close()

    assert place == batch_of(EVENTS[:half]).end
    assert outcome == Delivered()
    assert server.repeats == 0
    assert len(server.logs) == len(LOGS)
    assert [name for name, _ in server.span("ask")["events"]] == ["query_received", "not cited"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_that_passes_is_tried_again(
    status: int, serve: Callable[..., OtlpServer], sink_to: Callable[[str], OtlpSink]
) -> None:
    """The batch stays whole, and the time that a backend asks for is handed on."""
    server = serve(Answer(status, (("Retry-After", "7"),)))
    sink = sink_to(server.url)

    first, second = sink.deliver(batch_of(EVENTS)), sink.deliver(batch_of(EVENTS))

    assert isinstance(first, Retry)
    assert (first.after_s, first.is_misconfigured) == (7.0, False)
    assert second == Delivered()
    assert len(server.spans) == len(SPANS)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_halved(
    status: int, serve: Callable[..., OtlpServer], sink_to: Callable[[str], OtlpSink]
) -> None:
    """The backend does not say what it minds; the worker finds out."""
    server = serve(Answer(status, body=b"what is this"))

    outcome = sink_to(server.url).deliver(batch_of(EVENTS))

    assert isinstance(outcome, Rejected)
    assert outcome.indexes == tuple(range(len(EVENTS)))


def test_log_records_that_were_not_taken_do_not_send_the_spans_again(
    serve: Callable[..., OtlpServer], sink_to: Callable[[str], OtlpSink]
) -> None:
    """The second attempt sends only what the first one did not."""
    server = serve(Answer(200), Answer(503))
    sink = sink_to(server.url)

    assert isinstance(sink.deliver(batch_of(EVENTS)), Retry)
    assert sink.deliver(batch_of(EVENTS)) == Delivered()
    assert server.paths() == ["/v1/traces", "/v1/logs", "/v1/logs"]
    assert len(server.logs) == len(LOGS)


def test_a_backend_of_traces_alone_is_remembered(
    serve: Callable[..., OtlpServer], sink_to: Callable[[str], OtlpSink], caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked once, said once, and gets traces alone from then on."""
    server = serve(has_logs=False)
    sink = sink_to(server.url)

    outcomes = [sink.deliver(batch_of(EVENTS[:10])), sink.deliver(batch_of(EVENTS[10:], 10))]

    assert outcomes == [Delivered(), Delivered()]
    assert server.paths().count("/v1/logs") == 1
    assert [record.levelno for record in caplog.records if "takes no log records" in record.message] == [
        logging.WARNING
    ]


def test_a_wrong_address_is_not_taken_for_a_backend_of_traces(
    serve: Callable[..., OtlpServer], sink_to: Callable[[str], OtlpSink]
) -> None:
    """Logs alone meet a 404: before they are left out, an empty request asks whether traces would be taken."""
    wrong, right = serve(Answer(404), Answer(404)), serve(has_logs=False)

    held = sink_to(wrong.url).deliver(batch_of(LOGS[:1]))
    taken = sink_to(right.url).deliver(batch_of(LOGS[:1]))

    assert isinstance(held, Retry)
    assert held.is_misconfigured
    assert taken == Delivered()
    assert wrong.paths() == right.paths() == ["/v1/logs", "/v1/traces"]


def test_what_a_partial_success_leaves_out_is_counted(
    serve: Callable[..., OtlpServer], sink_to: Callable[[str], OtlpSink], caplog: pytest.LogCaptureFixture
) -> None:
    """The request counts as taken, and the loss is told."""
    partial = ExportTraceServiceResponse()
    partial.partial_success.rejected_spans = 2
    partial.partial_success.error_message = "too old"
    sink = sink_to(serve(Answer(200, body=partial.SerializeToString())).url)

    assert sink.deliver(batch_of(EVENTS)) == Delivered()
    assert sink.rejected_spans == 2
    assert "too old" in caplog.text


def test_nothing_to_send_sends_nothing(serve: Callable[..., OtlpServer], sink_to: Callable[[str], OtlpSink]) -> None:
    """A span that has only begun is remembered, not sent."""
    server = serve()

    assert sink_to(server.url).deliver(batch_of(EVENTS[:1])) == Delivered()
    assert server.requests == []


def test_an_endpoint_is_needed(tmp_path: Path) -> None:
    """The sink by its name alone has nowhere to ship to."""
    with pytest.raises(ConfigError, match="CLEW_OTLP_ENDPOINT"):
        make_sinks(config.load(data_dir=tmp_path, sinks=["otlp"]))
