"""Mail, by SMTP: one message to all recipients, over TLS, within one deadline.

``smtp://user:password@host:587?starttls=require`` or ``smtps://…`` for TLS from the start:

==============================  ====================================================================
``starttls=require``            TLS or nothing; what holds without the word, but for a server on this machine
``starttls=off``                no TLS; refused where a password would be sent to another machine
neither, server on this one     TLS if it is offered
==============================  ====================================================================

Certificates are checked, but for a server on this machine: nobody is between, and a local relay has one of its own making.

A recipient that has the message already is not sent it again when another one has to be waited for; what this process
remembers of that is bounded, and lost when it ends. Answers of 4xx mean later, of 5xx never.

Before: ``outbox``. After: ``mail_message``, ``connection``.

Source:
    RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 8314 (ports and TLS from the start).
"""

from __future__ import annotations

import contextlib
import hmac
import re
import smtplib
import socket
import ssl
from base64 import b64decode, b64encode
from collections import OrderedDict
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from clew.access.address import is_loopback
from clew.alerts.notice import dedupe_key
from clew.alerts.notify.address import find_addresses
from clew.alerts.notify.connection import ATTEMPT_S, Deadline, connect, cut_at
from clew.alerts.notify.mail_message import mail_message
from clew.alerts.notify.receiver import SendLater, SendOutcome, Sent, Undeliverable
from clew.alerts.notify.text import fit, one_line, shorten
from clew.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clew.alerts.notice import Notice
    from clew.alerts.notify.address import Lookup

__all__ = ["Mail", "MailServer", "read_mail_address", "read_mail_server"]

REMEMBERED: Final = 1000
REASON_CHARS: Final = 200
MAX_ROUNDS: Final = 5

ASKS_ON: Final = 334
LOGGED_IN: Final = 235
ALREADY: Final = 503
"""Answers to AUTH (RFC 4954): another challenge, done, and done before."""

_ADDRESS: Final = re.compile(
    r'(?:"(?P<quoted>[^"\\]*)"|(?P<name>[^<>",]*))\s*<(?P<spec>[^<>\s,"]+)>|(?P<bare>[^<>\s,"]+)'
)

_STARTTLS: Final = {"require", "off"}
_LOCAL_PART_CHARS: Final = 64


class MailServer(NamedTuple):
    """A mail server, as its URL names it.

    Attributes:
        host: Its name or address.
        port: Its port.
        tls: ``start`` is TLS from the start, ``require`` STARTTLS or nothing, ``offered`` STARTTLS if there is any.
        user: Who to log in as; empty for no login.
        password: With which password.
    """

    host: str
    port: int
    tls: Literal["start", "require", "offered", "off"]
    user: str
    password: str

    def __repr__(self) -> str:
        """Name the server without what it lets in."""
        return f"MailServer({self.host}:{self.port}, tls={self.tls})"


