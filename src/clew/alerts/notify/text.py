"""A notice as plain text, and the pieces of text that all receivers share.

Texts of a notice come from wherever the application got them, so they may be long, hostile or both. ``fit`` brings every
one of them to one line of bounded length without control characters; after it the first line has a known length, and
nothing that matters can be pushed out by something long. A URL or a command that is too long is left out, not cut: half
a command does something else.

Before: ``clew.alerts.notice``. After: the receivers, each of which escapes for its own form.
"""

from __future__ import annotations

import shlex
import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, urlsplit

from msgspec.structs import replace

from clew.alerts.notice import first_line, format_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from clew.alerts.notice import Example, Notice

__all__ = [
    "Fact",
    "facts",
    "fit",
    "how_to_answer",
    "one_line",
    "shorten",
    "text_body",
    "web_url",
    "what_was_found",
]

NAME_CHARS: Final = 80
TITLE_CHARS: Final = 120
LINE_CHARS: Final = 280
COMMAND_CHARS: Final = 400
URL_CHARS: Final = 600
ID_CHARS: Final = 64
EXAMPLES: Final = 5
LINES: Final = 8

_READ: Final = 8
"""How many times its bound of a text is looked at, so that megabytes cost nothing."""

_ELLIPSIS: Final = "…"
_JOINERS: Final = "\u200c\u200d"  # scripts and emoji need them
_URL_SAFE: Final = "%/:=&?~#+!$,;@[]"


class Fact(NamedTuple):
    """One thing that a person on call reads.

    Attributes:
        label: What it is.
        text: It.
    """

    label: str
    text: str


def one_line(text: str) -> str:
    r"""Return a text without line breaks, control characters, marks of direction and halves of characters.

    Example:
        >>> one_line("a\r\nBcc: b\x00\u202e")
        'a Bcc: b'
    """
    if not text.isprintable():
        text = text.translate({ord(character): None for character in set(text) if _is_unseen(character)})
    return " ".join(text.split())


def _is_unseen(character: str) -> bool:
    """Whether a character is a control that is no space, a mark of direction, a half, or assigned to nothing."""
    if character.isspace() or character in _JOINERS:
        return False
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}


def shorten(text: str, most: int) -> str:
    """Cut a text to *most* characters, the last of which then says that it was cut.

    Example:
        >>> shorten("RateLimitError", 5)
        'Rate…'
    """
    return text if len(text) <= most else text[: most - 1].rstrip() + _ELLIPSIS


def web_url(url: str) -> str:
    """Return a URL as it may be put between quotes or brackets; empty for what is no web address or is too long.

    Example:
        >>> web_url("https://a.example/x|y>"), web_url("javascript:alert(1)")
        ('https://a.example/x%7Cy%3E', '')
    """
    clean = quote(one_line(url[: URL_CHARS * _READ]).replace(" ", "%20"), safe=_URL_SAFE)
    try:
        parts = urlsplit(clean)
    except ValueError:
        return ""
    return clean if parts.scheme in {"http", "https"} and parts.netloc and len(clean) <= URL_CHARS else ""


def fit(notice: Notice) -> Notice:
    """Return the notice with texts of one line and bounded length, and lists of bounded length."""
    command = one_line(notice.command[: COMMAND_CHARS * _READ])
    return replace(
        notice,
        alert_id=_clip(notice.alert_id, ID_CHARS),
        rule=_clip(notice.rule, NAME_CHARS),
        title=_clip(notice.title, TITLE_CHARS),
        service=_clip(notice.service, NAME_CHARS),
        environment=_clip(notice.environment, NAME_CHARS),
        subject=_clip(notice.subject, TITLE_CHARS),
        counted=_clip(notice.counted, NAME_CHARS),
        baseline_text=_clip(notice.baseline_text, TITLE_CHARS),
        examples=tuple(_fit_example(example) for example in notice.examples[:EXAMPLES]),
        cause=_clip(notice.cause, LINE_CHARS),
        evidence=_fit_lines(notice.evidence),
        deploy=_clip(notice.deploy, LINE_CHARS),
        action=_clip(notice.action, LINE_CHARS),
        command=command if len(command) <= COMMAND_CHARS else "",
        quality=_fit_lines(notice.quality),
        owner=_clip(notice.owner, TITLE_CHARS),
        runbook=web_url(notice.runbook),
        url=web_url(notice.url),
        grouped=_fit_lines(notice.grouped),
        summary=_clip(notice.summary, LINE_CHARS),
    )


