"""``clew trace``: one trace as a tree and a waterfall, its logs, and what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clew import config
from clew.cli.address import server_url
from clew.cli.asking import Data, Dsn, Json, ask, asks
from clew.cli.look.render import LEVEL_STYLES, STATUS_STYLES, clean, console, duration, fields, money, paged, print_json
from clew.delivery.whereabouts import Whereabouts
from clew.errors import NotFoundError, StoreError
from clew.questions.traces import TraceQuestion
from clew.server.correlation import correlate
from clew.store.trace_tree import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.delivery.whereabouts import Waiting
    from clew.errors import ClewError
    from clew.server.correlation import Backend
    from clew.store.events import PublicEvent
    from clew.store.postgres.lookup import IdMatch
    from clew.store.trace_tree import SpanNode, Summary, Trace

__all__ = ["render", "trace"]

NAME_WIDTH = 44
BAR_WIDTH = 32
MARKS = {"running": "▶ running", "error": "✗ error", "aborted": "☠ aborted", "cancelled": "◌ cancelled"}
STAGE_STYLES = {"ingestion": "blue", "retrieval": "cyan", "generation": "magenta", "evaluation": "green"}


class _Failure(NamedTuple):
    """One error, and the spans it went through."""

    error: dict[str, str]
    places: list[str]


@asks(TraceQuestion)
def trace(question: TraceQuestion, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Show one trace: its spans as a tree and a waterfall, its logs, its errors.

    Any id of it will do. One that leads to several traces, such as a session's, lists them.

    Example: clew trace 550e8400-e29b-41d4-a716-446655440000
    """
    settings = config.load(data_dir=data, dsn=dsn)
    whereabouts = Whereabouts(settings.spool_dir, settings.sink_names())
    try:
        found = ask(settings, question.any_reading())
    except (NotFoundError, StoreError) as error:
        raise _with_waiting(error, whereabouts.find(question.trace_id)) from error
    if isinstance(found, list):
        _show_matches(found, as_json=as_json)
        return
    backends = correlate(found, settings, whereabouts.account, here=server_url(settings))
    if as_json:
        print_json({**found.to_json(), "backends": backends})
        return
    with paged() as out:
        out.print(Group(render(found), Text(""), Text("backends", "bold"), _backend_table(backends)))


def _with_waiting(error: ClewError, waiting: Waiting) -> ClewError:
    """Say with *error* that the spool of this host holds what was asked for, if it does."""
    if not waiting.events:
        return error
    count = "1 event of it waits" if waiting.events == 1 else f"{waiting.events} events of it wait"
    hint = f"{count} on the spool here, for an agent that reaches PostgreSQL: `clew spool status`"
    return type(error)(error.message, hint=hint if isinstance(error, NotFoundError) else f"{error.hint}; {hint}")


def _show_matches(matches: list[IdMatch], *, as_json: bool) -> None:
    if as_json:
        print_json({"matches": matches})
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("newest event", "trace", "service", "found as"):
        table.add_column(name, no_wrap=True)
    for match in matches:
        table.add_row(match.timestamp, match.trace_id, clean(match.service), f"{match.kind} id")
    out = console()
    out.print(table)
    out.print(Text("these are several traces: `clew trace TRACE` shows one of them", "dim"))


def render(found: Trace) -> Group:
    """Lay a trace out for a terminal."""
    parts: list[RenderableType] = [_headline(found.summary), Text("")]
    if found.spans:
        parts.append(_waterfall(found))
    logs = [(node.event["message"], log) for _, node in walk(found.spans) for log in node.logs]
    logs += [("", log) for log in found.logs]
    if logs:
        logs.sort(key=lambda pair: pair[1]["timestamp"])
        parts += [Text(""), Text("logs", "bold"), _log_table(logs)]
    failures = _failures(found)
    if failures:
        parts += [Text(""), Text("errors", "bold"), *(_describe_failure(failure) for failure in failures)]
    return Group(*parts)


