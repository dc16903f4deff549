"""The same mistake has the same answer on every front: one sentence, HTTP 400, exit code 2."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

import pytest

from clew.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from support.fix_server import AskServer

LATER, EARLIER = "2026-11-23T11:00:00Z", "2026-11-23T10:00:00Z"
BACKWARDS = (
    "since is not before until: 2026-11-23T11:00:00.000000Z to 2026-11-23T10:00:00.000000Z; the time range is empty"
)
NO_TIME = "since is 'yestrday', which is not a valid time; write 2026-11-23T10:15:00Z, or how long ago: 15m, 1h, 7d"


class Front(NamedTuple):
    """Where a question is asked.

    Attributes:
        command: The command and its arguments; empty where there is none.
        path: The route; empty where there is none.
    """

    command: tuple[str, ...]
    path: str


FRONTS = {
    "costs": Front(("costs",), "/api/costs"),
    "logs": Front(("logs",), "/api/logs"),
    "follow": Front((), "/api/logs/follow"),
    "traces": Front(("traces",), "/api/traces"),
    "errors": Front(("errors",), "/api/errors"),
    "export": Front(("export",), "/api/export"),
    "lineage": Front(("lineage", "chunk", "c1"), "/api/lineage/chunk/c1"),
    "metrics": Front((), "/api/metrics/requests"),
    "diff": Front((), "/api/diff"),
    "trace": Front(
        ("trace", "550e8400-e29b-41d4-a716-446655440000"), "/api/traces/550e8400-e29b-41d4-a716-446655440000"
    ),
    "sql": Front(("sql", "SELECT 1"), ""),
    "span": Front((), "/api/spans/550e8400-e29b-41d4-a716-446655440000"),
    "lookup": Front((), "/api/lookup"),
}

IN_TIME = ("costs", "logs", "traces", "errors", "export")
MISTAKES = [
    *((name, {"since": LATER, "until": EARLIER}, BACKWARDS) for name in (*IN_TIME, "metrics")),
    *((name, {"since": "yestrday"}, NO_TIME) for name in (*IN_TIME, "lineage", "metrics")),
    *(
        (name, {"limit": "0"}, f"limit is 0, which is out of range; use 1 to {most}")
        for name, most in (("costs", 1000), ("traces", 1000), ("errors", 1000), ("metrics", 200), ("follow", 1000))
    ),
    *(
        (name, {"limit": "1001"}, "limit is 1001, which is out of range; use 1 to 1000")
        for name in ("costs", "traces", "errors")
    ),
    ("costs", {"limit": "many"}, "limit is 'many', which is not a whole number; use 1 to 1000"),
    (
        "costs",
        {"by": "modle"},
        (
            "by is 'modle', which does not exist; did you mean model? "
            "by is one of line, stage, model, user, service, version, trace, day, hour"
        ),
    ),
    (
        "logs",
        {"level": "eror"},
        (
            "level is 'eror', which does not exist; did you mean error? "
            "level is one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
        ),
    ),
    (
        "metrics",
        {"by": "servce"},
        (
            "requests cannot be split by 'servce'; did you mean service? "
            "by takes some of service, environment, version, stage, model, status"
        ),
    ),
    *(
        (name, {"q": "levl:error"}, "at character 1: there is no field 'levl'; did you mean level?")
        for name in ("logs", "traces", "errors", "export", "follow")
    ),
    *((name, {"user": "a\x00b"}, "user_id contains a NUL character; no text in the store does") for name in ("costs",)),
    ("sql", {"limit": "0"}, "limit is 0, which is out of range; use 1 to 10000"),
    ("sql", {"limit": "many"}, "limit is 'many', which is not a whole number; use 1 to 10000"),
    ("sql", {"timeout": "601"}, "timeout is 601, which is out of range; use seconds, 0.1 to 600"),
    ("sql", {"timeout": "long"}, "timeout is 'long', which is not a number; use seconds, 0.1 to 600"),
    ("metrics", {"step": "90s"}, "step is '90s', which is not whole minutes; write 60s, 5m, 1h or 1d"),
    ("metrics", {"service": "a\x00b"}, "service contains a NUL character; no text in the store does"),
    ("diff", {"ok": "x"}, "bad is missing; give bad, such as 01a208de-0b52-7c11-9d0a-55e1f09a77aa"),
    ("lookup", {}, "id is missing; give id, such as 550e8400-e29b-41d4-a716-446655440000"),
]


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the commands away from this machine's own data."""
    monkeypatch.setenv("CLEW_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CLEW_DSN", raising=False)


