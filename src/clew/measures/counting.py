"""Take from events what counts of them, each amount, measurement, request and error once.

An application reports the same thing in several ways: the tokens of a call stand in ``token_usage_recorded`` and in
the span of the call, one exception fails a span and all those around it. For each event a ``Verdict`` says what of
it counts; every sink and the store add those up and decide nothing themselves.

* **Amounts** (cost, tokens) count by the rule of ``bill``.
* **Measurements** (durations, scores, hits …) are fed by logs as the catalogue says, and by a span as the catalogue
  says for its kind, but not one that a log in that very span has fed, nor one that a span of the same kind inside
  it has.
* **A failed span** counts as an error, unless a log or a span inside it has reported the same error (type and
  message). Of the spans that the death of a process closes, only the innermost count.
* **A request** is a span that begins in its process.

For that, each producer's open spans are remembered, with what was reported inside them. What is remembered is bounded,
and saved by whoever counts, in one step with the counts: whoever replays a log from a saved position comes to the same
verdicts.

Before: ``observation``, ``bill``. After: ``prometheus_feed``, ``minutes``, the columns of ``postgres_rows``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from msgspec import Struct, field

from clew.catalog.events import FAILURE_METRICS
from clew.catalog.series import SPAN_METRICS
from clew.measures.bill import (
    CALLS,
    MAX_LEVELS,
    TRACE,
    UNITS,
    Account,
    Accounts,
    AmountChange,
    Counted,
    Place,
    Remainder,
    add_inside,
    count_log,
    count_span,
    forget,
    hand_up,
    is_priced_inside,
    keep,
    open_account,
    placed,
    reported_by,
    stage_within,
    uses_of,
)
from clew.measures.feeds import EVERYTHING
from clew.measures.labels import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clew.measures.feeds import Wanted
    from clew.measures.observation import Observation

__all__ = [
    "NOTHING",
    "VERDICT_COLUMNS",
    "Followed",
    "OpenSpan",
    "Verdict",
    "begin",
    "follow",
    "verdict_columns",
]

MAX_OPEN: Final = 10_000
MAX_STRAYS: Final = 1_000
MAX_ERRORS: Final = 50  # errors remembered for one span
MAX_ENDED: Final = 1_000  # spans that have ended around others that are open
_BELOW: Final = "/"  # between the kind of a span and what it has fed


class OpenSpan(Struct, array_like=True):
    """What was reported inside a span that is open.

    Attributes:
        children: Spans open right below it.
        fed: Metrics that its own logs have fed, and ``kind/metric`` for those of spans below.
        errors: Errors reported inside, each with the message of the log that reported it; empty for a span.
        uses: Kept empty; agents of before read it.
        stage: The stage that it works for; empty for none.
        parent: The span around it; empty for none.
        held: Spans right below it that have ended around others that are open.
    """

    children: int = 0
    fed: set[str] = field(default_factory=set[str])
    errors: dict[str, str] = field(default_factory=dict[str, str])
    uses: dict[str, int] = field(default_factory=dict[str, int])
    stage: str = ""
    parent: str = ""
    held: int = 0


class Followed(Struct):
    """How far a producer was followed.

    Attributes:
        position: What stands before it has been counted.
        spans: Its open spans, by id.
        strays: Spans that it has reported something about without having begun them: they came from elsewhere.
        ended: Spans that have ended around others that are open.
        accounts: What is known of amounts.
    """

    position: int = 0
    spans: dict[str, OpenSpan] = field(default_factory=dict[str, OpenSpan])
    strays: dict[str, OpenSpan] = field(default_factory=dict[str, OpenSpan])
    ended: dict[str, OpenSpan] = field(default_factory=dict[str, OpenSpan])
    accounts: Accounts = field(default_factory=Accounts)


class Verdict(Struct, frozen=True):
    """What of an event counts.

    Attributes:
        counted: Its amounts, and what they take over from others; None if it counts for none.
        is_request: It is a request.
        is_failure: It is an error that nothing has reported before.
    """

    counted: Counted | None = None
    is_request: bool = False
    is_failure: bool = False


VERDICT_COLUMNS: Final = (
    ("counted_cost_usd", "float8"),
    ("counted_tokens_in", "float8"),
    ("counted_tokens_out", "float8"),
    ("paid_stage", "text"),
    ("paid_line", "text"),
    ("paid_model", "text"),
    ("is_request", "bool"),
    ("is_failure", "bool"),
)
"""(column, PostgreSQL type) of what ``verdict_columns`` returns."""


def verdict_columns(verdict: Verdict) -> tuple[Any, ...]:
    """Return a verdict in the order of ``VERDICT_COLUMNS``; None for what does not count."""
    counted, is_request, is_failure = verdict.counted, verdict.is_request or None, verdict.is_failure or None
    if counted is None or counted.amounts == [None, None, None]:
        return (None, None, None, None, None, None, is_request, is_failure)
    place = counted.place
    return (*counted.amounts, place.stage, place.line, clean(place.model), is_request, is_failure)


NOTHING: Final = Verdict()
"""The verdict on an event that counts for nothing but what it measures."""


def follow(
    take: Callable[[str, Observation], bool],
    event: Observation,
    producer: Followed,
    *,
    feeds: Wanted = EVERYTHING,
    is_late: bool = False,
) -> Verdict:
    """Have every measurement taken that an event feeds, and was not reported before; say what else of it counts.

    Args:
        take: Takes what the metric of a name measures of an event; true if there was something.
        event: The event.
        producer: Whose it is; what it reports about open spans is remembered there.
        feeds: What to take; always the same for one producer.
        is_late: Nothing is taken of it, but what it reports about spans is remembered.
    """
    if event.kind == "span_start":
        if event.begins:
            begin(producer, event.span_id, event.parent_span_id, event.own_stage, event.own_run_type)
    elif event.kind == "span":
        return _end(take, event, producer, feeds, is_late=is_late)
    elif event.kind == "log":
        return _log(take, event, producer, feeds, is_late=is_late)
    return NOTHING


def begin(
    producer: Followed,
    span_id: str | None,
    parent_span_id: str | None,
    stage: str | None = None,
    run_type: str | None = None,
) -> None:
    """Remember that a span has begun."""
    if span_id is None:
        return
    _bound(producer.spans, MAX_OPEN, producer.accounts)
    span = producer.strays.pop(span_id, None) or OpenSpan()
    above = producer.spans.get(parent_span_id or "")
    span.stage = stage_within(stage, run_type, above.stage if above else "")
    span.parent = parent_span_id or ""
    if above is not None:
        above.children += 1
    if producer.accounts.known:
        producer.accounts.unended.pop(span_id, None)  # now it is known to end
    producer.spans[span_id] = span


def _log(
    take: Callable[[str, Observation], bool], event: Observation, producer: Followed, feeds: Wanted, *, is_late: bool
) -> Verdict:
    counted = _count_log(event, producer)
    names = () if is_late else feeds.logs.get(event.message, ())
    if not names:
        return NOTHING if counted is None else Verdict(counted)
    around = _around(producer, event.span_id)
    is_failure = False
    for name in names:
        if name in FAILURE_METRICS:
            if _reporter_of(around, event) not in {None, event.message}:
                continue
            _remember(around, event, by=event.message)
            is_failure = True
        if take(name, event):
            around.fed.add(name)
    if event.span_id is not None and event.span_id not in producer.spans and (around.fed or around.errors):
        _bound(producer.strays, MAX_STRAYS)
        producer.strays[event.span_id] = around
    return Verdict(counted, is_failure=is_failure) if is_failure or counted is not None else NOTHING


def _end(
    take: Callable[[str, Observation], bool], event: Observation, producer: Followed, feeds: Wanted, *, is_late: bool
) -> Verdict:
    span_id = event.span_id or ""
    begun = producer.spans.pop(span_id, None)
    inside = begun or producer.strays.pop(span_id, None) or OpenSpan()
    counted = _count_span(event, producer, inside, has_begun=begun is not None)
    is_request = is_failure = False
    if not is_late:
        fed = inside.fed
        for name in feeds.spans.get(event.run_type, ()):
            has_fed = fed and (name in fed or f"{event.run_type}{_BELOW}{name}" in fed)
            if not has_fed and take(name, event):
                inside.fed.add(name)
        if is_request := event.is_request:
            for name in feeds.requests:
                take(name, event)
        if is_failure := _is_failure(event, inside):
            for name in feeds.failures:
                take(name, event)
            _remember(inside, event, by="")
    _hand_up(event, inside, producer, has_begun=begun is not None)
    if begun is not None:
        _let_go(producer, span_id, inside)
    if counted is None and not is_request and not is_failure:
        return NOTHING
    return Verdict(counted, is_request, is_failure)


def _count_log(event: Observation, producer: Followed) -> Counted | None:
    reported = reported_by(event)
    if reported is None:
        return None
    around = producer.spans.get(event.span_id or "")
    place = _place(event, around.stage if around else "")
    key = event.span_id or _trace_key(event)
    if not key:  # it stands alone
        return Counted(reported, place, [])
    account = _account(producer, key, event)
    amounts = count_log(account, event.message, place, reported)
    change = AmountChange()
    change.add(place, amounts)
    levels = _levels(producer, key, event)
    corrections = list(add_inside(levels, change, is_sum=event.message not in UNITS))
    return Counted(amounts, place, corrections)


def _count_span(event: Observation, producer: Followed, span: OpenSpan, *, has_begun: bool) -> Counted | None:
    """Count what a span reports beyond what is inside it, and hand its account on."""
    accounts, key = producer.accounts, event.span_id or ""
    account = accounts.known.get(key)
    reported = reported_by(event)
    if account is None and reported is None:
        return None
    place = _place(event, span.stage if has_begun else stage_within(event.own_stage, event.own_run_type, ""))
    amounts = None if reported is None else count_span(account, reported)
    if amounts is not None and place.is_unpriced and is_priced_inside(account):
        amounts[0] = 0.0  # stored, so that whoever reads it knows that nothing is without a price
        place.is_unpriced = False
    above = _above(producer, span, event) if has_begun else event.parent_span_id or _trace_key(event)
    change = AmountChange()
    if amounts is not None:
        change.add(place, amounts)
    if account is not None and not account.parent:  # nobody around it knew of what is inside so far
        change.join(account.inside)
    corrections = list(add_inside(_levels(producer, above, event), change)) if above else []
    account = account or Account()
    account.parent = above
    uses = uses_of(account, place.line, reported, is_call=event.run_type in CALLS)
    if above and uses:
        hand_up(uses, _account(producer, above, event))
    if amounts is not None and any(amounts):
        account.remainder = Remainder(place, [amount or 0.0 for amount in amounts])
    if not has_begun:
        keep(accounts, key, account)
    elif span.children or span.held:
        accounts.known[key] = account
    return None if amounts is None else Counted(amounts, place, corrections)


def _place(event: Observation, around: str) -> Place:
    stage, line = placed(event, around)
    return Place(
        event.position,
        event.begun,
        event.service,
        event.environment,
        event.version,
        event.user_id,
        stage,
        line,
        event.model,
        event.operation,
        event.text("provider"),
        event.asked_model,
        event.trace_id,
        event.is_unpriced,
    )


def _trace_key(event: Observation) -> str:
    return f"{TRACE}{event.trace_id}" if event.trace_id else ""


def _above(producer: Followed, span: OpenSpan, event: Observation) -> str:
    """Name the account around a span that has begun; empty for one whose parent is in another process."""
    if not span.parent:
        return _trace_key(event)
    return span.parent if span.parent in producer.spans or span.parent in producer.ended else ""


def _account(producer: Followed, key: str, event: Observation) -> Account:
    found = producer.accounts.known.get(key)
    if found is not None:
        return found
    span = producer.spans.get(key) or producer.ended.get(key)
    if span is None:
        return open_account(producer.accounts, key)
    found = producer.accounts.known[key] = Account(_above(producer, span, event))
    return found


def _levels(producer: Followed, key: str, event: Observation) -> Iterator[Account]:
    """Give an account and all around it, the innermost first."""
    for _ in range(MAX_LEVELS):
        account = _account(producer, key, event)
        yield account
        key = account.parent
        if not key:
            return


def _let_go(producer: Followed, span_id: str, span: OpenSpan) -> None:
    """Remember a span that has ended for as long as one inside it is open, and no longer."""
    if span.children > 0 or span.held > 0:
        if span.parent in producer.spans or span.parent in producer.ended:
            (producer.spans.get(span.parent) or producer.ended[span.parent]).held += 1
        _bound(producer.ended, MAX_ENDED, producer.accounts)
        producer.ended[span_id] = span
        return
    forget(producer.accounts, span_id)
    above = producer.ended.get(span.parent)
    while above is not None and above.children <= 0 and above.held <= 0:
        del producer.ended[span.parent]
        forget(producer.accounts, span.parent)
        span, above = above, producer.spans.get(above.parent) or producer.ended.get(above.parent)
        if above is None:
            return
        above.held -= 1
        if span.parent in producer.spans:
            return


def _around(producer: Followed, span_id: str | None) -> OpenSpan:
    """Return what is remembered of a span; something new, that is not remembered yet, if there is nothing."""
    if span_id is None:
        return OpenSpan()
    return producer.spans.get(span_id) or producer.strays.get(span_id) or OpenSpan()


def _is_failure(event: Observation, inside: OpenSpan) -> bool:
    if event.status == "aborted" and inside.children > 0:
        return False
    return event.status in {"error", "aborted"} and _reporter_of(inside, event) is None


def _reporter_of(inside: OpenSpan, event: Observation) -> str | None:
    """Say which message has reported an error before, empty for a span; None if nothing has."""
    error = _identity(event)
    kind = f"{event.error_type}:"
    for known, by in inside.errors.items():
        # A report of an error's type alone stands for that type with any message.
        if known in {error, kind} or (error == kind and known.startswith(kind)):
            return by
    return None


def _remember(inside: OpenSpan, event: Observation, *, by: str) -> None:
    if len(inside.errors) < MAX_ERRORS:
        inside.errors[_identity(event)] = by


def _identity(event: Observation) -> str:
    """Distinguish errors by type and message, which is not kept itself."""
    message = event.error_message
    digest = "" if message is None else f"{crc32(message.encode('utf-8', 'replace')):08x}"
    return f"{event.error_type}:{digest}"


def _bound(spans: dict[str, OpenSpan], most: int, accounts: Accounts | None = None) -> None:
    """Forget the oldest spans, so that another one has room."""
    while len(spans) >= most:
        oldest = next(iter(spans))
        del spans[oldest]
        if accounts is not None:
            forget(accounts, oldest)


def _hand_up(event: Observation, inside: OpenSpan, producer: Followed, *, has_begun: bool) -> None:
    """Hand what was reported inside a span that ends to its parent."""
    parent_id = event.parent_span_id
    if parent_id is None:
        return
    if parent_id in producer.spans:
        producer.spans[parent_id].children -= has_begun
    elif has_begun and parent_id in producer.ended:
        producer.ended[parent_id].children -= 1
        return
    elif has_begun or not (inside.fed or inside.errors):
        return  # a parent that is in another process, or has ended before
    above = _around(producer, parent_id)
    is_kind = event.run_type in SPAN_METRICS
    for name in inside.fed:
        if _BELOW in name:
            above.fed.add(name)
        elif is_kind:
            above.fed.add(f"{event.run_type}{_BELOW}{name}")
    for error in inside.errors:
        if len(above.errors) < MAX_ERRORS:
            above.errors[error] = ""
    if parent_id not in producer.spans:
        _bound(producer.strays, MAX_STRAYS)
        producer.strays[parent_id] = above
