"""The page of a trace: what it shows, by which ids, and that nothing in it can act."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from support.stored import make_event, store_events, store_open_span

if TYPE_CHECKING:
    from support.fix_server import AskServer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRACE = "550e8400-e29b-41d4-a716-446655440000"
SPAN = "0199e8a0-7c00-7abc-9f3c-0d6c7a1b2c3d"
TOKEN = "a-long-secret"  # not a secret of anything
HOSTILE = "</title><script>alert(1)</script>\"' onload='alert(2)' {{ 7*7 }} \u202e&amp;<b>"


class Page(HTMLParser):
    """A page taken apart: its tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text += data

    def values(self, tag: str, attribute: str) -> list[str]:
        """Return the values of an attribute of all tags of a name."""
        return [value for name, told in self.tags if name == tag and (value := told.get(attribute)) is not None]


def store_request(dsn: str, **told: Any) -> None:
    """Store a request of a failing call inside a running search, with a log."""
    ids = {"trace_id": TRACE, "user_id": "ann", "session_id": "chat/7", "request_id": "req-7", **told}
    call = str(uuid4())
    error = {"type": "TimeoutError", "message": "no answer", "stack": "in call()"}
    store_events(
        dsn,
        make_event(NOON, **ids, span_id=SPAN, kind="span", message="answer", status="error", error=error,
                   metrics={"duration_ms": 1250.0}),
        make_event(NOON + timedelta(milliseconds=250), **ids, span_id=call, parent_span_id=SPAN, kind="span",
                   message="call_model", stage="generation", status="error", error=error,
                   context={"model": "gpt-4o-mini"}, metrics={"duration_ms": 500.0, "cost_usd": 0.002, "tokens_in": 1200,
                   "tokens_out": 80}),
        make_event(NOON + timedelta(milliseconds=300), **ids, span_id=call, level="WARNING", message="slow_model",
                   context={"attempt": 3}),
    )  # fmt: skip
    store_open_span(
        dsn, make_event(NOON + timedelta(seconds=1), **ids, span_id=str(uuid4()), parent_span_id=SPAN, message="rerank")
    )


def test_the_page_shows_the_whole_trace(ask_server: AskServer, postgres: str) -> None:
    """Figures, spans with their bars, logs, the error once, what it cost, and ways to go on."""
    store_request(postgres)

    answer = ask_server(postgres, f"/traces/{TRACE}")
    page = Page(answer.text)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for told in ("answer", "call_model", "rerank", "1.25 s", "$0.002", "1,200 → 80", "gpt-4o-mini", "slow_model",
                 "WARNING", "attempt", "in call()", "user"):  # fmt: skip
        assert told in page.text
    bars = list(zip(page.values("rect", "x"), page.values("rect", "width"), strict=True))
    assert bars == [("0.0", "100.0"), ("20.0", "40.0"), ("80.0", "20.0")]
    assert page.values("rect", "class") == ["error", "error", "running open"]
    assert answer.text.count("no answer") == 1
    assert {"/traces/chat%2F7", "/traces/req-7", f"/api/traces/{TRACE}"} < set(page.values("a", "href"))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (TRACE, TRACE),
        (TRACE.replace("-", "").upper(), TRACE),
        ("9f3c0d6c7a1b2c3d", "9f3c0d6c7a1b2c3d"),
        ("chat/7", "chat%2F7"),
        ("//evil.example", "%2F%2Fevil.example"),
        ("a: b", "a%3A%20b"),
    ],
)
def test_the_short_address_leads_to_the_page(ask_server: AskServer, postgres: str, text: str, target: str) -> None:
    """It redirects, for now and for reading only, to our own page of whatever id was given."""
    for path in (f"/t/{quote(text, safe='')}", f"/t?id={quote(text)}"):
        answer = ask_server(postgres, path)
        assert (answer.status_code, answer.headers["location"]) == (307, f"/traces/{target}")


@pytest.mark.parametrize("text", [TRACE.replace("-", ""), SPAN, "9f3c0d6c7a1b2c3d", "req-7", "chat/7", "chat%2F7"])
def test_the_page_is_found_by_any_id(ask_server: AskServer, postgres: str, text: str) -> None:
    """Whatever somebody holds of a request shows its one trace."""
    store_request(postgres)

    answer = ask_server(postgres, f"/traces/{text}")

    assert answer.status_code == 200
    assert TRACE in answer.text


def test_a_session_lists_its_traces(ask_server: AskServer, postgres: str) -> None:
    """An id of several traces shows links to them, the newest first."""
    other = str(uuid4())
    store_events(
        postgres,
        make_event(NOON, trace_id=TRACE, session_id="chat 7"),
        make_event(NOON + timedelta(seconds=1), trace_id=other, session_id="chat 7"),
    )

    page = Page(ask_server(postgres, "/traces/chat%207").text)

    assert [href for href in page.values("a", "href") if href.startswith("/traces/")] == [
        f"/traces/{other}",
        f"/traces/{TRACE}",
    ]


@pytest.mark.parametrize(
    "text", ["nothing", "5c0e9a5e-6a3e-4d55-9d21-0f2f7d0f5c11", HOSTILE, "%00", "%ff%fe", "a/b/../c", "x" * 3000]
)
def test_what_is_not_known_is_said_on_a_page(ask_server: AskServer, postgres: str, text: str) -> None:
    """The answer is 404, by a page that holds the id as text."""
    answer = ask_server(postgres, f"/traces/{text if '%' in text or '/' in text else quote(text, safe='')}")

    assert answer.status_code == 404
    assert not {"script", "b"} & {tag for tag, _ in Page(answer.text).tags}


