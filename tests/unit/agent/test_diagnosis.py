"""What keeps events from arriving is found in real situations: each kind of finding, and none where all is well."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew import config
from clew.agent import diagnosis as diagnosis_module
from clew.agent.diagnosis import CHECKS, CODES, LOSSES, diagnose, find_plain_transport
from clew.agent.supervisor import Supervisor
from clew.delivery.accounts import SinkTotals, read_account
from clew.delivery.ledger import NOT_IN_SPOOL
from clew.delivery.status import read_statuses
from clew.emit.shipping import agent_is_alive
from clew.sinks.base import Delivered, Rejected, Retry
from clew.spool.directory import AGENTS_DIRECTORY, make_private_directory, segment_name
from clew.spool.life.lock import FileLock
from clew.spool.losses import REASONS
from clew.spool.writer import Writer
from support.agents import agent_process, drain_with_agent
from support.commands import WITHOUT_RIGHTS
from support.odd_files import ODD_KINDS, make_odd
from support.programs import run_program, until
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.agent.findings import Finding
    from clew.config import Settings
    from clew.sinks.base import Batch, Outcome

SMALL = 64 * 1024
NOBODY_ANSWERS = "postgresql://clew@127.0.0.1:1/clew?connect_timeout=1"
SOURCES = Path(diagnosis_module.__file__).parent
HOW_TO = Path(__file__).parents[3] / "docs" / "how-to" / "find-what-went-wrong.md"
EVENT = b'{"timestamp":"2026-01-01T00:00:00Z","kind":"log","level":"INFO","message":"told","context":{},"metrics":{}}'


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the environment of the test run says away."""
    for name in [name for name in os.environ if name.startswith("CLEW_") and name != "CLEW_TEST_DSN"]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a machine that is as it should be: a private spool, and a sink."""
    return load(tmp_path)


def load(home: Path, **given: Any) -> Settings:
    """Load settings that ship to a file unless something else is given."""
    made = config.load(**{"data_dir": home / "data", "sinks": ["console"], "console": home / "shipped.jsonl"} | given)
    make_private_directory(made.spool_dir)
    return made


def environment_of(settings: Settings, **given: str) -> dict[str, str]:
    """Return the environment of an agent with these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")}
    sinks, console = ",".join(settings.sinks), str(settings.console)
    told = {"CLEW_DATA_DIR": str(settings.data_dir), "CLEW_SINKS": sinks, "CLEW_CONSOLE": console}
    return kept | told | given


def write_log(spool: Path, events: int = 10, service: str = "rag-api") -> Path:
    """Write a log, and end; return its directory."""
    identity = json.encode({"service": service})
    writer = Writer(spool, service=service, identity=identity, segment_bytes=SMALL)
    for _ in range(events):
        assert writer.append(EVENT)
    writer.close()
    return writer.directory


def only(settings: Settings) -> Finding:
    """Return the one finding that there is."""
    (finding,) = diagnose(settings).findings
    return finding


def codes(settings: Settings) -> list[str]:
    """Return the kinds of the findings."""
    return [finding.code for finding in diagnose(settings).findings]


class Shipping:
    """An agent in this process, with a sink that answers as it is told."""

    def __init__(self, settings: Settings, sink: RecordingSink) -> None:
        self.spool = settings.spool_dir
        self.supervisor = Supervisor(settings, sinks=[sink], report=lambda _: None)

    def __enter__(self) -> Supervisor:
        self.supervisor.start()
        assert until(lambda: read_statuses(self.spool))
        return self.supervisor

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()


def test_every_kind_of_finding_is_declared_and_explained() -> None:
    """In the list of codes, and on the page for those whose events do not arrive."""
    text = "".join((SOURCES / name).read_text() for name in ("findings.py", "diagnosis.py"))
    page = HOW_TO.read_text().partition("## When events do not arrive")[2]
    used = set(re.findall(r'Finding\(\s*"(\w+)"', text)) | {"log_not_opened", "events_dropped"}

    assert used == set(CODES)
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(CODES)


def test_every_reason_of_a_loss_is_explained() -> None:
    """What it means, and what keeps it from happening again."""
    assert set(LOSSES) == {*REASONS, NOT_IN_SPOOL}


