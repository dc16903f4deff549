"""Mail, against a real server: TLS, login, threads, what its answers mean, and that nobody gets a notice twice."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from clew.alerts.notice import first_line
from clew.alerts.notify.mail import Mail, MailServer, read_mail_address, read_mail_server
from clew.alerts.notify.receiver import SendLater, Sent, Undeliverable
from clew.errors import ConfigError
from support.mail_stand_in import PASSWORD, USER, Certificates, MailStandIn
from support.notices import NOTICE
from support.silent_server import SilentServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SENDER = read_mail_address("clew <clew@example.org>", "mail_from")
OPS = read_mail_address("ops@example.org", "mail_to")
TEAM = read_mail_address("Team RAG <rag@example.org>", "mail_to")
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}"


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    """Give an authority of our own."""
    return Certificates("mail.example.org")


@pytest.fixture
def server(certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailStandIn]:
    """Give a server that demands STARTTLS and a login, whose certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", certificates.write(tmp_path / "ca.pem"))
    server = MailStandIn(certificates.server)
    yield server
    server.close()


def to_loopback(_host: str, port: int, **_: Any) -> list[Any]:
    """Look any name up as this machine."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def mailing(url: str, *recipients: Any, limit_s: float = 9.5) -> Mail:
    """Make a receiver for a URL, whose host is this machine whatever its name."""
    return Mail(read_mail_server(url), SENDER, recipients or (OPS,), limit_s=limit_s, lookup=to_loopback)


def over_tls(server: MailStandIn, *recipients: Any, login: str = LOGIN) -> Mail:
    """Make a receiver as the documentation says."""
    return mailing(f"smtp://{login}@mail.example.org:{server.port}?starttls=require", *recipients)


def test_a_notice_is_sent_over_tls_after_a_login(server: MailStandIn) -> None:
    """All recipients get one mail, with two parts that say everything."""
    outcome = over_tls(server, OPS, TEAM).send(NOTICE, "")

    (taken,) = server.mails
    assert isinstance(outcome, Sent)
    assert (taken.is_encrypted, taken.user) == (True, USER)
    assert taken.sender == "clew@example.org"
    assert taken.recipients == ["ops@example.org", "rag@example.org"]
    assert taken.mail["To"] == "ops@example.org, Team RAG <rag@example.org>"
    assert taken.mail["Auto-Submitted"] == "auto-generated"
    assert taken.mail["Subject"].startswith("[CRIT] rag-api error rate 8.3 % (38/458, 5.9–11.5) > 5 % since 21:33 – ")
    for kind in ("plain", "html"):
        part = taken.mail.get_body((kind,))
        assert part is not None
        for text in ("31 users, 1 session", "version 1.4.0 at 21:20", "2 % of the events are late", "team-rag",
                     "clew alerts ack 0193a8f2-7c1e-7b02-9f00-0000000000a1", "clew alerts silence error_rate --for 2h",
                     "0.4 % (the same hour of the last 7 days)", "clew trace 550e8400-e29b-41d4-a716-446655440000",
                     "https://runbooks.example.org/rate-limits", "2026-11-30 21:33:00 UTC"):  # fmt: skip
            assert text in part.get_content(), (kind, text)


def test_mails_of_an_alert_are_one_thread(server: MailStandIn) -> None:
    """Each has an id of its own, the same at every attempt, and refers to the first one and to the alert."""
    mail = over_tls(server)

    first = mail.send(NOTICE, "")
    assert isinstance(first, Sent)
    second = mail.send(replace(NOTICE, kind="resolved", number=2), first.thread)
    over_tls(server).send(NOTICE, "")

    opened, closed, again = (taken.mail for taken in server.mails)
    root = opened["References"]
    assert first.thread == opened["Message-ID"]
    assert second == first
    assert opened["In-Reply-To"] is None
    assert closed["In-Reply-To"] == first.thread
    assert closed["References"].split() == [root, first.thread]
    assert again["Message-ID"] == opened["Message-ID"] != closed["Message-ID"]
    assert closed["Subject"].startswith("[OK] rag-api")


@pytest.mark.parametrize(
    ("command", "answer", "kind"),
    [
        ("MAIL", "451 4.3.0 try later", SendLater),
        ("MAIL", "553 5.7.1 not your address", Undeliverable),
        ("RCPT", "450 4.2.1 greylisted", SendLater),
        ("RCPT", "550 5.1.1 no such user", Undeliverable),
        ("DATA", "451 4.3.0 try later", SendLater),
        ("DATA", "421 4.3.2 going down", SendLater),
        ("DATA", "554 5.7.1 spam", Undeliverable),
    ],
)
def test_an_answer_means(server: MailStandIn, command: str, answer: str, kind: type) -> None:
    """4xx is later, 5xx is never; the reason is the server's; the next attempt is a new one."""
    mail = over_tls(server)
    server.answer_next(command, answer)

    refused, after = mail.send(NOTICE, ""), mail.send(NOTICE, "")

    assert type(refused) is kind
    assert answer in refused.reason  # type: ignore[union-attr]
    assert isinstance(after, Sent)
    assert len(server.mails) == 1


