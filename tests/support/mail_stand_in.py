"""A real mail server on loopback (aiosmtpd), with TLS, a login, and answers by a script."""

from __future__ import annotations

import asyncio
import ssl
import threading
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any, NamedTuple

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import EmailMessage
    from pathlib import Path

__all__ = ["PASSWORD", "USER", "Certificates", "MailStandIn", "TakenMail"]

USER = "clew"
PASSWORD = "hunter2:@/é"


class TakenMail(NamedTuple):
    """A mail that the server has taken.

    Attributes:
        sender: Who it said it is from.
        recipients: Who it is for.
        mail: The mail, parsed.
        is_encrypted: Whether it came over TLS.
        user: Who had logged in; empty for nobody.
    """

    sender: str
    recipients: list[str]
    mail: EmailMessage
    is_encrypted: bool
    user: str


class Certificates:
    """An authority, and a certificate that it has issued for a name."""

    def __init__(self, name: str) -> None:
        self._authority = trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert(name).configure_cert(self.server)

    def write(self, path: Path) -> str:
        """Write the authority's own certificate to a file; returns its name."""
        self._authority.cert_pem.write_to_path(str(path))
        return str(path)


class MailStandIn:
    """A mail server.

    Args:
        tls: STARTTLS with this; no STARTTLS if None.
        has_login: Demands a login, after STARTTLS where there is one.
        is_tls_from_the_start: TLS without STARTTLS.

    Attributes:
        port: Its port on 127.0.0.1.
        mails: What it has taken.
    """

    def __init__(
        self, tls: ssl.SSLContext | None, *, has_login: bool = True, is_tls_from_the_start: bool = False
    ) -> None:
        self.mails: list[TakenMail] = []
        self._script: dict[str, list[str]] = {"MAIL": [], "RCPT": [], "DATA": []}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

        def make() -> SMTP:
            return SMTP(
                self,
                hostname="mail.example.org",
                loop=self._loop,
                tls_context=None if is_tls_from_the_start else tls,
                require_starttls=tls is not None and not is_tls_from_the_start,
                auth_required=has_login,
                auth_require_tls=tls is not None and not is_tls_from_the_start,
                authenticator=self._authenticate if has_login else None,
            )

        self._server = self._call(make, tls if is_tls_from_the_start else None)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def answer_next(self, command: str, *answers: str) -> None:
        """Answer the next commands of this name (``MAIL``, ``RCPT``, ``DATA``) by a script; ``""`` is the usual answer."""
        self._script[command] += answers

    def close(self) -> None:
        """End."""

        async def stop() -> None:
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def handle_MAIL(  # noqa: N802 - the form of aiosmtpd's hooks
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a sender."""
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self._next("MAIL") or "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient."""
        answer = self._next("RCPT")
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail."""
        answer = self._next("DATA")
        if answer:
            return answer
        assert isinstance(envelope.content, bytes)
        mail: Any = message_from_bytes(envelope.content, policy=policy.default)
        login = session.auth_data
        user = login.login.decode() if isinstance(login, LoginPassword) else ""
        is_encrypted = session.ssl is not None
        self.mails.append(TakenMail(envelope.mail_from or "", list(envelope.rcpt_tos), mail, is_encrypted, user))
        return "250 OK"

    def _authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: Any) -> AuthResult:
        is_right = isinstance(data, LoginPassword) and data == LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=is_right, handled=False, auth_data=data)

    def _next(self, command: str) -> str:
        script = self._script[command]
        return script.pop(0) if script else ""

    def _call(self, make: Callable[[], SMTP], tls: ssl.SSLContext | None) -> asyncio.Server:
        starting = self._loop.create_server(make, "127.0.0.1", 0, ssl=tls)
        return asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
