"""Spans and log records that come whole, twice, without ids, or when there is no room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew import config
from clew.dialects.otel.wire.requests import JSON, read_logs, read_spans
from clew.receivers.intake import Intake, IntakeFullError
from clew.receivers.otlp import OtlpReceiver
from support.spooled import spooled_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clew.dialects.otel.wire.records import Group

TRACE, ROOT, CHILD = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00f067aa0ba902b8"
TRACE_ID = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
WIDENED_ROOT = "00000000-0000-0000-00f0-67aa0ba902b7"
BEGAN_NS = 1_700_000_000_000_000_000


@pytest.fixture
def receive(tmp_path: Path) -> Iterator[Callable[..., OtlpReceiver]]:
    """Give a function that makes a receiver, with these settings; its log is closed afterwards."""
    opened: list[Intake] = []

    def make(**told: Any) -> OtlpReceiver:
        settings = {"data_dir": tmp_path, "agent": "external", "segment_bytes": 64 * 1024, **told}
        opened.append(Intake(config.load(**settings)))
        return OtlpReceiver(opened[-1])

    yield make
    for intake in opened:
        intake.close()


def attributes(**told: Any) -> list[dict[str, Any]]:
    """Write attributes; two underscores stand for a dot."""
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return [{"key": name.replace("__", "."), "value": {kinds[type(value)]: value}} for name, value in told.items()]


def span(span_id: str = ROOT, **told: Any) -> dict[str, Any]:
    """Make a span of a quarter of a second."""
    whole = {"traceId": TRACE, "spanId": span_id, "name": "answer", "startTimeUnixNano": BEGAN_NS}
    return {**whole, "endTimeUnixNano": BEGAN_NS + 250_000_000, **told}


def spans(*told: dict[str, Any], **resource: Any) -> Iterator[Group]:
    """Make a request of spans."""
    above = {"attributes": attributes(**({"service__name": "maze"} | resource))}
    scope = {"scope": {"name": "minos"}, "spans": list(told)}
    return read_spans(json.encode({"resourceSpans": [{"resource": above, "scopeSpans": [scope]}]}), JSON)


def logs(*told: dict[str, Any]) -> Iterator[Group]:
    """Make a request of log records."""
    above = {"attributes": attributes(service__name="maze", host__name="minos")}
    return read_logs(json.encode({"resourceLogs": [{"resource": above, "scopeLogs": [{"logRecords": told}]}]}), JSON)


def test_a_span_is_an_event(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """Ids are widened, times and what nobody knows are kept, and nothing is left out."""
    root, child = (
        span(attributes=attributes(colour="red")),
        span(CHILD, parentSpanId=ROOT, name="search", endTimeUnixNano=BEGAN_NS + 1),
    )

    refused = receive().receive_spans(spans(child, root, host__name="minos", service__version="v7"))

    assert refused.number == 0
    first, second = spooled_events(tmp_path / "spool")
    assert (first["trace_id"], first["span_id"], first["message"]) == (TRACE_ID, WIDENED_ROOT, "answer")
    assert (first["service"], first["version"], first["logger"]) == ("maze", "v7", "minos")
    assert (first["timestamp"], first["metrics"]) == ("2023-11-14T22:13:20Z", {"duration_ms": 250.0})
    assert first["context"]["attributes"] == {"colour": "red"}
    assert first["context"]["resource"] == {"host.name": "minos"}
    assert (second["message"], second["parent_span_id"], "resource" in second["context"]) == (
        "search",
        WIDENED_ROOT,
        False,
    )


def test_the_exception_of_a_failed_span_is_its_error(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """The last exception of a span that failed is its error; the ones before are logs."""
    raised = [
        {
            "name": "exception",
            "timeUnixNano": BEGAN_NS,
            "attributes": attributes(exception__type=kind, exception__message="no"),
        }
        for kind in ("TimeoutError", "RateLimitError")
    ]

    receive().receive_spans(spans(span(events=raised, status={"code": 2, "message": "failed"})))

    first, last = spooled_events(tmp_path / "spool")
    assert (first["kind"], first["level"], first["error"]["type"]) == ("log", "ERROR", "TimeoutError")
    assert (last["kind"], last["status"], last["level"]) == ("span", "error", "ERROR")
    assert (last["error"]["type"], last["error"]["message"]) == ("RateLimitError", "no")


def test_an_exception_that_was_survived_is_a_log(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """A span that ended well has no error, whatever was raised in it."""
    raised = {"name": "exception", "timeUnixNano": BEGAN_NS, "attributes": attributes(exception__type="KeyError")}

    receive().receive_spans(spans(span(events=[raised], status={"code": 1})))

    first, last = spooled_events(tmp_path / "spool")
    assert (first["level"], first["error"]["type"], first["span_id"]) == ("WARNING", "KeyError", WIDENED_ROOT)
    assert (last["status"], last.get("error")) == ("ok", None)


def test_a_failed_span_without_an_exception_has_an_error(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """What its status says is the error's message, what ``error.type`` says its type."""
    failed = span(attributes=attributes(error__type="429"), status={"code": 2, "message": "slow down"})

    receive().receive_spans(spans(failed))

    [told] = spooled_events(tmp_path / "spool")
    assert told["error"] == {"type": "429", "message": "slow down", "stack": ""}