def test_a_store_that_is_down_is_said_on_a_page(ask_server: AskServer) -> None:
    """The page says what is wrong, and so does its status."""
    answer = ask_server("postgresql://ann:secret@127.0.0.1:1/logs", f"/traces/{TRACE}")

    assert answer.status_code == 503
    assert "secret" not in answer.text


def test_what_users_wrote_is_text(ask_server: AskServer, postgres: str) -> None:
    """Names, messages, fields, ids and errors full of markup stay text; nothing on the page can act."""
    error = {"type": HOSTILE, "message": HOSTILE, "stack": HOSTILE}
    ids = {"trace_id": TRACE, "user_id": HOSTILE, "session_id": HOSTILE, "request_id": HOSTILE, "service": HOSTILE}
    told = {"context": {HOSTILE: HOSTILE, "model": HOSTILE}, "metrics": {"cost_usd": 0.5}, "message": HOSTILE}
    store_events(
        postgres,
        make_event(NOON, **ids, **told, span_id=SPAN, kind="span", status=HOSTILE, stage=HOSTILE, error=error),
        make_event(NOON, **ids, **told, span_id=SPAN, error=error),
        make_event(NOON, **ids | {"trace_id": str(uuid4())}, **told),
    )

    for path in (f"/traces/{TRACE}", f"/traces/{quote(HOSTILE, safe='')}"):
        answer = ask_server(postgres, path)
        page = Page(answer.text)
        assert answer.status_code == 200
        assert HOSTILE in page.text
        assert not {"script", "b", "img", "iframe"} & {tag for tag, _ in page.tags}
        assert not [name for _, told in page.tags for name in told if name.startswith("on") or name == "style"]
        assert all(href.startswith(("/", "#")) for href in page.values("a", "href"))
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == (
            "no-referrer",
            "private, no-store",
        )


def test_very_long_traces_are_shown_in_part(ask_server: AskServer, postgres: str) -> None:
    """A page ends somewhere, and says how much it left out."""
    store_events(
        postgres,
        make_event(NOON, trace_id=TRACE, message="first", context={"answer": "x" * 10_000}),
        *(make_event(NOON + timedelta(milliseconds=n), trace_id=TRACE, message=f"n{n}") for n in range(1005)),
    )

    text = ask_server(postgres, f"/traces/{TRACE}").text

    assert "6 more logs are not shown here" in text
    assert "(8,000 characters more)" in text


def test_the_style_sheet_is_ours(ask_server: AskServer, postgres: str) -> None:
    """The one thing that a page loads is there, and asks for no token."""
    store_request(postgres)
    page = Page(ask_server(postgres, f"/traces/{TRACE}").text)

    [link] = page.values("link", "href")
    style = ask_server(postgres, link, token=TOKEN)

    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "@import" not in style.text
    assert "url(" not in style.text


def test_a_line_end_stays_in_the_address(ask_server: AskServer, postgres: str) -> None:
    """No header can be smuggled into the answer."""
    answer = ask_server(postgres, "/t?id=a%0D%0Aset-cookie:%20b=c")

    assert answer.headers["location"] == "/traces/a%0D%0Aset-cookie%3A%20b%3Dc"
    assert "set-cookie" not in answer.headers


def basic(text: str) -> bytes:
    """Write credentials as a browser does."""
    return b"Basic " + b64encode(text.encode())


@pytest.mark.parametrize(
    "header", [b"", b"Basic", b"Basic !", basic(TOKEN), basic(f"{TOKEN}:"), basic(f"me:{TOKEN}x"), b"Bearer wrong"]
)
def test_with_a_token_pages_ask_for_it(ask_server: AskServer, postgres: str, header: bytes) -> None:
    """Who has not sent it gets a page that says how, and a browser asks; the page has nothing of the trace."""
    store_request(postgres)
    headers = {"authorization": header} if header else {}

    for path in (f"/traces/{TRACE}", f"/t/{TRACE}", "/traces/", "/t/"):
        answer = ask_server(postgres, path, headers=headers, token=TOKEN)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Basic realm="clew", charset="UTF-8"'
        assert "CLEW_TOKEN" in answer.text
        assert TRACE not in answer.text


@pytest.mark.parametrize("header", [basic(f"me:{TOKEN}"), basic(f":{TOKEN}"), b"Bearer " + TOKEN.encode()])
def test_the_token_opens_pages(ask_server: AskServer, postgres: str, header: bytes) -> None:
    """It is the password of whatever name, or what programs send."""
    store_request(postgres)

    answer = ask_server(
        postgres, f"/traces/{TRACE}", headers={"authorization": header, "host": "clew.example"}, token=TOKEN
    )

    assert answer.status_code == 200


def test_a_password_reads_the_api_only_for_our_own_pages(ask_server: AskServer, postgres: str) -> None:
    """What a browser sends unasked is enough to follow a link of ours, not for what another site has it ask."""
    headers = {"authorization": basic(f"me:{TOKEN}"), "sec-fetch-site": "cross-site"}

    answer = ask_server(postgres, f"/api/traces/{TRACE}", headers=headers, token=TOKEN)

    assert answer.status_code == 401