def test_who_has_a_notice_does_not_get_it_again(server: MailStandIn) -> None:
    """Where one of three has to be waited for, the next attempt is for that one."""
    mail = over_tls(server, OPS, TEAM, read_mail_address("late@example.org", "mail_to"))
    server.answer_next("RCPT", "", "", "450 greylisted")

    first, second = mail.send(NOTICE, ""), mail.send(NOTICE, "")

    assert first == SendLater("mail.example.org: 2 of 3 recipients have it; late@example.org: 450 greylisted")
    assert isinstance(second, Sent)
    assert [taken.recipients for taken in server.mails] == [
        ["ops@example.org", "rag@example.org"],
        ["late@example.org"],
    ]


def test_a_recipient_that_is_none_is_named(server: MailStandIn) -> None:
    """The others have the mail, and the outcome says who does not."""
    server.answer_next("RCPT", "550 5.1.1 no such user")

    outcome = over_tls(server, OPS, TEAM).send(NOTICE, "")

    assert outcome == Undeliverable(
        "mail.example.org: 1 of 2 recipients have it; ops@example.org: 550 5.1.1 no such user"
    )
    assert [taken.recipients for taken in server.mails] == [["rag@example.org"]]


def test_a_wrong_password_is_never_right_later(server: MailStandIn) -> None:
    """The outcome says what the server said, without the password."""
    outcome = over_tls(server, login=f"{USER}:swordfish").send(NOTICE, "")

    assert isinstance(outcome, Undeliverable)
    assert "535 5.7.8" in outcome.reason
    assert "swordfish" not in outcome.reason


def test_a_server_that_repeats_the_login_does_not_get_it_into_the_reason() -> None:
    """Neither the password, nor its base64."""
    server = SilentServer(b"554 5.7.1 no AGNsZXcAc3dvcmRmaXNo c3dvcmRmaXNo swordfish\r\n", ends=True)

    outcome = mailing(f"smtp://clew:swordfish@localhost:{server.port}?starttls=off").send(NOTICE, "")

    server.close()
    assert outcome == Undeliverable("localhost: 554 5.7.1 no … … …")


