"""Requests made up from the API's own description, and from what the description forbids.

Every operation of the OpenAPI document is asked for with parameters of the right type and of none, with bodies that are
whole, damaged or something else, and with headers that lie. Whatever comes, the answer is one that the document names, of a
type that it names, within the one shape of errors; and it is never the server's fault.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew import config
from clew.server.api import langsmith
from clew.server.app import create_app
from clew.server.transport.headers import HEADERS
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.fix_receiving import Receiving

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRACE, SPAN = "550e8400-e29b-41d4-a716-446655440000", "f4dfc083-7f4b-4b1e-9f3c-0d6c7a1b2c3d"
OUR_FAULT: Final = 500
UNDECLARED: Final = frozenset({404, 405, 501})
"""What a path or method that the document does not name may be answered with besides."""

ENDLESS: Final = frozenset({"/api/logs/follow"})
"""Streams that end when their client leaves, which nobody does here."""

NASTY: Final = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\x1b[31m",
        "\r\nset-cookie: a=b",
        "\u202e",
        "\ud7ff",
        "\U0001f600",
        "%",
        "%00",
        "%ff",
        "'",
        '"',
    ),
    *(
        "null",
        "true",
        "NaN",
        "-1",
        "0",
        "1e400",
        "99999999999999999999",
        "0x10",
        "[]",
        "{}",
        "()",
        "/",
        "..",
        "../../etc/passwd",
    ),
    *(
        "' OR 1=1 --",
        "; DROP TABLE events",
        "$1",
        "%(name)s",
        "\\",
        "*",
        "a" * 5000,
        "(" * 500,
        "NOT " * 500,
        "-" * 500,
    ),
    *(TRACE, SPAN, TRACE.replace("-", ""), "00000000-0000-0000-0000-000000000000", "15m", "999999999d", "2026-11-23"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999+00:00", "2026-11-23T12:00:00+99:99", "infinity", "ERROR"),
    *(
        "level>=error",
        "duration>",
        "cost>1e999",
        "level:nope",
        "context.a.b:1",
        "since:1h",
        '"open',
        "score.x<0.5 OR (",
        "a:b:c",
    ),
    *("AAZg5kZkgAAAAAAAAAAAAAAAAAAAAAAH", "gAAAAAAAAAD_____________________", "f/////////////////////8="),
)
BODIES: Final = (
    b"",
    b"\0",
    b"null",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"post": [{"id": 1}], "patch": null}',
    b'{"post": [{"id": "550e8400-e29b-41d4-a716-446655440000", "start_time": 1e999, "inputs": {"a": "\\ud800"}}]}',
    b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz", "startTimeUnixNano": "-1"}]}]}]}',
    b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"intValue": "1e9"}, "severityNumber": 99}]}]}]}',
    b"\x0a\xff\xff\xff\xff\x0f",
    b'--x\r\ncontent-disposition: form-data; name="post.1"\r\n\r\n{}\r\n--x--\r\n',
    gzip.compress(b"{}"),
    gzip.compress(b"{}")[:-4],
    b"\x28\xb5\x2f\xfd\xff\xff",
)
KINDS: Final = (
    *(None, "", "application/json", "application/x-protobuf", "multipart/form-data; boundary=x", "multipart/form-data"),
    *("text/plain", "application/json; charset=utf-16", "x" * 300, "multipart/form-data; boundary=" + "y" * 300),
)
ENCODINGS: Final = (None, "gzip", "zstd", "identity", "br", "gzip, gzip", "")

texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=40))


class Asking:
    """An application on a store with a few events, asked without a network.

    Attributes:
        document: What it says of itself.
    """

    def __init__(self, dsn: str, data_dir: Path) -> None:
        app = create_app(config.load(dsn=dsn, data_dir=data_dir))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4319")
        self.document: dict[str, Any] = app.openapi()

    def send(self, method: str, url: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        """Send one request, and wait half a minute at most."""
        request = self._client.request(method, url, headers=headers, content=body, timeout=30)
        return self._runner.run(asyncio.wait_for(request, 30))

    def close(self) -> None:
        """Let go of the connections."""
        self._runner.run(self._client.aclose())
        self._runner.close()


@pytest.fixture
def asking(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asking]:
    """Ask an application; it does not wait for runs that have not begun."""
    monkeypatch.setattr(langsmith, "BEGINNING_WAIT_S", 0.0)
    ids = {"trace_id": TRACE, "user_id": "user-123", "session_id": "default"}
    span = {"span_id": SPAN, "kind": "span", "message": "answer", "status": "ok", "metrics": {"duration_ms": 20.0}}
    error = {"level": "ERROR", "message": "boom", "error": {"type": "ValueError", "message": "no", "stack": "in f"}}
    store_events(postgres, make_event(NOON, **ids, **span), make_event(NOON, **ids, **error))
    asked = Asking(postgres, tmp_path)
    yield asked
    asked.close()


def _value(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Draw a value of a parameter: of its type, at the edges of its range, or anything."""
    of_type: list[st.SearchStrategy[Any]] = [
        st.integers(kind.get("minimum", -5), kind.get("maximum", 2000)) if kind.get("type") == "integer" else texts
        for kind in schema.get("anyOf", [schema])
    ]
    if "default" in schema:
        of_type.append(st.just(schema["default"]))
    return st.one_of(*of_type, texts)


