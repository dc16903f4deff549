"""A fault of the demo, from the first refused call to a mail and a message in Slack, and to its end."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from msgspec import DecodeError, json

from clew import config
from clew.store.postgres.connect import find_dsn
from support.accounting import wait_for
from support.commands import CLEW
from support.mail_stand_in import MailStandIn
from support.slack_stand_in import SlackStandIn, texts_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

pytestmark = pytest.mark.slow

RULES: Final = """
rules:
  error_rate: {threshold: 15 %, resolve_after: 1s}   # its end then takes two hundred good requests: ADR 73
  latency: {enabled: false}                          # what waits for refused calls is slow too
  rate_limit: {enabled: false}
"""
HARBOUR: Final = """# Harbour fees

A berth in the harbour of Ystad costs 340 euros a night. Fees are paid before noon at the office of the port warden.
Electricity, showers and the laundry are included from May to September; in winter each kilowatt hour is charged apart.
Boats longer than fifteen metres need a reservation by telephone, and anchor outside the breakwater until a pilot arrives.
"""
FAULT: Final = ("--fault", "rate_limit:0.75", "--fix", "--pace", "6", "--questions", "2")
FIRST_LINE: Final = re.compile(
    r"rag-demo demo error rate \d[\d.]* % \(\d+/\d+, [\d.]+–[\d.]+\) > 15 % since \d\d:\d\d – RateLimitError (\d+)/\1 "
)
UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SOON_S: Final = 120.0
LATER_S: Final = 240.0
"""Half a minute where the machine has nothing else to do: the service then answers six requests a second."""


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

    def have(self, number: int) -> bool:
        """Whether both have taken so many notices."""
        return len(self.mail.mails) >= number and len(self.slack.messages) >= number


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    """Give a mail server and a Slack."""
    made = Receivers()
    yield made
    made.mail.close()
    made.slack.close()


class Demo:
    """A demo that runs, and the phases that it says have begun."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.begun: list[str] = []
        self._process = process
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def end(self) -> int:
        """Interrupt it as Ctrl-C does; return its exit code."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(60)
        self._reader.join(10)
        return code

    def _read(self) -> None:
        assert self._process.stdout is not None
        text = b""
        for line in self._process.stdout:
            text += line
            try:
                found = json.decode(text)
            except DecodeError:
                continue
            text = b""
            if found.get("state") == "begin":
                self.begun.append(found["phase"])


@contextmanager
def running_demo(environment: dict[str, str], *arguments: str) -> Iterator[Demo]:
    """Run the demo for the length of a block."""
    process = subprocess.Popen(
        [*CLEW, "demo", *arguments, "--port", "0", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    demo = Demo(process)
    try:
        yield demo
    finally:
        if process.poll() is None:
            demo.end()


def run(environment: dict[str, str], *arguments: str) -> bytes:
    """Run a command to its end, and return what it prints; its exit code is 0."""
    done = subprocess.run([*CLEW, *arguments], env=environment, check=False, capture_output=True)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def listed(environment: dict[str, str]) -> list[dict[str, Any]]:
    """Return the alerts that the command lists."""
    return json.decode(run(environment, "alerts", "list", "--json"))["alerts"]


def evaluate_again(environment: dict[str, str]) -> None:
    """Wait until the rules were evaluated three more times: what is said twice would be said by then."""
    for _ in range(3):
        seen = evaluated_at(environment)
        wait_for(lambda before=seen: evaluated_at(environment) != before, "the next evaluation")


def evaluated_at(environment: dict[str, str]) -> str:
    """Return when the rules were evaluated last."""
    return json.decode(run(environment, "alerts", "list", "--json"))["evaluation"]["evaluated_at"]


def commands_in(body: str) -> list[list[str]]:
    """Return the commands of a mail that stand in lines of their own or behind a word, as somebody copies them."""
    found = re.findall(r"^(?:\w+:| )\s+clew (\w+ .*)$", body, re.MULTILINE)
    return [shlex.split(command) for command in found]


def text_of(mail: EmailMessage) -> str:
    """Return the plain text of a mail."""
    part = mail.get_body(("plain",))
    assert part is not None
    return part.get_content()


def refused_traces(data: Path) -> set[str]:
    """Return the ids of the traces in which a call was refused."""
    with psycopg.connect(find_dsn(config.load(data_dir=data))) as connection:
        rows = connection.execute(
            "SELECT DISTINCT trace_id::text FROM events WHERE error ->> 'type' LIKE '%RateLimitError'"
        )
        return {str(row[0]) for row in rows}


def mark(text: str) -> str:
    """Return what the first word of a notice means."""
    return {"[CRIT]": "fires", "[WARN]": "fires", "[OK]": "is over"}[text.split(maxsplit=1)[0]]


@pytest.mark.timeout(420)
def test_refused_calls_end_in_a_mail_and_a_message_that_say_what_to_do(tmp_path: Path, receivers: Receivers) -> None:
    """Both name value, sample, traces that exist, the error, and commands that work; the end is said once, when it is there."""
    data, document = tmp_path / "data", tmp_path / "harbour.md"
    data.mkdir()
    (data / "alerts.yaml").write_text(RULES)
    document.write_text(HARBOUR)
    environment = receivers.environment(data)
    begun = time.monotonic()
    with running_demo(environment, str(document), *FAULT) as demo:
        wait_for(lambda: receivers.have(1), "a notice", SOON_S)
        assert demo.begun[-1] == "fault", f"after {time.monotonic() - begun} s"
        body, shown = text_of(receivers.mail.mails[0].mail), texts_of(receivers.slack.messages[0])
        for said in (body, shown):
            assert FIRST_LINE.search(said)
            assert "Lower the concurrency, queue calls, or switch to another model" in said
        bad = re.findall(rf"{UUID}(?=  (?:worst|typical))", body)
        assert len(set(bad)) >= 2
        assert set(bad) <= refused_traces(data)
        assert set(bad) <= set(re.findall(UUID, shown))
        [alert] = listed(environment)
        assert (alert["rule"], alert["state"]) == ("error_rate", "firing")
        assert set(bad) <= set(alert["trace_ids"])
        for trace_id in alert["trace_ids"]:
            run(environment, "trace", trace_id)
        look, acknowledge, silence = commands_in(body)
        assert (look[0], acknowledge[:2], silence[:2]) == ("trace", ["alerts", "ack"], ["alerts", "silence"])
        run(environment, *look)
        run(environment, *acknowledge)
        run(environment, "alerts", "show", alert["id"])

        wait_for(lambda: receivers.have(2), "the end", LATER_S)
        assert demo.begun == ["before", "fault", "after"]
        evaluate_again(environment)
        [ended] = listed(environment)
        assert (ended["id"], ended["state"]) == (alert["id"], "resolved")
        run(environment, *silence)
        assert demo.end() == 0

    assert [mark(taken.mail["Subject"]) for taken in receivers.mail.mails] == ["fires", "is over"]
    assert receivers.mail.mails[1].mail["In-Reply-To"] == receivers.mail.mails[0].mail["Message-ID"]
    assert [mark(texts_of(one)) for one in receivers.slack.messages] == ["fires", "is over"]
