"""A notice as a mail: what it says as text and as HTML, and the headers that thread it.

The HTML loads nothing, runs nothing and sets no background, so that it is read in light and in dark, and in a mail program
that shows no pictures. It says what the text says.

Each notice has a Message-ID of its own, made from the alert and the number of the change: a mail that is sent twice has
the same one, by which most mail programs show it once. All mails of an alert refer to one id, which is never sent
itself, so they are one thread whichever of them arrives first.

Before: ``mail``. After: ``text``.

Source:
    RFC 5322, section 3.6.4 (threads); RFC 3834 (``Auto-Submitted``); RFC 2047 (subjects beyond ASCII).
"""

from __future__ import annotations

import re
from email.header import Header
from email.headerregistry import BaseHeader, HeaderRegistry, UniqueUnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Any, Final

from clew.alerts.notice import dedupe_key, first_line
from clew.alerts.notify.text import facts, how_to_answer, shorten, text_body, what_was_found

if TYPE_CHECKING:
    from collections.abc import Iterable
    from email.headerregistry import Address
    from email.policy import EmailPolicy, Policy

    from clew.alerts.notice import Example, Notice

__all__ = ["mail_message", "message_id"]

SUBJECT_CHARS: Final = 150
"""A telephone shows about forty of them, a mail program about a hundred."""

_LINE_CHARS: Final = 75


class _Subject(UniqueUnstructuredHeader, BaseHeader):  # pyright: ignore[reportIncompatibleVariableOverride] - typeshed has two types of max_count
    """A subject that is encoded as a whole: the library cuts encoded words where they stand beside certain signs."""

    def fold(self, *, policy: Policy[Any]) -> str:
        """Write the header, folded."""
        charset = "us-ascii" if self.isascii() else "utf-8"
        words = Header(str(self), charset, maxlinelen=_LINE_CHARS, header_name="Subject").encode(linesep=policy.linesep)
        return f"Subject: {words}{policy.linesep}"


def _policy() -> EmailPolicy[EmailMessage]:
    registry = HeaderRegistry()
    registry.map_to_type("subject", _Subject)
    return SMTP.clone(cte_type="7bit", header_factory=registry)  # what any server takes, with or without 8BITMIME


_POLICY: Final = _policy()
_IN_AN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MESSAGE_ID: Final = re.compile(r"<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,200}@[A-Za-z0-9.-]{1,200}>")

_STYLE: Final = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:46rem}h1{font-size:1.15rem}h2{font-size:1rem;margin:1.2em 0 .3em}"
    "th{text-align:left;vertical-align:top;padding:0 1em 0 0;font-weight:600}td{padding:0}"
    "code,pre{font-family:ui-monospace,monospace;font-size:.93em;white-space:pre-wrap;overflow-wrap:anywhere}"
    "ul{margin:0;padding-left:1.2em}"
)
_BARS: Final = {"critical": "#d33", "warning": "#c80", "info": "#48c"}
_OVER: Final = "#393"


def mail_message(notice: Notice, sender: Address, recipients: Iterable[Address], thread: str) -> EmailMessage:
    """Return the mail.

    Args:
        notice: What ``fit`` returned.
        sender: Who it is from.
        recipients: Who it is to.
        thread: Message-ID of the first mail of the alert; empty for the first one.
    """
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    mail["To"] = tuple(recipients)
    subject = first_line(notice).replace("=?", "= ?")  # so that no word of it is an encoded one of RFC 2047
    mail["Subject"] = shorten(subject, SUBJECT_CHARS)
    mail["Date"] = notice.at
    mail["Message-ID"] = message_id(dedupe_key(notice, "mail"), sender.domain)
    root = message_id(notice.alert_id, sender.domain)
    if _MESSAGE_ID.fullmatch(thread):
        mail["In-Reply-To"] = thread
        mail["References"] = f"{root} {thread}"
    else:
        mail["References"] = root
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(text_body(notice))
    mail.add_alternative(_html(notice), subtype="html")
    return mail


def message_id(name: str, domain: str) -> str:
    """Return the Message-ID for a name, always the same one.

    Example:
        >>> message_id("a1", "example.org"), message_id("a1:1:mail", "example.org")
        ('<clew.a1@example.org>', '<clew.d5527d4485e0c5c6da470173@example.org>')
    """
    local = name if _IN_AN_ID.fullmatch(name) else sha256(name.encode("utf-8", "replace")).hexdigest()[:24]
    return f"<clew.{local}@{domain.encode('idna').decode('ascii') if domain else 'localhost'}>"


def _html(notice: Notice) -> str:
    colour = _OVER if notice.kind == "resolved" else _BARS[notice.severity]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">',
        f"<title>{escape(notice.title)}</title><style>{_STYLE}</style></head><body>",
        f'<h1 style="border-left:6px solid {colour};padding-left:.6em">{escape(first_line(notice))}</h1>',
        _rows((escape(fact.label), escape(fact.text)) for fact in facts(notice)),
        *(_list(heading, (escape(line) for line in lines)) for heading, lines in what_was_found(notice)),
        _list("Traces to look at", (_example(example) for example in notice.examples)),
        _what_to_do(notice),
        _rows(_answers(notice)),
        f"<p><small>clew alert {escape(notice.alert_id)}, notice {notice.number}</small></p></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    written = "\n".join(f"<tr><th>{label}</th><td>{text}</td></tr>" for label, text in rows)
    return f'<table role="presentation">{written}</table>' if written else ""


def _list(heading: str, entries: Iterable[str]) -> str:
    written = "\n".join(f"<li>{entry}</li>" for entry in entries)
    return f"<h2>{heading}</h2><ul>{written}</ul>" if written else ""


def _example(example: Example) -> str:
    name = f"<code>{escape(example.trace_id)}</code>"
    return f"{_link(example.url, name)} {escape(example.role)} {escape(example.text)}".rstrip()


def _link(url: str, shown: str) -> str:
    return f'<a href="{escape(url)}">{shown}</a>' if url else shown


def _what_to_do(notice: Notice) -> str:
    action = f"<p>{escape(notice.action)}</p>" if notice.action else ""
    command = f"<pre><code>{escape(notice.command)}</code></pre>" if notice.command else ""
    return f"<h2>What to do</h2>{action}{command}" if action or command else ""


def _answers(notice: Notice) -> list[tuple[str, str]]:
    links = [("Alert", notice.url), ("Runbook", notice.runbook)]
    rows = [(label, _link(url, escape(url))) for label, url in links if url]
    return rows + [(fact.label, f"<code>{escape(fact.text)}</code>") for fact in how_to_answer(notice)]