@st.composite
def _requests(draw: st.DrawFn, document: dict[str, Any]) -> tuple[str, str, str, dict[str, str], bytes]:
    """Draw a request: the operation it is for, its method, address, headers and body."""
    path = draw(st.sampled_from(sorted(document["paths"].keys() - ENDLESS)))
    declared = document["paths"][path]
    method = draw(
        st.one_of(st.sampled_from(sorted(declared)), st.sampled_from(["get", "post", "put", "delete", "head"]))
    )
    url, parameters = path, []
    for parameter in declared.get(method, {}).get("parameters", []):
        if parameter["in"] == "path":
            told = draw(_value(parameter["schema"]))
            url = url.replace(f"{{{parameter['name']}}}", quote(str(told), safe=draw(st.sampled_from(["", "/", "%"]))))
        elif draw(st.booleans()):
            values = draw(st.lists(_value(parameter["schema"]), min_size=1, max_size=2))
            parameters += [(parameter["name"], value) for value in values]
    parameters += draw(st.lists(st.tuples(texts, texts), max_size=2))
    headers = {
        "content-type": draw(st.sampled_from(KINDS)),
        "content-encoding": draw(st.sampled_from(ENCODINGS)),
        "accept": draw(st.sampled_from([None, "*/*", "application/json", "application/openmetrics-text", "\x7f"])),
    }
    body = draw(st.one_of(st.sampled_from(BODIES), st.binary(max_size=200), st.builds(_as_json, _JSON)))
    told = {name: value for name, value in headers.items() if value is not None}
    return path, method, f"{url}?{urlencode(parameters, errors='replace')}", told, body


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["post", "patch", "id", "trace_id", "run_id", "start_time", "end_time", "inputs", "key", "score"]
            )
            | texts,
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.slow
def test_every_request_is_answered_as_the_document_says(asking: Asking) -> None:
    """No fault, no answer that nobody wrote down, and safe headers on each."""

    @settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
    @given(request=_requests(asking.document))
    def ask(request: tuple[str, str, str, dict[str, str], bytes]) -> None:
        path, method, url, headers, body = request

        answer = asking.send(method, url, headers, body)

        declared = asking.document["paths"][path].get(method, {}).get("responses", {})
        assert answer.status_code < OUR_FAULT or answer.status_code == 501, answer.text
        assert str(answer.status_code) in declared or answer.status_code in UNDECLARED, answer.text
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if told := declared.get(str(answer.status_code), {}).get("content"):
            assert kind in told
        if kind == "application/json" and method != "head":
            said = json.loads(answer.content)
            if answer.status_code >= 400 and not path.startswith("/v1/"):
                assert isinstance(said["error"]["message"], str)
        assert HEADERS.keys() <= set(answer.headers)

    ask()


@pytest.mark.slow
def test_schemathesis_finds_nothing(receiving: Receiving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that knows the document alone meets no fault, and nothing that the document does not say.

    It may not judge refusals of what fits a schema: what a question, a moment, a cursor or an id may be is no matter of
    JSON Schema. That they are refused in the one shape is what the test before this one is for.
    """
    monkeypatch.setattr(langsmith, "BEGINNING_WAIT_S", 0.0)
    paths = receiving.send("GET", "/openapi.json").json()["paths"]
    program = str(Path(sys.executable).parent / "st")
    judged = ["--checks=all", "--exclude-checks=positive_data_acceptance"]
    told = ["--exclude-path=/api/logs/follow", "--max-examples=20", "--seed=1", "--continue-on-failure", "--no-color"]

    command = [program, "run", f"{receiving.url}/openapi.json", *judged, *told]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"Tested: {sum(map(len, paths.values())) - len(ENDLESS)}" in " ".join(ran.stdout.split())


def test_the_document_names_a_shape_for_every_refusal(asking: Asking) -> None:
    """So that a client can be generated from it."""
    for path, operations in asking.document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert answer["content"], (method, path, status)
                    assert all(kind["schema"] for kind in answer["content"].values())


@pytest.mark.parametrize("path", ["/api/logs", "/api/costs"])
def test_a_nul_in_a_parameter_is_the_clients_fault(asking: Asking, path: str) -> None:
    """No text of the store has one; it was answered as if the store were down."""
    answer = asking.send("GET", f"{path}?user_id=a%00b", {}, b"")

    assert answer.status_code == 400
    assert "NUL" in answer.json()["error"]["message"]


def test_made_up_ids_are_not_found_rather_than_a_fault(asking: Asking) -> None:
    """Of a form that is right, and of one that is not."""
    assert asking.send("GET", f"/api/traces/{uuid4()}", {}, b"").status_code == 404
    assert asking.send("GET", "/api/spans/no-id", {}, b"").status_code == 400
    assert asking.send("GET", f"/api/spans/{SPAN}", {}, b"").status_code == 200
