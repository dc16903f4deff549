"""A fault of the demo, from the first refused call to a mail and a message in Slack, and to its end."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from msgspec import json

from clew import clock, config
from clew.errors import ClewError
from clew.sinks.base import Delivered
from clew.store.postgres.connect import find_dsn
from clew.store.postgres.sink import PostgresSink
from support.accounting import wait_for
from support.commands import CLEW
from support.mail_stand_in import MailStandIn
from support.metrics import batch, span
from support.slack_stand_in import SlackStandIn, texts_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

RULES = """
rules:
  error_rate: {resolve_after: 1s}
  latency: {enabled: false}        # what waits for refused calls is slow too
  rate_limit: {enabled: false}
"""
HARBOUR = "# Harbour fees\n\nA berth in the harbour of Ystad costs 340 euros a night. Fees are paid before noon.\n"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Receivers:
    """A mail server and a Slack, and the environment that names them."""

    def __init__(self) -> None:
        self.mail, self.slack = MailStandIn(None, has_login=False), SlackStandIn()

    def environment(self, data: Path) -> dict[str, str]:
        """Return the environment of a user who has set both up."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLEW_", "OPENAI_"))}
        return {
            **kept,
            "CLEW_DATA_DIR": str(data),
            "CLEW_ALERTS_INTERVAL_S": "2",
            "CLEW_SMTP_URL": f"smtp://127.0.0.1:{self.mail.port}",
            "CLEW_MAIL_FROM": "clew@example.org",
            "CLEW_MAIL_TO": "ops@example.org",
            "CLEW_SLACK_WEBHOOK_URL": self.slack.webhook_url,
            "CLEW_NOTIFY_ALLOW_PRIVATE": "1",
        }


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    """Give a mail server and a Slack."""
    made = Receivers()
    yield made
    made.mail.close()
    made.slack.close()


@contextmanager
def running(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that goes on, for the length of a block."""
    process = subprocess.Popen([*CLEW, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def run_each(commands: list[str], environment: dict[str, str]) -> list[int]:
    """Run the commands that a notice names, as somebody on call copies them; return their exit codes."""
    words = [shlex.split(command)[1:] for command in commands]
    return [
        subprocess.run([*CLEW, *arguments], env=environment, check=False, capture_output=True).returncode
        for arguments in words
    ]


def known_traces(dsn: str) -> set[str]:
    """Return the ids of the traces in which a call was refused."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT DISTINCT trace_id::text FROM events WHERE error ->> 'type' LIKE '%RateLimitError'"
        )
        return {str(row[0]) for row in rows}


def add_good_requests(dsn: str, number: int) -> None:
    """Store requests of the demo's service that went well, of the last two minutes."""
    sink = PostgresSink(dsn)
    begin = clock.now() - timedelta(minutes=2)
    events = [
        span(
            str(uuid4()),
            None,
            (begin + timedelta(minutes=2) * (place / number)).timestamp(),
            trace_id=str(uuid4()),
            service="rag-demo",
            environment="demo",
        )
        for place in range(number)
    ]
    assert sink.deliver(batch(*events, first=64)) == Delivered()
    sink.close()


@pytest.mark.timeout(300)
def test_refused_calls_end_in_a_mail_and_a_message_that_say_what_to_do(tmp_path: Path, receivers: Receivers) -> None:
    """Both name value, sample, traces that exist, the error, and commands that work; the end is said once."""
    data, document = tmp_path / "data", tmp_path / "harbour.md"
    data.mkdir()
    (data / "alerts.yaml").write_text(RULES)
    document.write_text(HARBOUR)
    environment = receivers.environment(data)
    demo = ("demo", str(document), "--fault", "rate_limit", "--pace", "5", "--questions", "2", "--port", "0", "--json")
    with running(environment, *demo) as process:
        assert process.stdout is not None
        summary = read_summary(process)
        dsn = find_dsn(config.load(data_dir=data))
        assert [alert["rule"] for alert in summary["alerts"]] == ["error_rate"], summary["phases"]
        [mail] = [taken.mail for taken in receivers.mail.mails]
        [message] = receivers.slack.messages
        text = mail.get_body(("plain",))
        assert text is not None
        body, shown = text.get_content(), texts_of(message)
        commands = [line.strip() for line in re.findall(r"clew (?:trace|alerts ack) \S+", body)]
        traces = set(re.findall(rf"{UUID}(?=  (?:worst|typical))", body))

        [alert] = summary["alerts"]
        for said in (body, shown):
            assert re.search(
                r"rag-demo demo error rate \d[\d.]* % \(\d+/\d+, [\d.]+–[\d.]+\) > 5 % since \d\d:\d\d", said
            )
            assert re.search(r"RateLimitError (\d+)/\1 ", said)
            assert "Lower the concurrency, queue calls, or switch to another model" in said
        assert len(traces) >= 2
        assert traces <= known_traces(dsn)
        assert set(alert["trace_ids"]) >= traces
        assert [command.split()[1] for command in commands][:1] == ["trace"]
        assert run_each([*dict.fromkeys(commands), f"clew alerts show {alert['id']}"], environment) == [0, 0, 0]

    with running(environment, "up", "--port", "0"):
        wait_for(lambda: is_up(data), "the store", 60)
        add_good_requests(find_dsn(config.load(data_dir=data)), 3000)
        wait_for(lambda: len(receivers.slack.messages) > 1 and len(receivers.mail.mails) > 1, "the end", 60)
        states = subprocess.run([*CLEW, "alerts", "list", "--json"], env=environment, check=True, capture_output=True)

    assert {one["state"] for one in json.decode(states.stdout)["alerts"]} == {"resolved"}
    assert [mark(taken.mail["Subject"]) for taken in receivers.mail.mails] == ["fires", "is over"]
    assert receivers.mail.mails[1].mail["In-Reply-To"] == mail["Message-ID"]
    assert [mark(texts_of(one)) for one in receivers.slack.messages] == ["fires", "is over"]


def mark(text: str) -> str:
    """Return what the first word of a notice means; it is critical from a share of 20 % on."""
    return {"[CRIT]": "fires", "[WARN]": "fires", "[OK]": "is over"}[text.split(maxsplit=1)[0]]


def read_summary(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read what the demo prints at last, after its lines for each phase."""
    assert process.stdout is not None
    decoder = json.Decoder(dict[str, Any])
    text = b""
    for line in process.stdout:
        text += line
        try:
            found = decoder.decode(text)
        except ValueError:
            continue
        if "check" in found:
            return found
        text = b""
    raise AssertionError(f"the demo ended: {text!r}")


def is_up(data: Path) -> bool:
    """Whether the store of a data directory answers."""
    try:
        find_dsn(config.load(data_dir=data))
    except ClewError:
        return False
    return True