def facts(notice: Notice) -> list[Fact]:
    """Return what is known of an alert as short facts, the most important first.

    Args:
        notice: What ``fit`` returned.
    """
    sign = "below" if notice.is_below else "above"
    found = [
        Fact("Value", "" if notice.summary else _value(notice)),
        Fact("Threshold", "" if notice.summary else f"{sign} {format_value(notice.threshold, notice.unit)}"),
        Fact("Sample", _sample(notice)),
        Fact("Usual", _usual(notice)),
        Fact("Since", _moment(notice.since)),
        Fact("Resolved", "" if notice.resolved_at is None else _moment(notice.resolved_at)),
        Fact("Affected", _affected(notice)),
        Fact("Last change", notice.deploy),
        Fact("Rule", f"{notice.rule} ({notice.severity})"),
        Fact("Owner", notice.owner),
    ]
    return [fact for fact in found if fact.text]


def what_was_found(notice: Notice) -> list[tuple[str, tuple[str, ...]]]:
    """Return the lists that a notice has, each under its heading; examples and what to do are not among them.

    Args:
        notice: What ``fit`` returned.
    """
    lists = [
        ("Most likely cause so far", (notice.cause,) if notice.cause else ()),
        ("Evidence", notice.evidence),
        ("Limits of the data", notice.quality),
        ("Also notified with this", notice.grouped),
    ]
    return [(heading, lines) for heading, lines in lists if lines]


def how_to_answer(notice: Notice) -> list[Fact]:
    """Return the commands that acknowledge and silence an alert; none for one that is over, a test or a heartbeat.

    Args:
        notice: What ``fit`` returned.
    """
    if notice.kind not in {"firing", "update"}:
        return []
    return [
        Fact("Acknowledge", f"clew alerts ack {shlex.quote(notice.alert_id)}"),
        Fact("Silence", f'clew alerts silence {shlex.quote(notice.rule)} --for 2h --why "…"'),
    ]


def text_body(notice: Notice) -> str:
    """Write everything that a notice says as plain text, the first line first.

    Args:
        notice: What ``fit`` returned.

    Returns:
        Lines, each of at most about a thousand characters; the last one ends with a newline.

    Example:
        >>> text_body(notice).splitlines()[0]  # doctest: +SKIP
        '[CRIT] rag-api error rate 8.3 % (38/458, 5.9–11.5) > 5 % since 21:33 – RateLimitError 34/38 – trace 550e8400…'
    """
    parts = [first_line(notice), _table(facts(notice))]
    parts += [_section(heading, lines) for heading, lines in what_was_found(notice)]
    parts.append(_section("Traces to look at", (_example_line(example) for example in notice.examples)))
    parts.append(_section("What to do", (line for line in (notice.action, notice.command) if line)))
    links = [Fact("Alert", notice.url), Fact("Runbook", notice.runbook)]
    parts.append(_table([fact for fact in [*links, *how_to_answer(notice)] if fact.text]))
    parts.append(f"clew alert {notice.alert_id}, notice {notice.number}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _clip(text: str, most: int) -> str:
    return shorten(one_line(text[: most * _READ]), most)


def _fit_lines(lines: Sequence[str]) -> tuple[str, ...]:
    kept = [clipped for line in lines[:LINES] if (clipped := _clip(line, LINE_CHARS))]
    return (*kept, f"and {len(lines) - LINES} more") if len(lines) > LINES else tuple(kept)


def _fit_example(example: Example) -> Example:
    return replace(
        example,
        trace_id=_clip(example.trace_id, ID_CHARS),
        text=_clip(example.text, LINE_CHARS),
        url=web_url(example.url),
    )


def _value(notice: Notice) -> str:
    value = format_value(notice.value, notice.unit)
    if notice.low is None or notice.high is None:
        return value
    return f"{value}, between {format_value(notice.low, notice.unit)} and {format_value(notice.high, notice.unit)}"


def _sample(notice: Notice) -> str:
    if notice.n is None:
        return ""
    of = f"{notice.n:,} {notice.counted}"
    return f"{of if notice.bad is None else f'{notice.bad:,} of {of}'} in {_duration(notice.window_s)}"


def _usual(notice: Notice) -> str:
    if notice.baseline is None:
        return ""
    usual = format_value(notice.baseline, notice.unit)
    return f"{usual} ({notice.baseline_text})" if notice.baseline_text else usual


def _affected(notice: Notice) -> str:
    counts = [(notice.affected_users, "user"), (notice.affected_sessions, "session")]
    return ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in counts if count is not None)


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}".rstrip()


def _example_line(example: Example) -> str:
    return "  ".join(part for part in (example.trace_id, example.role, example.text, example.url) if part)


def _table(rows: Sequence[Fact]) -> str:
    width = max((len(row.label) for row in rows), default=0)
    return "\n".join(f"{row.label + ':':<{width + 2}}{row.text}" for row in rows)


def _section(heading: str, lines: Iterable[str]) -> str:
    written = "\n".join(f"  {line}" for line in lines)
    return f"{heading}:\n{written}" if written else ""