def test_an_error_is_called_alike_with_and_without_an_exception(
    receive: Callable[..., OtlpReceiver], tmp_path: Path
) -> None:
    """One that conventions tell by ``error.type`` alone is no other fault than the exception of that name."""
    kind = "openai.BadRequestError"
    raised = {"name": "exception", "attributes": attributes(exception__type=kind)}

    receive().receive_spans(
        spans(
            span(events=[raised], status={"code": 2}),
            span("00f067aa0ba902b8", status={"code": 2}, attributes=attributes(error__type=kind)),
        )
    )

    assert [event["error"]["type"] for event in spooled_events(tmp_path / "spool")] == ["BadRequestError"] * 2


def test_other_events_of_a_span_are_logs(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """An event stands in the span, before its end, with what it tells."""
    event = {"name": "cache checked", "timeUnixNano": BEGAN_NS + 1_000_000, "attributes": attributes(hit=True)}

    receive().receive_spans(spans(span(events=[event])))

    first, last = spooled_events(tmp_path / "spool")
    assert (first["message"], first["timestamp"]) == ("cache checked", "2023-11-14T22:13:20.001000Z")
    assert first["context"]["attributes"] == {"hit": True}
    assert (last["kind"], last["span_id"]) == ("span", first["span_id"])


def test_links_are_kept(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """What a span is linked to can be looked up by its ids."""
    receive().receive_spans(spans(span(links=[{"traceId": TRACE, "spanId": CHILD}])))

    [told] = spooled_events(tmp_path / "spool")
    linked = {"trace_id": TRACE_ID, "span_id": "00000000-0000-0000-00f0-67aa0ba902b8"}
    assert told["context"]["links"] == [linked]


@pytest.mark.parametrize("broken", [{"traceId": "0" * 32}, {"traceId": "abc"}, {"spanId": ""}, {"spanId": "0" * 16}])
def test_a_span_without_ids_is_left_out(
    receive: Callable[..., OtlpReceiver], tmp_path: Path, broken: dict[str, Any]
) -> None:
    """The rest of its request is taken, and the sender is told."""
    receiver = receive()

    refused = receiver.receive_spans(spans(span(**broken), span(CHILD)))

    assert (refused.number, receiver.counts.refused, receiver.counts.spans) == (1, 1, 1)
    assert "no trace id" in refused.reason
    assert len(spooled_events(tmp_path / "spool")) == 1


def test_what_is_repeated_is_taken_once(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """A span that comes again, in this request or the next, changes nothing."""
    receiver = receive()

    receiver.receive_spans(spans(span(), span()))
    receiver.receive_spans(spans(span(), span(CHILD)))

    assert (receiver.counts.spans, receiver.counts.repeated) == (2, 2)
    assert len(spooled_events(tmp_path / "spool")) == 2


def test_no_room_is_said_and_nothing_forgotten(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """A request that found no room is taken whole when it comes again."""
    full = receive(spool_max_bytes=64 * 1024, segment_bytes=64 * 1024)
    with pytest.raises(IntakeFullError):
        full.receive_spans(spans(span()))

    roomy = receive()
    full._intake = roomy._intake  # pyright: ignore[reportPrivateUsage]
    full.receive_spans(spans(span()))

    assert len([event for event in spooled_events(tmp_path / "spool") if event["kind"] == "span"]) == 1


def test_a_log_record_is_a_log(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """Body, severity, trace and what else it tells."""
    told = {"body": {"stringValue": "the index is old"}, "severityNumber": 14, "timeUnixNano": BEGAN_NS}

    receive().receive_logs(logs({**told, "traceId": TRACE, "spanId": ROOT}, {**told, "severityNumber": 0}))

    first, second = spooled_events(tmp_path / "spool")
    assert (first["kind"], first["level"], first["message"]) == ("log", "WARNING", "the index is old")
    assert (first["trace_id"], first["span_id"], first["service"]) == (TRACE_ID, WIDENED_ROOT, "maze")
    assert (second["level"], second["context"]["resource"]) == ("INFO", {"host.name": "minos"})


def test_a_log_record_with_an_event_name(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """Its name is the message, and its body is kept."""
    body = {"kvlistValue": {"values": attributes(answer="so")}}

    receive().receive_logs(logs({"eventName": "cache.checked", "body": body, "observedTimeUnixNano": BEGAN_NS}))

    [told] = spooled_events(tmp_path / "spool")
    assert (told["message"], told["context"]["body"]) == ("cache.checked", {"answer": "so"})


def test_messages_in_log_records_are_inputs_and_outputs(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """In the body, as the conventions had it, and in attributes, as they have it now: what `capture` is about."""
    body = {"kvlistValue": {"values": attributes(content="how out?")}}
    said = {"kvlistValue": {"values": attributes(content="By the thread.")}}
    choice = [*attributes(index=0, finish_reason="stop"), {"key": "message", "value": said}]
    messages = '[{"role": "user", "parts": [{"type": "text", "content": "how out?"}]}]'
    told = attributes(gen_ai__operation__name="chat", gen_ai__input__messages=messages)

    receive().receive_logs(
        logs(
            {"eventName": "gen_ai.user.message", "body": body},
            {"eventName": "gen_ai.choice", "body": {"kvlistValue": {"values": choice}}},
            {"eventName": "gen_ai.client.inference.operation.details", "attributes": told},
        )
    )

    asked, answered, details = spooled_events(tmp_path / "spool")
    question = {"messages": [{"role": "user", "content": "how out?"}]}
    assert (asked["message"], asked["context"]["inputs"], "body" in asked["context"]) == (
        "gen_ai.user.message",
        question,
        False,
    )
    assert answered["context"]["outputs"] == {"messages": [{"role": "assistant", "content": "By the thread."}]}
    assert answered["context"]["finish_reason"] == "stop"
    assert details["context"]["inputs"] == question
    assert details["context"]["attributes"] == {"gen_ai.operation.name": "chat"}


def test_a_score_in_a_log_record_is_a_score(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """The conventions tell evaluation results as events, which are log records."""
    told = attributes(gen_ai__evaluation__name="faithfulness", gen_ai__evaluation__score__value=0.75)

    receive().receive_logs(logs({"eventName": "gen_ai.evaluation.result", "attributes": told, "traceId": TRACE}))

    [score] = spooled_events(tmp_path / "spool")
    assert (score["message"], score["metrics"], score["context"]["metric_name"]) == (
        "score_computed",
        {"score": 0.75},
        "faithfulness",
    )


def test_a_record_with_an_id_is_taken_once(receive: Callable[..., OtlpReceiver], tmp_path: Path) -> None:
    """``log.record.uid`` tells a repeated record from another of the same text."""
    told = {"body": {"stringValue": "again"}, "timeUnixNano": BEGAN_NS}
    receiver = receive()

    receiver.receive_logs(logs({**told, "attributes": attributes(log__record__uid="1")}, told, told))
    receiver.receive_logs(logs({**told, "attributes": attributes(log__record__uid="1")}))

    assert (receiver.counts.logs, receiver.counts.repeated) == (3, 1)
    assert len(spooled_events(tmp_path / "spool")) == 3
