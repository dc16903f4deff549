"""LangSmith's API as its clients see it."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import zstandard
from msgspec import json

from clew import config
from clew.server.api.langsmith import INFO
from clew.server.app import create_app
from support.spooled import spooled_events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

TOKEN = "a-long-secret"  # not a secret of anything
ROOT = "019ab000-0000-7000-8000-000000000001"
OTHER = "019ab000-0000-7000-8000-000000000005"
FEEDBACK = "019ab000-0000-7000-8000-000000000009"
BEGAN, ENDED = "2026-11-23T10:30:58.000000+00:00", "2026-11-23T10:30:58.250000+00:00"
RUN = {"id": ROOT, "name": "answer", "run_type": "chain", "session_name": "maze", "start_time": BEGAN}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Callable[..., httpx.Response]]]:
    """Give a function that starts the application, with these settings, and returns one that sends to it."""
    with asyncio.Runner() as runner:
        clients: list[httpx.AsyncClient] = []

        def start(**told: Any) -> Callable[..., httpx.Response]:
            unreachable = "postgresql://127.0.0.1:1/none"
            settings = config.load(
                data_dir=tmp_path, dsn=unreachable, agent="external", segment_bytes=64 * 1024, **told
            )
            transport = httpx.ASGITransport(create_app(settings), raise_app_exceptions=False)
            client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4319/langsmith")
            clients.append(client)

            def send(method: str, path: str, **request: Any) -> httpx.Response:
                return runner.run(client.request(method, path, **request))

            send.client, send.runner = client, runner  # pyright: ignore[reportFunctionMemberAccess]
            return send

        yield start
        for client in clients:
            runner.run(client.aclose())


def written(name: str, data: bytes) -> bytes:
    """Write one part of a multipart body, whatever is in it."""
    head = b'--b\r\nContent-Disposition: form-data; name="%s"\r\nContent-Type: application/json\r\n\r\n%s\r\n'
    return head % (name.encode(), data)


def part(name: str, value: Any) -> bytes:
    """Write one part of a multipart body."""
    return written(name, json.encode(value))


def alone(told: bytes) -> bytes:
    """Write a multipart body of one part."""
    return told + b"--b--\r\n"


def multipart(**more: bytes) -> bytes:
    """Write a run that begins and ends, in parts."""
    halves = part(f"post.{ROOT}", RUN) + part(f"post.{ROOT}.inputs", {"question": "how?"})
    return halves + part(f"patch.{ROOT}", {"end_time": ENDED}) + more.get("end", b"") + b"--b--\r\n"


def kinds(home: Path) -> list[str]:
    """Name the kinds of the events on the spool."""
    return [event["kind"] for event in spooled_events(home / "spool")]


def test_clients_are_told_how_to_send(serve: Callable[..., Any]) -> None:
    """The answer is the one that makes the SDK send in parts, with zstd."""
    answer = serve()("GET", "/info")

    assert (answer.status_code, answer.json()) == (200, INFO)


def test_a_project_needs_no_making(serve: Callable[..., Any]) -> None:
    """Asked for a project, the server has it."""
    [project] = serve()("GET", "/sessions?limit=1&name=maze&include_stats=False").json()

    assert (project["name"], project["reference_dataset_id"]) == ("maze", None)


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
def test_parts_are_taken_in_any_encoding(serve: Callable[..., Any], tmp_path: Path, encoding: str) -> None:
    """The answer comes when the events are on the spool."""
    pack = {"": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}[encoding]
    headers = MULTIPART | ({"content-encoding": encoding} if encoding else {})

    answer = serve()("POST", "/runs/multipart", content=pack(multipart()), headers=headers)

    assert (answer.status_code, answer.json()) == (202, {})
    assert kinds(tmp_path) == ["span_start", "span"]


@pytest.mark.parametrize("spelling", ["/api/v1", "/api", "/v1"])
def test_an_address_as_langsmiths_own_is_taken(serve: Callable[..., Any], tmp_path: Path, spelling: str) -> None:
    """People put behind the address what stands behind LangSmith's."""
    send = serve()

    answers = [send("GET", f"{spelling}/info"), send("POST", f"{spelling}/runs", json=RUN | {"end_time": ENDED})]

    assert [answer.status_code for answer in answers] == [200, 202]
    assert kinds(tmp_path)[-1] == "span"


