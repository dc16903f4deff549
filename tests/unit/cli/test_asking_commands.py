"""clew trace, logs and store: what they show from a real store, and how they end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from clew.cli.main import run
from clew.spool.writer import Writer
from support.stored import make_event, store_events, store_open_span

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRACE = "550e8400-e29b-41d4-a716-446655440000"
NOWHERE = "postgresql://ann:secret@127.0.0.1:1/logs"


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the commands away from this machine's own data."""
    monkeypatch.setenv("CLEW_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CLEW_DSN", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stored(postgres: str) -> str:
    """A store with one trace of several spans, logs and an error."""
    answer, generate = str(uuid4()), str(uuid4())
    ids = {"trace_id": TRACE, "user_id": "user-123"}
    error = {
        "type": "ReadTimeout",
        "message": "no answer\x1b[2J",
        "stack": '  File "llm.py", line 3, in call\nReadTimeout',
    }
    failed = {"status": "error", "level": "ERROR", "error": error}
    store_events(
        postgres,
        make_event(NOON, **ids, span_id=answer, kind="span", message="answer", metrics={"duration_ms": 1250.0}, **failed),
        make_event(
            NOON + timedelta(milliseconds=250), **ids, span_id=generate, parent_span_id=answer, kind="span",
            message="generate", stage="generation", metrics={"duration_ms": 900.0}, **failed,
        ),
        make_event(
            NOON + timedelta(milliseconds=300), **ids, span_id=generate, message="token_usage_recorded", stage="generation",
            metrics={"cost_usd": 0.0123, "tokens_in": 812, "tokens_out": 96}, context={"model": "small\r\x07one"},
        ),
        make_event(NOON + timedelta(seconds=1), message="unrelated", user_id="user-456", level="WARNING"),
    )  # fmt: skip
    store_open_span(postgres, make_event(NOON, **ids, span_id=str(uuid4()), parent_span_id=answer, message="evaluate"))
    return postgres


@pytest.mark.parametrize("any_id", [TRACE, TRACE.replace("-", ""), "req 7"])
@pytest.mark.parametrize("is_there", [True, False])
def test_what_waits_on_the_spool_is_not_called_unknown(
    postgres: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], any_id: str, *, is_there: bool
) -> None:
    """A trace that no agent has shipped yet, or none can ship, is known: by any id, its events wait here."""
    writer = Writer(tmp_path / "data" / "spool", service="rag-api")
    for kind in ("log", "span"):
        writer.append(
            json.dumps({"kind": kind, "trace_id": TRACE, "request_id": "req 7"}, separators=(",", ":")).encode()
        )
    writer.close()

    code = run(["trace", any_id, "--dsn", postgres if is_there else NOWHERE])

    told = capsys.readouterr().err
    assert code == 1
    assert "2 events of it wait on the spool here" in told
    assert ("cannot reach PostgreSQL" in told) != is_there