def test_on_a_machine_that_ships_there_is_nothing_to_find(settings: Settings, postgres: str) -> None:
    """An application, an agent of its own process and a store: before, meanwhile and after."""
    healthy = load(settings.data_dir.parent, sinks=[], dsn=postgres)
    environment = environment_of(healthy, CLEW_DSN=postgres, CLEW_SINKS="")
    before = diagnose(healthy)
    program = "import clew; clew.configure(service='rag-api'); clew.get_logger().info('told')"
    assert run_program(settings.data_dir.parent, program).status == 0
    with agent_process(environment, None):
        assert until(lambda: read_statuses(healthy.spool_dir))
        assert until(lambda: read_account(healthy.spool_dir).sinks.get("postgres", SinkTotals()).delivered == 1, 60.0)
        assert until(lambda: not list(healthy.spool_dir.glob("rag-api/*")))
        meanwhile = diagnose(healthy)
    after = diagnose(healthy)

    assert [before.findings, meanwhile.findings, after.findings] == [[], [], []]
    assert [before.notes, after.notes, after.checked] == [[], [], list(CHECKS)]
    assert read_account(healthy.spool_dir).sinks["postgres"].delivered == 1


@pytest.mark.parametrize(
    ("given", "subject", "told"),
    [
        ({"redact_patterns": {"order": "(a+)+$"}}, "redact_patterns", "order"),
        ({"redact_patterns": {"order": "("}}, "redact_patterns", "malformed"),
        ({"prices": "nowhere.toml"}, "prices", "nowhere.toml"),
        ({"dsn": "not a dsn"}, "dsn", "malformed"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path: Path, given: dict[str, Any], subject: str, told: str) -> None:
    """Those that only show when they are used, with the message that is said there."""
    findings = {finding.subject: finding for finding in diagnose(load(tmp_path, **given)).findings}

    assert findings.keys() == {subject}
    assert (findings[subject].code, findings[subject].severity) == ("settings_wrong", "error")
    assert told in findings[subject].problem


@pytest.mark.parametrize(
    ("given", "sink", "told", "remedy"),
    [
        ({"sinks": ["console", "nowhere"]}, "nowhere", "there is no sink 'nowhere'", "console, langsmith, otlp"),
        ({"sinks": ["otlp"]}, "otlp", "has nowhere to ship to", "CLEW_OTLP_ENDPOINT"),
        ({"otlp_endpoint": "http://127.0.0.1:4319/otlp"}, "otlp", "it would ship to itself", "another system"),
        ({"console": "gone/shipped.jsonl"}, "console", "No such file", "put right what it complains about"),
    ],
)
def test_a_sink_that_cannot_be_made_is_named(
    tmp_path: Path, given: dict[str, Any], sink: str, told: str, remedy: str
) -> None:
    """With the message that the agent would end with; looking at it makes no file."""
    given = {name: tmp_path / value if name == "console" else value for name, value in given.items()}
    finding = only(load(tmp_path, **given))

    assert (finding.code, finding.subject, finding.severity) == ("sink_unusable", sink, "error")
    assert told in finding.problem
    assert remedy in finding.remedy
    assert {path.name for path in tmp_path.rglob("*")} == {"data", "spool"}


@pytest.mark.parametrize(
    ("sink", "library", "extra", "environment"),
    [
        ("postgres", "psycopg", "agent", {"CLEW_DSN": NOBODY_ANSWERS}),
        ("otlp", "httpx", "otel", {"CLEW_OTLP_ENDPOINT": "http://127.0.0.1:1"}),
        ("langsmith", "httpx", "langsmith", {"CLEW_LANGSMITH_API_KEY": "key"}),
    ],
)
def test_a_sink_whose_library_is_missing_is_named(
    tmp_path: Path, sink: str, library: str, extra: str, environment: dict[str, str]
) -> None:
    """With the command that installs it; the diagnosis itself needs none of them."""
    program = f"""
        import sys
        sys.modules["{library}"] = None
        from clew.cli.main import run
        sys.exit(run(["doctor"]))
    """

    ended = run_program(tmp_path, program, **environment)

    lines = [line.strip() for line in ended.said.splitlines()]
    assert (ended.status, ended.complaints) == (1, [])
    assert f"error    the sink '{sink}' needs {library}" in lines
    assert f"→ pip install 'clew[{extra}]'" in lines


def test_with_nowhere_to_ship_to_that_is_the_finding(tmp_path: Path) -> None:
    """Whether events wait or not, and it says how many."""
    nowhere = load(tmp_path, sinks=[])
    before = only(nowhere)
    write_log(nowhere.spool_dir)
    after = only(nowhere)

    assert (before.code, after.code) == ("no_sink", "no_sink")
    assert "; 0 wait now" in before.meaning
    assert "; 10 wait now" in after.meaning
    assert "clew up" in after.remedy


def test_events_that_wait_without_an_agent_are_found(settings: Settings) -> None:
    """Those of every log, and no more once they are shipped."""
    write_log(settings.spool_dir)
    write_log(settings.spool_dir, service="other")

    finding = only(settings)
    drain_with_agent(environment_of(settings), None)

    assert (finding.code, finding.severity) == ("no_agent", "error")
    assert "20 events wait" in finding.problem
    assert "clew agent" in finding.remedy
    assert codes(settings) == []


def test_an_agent_that_says_nothing_is_found(settings: Settings) -> None:
    """Its lock is held, and there is no state: it may be stuck."""
    make_private_directory(settings.spool_dir / AGENTS_DIRECTORY)
    lock = FileLock(settings.spool_dir / AGENTS_DIRECTORY / "mute.lock")
    assert lock.acquire()

    finding = only(settings)
    lock.release()

    assert (finding.code, finding.severity) == ("agent_silent", "warning")


def test_a_sink_that_fails_is_found_with_what_it_says(settings: Settings) -> None:
    """While nothing is lost; the number that waits is said, and who has to act."""
    answers: list[Outcome] = [Retry("the store is on fire", is_misconfigured=True)]
    write_log(settings.spool_dir)
    with Shipping(settings, RecordingSink("recording", lambda _: answers[0])):
        assert until(lambda: any(sink.trouble for status in read_statuses(settings.spool_dir) for sink in status.sinks))
        finding = only(settings)
        answers[0] = Delivered()
        assert until(lambda: codes(settings) == [], 60.0), "and it is over by itself"

    assert (finding.code, finding.subject, finding.severity) == ("sink_fails", "recording", "error")
    assert "the store is on fire" in finding.problem
    assert "10 events wait" in finding.meaning
    assert "a person" in finding.meaning


def test_a_store_that_is_away_is_found_twice(settings: Settings) -> None:
    """By the agent that cannot deliver, and by the diagnosis itself; neither says a password."""
    away = load(settings.data_dir.parent, sinks=[], dsn=NOBODY_ANSWERS.replace("clew@", "clew:hunter2@"))
    write_log(away.spool_dir)
    with agent_process(environment_of(away, CLEW_DSN=str(away.dsn), CLEW_SINKS=""), None):
        assert until(lambda: any(sink.trouble for status in read_statuses(away.spool_dir) for sink in status.sinks))
        findings = diagnose(away).findings

    assert [finding.code for finding in findings] == ["sink_fails", "store_unreachable"]
    assert all("127.0.0.1:1" in finding.problem for finding in findings)
    assert "hunter2" not in str(findings)


def test_a_sink_that_does_not_catch_up_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs, and so has no error to tell; events wait for it."""
    monkeypatch.setattr(diagnosis_module, "LAGS_AFTER_S", 0.0)
    goes_on, hangs = threading.Event(), threading.Event()

    def hang(_batch: Batch) -> Outcome:
        hangs.set()
        goes_on.wait(60.0)
        return Delivered()

    with Shipping(settings, RecordingSink("recording", hang)):
        before = codes(settings)
        write_log(settings.spool_dir)
        assert hangs.wait(20.0)
        finding = only(settings)
        goes_on.set()
        assert until(lambda: codes(settings) == [], 60.0)

    assert before == []
    assert (finding.code, finding.subject, finding.severity) == ("sink_lags", "recording", "warning")
    assert "10 events wait" in finding.problem


@pytest.fixture
def lost(tmp_path: Path) -> str:
    """Lose five events of an application that cannot open a log until its end."""
    program = """
        import os, clew
        clew.configure(service="app")
        for _ in range(5):
            clew.get_logger().info("lost")
        os.unlink(os.environ["CLEW_DATA_DIR"])
    """
    (tmp_path / "data").touch()
    assert run_program(tmp_path, program).status == 0
    return "removed"


def test_a_log_that_could_not_be_opened_is_found(tmp_path: Path, lost: str) -> None:
    """By the reason, with what keeps it from happening again; the way of the losses is over, the finding is not."""
    settings = load(tmp_path)
    before = {finding.code: finding for finding in diagnose(settings).findings}
    drain_with_agent(environment_of(settings), None)
    finding = only(settings)

    assert before.keys() == {"no_agent", "log_not_opened"}
    assert before["log_not_opened"] == finding
    assert (finding.subject, finding.severity) == (lost, "warning")
    assert "5 events were lost" in finding.problem
    assert "keep what cleans up away" in finding.remedy


@pytest.mark.usefixtures("lost")
def test_what_was_lost_long_ago_is_a_note(tmp_path: Path) -> None:
    """When the log is shipped and its replay window over, nobody can do anything about it: that is no finding."""
    settings = load(tmp_path)
    drain_with_agent(environment_of(settings, CLEW_REPLAY_WINDOW_S="0"), None)

    diagnosis = diagnose(settings)

    assert diagnosis.findings == []
    assert [(note.code, note.severity, note.problem) for note in diagnosis.notes] == [
        ("lost_earlier", "note", "events were lost earlier: 5 (removed)")
    ]


def test_events_that_were_dropped_are_found(settings: Settings) -> None:
    """For another reason than a log that could not be opened."""
    writer = Writer(settings.spool_dir, service="rag-api", segment_bytes=SMALL)
    assert not writer.append(b"x" * 2 * SMALL)
    writer.close()

    finding = only(settings)

    assert (finding.code, finding.subject) == ("events_dropped", "oversize")
    assert "1 events were lost" in finding.problem


def test_a_damaged_log_is_found(settings: Settings) -> None:
    """While it is there, and while it is kept; with what is lost at least."""
    log = write_log(settings.spool_dir, 2000)
    (log / segment_name(2)).write_bytes(bytes(SMALL))
    before = {finding.code: finding for finding in diagnose(settings).findings}
    drain_with_agent(environment_of(settings), None)
    after = only(settings)

    assert before.keys() == {"no_agent", "logs_damaged"}
    assert f"rag-api/{log.name}" in before["logs_damaged"].problem
    assert (after.code, after.severity) == ("logs_damaged", "warning")
    assert re.match(r"at least [1-9]\d* events are lost", after.meaning)


@pytest.mark.parametrize("kind", ODD_KINDS)
@pytest.mark.parametrize("name", [".agents", ".dead", ".sinks", ".shipped", ".remembered"])
def test_an_odd_file_is_found_wherever_it_is(settings: Settings, name: str, kind: str) -> None:
    """Where a directory should be, or a file in it; nothing of it ends the diagnosis."""
    if kind == "directory":
        make_private_directory(settings.spool_dir / name)
        odd = settings.spool_dir / name / "odd.lock"
    else:
        odd = settings.spool_dir / name
    make_odd(odd, kind)
    write_log(settings.spool_dir)

    findings = diagnose(settings).findings

    expected = [] if kind == "directory" and name in {".sinks", ".shipped", ".remembered"} else [str(odd)]
    assert [finding.subject for finding in findings if finding.code == "odd_file"] == expected
    assert [finding.code for finding in findings if finding.code != "odd_file"] == ["no_agent"]


def test_what_a_sink_has_refused_is_found(settings: Settings) -> None:
    """Until somebody looks at it."""
    write_log(settings.spool_dir)
    sink = RecordingSink("recording", lambda batch: Rejected(tuple(range(len(batch.events))), "too ugly"))
    with Shipping(settings, sink) as supervisor:
        assert supervisor.drain(30.0)
    finding = only(settings)
    (settings.spool_dir / ".dead" / "recording.jsonl").unlink()

    assert (finding.code, finding.subject, finding.severity) == ("dead_letters", "recording", "warning")
    assert "10 events" in finding.problem
    assert "clew dead list --sink recording" in finding.remedy
    assert codes(settings) == []


def test_a_store_without_our_tables_is_found(settings: Settings, empty_postgres: str) -> None:
    """It answers, and has to be migrated."""
    finding = only(load(settings.data_dir.parent, sinks=[], dsn=empty_postgres))

    assert (finding.code, finding.remedy) == ("store_not_migrated", "run `clew store migrate`")


def test_clocks_that_differ_are_found(settings: Settings, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time that the store tells, whatever difference is allowed."""
    monkeypatch.setattr(diagnosis_module, "MAX_SKEW_S", -1.0)

    finding = only(load(settings.data_dir.parent, sinks=[], dsn=postgres))

    assert (finding.code, finding.severity) == ("clock_skew", "warning")


@pytest.mark.parametrize(
    ("host", "is_encrypted", "expected"),
    [
        ("/run/postgresql", False, []),
        ("127.0.0.1", False, []),
        ("db.example", True, []),
        ("db.example", False, ["store_in_the_clear"]),
    ],
)
def test_a_store_that_is_talked_to_in_the_clear_is_found(host: str, is_encrypted: bool, expected: list[str]) -> None:
    """PostgreSQL's clients do without TLS in silence where the server has none."""
    findings = find_plain_transport(host, is_encrypted=is_encrypted)

    assert [finding.code for finding in findings] == expected


@pytest.fixture
def closed_letters(settings: Settings) -> Iterator[Path]:
    """Close the directory of dead letters to those whom permissions bind."""
    directory = settings.spool_dir / ".dead"
    make_private_directory(directory)
    (directory / "recording.jsonl").touch()
    directory.chmod(0o600)
    yield directory
    directory.chmod(0o700)


def test_what_cannot_be_looked_at_is_a_finding_too(settings: Settings, closed_letters: Path) -> None:
    """The diagnosis goes on behind it, and never ends as a fault."""
    command = [*WITHOUT_RIGHTS, sys.executable, "-m", "clew", "doctor"]
    done = subprocess.run(command, env=environment_of(settings), capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, "")
    assert f"cannot look at {closed_letters / 'recording.jsonl'}: Permission denied" in done.stdout
    assert agent_is_alive(settings.spool_dir) is False