class Mail:
    """A mail server that sends notices to some recipients.

    Args:
        server: The server.
        sender: Who the mails are from.
        recipients: Who they are to.
        limit_s: Seconds that an attempt takes at most.
        lookup: Who is asked for the addresses of the server's name.
    """

    name = "mail"

    def __init__(
        self,
        server: MailServer,
        sender: Address,
        recipients: Sequence[Address],
        *,
        limit_s: float = ATTEMPT_S,
        lookup: Lookup = socket.getaddrinfo,
    ) -> None:
        self._server = server
        self._sender = sender
        self._recipients = tuple(recipients)
        self._limit_s = limit_s
        self._lookup = lookup
        self._have_it: OrderedDict[str, set[str]] = OrderedDict()

    def send(self, notice: Notice, thread: str) -> SendOutcome:
        """Try once to hand the mail to the server, for the recipients who do not have it yet."""
        deadline = Deadline(self._limit_s)
        mail = mail_message(fit(notice), self._sender, self._recipients, thread)
        key = dedupe_key(notice, self.name)
        missing = [one.addr_spec for one in self._recipients if one.addr_spec not in self._have_it.get(key, ())]
        try:
            refused = self._hand_over(bytes(mail), missing, deadline)
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        except smtplib.SMTPResponseException as error:
            if error.smtp_code < 0:  # what came is no answer
                return SendLater(self._describe(error, deadline))
            return self._judge(error.smtp_code, error.smtp_error)
        except smtplib.SMTPNotSupportedError as error:
            return Undeliverable(f"{self._server.host}: {self._without_secrets(str(error))}")
        except (smtplib.SMTPException, OSError, ValueError) as error:
            return SendLater(self._describe(error, deadline))
        if not refused:
            self._have_it.pop(key, None)
            return Sent(thread or str(mail["Message-ID"]))
        self._remember(key, set(missing) - set(refused))
        return self._judge_recipients(refused)

    def _hand_over(self, mail: bytes, recipients: Sequence[str], deadline: Deadline) -> dict[str, tuple[int, bytes]]:
        """Send *mail*; returns who was refused while others were not."""
        server = self._server
        addresses = find_addresses(
            server.host, server.port, deadline=deadline, may_be_private=True, lookup=self._lookup
        )
        sock = connect(addresses, deadline)
        with cut_at(deadline, sock):
            if server.tls == "start":
                sock = self._context().wrap_socket(sock, server_hostname=server.host)
            with contextlib.closing(sock):
                client = _Client(sock, server.host, max(deadline.left_s(), 0.001))
                self._secure(client)
                if server.user:
                    client.login(server.user, server.password)
                options = ("SMTPUTF8",) if not all(one.isascii() for one in recipients) else ()
                refused = client.sendmail(self._sender.addr_spec, list(recipients), mail, options)
                with contextlib.suppress(smtplib.SMTPException, OSError):  # the mail is taken, whatever comes now
                    client.quit()
                return refused

    def _secure(self, client: _Client) -> None:
        client.ehlo_or_helo_if_needed()
        tls = self._server.tls
        if tls == "require" or (tls == "offered" and client.has_extn("starttls")):
            client.starttls(context=self._context())
            client.ehlo()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if is_loopback(self._server.host):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _judge(self, code: int, said: bytes | str) -> SendOutcome:
        reason = f"{self._server.host}: {self._said(code, said)}"
        return Undeliverable(reason) if code >= 500 else SendLater(reason)

    def _judge_recipients(self, refused: dict[str, tuple[int, bytes]]) -> SendOutcome:
        """Wait for those who may take it later; who never will is named, in the reason or at last."""
        has = f"{len(self._recipients) - len(refused)} of {len(self._recipients)} recipients have it; "
        has = has if len(refused) < len(self._recipients) else ""
        is_temporary = any(code < 500 for code, _ in refused.values())
        reason = has + ", ".join(f"{one}: {self._said(*answer)}" for one, answer in refused.items())
        reason = shorten(f"{self._server.host}: {reason}", 2 * REASON_CHARS)
        return SendLater(reason) if is_temporary else Undeliverable(reason)

    def _remember(self, key: str, recipients: set[str]) -> None:
        if recipients:
            self._have_it.setdefault(key, set()).update(recipients)
        while len(self._have_it) > REMEMBERED:
            self._have_it.popitem(last=False)

    def _said(self, code: int, said: bytes | str) -> str:
        text = said if isinstance(said, str) else said.decode("utf-8", "replace")
        return shorten(f"{code} {self._without_secrets(text)}".rstrip(), REASON_CHARS)

    def _without_secrets(self, text: str) -> str:
        user, password = self._server.user, self._server.password
        forms = [f"\0{user}\0{password}", password]
        for form in forms if password else []:
            for written in (form, b64encode(form.encode()).decode("ascii"), quote(form, safe="")):
                text = text.replace(written, _HIDDEN)
        return one_line(text)

    def _describe(self, error: Exception, deadline: Deadline) -> str:
        """Say what stood in the way of an answer."""
        host = self._server.host
        if deadline.is_over() or isinstance(error, TimeoutError):
            return f"{host} did not answer within {deadline.seconds:g} s"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the certificate of {host} is not trusted: {error.verify_message}"
        if isinstance(error, socket.gaierror):
            return f"{host} is not known: {error.strerror}"
        if isinstance(error, smtplib.SMTPServerDisconnected):
            return f"{host} ended the connection"
        if isinstance(error, OSError) and error.strerror:
            return f"no connection to {host}: {error.strerror}"
        return f"{host} does not speak SMTP as it should: {type(error).__name__}"