def _backend_table(backends: dict[str, Backend]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, backend in backends.items():
        if not (backend.is_on or backend.delivered or backend.pending or backend.quarantined):
            continue
        counts = {"delivered": backend.delivered, "pending": backend.pending, "refused": backend.quarantined}
        shown = [
            f"{number} {word}" for word, number in counts.items() if number or (number == 0 and word == "delivered")
        ]
        links = [link for link in (backend.url, backend.details.get("grafana_url")) if link]
        table.add_row(
            Text(name, "bold" if backend.is_on else "dim"),
            clean(backend.holds),
            Text(", ".join(shown), "yellow" if backend.quarantined else "dim"),
            Text(clean("  ".join([*links, backend.note])).strip(), "dim"),
        )
    return table


def _headline(summary: Summary) -> Text:
    tokens = _tokens({"tokens_in": summary.tokens_in, "tokens_out": summary.tokens_out})
    facts = [
        duration(summary.duration_ms),
        money(summary.cost_usd),
        f"{tokens} tokens" if tokens else "",
        f"{summary.event_count} events",
        f"{summary.error_count} errors" if summary.error_count else "",
    ]
    about = {"user": summary.user_id, "session": summary.session_id, "request": summary.request_id}
    ids = [f"{name} {clean(value)}" for name, value in about.items() if value]
    services = ", ".join(clean(service) for service in summary.services)
    line = Text.assemble(
        (clean(summary.name), "bold"), "  ", (summary.status, STATUS_STYLES.get(summary.status, "")), "  "
    )
    line.append("  ".join(fact for fact in facts if fact))
    line.append("\n" + "  ".join([f"trace {summary.trace_id}", *ids, f"services {services}", summary.start]), "dim")
    if summary.is_truncated:
        line.append("\nnot all of its events are shown: there are too many", "yellow")
    return line


def _waterfall(found: Trace) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("span", no_wrap=True, overflow="ellipsis", max_width=NAME_WIDTH)
    table.add_column("stage")
    table.add_column("duration", justify="right", no_wrap=True)
    table.add_column(f"0 … {duration(found.summary.duration_ms)}", no_wrap=True, width=BAR_WIDTH)
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for guide, node in _guided(found.spans):
        event = node.event
        stage = clean(event.get("stage", ""))
        table.add_row(
            Text.assemble((guide, "dim"), (clean(event["message"]), "bold" if not guide else "")),
            Text(stage, STAGE_STYLES.get(stage, "dim")),
            duration(event["metrics"].get("duration_ms")),
            _bar(node, found.summary.duration_ms),
            money(node.amounts.get("cost_usd")),
            _tokens(node.amounts),
            _marks(node, found.summary.duration_ms),
        )
    return table


def _guided(nodes: list[SpanNode]) -> Iterator[tuple[str, SpanNode]]:
    """Go through a tree from top to bottom, with the lines that show it as one."""
    stack = [("", "", node) for node in reversed(nodes)]
    while stack:
        guide, margin, node = stack.pop()
        yield guide, node
        last = len(node.children) - 1
        for index in range(last, -1, -1):
            branch, further = ("└─ ", "   ") if index == last else ("├─ ", "│  ")
            stack.append((margin + branch, margin + further, node.children[index]))


def _bar(node: SpanNode, whole_ms: float) -> Text:
    status = node.event.get("status", "ok")
    scale = BAR_WIDTH / whole_ms if whole_ms > 0 else 0.0
    begin = max(0, min(int(node.offset_ms * scale), BAR_WIDTH - 1))
    length_ms = node.event["metrics"].get("duration_ms")
    length = BAR_WIDTH - begin if length_ms is None else round(length_ms * scale)
    length = max(1, min(length, BAR_WIDTH - begin))
    piece = "░" if length_ms is None else "█"
    return Text(" " * begin + piece * length, STATUS_STYLES.get(status, "") if status != "ok" else "blue")


def _tokens(amounts: dict[str, float] | dict[str, int | None]) -> str:
    numbers = [amounts.get(name) for name in ("tokens_in", "tokens_out")]
    return (
        "" if numbers == [None, None] else " → ".join("?" if number is None else f"{number:,.0f}" for number in numbers)
    )


def _marks(node: SpanNode, whole_ms: float) -> Text:
    status = node.event.get("status", "ok")
    marks = [Text(MARKS[status], STATUS_STYLES.get(status, ""))] if status in MARKS else []
    if node.is_orphan:
        marks.append(Text("parent is not here", "dim"))
    if node.outlasts(whole_ms):
        marks.append(Text("goes on after the trace", "dim"))
    return Text(" ").join(marks)


def _log_table(logs: list[tuple[str, PublicEvent]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column(overflow="fold")
    for span, log in logs:
        style = LEVEL_STYLES.get(log["level"], "")
        details = Text(fields(log["context"], log["metrics"]), "dim")
        when = log["timestamp"][11:23]
        table.add_row(
            Text(when, "dim"),
            Text(log["level"], style),
            Text(clean(log["message"]), style or "bold"),
            Text(clean(span), "dim"),
            details,
        )
    return table


def _failures(found: Trace) -> list[_Failure]:
    """List the errors of a trace, each once: an exception is reported by every span it leaves."""
    failures: dict[tuple[str, str], _Failure] = {}
    events = [event for _, node in walk(found.spans) for event in (node.event, *node.logs)]
    for event in [*events, *found.logs]:
        error = event.get("error")
        if not error:
            continue
        key = error.get("type", ""), error.get("message", "")
        known = failures.setdefault(key, _Failure(error, []))
        known.places.append(event["message"])
        if len(error.get("stack", "")) > len(known.error.get("stack", "")):
            failures[key] = known._replace(error=error)
    return list(failures.values())


def _describe_failure(failure: _Failure) -> Group:
    error = failure.error
    line = Text.assemble(
        (clean(error.get("type", "error")), "bold red"),
        ": ",
        (clean(error.get("message", "")), "red"),
        (f"  in {clean(' ← '.join(reversed(failure.places)))}", "dim"),
    )
    stack = Text(clean(error.get("stack", ""), is_multiline=True), "dim")
    return Group(line, Padding(stack, (0, 0, 0, 2), expand=False))
