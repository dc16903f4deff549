"""Take from events what is measured, each measurement and each error once.

An application tells the same thing in several ways: the tokens of a call stand in ``token_usage_recorded`` and in
the span of the call, one exception fails a span and all those around it. What counts is what is told first,
which is the innermost:

* A log feeds what the catalogue says.
* A span feeds what the catalogue says for its kind, but not a metric that a log in that very span has fed, nor
  one that a span of the same kind inside it has.
* A log around a span that has ended is its *echo* if it tells the same use, model and tokens: an application logs
  what a call took when its traced client has returned. It feeds nothing that the span has fed, once for each span.
* A failed span counts as an error, unless a log or a span inside it has told the same error (type and message).
  Of the spans that the death of a process closes, only the innermost count.

For that, each producer's open spans are remembered, with what was told inside them. What is remembered is bounded,
and saved by whoever counts, in one step with the counts.

Before: ``observation``. After: ``prometheus_feed``, ``rollup``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from zlib import crc32

from msgspec import Struct, field

from clew.catalog import EVENTS, FAILURE_METRICS, METRICS, REQUEST_METRICS, SPAN_METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from clew.measures.observation import Told

__all__ = ["EVERYTHING", "Followed", "OpenSpan", "Wanted", "begin", "follow", "wanted"]

MAX_OPEN: Final = 10_000
MAX_STRAYS: Final = 1_000
MAX_ERRORS: Final = 50  # errors remembered for one span
MAX_ECHOES: Final = 50  # uses whose echo a span waits for
_BELOW: Final = "/"  # between the kind of a span and what it has fed


class OpenSpan(Struct, array_like=True):
    """What was told inside a span that is open.

    Attributes:
        children: Spans open right below it.
        fed: Metrics that its own logs have fed, and ``kind/metric`` for those of spans below.
        errors: Errors told inside, each with the message of the log that told it; empty for a span.
        uses: What spans inside have fed that tell tokens, ``metric/use``, with how many of them no log has echoed.
    """

    children: int = 0
    fed: set[str] = field(default_factory=set[str])
    errors: dict[str, str] = field(default_factory=dict[str, str])
    uses: dict[str, int] = field(default_factory=dict[str, int])


class Followed(Struct):
    """How far a producer was followed.

    Attributes:
        position: What stands before it has been counted.
        spans: Its open spans, by id.
        strays: Spans that it has told something about without having begun them: they came from elsewhere.
    """

    position: int = 0
    spans: dict[str, OpenSpan] = field(default_factory=dict[str, OpenSpan])
    strays: dict[str, OpenSpan] = field(default_factory=dict[str, OpenSpan])


class Wanted(Struct, frozen=True):
    """What events feed, by the catalogue, as far as somebody wants it.

    Attributes:
        logs: Names of metrics, by message.
        spans: Names of metrics, by kind.
        requests: What a request feeds.
        failures: What a failure feeds.
    """

    logs: Mapping[str, tuple[str, ...]]
    spans: Mapping[str, tuple[str, ...]]
    requests: tuple[str, ...]
    failures: tuple[str, ...]


def wanted(metrics: Container[str]) -> Wanted:
    """Say what feeds some of the metrics of the catalogue."""

    def some(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in metrics)

    return Wanted(
        {message: found for message, event in EVENTS.items() if (found := some(event.metrics))},
        {kind: some(names) for kind, names in SPAN_METRICS.items()},
        some(REQUEST_METRICS),
        some(FAILURE_METRICS),
    )


EVERYTHING: Final = wanted(METRICS)
"""What feeds any metric."""


def follow(
    take: Callable[[str, Told], bool],
    told: Told,
    producer: Followed,
    *,
    feeds: Wanted = EVERYTHING,
    is_late: bool = False,
) -> None:
    """Have everything taken that an event feeds, and was not told before.

    Args:
        take: Takes what the metric of a name measures of an event; true if there was something.
        told: The event.
        producer: Whose it is; what it tells about open spans is remembered there.
        feeds: What to take; always the same for one producer.
        is_late: It feeds nothing, but what it tells about spans is remembered.
    """
    if told.kind == "span_start":
        if told.begins:
            begin(producer, told.span_id, told.parent_span_id)
    elif told.kind == "span":
        _end(take, told, producer, feeds, is_late=is_late)
    elif told.kind == "log" and not is_late:
        _log(take, told, producer, feeds)


def begin(producer: Followed, span_id: str | None, parent_span_id: str | None) -> None:
    """Remember that a span has begun."""
    if span_id is None:
        return
    _bound(producer.spans, MAX_OPEN)
    producer.spans[span_id] = producer.strays.pop(span_id, None) or OpenSpan()
    if parent_span_id in producer.spans:
        producer.spans[parent_span_id].children += 1


def _log(take: Callable[[str, Told], bool], told: Told, producer: Followed, feeds: Wanted) -> None:
    around = _around(producer, told.span_id)
    for name in feeds.logs.get(told.message, ()):
        if name in FAILURE_METRICS:
            if _was_told(around, told) not in {None, told.message}:
                continue
            _remember(around, told, by=told.message)
        if around.uses and _is_echo(around, name, told):
            continue
        if take(name, told):
            around.fed.add(name)
    if told.span_id is not None and told.span_id not in producer.spans and (around.fed or around.errors):
        _bound(producer.strays, MAX_STRAYS)
        producer.strays[told.span_id] = around


def _end(take: Callable[[str, Told], bool], told: Told, producer: Followed, feeds: Wanted, *, is_late: bool) -> None:
    span_id = told.span_id or ""
    has_begun = span_id in producer.spans
    inside = producer.spans.pop(span_id, None) or producer.strays.pop(span_id, None) or OpenSpan()
    if not is_late:
        fed = inside.fed
        for name in feeds.spans.get(told.run_type, ()):
            has_fed = fed and (name in fed or f"{told.run_type}{_BELOW}{name}" in fed)
            if not has_fed and take(name, told):
                inside.fed.add(name)
                _await_echo(inside, name, told)
        if told.is_request:
            for name in feeds.requests:
                take(name, told)
        if _is_failure(told, inside):
            for name in feeds.failures:
                take(name, told)
            _remember(inside, told, by="")
    _hand_up(told, inside, producer, has_begun=has_begun)


def _hand_up(told: Told, inside: OpenSpan, producer: Followed, *, has_begun: bool) -> None:
    """Tell the parent of a span that ends what was told inside it."""
    parent_id = told.parent_span_id
    if parent_id is None:
        return
    if parent_id in producer.spans:
        producer.spans[parent_id].children -= has_begun
    elif has_begun or not (inside.fed or inside.errors):
        return  # a parent that is in another process, or has ended before
    above = _around(producer, parent_id)
    is_kind = told.run_type in SPAN_METRICS
    for name in inside.fed:
        if _BELOW in name:
            above.fed.add(name)
        elif is_kind:
            above.fed.add(f"{told.run_type}{_BELOW}{name}")
    for error in inside.errors:
        if len(above.errors) < MAX_ERRORS:
            above.errors[error] = ""
    for use, number in inside.uses.items():
        _add_use(above, use, number)
    if parent_id not in producer.spans:
        _bound(producer.strays, MAX_STRAYS)
        producer.strays[parent_id] = above


def _around(producer: Followed, span_id: str | None) -> OpenSpan:
    """Return what is remembered of a span; something new, that is not remembered yet, if there is nothing."""
    if span_id is None:
        return OpenSpan()
    return producer.spans.get(span_id) or producer.strays.get(span_id) or OpenSpan()


def _await_echo(inside: OpenSpan, name: str, told: Told) -> None:
    use = _use(told)
    if use is not None:
        _add_use(inside, f"{name}{_BELOW}{use}", 1)


def _add_use(span: OpenSpan, use: str, number: int) -> None:
    if use in span.uses or len(span.uses) < MAX_ECHOES:
        span.uses[use] = span.uses.get(use, 0) + number


def _is_echo(around: OpenSpan, name: str, told: Told) -> bool:
    """Say whether a log tells again what a span inside has fed; each such span has one echo."""
    use = f"{name}{_BELOW}{_use(told)}"
    number = around.uses.pop(use, 0)
    if number > 1:
        around.uses[use] = number - 1
    return number > 0


def _use(told: Told) -> str | None:
    """Tell what was used, model and tokens, in eight digits; None if no tokens are told."""
    tokens = [told.number(name) for name in ("tokens_in", "tokens_out")]
    if tokens == [None, None]:
        return None
    numbers = [None if number is None else float(number) for number in tokens]  # 100 and 100.0 are the same use
    return f"{crc32(f'{told.model} {numbers}'.encode('utf-8', 'replace')):08x}"


def _is_failure(told: Told, inside: OpenSpan) -> bool:
    if told.status == "aborted" and inside.children > 0:
        return False
    return told.status in {"error", "aborted"} and _was_told(inside, told) is None


def _was_told(inside: OpenSpan, told: Told) -> str | None:
    """Say which message has told an error before, empty for a span; None if nothing has."""
    error = _identity(told)
    kind = f"{told.error_type}:"
    for known, by in inside.errors.items():
        # Who tells only the type of an error tells that of any message.
        if known in {error, kind} or (error == kind and known.startswith(kind)):
            return by
    return None


def _remember(inside: OpenSpan, told: Told, *, by: str) -> None:
    if len(inside.errors) < MAX_ERRORS:
        inside.errors[_identity(told)] = by


def _identity(told: Told) -> str:
    """Tell errors apart: by type and message, which is not kept itself."""
    message = told.error_message
    digest = "" if message is None else f"{crc32(message.encode('utf-8', 'replace')):08x}"
    return f"{told.error_type}:{digest}"


def _bound(spans: dict[str, OpenSpan], most: int) -> None:
    """Forget the oldest spans, so that another one has room."""
    while len(spans) >= most:
        del spans[next(iter(spans))]
