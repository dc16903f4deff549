"""Any notice, hostile texts included, becomes a message that Slack takes and a mail that any program can read."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.headerregistry import Address
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew.alerts.notice import Notice, first_line, format_value
from clew.alerts.notify.mail_message import mail_message
from clew.alerts.notify.slack_blocks import message
from clew.alerts.notify.text import fit, text_body
from support.notices import hostile_notice
from support.slack_stand_in import texts_of, what_slack_refuses

if TYPE_CHECKING:
    from email.message import Message

CHUNKS = 20
PER_CHUNK = 500  # 10,000 together
HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "References", "Auto-Submitted", "X-Auto-Response-Suppress",
    "MIME-Version", "Content-Type", "In-Reply-To",
}  # fmt: skip
ALLOWED_TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "tr", "th", "td", "ul", "li", "a", "p", "pre",
    "code", "small",
}  # fmt: skip
SENDER = Address("clew", addr_spec="clew@example.org")
RECIPIENTS = [Address("Ops, on call", addr_spec="ops@example.org")]


def seeds(chunk: int) -> range:
    """Return the seeds of a part, so that a failure names the seed."""
    return range(chunk * PER_CHUNK, (chunk + 1) * PER_CHUNK)


@pytest.fixture
def step(request: pytest.FixtureRequest) -> int:
    """Give the distance of the notices that are tried: a mail takes 6 ms, so all of them only with the whole suite."""
    return 1 if request.config.getoption("--run-faults", default=False) else 5


def what_has_to_be_said(notice: Notice) -> list[str]:
    """Return what no form of a notice that fits may lose: the value, of how many, and a trace."""
    must = [format_value(notice.value, notice.unit)]
    must += [] if notice.n is None else [f"{notice.n:,}"]
    return [*must, notice.examples[0].trace_id]


def is_or_begins(shown: str, line: str, least: int) -> bool:
    """Whether *shown* is the line, or at least so many characters of its beginning and then an ellipsis."""
    return shown == line or (shown.endswith("…") and len(shown) > least and line.startswith(shown[:-1]))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_notice_becomes_a_message_that_slack_takes(chunk: int) -> None:
    """Within all limits, without a mention, and with the first line, the value, the number and a trace."""
    for seed in seeds(chunk):
        notice = fit(hostile_notice(seed))

        made = message(notice)

        sent = json.encode(made).decode()
        assert what_slack_refuses(json.decode(sent), len(sent)) == [], seed
        shown = texts_of(made)
        assert is_or_begins(shown.splitlines()[0], first_line(notice), 150), seed
        for text in what_has_to_be_said(notice):
            assert text in shown, (seed, text)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_notice_becomes_a_mail(chunk: int, step: int) -> None:
    """Headers are ours alone, lines are short, both parts say the same, and HTML holds no markup of anybody else."""
    for seed in seeds(chunk)[::step]:
        notice = fit(hostile_notice(seed))

        raw = bytes(mail_message(notice, SENDER, RECIPIENTS, ""))

        assert max(map(len, raw.split(b"\r\n"))) <= 998, seed
        assert raw.isascii(), seed
        assert not re.search(rb"[^\r]\n|\r[^\n]", raw), seed
        mail = message_from_bytes(raw)  # which is lazy; the parser that reads every header takes ten times as long
        assert set(mail.keys()) <= HEADERS, seed
        assert len(mail.keys()) == len(set(mail.keys())), seed
        assert all(part.defects == [] for part in mail.walk()), seed
        if seed % 10 == 0:
            assert defects_of_headers(raw) == [], seed
        line = first_line(notice)
        subject = re.sub(r"\s", "", str(make_header(decode_header(mail["Subject"]))))  # folding may add some
        assert len(subject) <= 150, seed
        assert is_or_begins(subject, re.sub(r"\s", "", line), 70), seed
        text, html = contents(mail)
        assert text == text_body(notice), seed
        assert text.splitlines()[0] == line, seed
        page = Page(html)
        assert page.tags <= ALLOWED_TAGS, seed
        assert all(link.startswith(("https://", "http://")) for link in page.links), seed
        assert page.attributes <= {"lang", "charset", "name", "content", "style", "role", "href"}, seed
        for must in (line, *what_has_to_be_said(notice)):
            assert must in text, (seed, must)
            assert must in page.text, (seed, must)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_notice_becomes_lines(chunk: int, step: int) -> None:
    """The plain text has no control characters, and no line that is out of bounds."""
    for seed in seeds(chunk)[::step]:
        text = text_body(fit(hostile_notice(seed)))

        assert all(character.isprintable() or character in "\n\u200c\u200d" for character in text), seed
        assert max(map(len, text.split("\n"))) <= 2000, seed
        assert len(text) <= 20_000, seed
        text.encode()


def contents(mail: Message) -> list[str]:
    """Return the two parts, decoded, the plain one first."""
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    bodies = [part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart()]
    return [body.decode().replace("\r\n", "\n") for body in bodies if isinstance(body, bytes)]


def defects_of_headers(raw: bytes) -> list[Any]:
    """Return what a strict reader finds wrong in any header."""
    mail = message_from_bytes(raw, policy=policy.default)
    return [defect for part in mail.walk() for name in part for defect in (*part.defects, *part[name].defects)]


class Page(HTMLParser):
    """What a mail program sees of the HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        """Note a tag and where it leads."""
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.links += [value for name, value in attrs if name in {"href", "src"}]

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data