def ask_http(ask_server: AskServer, dsn: str, path: str, texts: dict[str, str]) -> tuple[int, str]:
    """Ask over HTTP; return the status and the sentence."""
    names = {"user_id" if name == "user" else name: text for name, text in texts.items()}
    answer = ask_server(dsn, f"{path}?{urlencode(names)}")
    told = answer.json()["error"]
    return answer.status_code, "; ".join(filter(None, (told["message"], told["hint"])))


@pytest.mark.parametrize(("question", "texts", "sentence"), MISTAKES)
def test_the_same_mistake_has_the_same_sentence(
    postgres: str,
    ask_server: AskServer,
    capsys: pytest.CaptureFixture[str],
    question: str,
    texts: dict[str, str],
    sentence: str,
) -> None:
    """Over HTTP and on the command line: what was wrong, and what would be right."""
    front = FRONTS[question]

    if front.path:
        assert ask_http(ask_server, postgres, front.path, texts) == (400, sentence)
    if front.command:
        options = [part for name, text in texts.items() for part in ([text] if name == "q" else [f"--{name}", text])]
        assert run([*front.command, *options, "--dsn", postgres]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"clew: {sentence}"


@pytest.mark.parametrize("question", FRONTS)
def test_what_a_question_does_not_know_is_refused(
    postgres: str, ask_server: AskServer, capsys: pytest.CaptureFixture[str], question: str
) -> None:
    """A filter that is misspelt is no filter: both say which there are, and which is near."""
    front = FRONTS[question]

    is_near = question in {*IN_TIME, "lineage", "metrics"}
    if front.path:
        status, sentence = ask_http(ask_server, postgres, front.path, {"sinse": "1h"})
        assert status == 400
        assert sentence.startswith("there is no parameter 'sinse'; ")
        assert ("did you mean since? the parameters are " in sentence) == is_near
    if front.command:
        assert run([*front.command, "--sinse", "1h", "--dsn", postgres]) == 2
        begin = f"clew: clew {front.command[0]} has no option --sinse; "
        near = "did you mean --since? " if is_near else ""
        assert capsys.readouterr().err.startswith(f"{begin}{near}the options are ")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/traces/550e8400?sinse=1h", "there is no parameter 'sinse'"),
        ("/traces/%20", "trace_id is missing"),
        ("/t?id=", "id is missing"),
        ("/t?id=a&id=b", "id is given twice"),
    ],
)
def test_a_page_refuses_the_same_mistakes(postgres: str, ask_server: AskServer, path: str, sentence: str) -> None:
    """The sentence is on a page, since a person reads it."""
    answer = ask_server(postgres, path)

    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert f"<h1>{html.escape(sentence)}</h1>".replace("&#x27;", "&#39;") in answer.text


def test_a_short_address_leads_on_whatever_was_put_behind_it(postgres: str, ask_server: AskServer) -> None:
    """Mail programs and chats add parameters of their own to links; a link to a trace must go on working."""
    answer = ask_server(postgres, "/t/550e8400-e29b-41d4-a716-446655440000?utm_source=mail")

    assert answer.status_code == 307
    assert answer.headers["location"] == "/traces/550e8400-e29b-41d4-a716-446655440000"


def test_a_parameter_that_is_given_twice_is_refused(postgres: str, ask_server: AskServer) -> None:
    """Which of the two was meant nobody knows; and none takes the place of a part of the path."""
    twice = ask_server(postgres, "/api/costs?since=1h&since=2h")
    beside = ask_server(postgres, "/api/lineage/chunk/c1?id=c2")

    assert (twice.status_code, twice.json()["error"]["message"]) == (400, "since is given twice")
    assert (beside.status_code, beside.json()["error"]["message"]) == (400, "id is given twice")


def test_a_mistake_in_a_query_is_shown(postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line marks the place in the query."""
    assert run(["errors", "stage:retrieval levl:error", "--dsn", postgres]) == 2

    assert capsys.readouterr().err.splitlines()[:2] == ["stage:retrieval levl:error", f"{' ' * 16}^"]