def test_a_certificate_that_is_not_trusted_is_not_sent_a_password(
    server: MailStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be renewed, so the notice waits; nothing was logged in to."""
    monkeypatch.delenv("SSL_CERT_FILE")

    outcome = over_tls(server).send(NOTICE, "")

    assert isinstance(outcome, SendLater)
    assert outcome.reason.startswith("the certificate of mail.example.org is not trusted")
    assert server.mails == []


def test_a_certificate_for_another_name_is_not_trusted(server: MailStandIn) -> None:
    """An address that answers under another name is somebody else."""
    outcome = mailing(f"smtp://{LOGIN}@other.example.org:{server.port}").send(NOTICE, "")

    assert isinstance(outcome, SendLater)
    assert "other.example.org" in outcome.reason


def test_a_server_on_this_machine_may_have_a_certificate_of_its_own(
    server: MailStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS is used where it is offered, and nobody is between."""
    monkeypatch.delenv("SSL_CERT_FILE")

    outcome = mailing(f"smtp://{LOGIN}@127.0.0.1:{server.port}").send(NOTICE, "")

    assert isinstance(outcome, Sent)
    assert server.mails[0].is_encrypted


def test_a_server_without_tls_is_refused_unless_it_is_allowed() -> None:
    """A relay that wants no login may be used without, where the setting says so."""
    server = MailStandIn(None, has_login=False)

    refused = mailing(f"smtp://mail.example.org:{server.port}").send(NOTICE, "")
    taken = mailing(f"smtp://mail.example.org:{server.port}?starttls=off").send(NOTICE, "")
    local = mailing(f"smtp://localhost:{server.port}").send(NOTICE, "")

    server.close()
    assert isinstance(refused, Undeliverable)
    assert "STARTTLS" in refused.reason
    assert isinstance(taken, Sent)
    assert isinstance(local, Sent)


def test_tls_from_the_start(certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``smtps://`` speaks no word in clear."""
    monkeypatch.setenv("SSL_CERT_FILE", certificates.write(tmp_path / "ca.pem"))
    server = MailStandIn(certificates.server, has_login=False, is_tls_from_the_start=True)

    outcome = mailing(f"smtps://mail.example.org:{server.port}").send(NOTICE, "")

    server.close()
    assert isinstance(outcome, Sent)
    assert first_line(NOTICE) in server.mails[0].mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "opening",
    [b"", b"220-", b"220 hello\r\n", b"220 hello\r\n250-mail\r\n250-"],
    ids=["nothing", "a greeting", "hello", "features"],
)
@pytest.mark.parametrize("rest", [b"", b"a" * 100_000, b"x\r\n250-" * 20_000], ids=["silence", "a long line", "lines"])
def test_a_server_that_does_not_end_is_cut(opening: bytes, rest: bytes) -> None:
    """A byte now and then renews every timeout of a socket; the deadline of the attempt holds all the same."""
    server = SilentServer(opening, rest)

    outcome = mailing(f"smtp://localhost:{server.port}", limit_s=0.3).send(NOTICE, "")

    server.close()
    assert isinstance(outcome, SendLater)
    assert outcome.reason in {
        "localhost did not answer within 0.3 s",
        "localhost does not speak SMTP as it should: SMTPConnectError",
        "localhost ended the connection",  # after an answer that is none, the client ends it itself
    }


def test_nobody_there_is_tried_again() -> None:
    """A refused connection is no reason to give up."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = mailing(f"smtp://localhost:{taken.getsockname()[1]}").send(NOTICE, "")

    assert outcome == SendLater("no connection to localhost: Connection refused")


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("smtp://mail.example.org", MailServer("mail.example.org", 25, "require", "", "")),
        ("smtp://a:b@mail.example.org", MailServer("mail.example.org", 587, "require", "a", "b")),
        ("smtp://a%40b:c%2F%3A@mail:2525?starttls=require", MailServer("mail", 2525, "require", "a@b", "c/:")),
        ("smtp://mail?starttls=off", MailServer("mail", 25, "off", "", "")),
        ("smtp://a:b@localhost", MailServer("localhost", 587, "offered", "a", "b")),
        ("smtp://a:b@127.0.0.1:1025?starttls=off", MailServer("127.0.0.1", 1025, "off", "a", "b")),
        ("smtps://a:b@mail", MailServer("mail", 465, "start", "a", "b")),
        ("smtps://a:b@[::1]:4650/", MailServer("::1", 4650, "start", "a", "b")),
    ],
)
def test_a_url_of_a_server_is_read(url: str, read: MailServer) -> None:
    """The port follows from the rest where it is not given; TLS is demanded but of this machine."""
    assert tuple(read_mail_server(url)) == tuple(read)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("smtp://clew:hunter2@mail.example.org?starttls=off", "in clear"),
        ("smtp://clew:hunter2@mail.example.org?starttls=maybe", "starttls=require or"),
        ("smtp://clew:hunter2@mail.example.org?tls=1", "nothing else"),
        ("smtp://clew:hunter2@mail.example.org/path", "nothing else"),
        ("smtp://clew:hunter2@mail.example.org:port", "port"),
        ("smtp://clew:hunter2@", "a host"),
        ("smtp://clew:hunter2%0d%0aQUIT@mail.example.org", "control characters"),
        ("http://clew:hunter2@mail.example.org", "begin with"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, why: str) -> None:
    """The message says what is wrong, and not the password."""
    with pytest.raises(ConfigError, match=why) as refused:
        read_mail_server(url)

    assert "hunter2" not in str(refused.value)


def test_the_password_is_not_in_the_repr() -> None:
    """A traceback with local variables does not show it."""
    server = read_mail_server("smtp://clew:hunter2@mail.example.org")

    assert "hunter2" not in f"{server!r} {server} {Mail(server, SENDER, [OPS])!r}"


@pytest.mark.parametrize(
    "text",
    ["", "ops", "ops@", "@example.org", "ops@example.org\r\nBcc: b@example.org", "ops@example.org, b@example.org",
     "a b@example.org", "ops@example.org>", "Ops <ops@example.org", "x" * 65 + "@example.org", "ops@exa mple.org", "ops@a..b"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    """A header with it would be somebody else's."""
    with pytest.raises(ConfigError, match="the setting mail_to has"):
        read_mail_address(text, "mail_to")


@pytest.mark.parametrize("field", ["service", "title", "cause", "subject", "rule", "alert_id", "command"])
@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r", "\u2028", "\x85", "\x0b"])
def test_no_text_of_a_notice_makes_a_header(server: MailStandIn, field: str, line_end: str) -> None:
    """What looks like the next header stays where it was, on one line."""
    injected = f"x{line_end}Bcc: everyone@example.org{line_end}{line_end}<b>hello</b>"

    outcome = over_tls(server).send(replace(NOTICE, **{field: injected}), f"<a@b>{line_end}Bcc: c@example.org")

    (taken,) = server.mails
    assert isinstance(outcome, Sent)
    assert taken.mail["Bcc"] is None
    assert taken.mail["In-Reply-To"] is None
    assert taken.recipients == ["ops@example.org"]
    assert taken.mail.get_body(("plain",)).get_content().startswith("[CRIT]")  # type: ignore[union-attr]