@pytest.mark.parametrize("error", ["boom", {"code": 7}, ["boom"], 5])
def test_an_error_that_is_no_text_is_a_failure_too(serve: Callable[..., Any], tmp_path: Path, error: Any) -> None:
    """No run that failed passes for one that did not, however its error is told."""
    serve()("POST", "/runs", json=RUN | {"end_time": ENDED, "error": error})

    event = spooled_events(tmp_path / "spool")[-1]
    assert (event["status"], event["level"]) == ("error", "ERROR")


def test_single_requests_are_taken(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A client without a queue sends runs, their ends and feedback one by one."""
    send = serve()
    score = {"id": FEEDBACK, "run_id": ROOT, "key": "faithfulness", "score": 0.5}

    answers = [
        send("POST", "/runs", json=RUN),
        send("PATCH", f"/runs/{ROOT}", json={"end_time": ENDED}),
        send("POST", "/feedback", json=score),
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 200]
    assert kinds(tmp_path) == ["span_start", "span", "log"]


def test_a_batch_is_taken(serve: Callable[..., Any], tmp_path: Path) -> None:
    """So is what clients fall back to."""
    answer = serve()("POST", "/runs/batch", json={"patch": [{"id": ROOT, "end_time": ENDED}], "post": [RUN]})

    assert answer.status_code == 202
    assert kinds(tmp_path) == ["span_start", "span"]


ODD_RUN = json.encode(RUN).replace(ROOT.encode(), FEEDBACK.encode())


@pytest.mark.parametrize(
    ("odd", "is_kept"),
    [
        (ODD_RUN.replace(b"answer", b"cut \\ud83d"), True),
        (ODD_RUN.replace(b"answer", b"\xff"), True),
        (ODD_RUN.replace(b'"answer"', b"NaN"), True),
        (ODD_RUN.replace(b'"answer"', b"[" * 1000 + b"]" * 1000), True),
        (ODD_RUN.replace(b'"answer"', b"9" * 5000), True),
        (ODD_RUN.replace(b'"answer"', b"nul"), False),
        (b'{"id": "nobody", "name": NaN}', False),
        (b"[NaN]", False),
        (b"7", False),
    ],
)
@pytest.mark.parametrize("kind", ["batch", "multipart"])
def test_an_odd_run_costs_nothing_else(
    serve: Callable[..., Any], tmp_path: Path, kind: str, odd: bytes, is_kept: bool
) -> None:
    """It is read as far as it can be, or named in the answer; the runs before and behind it are taken."""
    first, last = json.encode(RUN), json.encode({**RUN, "id": OTHER})
    send = serve()

    if kind == "batch":
        answer = send("POST", "/runs/batch", content=b'{"post": [%s, %s, %s]}' % (first, odd, last))
    else:
        parts = [written(f"post.{ROOT}", first), written(f"post.{FEEDBACK}", odd), written(f"post.{OTHER}", last)]
        answer = send("POST", "/runs/multipart", content=b"".join(parts) + b"--b--\r\n", headers=MULTIPART)

    told = spooled_events(tmp_path / "spool")
    assert answer.status_code == 202
    assert {ROOT, OTHER} <= {event["span_id"] for event in told}
    assert (FEEDBACK in {event["span_id"] for event in told}) == is_kept
    assert answer.json().get("left_out_count", 0) == (not is_kept)
    assert bool([event for event in told if event.get("sanitized")]) == is_kept


def test_an_odd_field_in_a_part_of_its_own_costs_not_its_run(serve: Callable[..., Any], tmp_path: Path) -> None:
    """What cannot be read as JSON is kept as text; a part of an unknown name is named in the answer."""
    parts = [
        written(f"post.{ROOT}", json.encode({**RUN, "end_time": ENDED})),
        written(f"post.{ROOT}.inputs", b"no json"),
        written(f"post.{ROOT}.surprise", b"{}"),
    ]

    answer = serve()("POST", "/runs/multipart", content=b"".join(parts) + b"--b--\r\n", headers=MULTIPART)

    [span] = [event for event in spooled_events(tmp_path / "spool") if event["kind"] == "span"]
    assert (span["context"]["inputs"], span["sanitized"]) == ("no json", ["repr"])
    assert [left["item"] for left in answer.json()["left_out"]] == [f"post.{ROOT}.surprise"]


def test_a_run_without_an_id_is_answered_with_the_one_it_got(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A client that does not mint ids can name the run afterwards."""
    answer = serve()("POST", "/runs", json={key: value for key, value in RUN.items() if key != "id"})

    [start] = spooled_events(tmp_path / "spool")
    assert answer.json() == {"id": start["span_id"]}


def test_more_runs_than_a_request_may_hold_are_refused(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A few bytes each, they are many events; and values that are larger in memory than on the wire are counted."""
    send = serve(receive_max_records=10)

    answers = [
        send("POST", "/runs/batch", content=b'{"post": [' + b"{}," * 10 + b"{}]}"),
        send("POST", "/runs/batch", content=b'{"post": [{"inputs": [' + b"{}," * 2_000_000 + b"{}]}]}"),
        send("POST", "/runs/multipart", content=written("post.x", b"{}") * 11, headers=MULTIPART),
    ]

    assert [answer.status_code for answer in answers] == [413] * 3
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize(
    ("path", "request_", "status"),
    [
        ("/runs/multipart", {"content": multipart()[:-9], "headers": MULTIPART}, 400),
        ("/runs/multipart", {"content": multipart()}, 400),
        ("/runs/multipart", {"content": alone(part("post.x", {})), "headers": MULTIPART}, 422),
        ("/runs/multipart", {"content": alone(part("else", {})), "headers": MULTIPART}, 422),
        ("/runs/multipart", {"content": alone(part(f"post.{ROOT}.inputs", {})), "headers": MULTIPART}, 422),
        ("/runs/multipart", {"content": alone(part(f"post.{ROOT}", [])), "headers": MULTIPART}, 422),
        ("/runs/multipart", {"content": alone(part(f"post.{FEEDBACK}", {"id": ROOT})), "headers": MULTIPART}, 422),
        ("/runs/multipart", {"content": b"x", "headers": {**MULTIPART, "content-encoding": "zstd"}}, 400),
        ("/runs/multipart", {"content": b"x", "headers": {**MULTIPART, "content-encoding": "br"}}, 415),
        ("/runs/batch", {"json": {"post": [{"id": 1}]}}, 422),
        ("/runs/batch", {"json": {"post": RUN}}, 422),
        ("/runs/batch", {"json": {"post": [], "patch": {}}}, 422),
        ("/runs/batch", {"json": []}, 422),
        ("/runs/batch", {"content": b"{"}, 400),
        ("/runs", {"content": b"[" * 100_000}, 400),
        ("/runs", {"json": {**RUN, "id": "x"}}, 422),
        ("/feedback", {"json": {"run_id": ROOT}}, 422),
    ],
)
def test_what_is_malformed_is_refused_whole(
    serve: Callable[..., Any], tmp_path: Path, path: str, request_: dict[str, Any], status: int
) -> None:
    """The answer says what was wrong, and nothing of the request was taken."""
    answer = serve()("POST", path, **request_)

    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert not (tmp_path / "spool").exists()


def test_what_is_too_large_is_refused(serve: Callable[..., Any]) -> None:
    """Neither a long body nor one that is small until it is inflated gets past 64 MiB."""
    bomb = gzip.compress(bytes(65 * 1024 * 1024))
    send = serve()

    for content, encoding in ((bomb, "gzip"), (bytes(65 * 1024 * 1024), "identity")):
        answer = send("POST", "/runs/multipart", content=content, headers={**MULTIPART, "content-encoding": encoding})
        assert answer.status_code == 413


def test_a_full_spool_asks_clients_to_come_back(serve: Callable[..., Any]) -> None:
    """The answer is 503 with a time to wait, so that the client keeps what it has."""
    answer = serve(spool_keep_free_bytes=1 << 60)("POST", "/runs", json=RUN)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_the_end_waits_for_a_beginning_that_is_on_its_way(serve: Callable[..., Any], tmp_path: Path) -> None:
    """Two connections may bring the halves in the wrong order; the span is whole all the same."""
    send = serve()

    async def both() -> list[httpx.Response]:
        end = asyncio.create_task(send.client.patch(f"/runs/{ROOT}", json={"end_time": ENDED, "name": "answer"}))
        begin: Awaitable[httpx.Response] = send.client.post("/runs", json={**RUN, "inputs": {"question": "how?"}})
        return list(await asyncio.gather(end, begin))

    answers = send.runner.run(both())

    assert [answer.status_code for answer in answers] == [202, 202]
    span = spooled_events(tmp_path / "spool")[-1]
    assert (span["kind"], span["context"]["inputs"]) == ("span", {"question": "how?"})


def test_an_end_whose_beginning_never_comes_is_taken(serve: Callable[..., Any], tmp_path: Path) -> None:
    """The wait is short, and a store that is away does not matter."""
    answer = serve()("PATCH", f"/runs/{ROOT}", json={"end_time": ENDED, "name": "answer", "start_time": BEGAN})

    assert answer.status_code == 202
    assert kinds(tmp_path)[-1] == "span"


@pytest.mark.parametrize(("method", "path"), [("GET", "/datasets"), ("PUT", "/prompts/a"), ("GET", "/runs/1/share")])
def test_what_is_not_here_says_so(serve: Callable[..., Any], method: str, path: str) -> None:
    """LangSmith's other topics are not implemented, which is not the same as not found."""
    answer = serve()(method, path)

    assert answer.status_code == 501
    assert "/api/traces" in answer.json()["error"]["hint"]


@pytest.mark.parametrize("spelling", ["", "/api/v1"])
@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/runs/query", "PATCH"),
        ("GET", f"/runs/{ROOT}", "PATCH"),
        ("DELETE", "/sessions", "GET"),
        ("PATCH", "/runs/batch", "POST"),
    ],
)
def test_what_is_only_taken_is_not_read(
    serve: Callable[..., Any], spelling: str, method: str, path: str, allow: str
) -> None:
    """The address is one of ours, the method is not: what would be allowed is told."""
    answer = serve()(method, spelling + path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert "/api/traces" in answer.json()["error"]["hint"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": TOKEN}, 202),
        ({"authorization": f"Bearer {TOKEN}"}, 202),
        ({"x-api-key": "wrong"}, 401),
        ({}, 401),
    ],
)
def test_the_token_is_the_api_key(serve: Callable[..., Any], headers: dict[str, str], status: int) -> None:
    """LangSmith's clients send the server's token as the key that they have anyway."""
    assert serve(token=TOKEN)("POST", "/runs", json=RUN, headers=headers).status_code == status


def test_an_api_key_opens_the_receiver_alone(serve: Callable[..., Any]) -> None:
    """The header of LangSmith's clients is nothing to the rest of the server."""
    send = serve(token=TOKEN)

    answer = send("GET", "http://127.0.0.1:4319/api/traces", headers={"x-api-key": TOKEN})

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://evil.example", 403), ("null", 403), ("http://localhost:3000", 202), ("http://[::1]:3000", 202)],
)
def test_pages_of_other_sites_may_not_write(serve: Callable[..., Any], origin: str, status: int) -> None:
    """A browser sends to loopback what any page tells it to; where it comes from is in its header."""
    assert serve()("POST", "/runs", json=RUN, headers={"origin": origin}).status_code == status


def test_what_was_taken_is_counted(serve: Callable[..., Any]) -> None:
    """Prometheus learns how many runs were told, and how many again."""
    send = serve()

    for _ in range(2):
        send("POST", "/runs/multipart", content=multipart(), headers=MULTIPART)

    counts = send("GET", "http://127.0.0.1:4319/metrics").text
    assert 'clew_receiver_langsmith_total{what="runs"} 1.0' in counts
    assert 'clew_receiver_langsmith_total{what="repeated"} 2.0' in counts
