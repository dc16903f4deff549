"""A trace as its page shows it: the same facts as over the API, laid out for reading.

A page has bounds where a trace has none: of very many spans and logs it shows the first ones, and says so.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from clew.server.ui.words import duration, money, tokens
from clew.store.trace_tree import Summary, walk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clew.store.events import PublicEvent
    from clew.store.trace_tree import SpanNode, Trace

__all__ = ["CostLine", "Failure", "LogLine", "SpanRow", "TraceView", "view_of"]

MAX_SPANS: Final = 1_000
MAX_LOGS: Final = 1_000
DEEPEST: Final = 12  # indentation ends there, or names would leave the page
THINNEST: Final = 0.4  # percent of the width that even the shortest span gets

Facts = list[tuple[str, Any]]


class SpanRow(Struct):
    """A span as a line of the waterfall.

    Attributes:
        name: Its name.
        depth: How deep it is nested, from 0.
        indent: The same, as far as the page follows.
        stage: Its stage; empty for none.
        status: Its status.
        is_orphan: Whether it names a parent that is not there.
        outlasts: Whether it ended after the trace.
        duration: How long it took; empty while it runs.
        begin: Where its bar begins, in percent of the trace.
        length: How long its bar is, in percent of the trace.
        is_open: Whether it has not ended.
        cost: What it and everything inside cost; empty when nobody said.
        tokens: What it and everything inside took.
        facts: Everything else, by name.
    """

    name: str
    depth: int
    indent: int
    stage: str
    status: str
    is_orphan: bool
    outlasts: bool
    duration: str
    begin: float
    length: float
    is_open: bool
    cost: str
    tokens: str
    facts: Facts


class LogLine(Struct):
    """A log.

    Attributes:
        at: When, as a time of the day.
        offset: When, from the beginning of the trace.
        level: Its level.
        message: Its message.
        span: Name of the span it stands in; empty for none.
        facts: Its fields.
    """

    at: str
    offset: str
    level: str
    message: str
    span: str
    facts: Facts


class Failure(Struct):
    """One error, however many events report it.

    Attributes:
        type: Its type.
        message: What it said.
        stack: Where it was raised; empty when nobody said.
        places: The messages of the events that report it, the innermost last.
    """

    type: str
    message: str
    stack: str
    places: list[str]


class CostLine(Struct):
    """What one step cost.

    Attributes:
        name: The step; "other" for what no single step reports.
        stage: Its stage.
        model: The model; empty when nobody said.
        tokens: Tokens read and written.
        cost: The amount.
    """

    name: str
    stage: str
    model: str
    tokens: str
    cost: str


class TraceView(Struct):
    """A trace as its page shows it.

    Attributes:
        summary: The trace in a line.
        facts: Figures of the headline.
        spans: The waterfall, from top to bottom.
        more_spans: How many spans there are beyond.
        logs: The logs, the oldest first.
        more_logs: How many logs there are beyond.
        failures: The errors.
        costs: What the steps cost, the dearest first.
    """

    summary: Summary
    facts: Facts
    spans: list[SpanRow]
    more_spans: int
    logs: list[LogLine]
    more_logs: int
    failures: list[Failure]
    costs: list[CostLine] = field(default_factory=list[CostLine])


def view_of(trace: Trace) -> TraceView:
    """Lay a trace out."""
    nodes = list(walk(trace.spans))
    logs = [(node.event["message"], log) for _, node in nodes for log in node.logs]
    logs += [("", log) for log in trace.logs]
    logs.sort(key=lambda pair: pair[1]["timestamp"])
    begin = datetime.fromisoformat(trace.summary.start)
    return TraceView(
        summary=trace.summary,
        facts=_headline(trace.summary),
        spans=[_row(depth, node, trace.summary.duration_ms) for depth, node in nodes[:MAX_SPANS]],
        more_spans=max(0, len(nodes) - MAX_SPANS),
        logs=[_line(span, log, begin) for span, log in logs[:MAX_LOGS]],
        more_logs=max(0, len(logs) - MAX_LOGS),
        failures=_failures(trace),
        costs=_costs(trace),
    )


def _headline(summary: Summary) -> Facts:
    facts = [
        ("took", duration(summary.duration_ms)),
        ("cost", money(summary.cost_usd)),
        ("tokens", tokens(summary.tokens_in, summary.tokens_out)),
        ("events", f"{summary.event_count:,}"),
        ("errors", f"{summary.error_count:,}" if summary.error_count else ""),
        ("began", summary.start),
        ("services", ", ".join(summary.services)),
        ("user", summary.user_id or ""),
    ]
    return [(name, text) for name, text in facts if text]


def _row(depth: int, node: SpanNode, whole_ms: float) -> SpanRow:
    event, amounts = node.event, node.amounts
    length_ms = event["metrics"].get("duration_ms")
    is_open = not isinstance(length_ms, (int, float))
    scale = 100 / whole_ms if whole_ms > 0 else 0.0
    begin = min(max(node.offset_ms * scale, 0.0), 100 - THINNEST)
    length = 100 - begin if is_open or not scale else length_ms * scale
    return SpanRow(
        name=event["message"],
        depth=depth,
        indent=min(depth, DEEPEST),
        stage=event.get("stage") or "",
        status=event.get("status") or "ok",
        is_orphan=node.is_orphan,
        outlasts=node.outlasts(whole_ms),
        duration="" if is_open else duration(length_ms),
        begin=round(begin, 3),
        length=round(min(max(length, THINNEST), 100 - begin), 3),
        is_open=is_open,
        cost=money(amounts.get("cost_usd")),
        tokens=tokens(amounts.get("tokens_in"), amounts.get("tokens_out")),
        facts=_facts(event, "span_id", "run_type", "service", "version"),
    )


def _facts(event: PublicEvent, *keys: str) -> Facts:
    facts = [(key, event[key]) for key in keys if event.get(key)]
    return [*facts, *event.get("context", {}).items(), *event.get("metrics", {}).items()]


def _line(span: str, log: PublicEvent, begin: datetime) -> LogLine:
    moment = datetime.fromisoformat(log["timestamp"])
    return LogLine(
        at=log["timestamp"][11:23],
        offset=duration(max(0.0, (moment - begin).total_seconds() * 1000)),
        level=log["level"],
        message=log["message"],
        span=span,
        facts=_facts(log),
    )


def _failures(trace: Trace) -> list[Failure]:
    """List the errors of a trace, each once: an exception is reported by every span it leaves."""
    found: dict[tuple[str, str], Failure] = {}
    for event in _events(trace):
        error: dict[str, Any] | None = event.get("error")
        if not error:
            continue
        kind, message, stack = (str(error.get(key) or "") for key in ("type", "message", "stack"))
        failure = found.setdefault((kind, message), Failure(kind or "error", message, stack, []))
        failure.places.append(event["message"])
        failure.stack = max(failure.stack, stack, key=len)
    return list(found.values())


def _events(trace: Trace) -> Iterable[PublicEvent]:
    for _, node in walk(trace.spans):
        yield node.event
        yield from node.logs
    yield from trace.logs


def _costs(trace: Trace) -> list[CostLine]:
    """List the innermost steps that cost something; what they do not come to is "other"."""
    whole = trace.summary.cost_usd
    if whole is None:
        return []
    steps = [
        node
        for _, node in walk(trace.spans)
        if node.amounts.get("cost_usd") and not any(child.amounts.get("cost_usd") for child in node.children)
    ]
    steps.sort(key=lambda node: -node.amounts["cost_usd"])
    lines = [_cost_line(node) for node in steps]
    rest = whole - sum(node.amounts["cost_usd"] for node in steps)
    if rest > whole * 1e-6:
        lines.append(CostLine("other", "", "", "", money(rest)))
    return lines


def _cost_line(node: SpanNode) -> CostLine:
    events = [node.event, *node.logs]
    models = [str(model) for event in events if (model := event.get("context", {}).get("model"))]
    amounts = node.amounts
    return CostLine(
        name=node.event["message"],
        stage=node.event.get("stage") or "",
        model=models[0] if models else "",
        tokens=tokens(amounts.get("tokens_in"), amounts.get("tokens_out")),
        cost=money(amounts.get("cost_usd")),
    )