_HIDDEN: Final = "…"


class _Client(smtplib.SMTP):
    """A client on a connection that was made for it."""

    def __init__(self, sock: socket.socket, host: str, timeout_s: float) -> None:
        self._connection = sock
        name = socket.gethostname()
        usual = name if name.isascii() and all(part.isalnum() for part in name.replace("-", "a").split(".")) else ""
        super().__init__(host, local_hostname=usual or "localhost", timeout=timeout_s)

    def _get_socket(self, *_: object) -> socket.socket:
        return self._connection

    def auth(
        self, mechanism: str, authobject: Callable[..., str | None], *, initial_response_ok: bool = True
    ) -> tuple[int, bytes]:
        """Log in with a user and a password in UTF-8, as RFC 4616 has it; that of the library knows ASCII only."""
        first = authobject() if initial_response_ok else None
        code, said = self.docmd("AUTH", mechanism if first is None else f"{mechanism} {_base64(first)}")
        for _ in range(MAX_ROUNDS):
            if code != ASKS_ON:
                break
            code, said = self.docmd(_base64(authobject(b64decode(said)) or ""))
        if code not in {LOGGED_IN, ALREADY}:
            raise smtplib.SMTPAuthenticationError(code, said)
        return code, said

    def auth_cram_md5(self, challenge: bytes | None = None) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride] - typeshed knows no challenge that is not there
        """Answer a challenge (RFC 2195)."""
        if challenge is None:
            return None
        return f"{self.user} {hmac.new(self.password.encode(), challenge, 'md5').hexdigest()}"


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")


def read_mail_server(url: str) -> MailServer:
    """Read ``smtp_url``.

    Args:
        url: ``smtp://`` or ``smtps://``, with ``user:password@`` (percent-encoded where they have signs) and
            ``?starttls=require`` or ``off``.

    Raises:
        ConfigError: It cannot be meant, or would send a password in clear; the URL is not repeated.

    Example:
        >>> read_mail_server("smtp://clew:secret@mail.example.org")
        MailServer(mail.example.org:587, tls=require)
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _wrong("its host or its port is none") from None
    if parts.scheme not in {"smtp", "smtps"} or not host:
        raise _wrong("it does not begin with smtp:// or smtps:// and a host")
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = asked.keys() - {"starttls"}
    if unknown or asked.get("starttls", "off") not in _STARTTLS or parts.path not in {"", "/"}:
        raise _wrong("after the host there may be ?starttls=require or ?starttls=off, and nothing else")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if any(not text.isprintable() for text in (user, password)):
        raise _wrong("its user or its password has control characters")
    if parts.scheme == "smtps":
        return MailServer(host, port or 465, "start", user, password)
    usual = "offered" if is_loopback(host) else "require"
    tls = cast(Literal["require", "offered", "off"], asked.get("starttls", usual))
    if tls == "off" and user and not is_loopback(host):
        raise _wrong("with starttls=off the password would be sent in clear")
    return MailServer(host, port or (587 if user else 25), tls, user, password)


def _wrong(what: str) -> ConfigError:
    return ConfigError(
        f"the setting smtp_url is wrong: {what}",
        hint="write it as smtp://user:password@host:587?starttls=require, or smtps:// for TLS from the start",
    )


def read_mail_address(text: str, setting: str) -> Address:
    """Read an address, with or without a name, as ``ops@example.org`` or ``Ops <ops@example.org>``.

    Raises:
        ConfigError: It is none.

    Example:
        >>> read_mail_address("Ops <ops@example.org>", "mail_to").addr_spec
        'ops@example.org'
    """
    found = _ADDRESS.fullmatch(text.strip(" "))
    name, spec = "", ""
    if found is not None:
        name = (found["quoted"] or found["name"] or "").strip()
        spec = found["spec"] or found["bare"]
    try:
        address = Address(display_name=name, addr_spec=spec)
        address.domain.encode("idna")
    except (ValueError, IndexError, HeaderParseError):
        address = Address()
    has_both = address.username and address.domain and len(address.username) <= _LOCAL_PART_CHARS
    if not has_both or not text.isprintable():
        raise ConfigError(f"the setting {setting} has {text!r}, which is no mail address", hint="write ops@example.org")
    return address
