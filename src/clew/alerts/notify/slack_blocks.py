"""A notice as a message of Slack: Block Kit within Slack's limits, whatever the notice holds.

========================  ==========================================================================
header                    150 characters
text of a section         3,000
field                     2,000, and 10 of them
blocks                    50
all of a message          about 13,200, found by others; 13,000 here, counted as JSON
========================  ==========================================================================

Characters are counted as they are sent: ``&`` is five of them. What has to be there (the first line, the facts, the
traces, what to do) has a share of its own, so that it is there whatever else is; evidence and the rest share what is left.

Links are links in a text, not buttons: a button makes Slack call the application back, which a webhook cannot answer, and
the user sees an error beside it.

Source:
    Slack, "Block Kit: blocks" and "Formatting text for app surfaces"; slackapi/bolt-js#2509 (the limit of the whole).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import json

from clew.alerts.notice import first_line
from clew.alerts.notify.text import facts, how_to_answer, what_was_found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clew.alerts.notice import Example, Notice

__all__ = ["escape", "message"]

HEADER: Final = 150
SECTION: Final = 3000
FIELDS: Final = 10
WHOLE: Final = 13_000

_FIRST_LINE: Final = 1500
_FIELD: Final = 320
_EXAMPLES: Final = 1600
_EXAMPLE: Final = 600
_ACTION: Final = 2600
_LEAST_LIST: Final = 120
"""A list for which less is left than this is not begun."""

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_TABLE: Final = str.maketrans(_ENTITIES)
_ELLIPSIS: Final = "…"


def message(notice: Notice) -> dict[str, Any]:
    """Return the message: ``text``, which is the first line, and ``blocks``.

    Args:
        notice: What ``fit`` returned.
    """
    line = first_line(notice)
    text = escape(line, _FIRST_LINE)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": {"type": "plain_text", "text": escape(line, HEADER)}}]
    if blocks[0]["text"]["text"] != text:
        blocks.append(_section(text))
    blocks.append(_fields(notice))
    place_of_lists = len(blocks)
    blocks += _examples(notice) + _what_to_do(notice)
    blocks.append(_context(notice))
    made: dict[str, Any] = {"text": text, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}
    blocks[place_of_lists:place_of_lists] = _lists(notice, WHOLE - len(json.encode(made).decode()))
    return made


def escape(text: str, most: int) -> str:
    """Escape a text for Slack and cut it, between two characters, to what *most* characters of JSON hold.

    Example:
        >>> escape("<!channel> & more", 100), escape("a<b", 4)
        ('&lt;!channel&gt; &amp; more', 'a…')
    """
    if len(text) <= most and _cost(whole := text.translate(_TABLE)) <= most:
        return whole
    parts: list[str] = []
    left = most
    for index, character in enumerate(text):
        part = _ENTITIES.get(character, character)
        cost = _cost(part)
        if cost > left - (1 if index + 1 < len(text) else 0):
            return _cut(parts, left)
        parts.append(part)
        left -= cost
    return "".join(parts)


def _cost(part: str) -> int:
    """Return how many characters of JSON something takes; Slack may count one beyond 16 bits as two."""
    beyond = 0 if part.isascii() else sum(character > "\uffff" for character in part)
    return len(part) + part.count('"') + part.count("\\") + part.count("\n") + beyond


def _cut(parts: list[str], left: int) -> str:
    while left < 1 and parts:
        left += _cost(parts.pop())
    return "".join(parts).rstrip() + _ELLIPSIS


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}  # so that @names and bare addresses stay text


def _fields(notice: Notice) -> dict[str, Any]:
    fields = [_mrkdwn(f"*{fact.label}*\n{escape(fact.text, _FIELD)}") for fact in facts(notice)]
    return {"type": "section", "fields": fields[:FIELDS]}


def _examples(notice: Notice) -> list[dict[str, Any]]:
    return _list("Traces to look at", notice.examples, _example, _EXAMPLES)


def _example(example: Example) -> str:
    about = escape(" ".join(part for part in (example.role, example.text) if part), _EXAMPLE)
    return f"{_link(example.url, example.trace_id)} {about}"


def _link(url: str, text: str) -> str:
    shown = escape(text, _FIELD)
    address = escape(url, _EXAMPLE)
    is_plain = url and "|" not in shown and not address.endswith(_ELLIPSIS)
    return f"<{address}|{shown}>" if is_plain else shown


def _what_to_do(notice: Notice) -> list[dict[str, Any]]:
    parts = [escape(notice.action, _ACTION // 4)] if notice.action else []
    command = escape(notice.command, _ACTION - 800)
    if notice.command and not command.endswith(_ELLIPSIS):  # half a command does something else
        parts.append(f"```{command}```" if "`" not in command else command)
    return [_section("*What to do*\n" + "\n".join(parts))] if parts else []


def _context(notice: Notice) -> dict[str, Any]:
    links = [_link(url, name) for url, name in ((notice.url, "alert"), (notice.runbook, "runbook")) if url]
    commands = [f"{fact.label}: `{escape(fact.text, _FIELD)}`" for fact in how_to_answer(notice)]
    name = f"clew alert {escape(notice.alert_id, _FIELD)}, notice {notice.number}"
    return {"type": "context", "elements": [_mrkdwn(part) for part in (*links, *commands, name)]}


def _lists(notice: Notice, left: int) -> list[dict[str, Any]]:
    """Return the lists that *left* characters hold, each cut to what is left by those before it."""
    blocks: list[dict[str, Any]] = []
    for heading, lines in what_was_found(notice):
        if left < _LEAST_LIST:
            break
        made = _list(heading, lines, lambda line: escape(line, SECTION), min(left - _LEAST_LIST, SECTION))
        left -= sum(len(json.encode(block).decode()) + 1 for block in made)
        blocks += made
    return blocks


def _list(heading: str, entries: Iterable[Any], write: Callable[[Any], str], most: int) -> list[dict[str, Any]]:
    """Return a section of as many lines as *most* characters hold; none if there are none."""
    written = f"*{heading}*"
    for entry in entries:
        line = f"\n• {write(entry)}"
        if _cost(written + line) > most:
            break
        written += line
    return [_section(written)] if "\n" in written else []
