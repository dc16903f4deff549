"""OTLP over HTTP as exporters see it."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import json
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from clew import config
from clew.server.app import create_app
from support.spooled import spooled_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "a-long-secret"  # not a secret of anything
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json; charset=utf-8"}
SPAN = {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "name": "answer"}


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Callable[..., httpx.Response]]:
    """Give a function that sends a body to the application, which has a token if told so."""
    with asyncio.Runner() as runner:
        clients: dict[str, httpx.AsyncClient] = {}

        def send(path: str, body: bytes, headers: dict[str, str], **told: Any) -> httpx.Response:
            if repr(told) not in clients:
                settings = config.load(
                    **{
                        "data_dir": tmp_path,
                        "dsn": "postgresql://127.0.0.1:1/none",
                        "agent": "external",
                        "segment_bytes": 64 * 1024,
                        **told,
                    }
                )
                transport = httpx.ASGITransport(create_app(settings), raise_app_exceptions=False)
                clients[repr(told)] = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4319")
            return runner.run(clients[repr(told)].post(path, content=body, headers=headers))

        yield send
        for client in clients.values():
            runner.run(client.aclose())


def body_of(*spans: dict[str, Any]) -> bytes:
    """Write a request in JSON."""
    return json.encode({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})


def binary(*names: str) -> bytes:
    """Write a request in protobuf."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, name in enumerate(names, 1):
        scope.spans.add(trace_id=bytes([1] * 16), span_id=bytes([number] * 8), name=name)
    return request.SerializeToString()


def test_what_is_answered_is_on_the_spool(post: Callable[..., httpx.Response], tmp_path: Path) -> None:
    """Protobuf is answered in protobuf, gzip or not, and empty requests are taken too."""
    answers = [
        post("/v1/traces", binary("a"), PROTOBUF),
        post("/v1/traces", gzip.compress(binary("a", "b")), PROTOBUF | {"content-encoding": "gzip"}),
        post("/v1/traces", b"", PROTOBUF),
        post("/v1/logs", b"", PROTOBUF),
    ]

    assert [(answer.status_code, answer.headers["content-type"]) for answer in answers] == [
        (200, "application/x-protobuf")
    ] * 4
    assert [event["message"] for event in spooled_events(tmp_path / "spool")] == ["a", "b"]


def test_spans_left_out_are_told(post: Callable[..., httpx.Response]) -> None:
    """A request is taken but for a span without ids: both encodings say how many and why."""
    spoken = post("/v1/traces", body_of(SPAN, SPAN | {"spanId": "12"}), JSON)
    request = ExportTraceServiceRequest.FromString(binary("a"))
    request.resource_spans[0].scope_spans[0].spans.add(name="b")
    packed = post("/v1/traces", request.SerializeToString(), PROTOBUF)

    assert spoken.json()["partialSuccess"]["rejectedSpans"] == "1"
    partial = ExportTraceServiceResponse.FromString(packed.content).partial_success
    assert (packed.status_code, partial.rejected_spans) == (200, 1)
    assert "span id" in partial.error_message


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff", PROTOBUF, 400),
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b'{"resourceSpans": 7}', JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b'{"resourceSpans": "\xff"}', JSON, 400),
        (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"", {}, 415),
        (b"x", PROTOBUF | {"content-encoding": "br"}, 415),
        (b"x", PROTOBUF | {"content-encoding": "gzip"}, 400),
        (gzip.compress(bytes(65 * 1024 * 1024)), PROTOBUF | {"content-encoding": "gzip"}, 413),
    ],
)
def test_what_cannot_be_taken(
    post: Callable[..., httpx.Response], body: bytes, headers: dict[str, str], status: int
) -> None:
    """It is refused with a reason, in the encoding of the request, and nothing breaks."""
    for path in ("/v1/traces", "/v1/logs"):
        if body == b'{"resourceSpans": 7}' and path == "/v1/logs":
            continue  # for logs it is an unknown field
        answer = post(path, body, headers)

        assert answer.status_code == status
        if headers == JSON:
            assert answer.json()["message"]
        else:
            assert answer.content.startswith(b"\x08")


def test_a_full_spool_asks_to_come_back(post: Callable[..., httpx.Response]) -> None:
    """No room is 503 with a time, as the specification has it."""
    answer = post("/v1/traces", binary("a"), PROTOBUF, spool_max_bytes=64 * 1024)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_the_token_is_asked_for(post: Callable[..., httpx.Response]) -> None:
    """With a token nothing is taken without it."""
    refused = post("/v1/traces", binary("a"), PROTOBUF, token=TOKEN)
    taken = post("/v1/traces", binary("a"), PROTOBUF | {"authorization": f"Bearer {TOKEN}"}, token=TOKEN)

    assert (refused.status_code, taken.status_code) == (401, 200)