def test_an_empty_id_is_bad_usage(postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A variable that is not set is the mistake of who asks."""
    assert run(["trace", "", "--dsn", postgres]) == 2
    assert "trace_id is missing" in capsys.readouterr().err


def test_a_trace_is_shown_as_a_tree_with_all_that_matters(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, nesting, durations, cost, tokens, marks, logs and the stack of the error are on the screen."""
    code = run(["trace", TRACE, "--dsn", stored])

    out = capsys.readouterr().out
    assert code == 0
    for told in (
        "answer",
        "├─ evaluate",
        "└─ generate",
        "1.25 s",
        "900 ms",
        "$0.0123",
        "812 → 96",
        "▶ running",
        "✗ error",
    ):
        assert told in out
    for told in (
        "user user-123",
        "token_usage_recorded",
        "ReadTimeout",
        "in generate ← answer",
        'File "llm.py", line 3',
    ):
        assert told in out
    assert "unrelated" not in out


def test_what_users_wrote_cannot_steer_the_terminal(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No control character of a value reaches the screen."""
    run(["trace", TRACE, "--dsn", stored])
    run(["logs", "--dsn", stored])

    out = capsys.readouterr().out
    assert not {letter for letter in out if not letter.isprintable()} - {"\n"}
    assert 'model="small  one"' in out


def test_a_trace_as_json_is_what_the_api_answers(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the trace's tree in one line."""
    code = run(["trace", TRACE.replace("-", ""), "--json", "--dsn", stored])

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["summary"]["tokens_out"] == 96
    assert [child["message"] for child in told["spans"][0]["children"]] == ["evaluate", "generate"]


def test_a_trace_is_shown_by_any_id(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An id of one of its requests will do; one that is in several traces lists them."""
    other = str(uuid4())
    store_events(
        stored,
        make_event(NOON, trace_id=TRACE, request_id="req-7", session_id="s-1"),
        make_event(NOON + timedelta(seconds=9), trace_id=other, session_id="s-1"),
    )

    code = run(["trace", "req-7", "--dsn", stored])
    shown = capsys.readouterr().out
    listing = run(["trace", "s-1", "--dsn", stored])
    listed = capsys.readouterr().out

    assert (code, listing) == (0, 0)
    assert f"trace {TRACE}" in shown
    assert listed.index(other) < listed.index(TRACE)
    assert "session id" in listed
    assert "`clew trace TRACE`" in listed


def test_logs_are_plain_lines_with_the_newest_last(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each event is one line; conditions narrow them."""
    code = run(["logs", "--dsn", stored])
    lines = capsys.readouterr().out.splitlines()

    assert code == 0
    assert len(lines) == 4
    assert lines[-1].startswith("2026-11-23T12:00:01.000000Z WARNING  rag-api unrelated")
    assert (
        run(["logs", "--dsn", stored, "--user", "user-123", "--level", "error", "--until", "2026-11-23T12:00:00.1Z"])
        == 0
    )
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_logs_as_json_are_what_the_api_answers(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the public format, the newest first, with a cursor when there is more."""
    run(["logs", "--dsn", stored, "--trace", TRACE, "--limit", "2", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert [event["message"] for event in told["logs"]] == ["token_usage_recorded", "generate"]
    assert told["next_cursor"]


def test_logs_are_searched_by_a_query(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The query and the options narrow together."""
    code = run(
        [
            "logs",
            "level>=warning -message:unrelated -status:ok -message:answer",
            "--user",
            "user-123",
            "--dsn",
            stored,
            "--json",
        ]
    )

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [event["message"] for event in told["logs"]] == ["generate"]


def test_a_mistake_in_a_query_is_shown_where_it_is(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The query stands on stderr with a mark under the mistake, and the exit code says bad usage."""
    code = run(["logs", "level:error lewel:info", "--dsn", stored])

    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.splitlines()[:2] == ["level:error lewel:info", "            ^"]
    assert "did you mean level?" in err.splitlines()[2]


def test_a_mistake_far_into_a_query_is_shown_with_what_is_around_it(
    stored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a long query, and one that could steer the terminal, a harmless piece is shown."""
    run(["logs", "a\x1b[2J " * 60 + "(b", "--dsn", stored])

    shown, mark, _ = capsys.readouterr().err.splitlines()
    assert "\x1b" not in shown
    assert len(shown) <= 100
    assert shown[mark.index("^")] == "("


def test_a_limit_beyond_a_page_is_kept(postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    """More events than fit a page are fetched page by page."""
    store_events(postgres, *(make_event(NOON + timedelta(milliseconds=index)) for index in range(1100)))

    run(["logs", "--dsn", postgres, "--limit", "1050"])

    assert len(capsys.readouterr().out.splitlines()) == 1050


def test_the_store_is_migrated_once(empty_postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first run tells what it applied, the second that there is nothing to do."""
    assert run(["store", "migrate", "--dsn", empty_postgres, "--json"]) == 0
    assert "0001_pre_events" in json.loads(capsys.readouterr().out)["applied"]
    assert run(["store", "migrate", "--dsn", empty_postgres]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_the_status_of_the_store_is_shown(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Sizes, days and the newest event are told, for people and for programs."""
    assert run(["store", "status", "--dsn", stored]) == 0
    out = capsys.readouterr().out
    assert run(["store", "status", "--dsn", stored, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert "events_20261123" in out
    assert told["newest_event"] == "2026-11-23T12:00:01.000000Z"
    assert told["open_spans"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["trace", "xyz"], 1, "nothing is known by the id 'xyz'"),
        (["trace", TRACE[:-1] + "1"], 1, "nothing is known by the id"),
        (["logs", "--trace", "xyz"], 2, "'xyz' is not a trace id"),
        (["logs", "--since", "soon"], 2, "since is 'soon'"),
        (["logs", "--since", "1h", "--until", "2h"], 2, "since is not before until"),
        (["logs", "--level", "loud"], 2, "level is 'loud', which does not exist"),
        (["logs", "--user", "nobody"], 1, "no event matches"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    stored: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    """Bad usage ends with 2, nothing found with 1; each in one line on stderr, never a traceback."""
    ended = run([*arguments, "--dsn", stored])

    out, err = capsys.readouterr()
    assert ended == code
    assert told in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize("command", [["trace", TRACE], ["logs"], ["store", "status"], ["store", "migrate"]])
def test_a_wrong_dsn_is_one_line_without_the_password(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """A server that is not there ends with 1, a DSN that is none with 2."""
    ended = run([*command, "--dsn", NOWHERE])
    unreachable = capsys.readouterr().err
    ended_malformed = run([*command, "--dsn", "postgresql://ann:secret@[::1/logs"])
    malformed = capsys.readouterr().err

    assert (ended, ended_malformed) == (1, 2)
    assert "127.0.0.1:1/logs: Connection refused" in unreachable
    assert "the DSN is malformed" in malformed
    for err in (unreachable, malformed):
        assert err.count("\n") == 1
        assert "secret" not in err


def test_an_unmigrated_store_says_which_command_helps(empty_postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Asking a store without our tables names `clew store migrate`."""
    for command in (["trace", TRACE], ["logs"], ["store", "status"]):
        assert run([*command, "--dsn", empty_postgres]) == 1
        assert "clew store migrate" in capsys.readouterr().err


def test_without_any_store_the_message_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    """No DSN and no embedded server: `clew up` is named."""
    assert run(["logs"]) == 1
    assert "clew up" in capsys.readouterr().err


def test_an_unwritable_data_directory_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An embedded server that has nowhere to be says where it could be."""
    assert run(["store", "migrate", "--data", "/proc/clew"]) == 1

    err = capsys.readouterr().err
    assert "/proc/clew" in err
    assert "CLEW_DATA_DIR" in err
    assert err.count("\n") == 1
