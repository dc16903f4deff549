"""Which reported amounts count: cost, tokens read and tokens written, each once. The one rule for all surfaces.

An application reports the same use several times: in a log of the call, in the span of the call, in the spans
around it, in logs that sum a step up. ``docs/explanation/counting.md`` says the rule with an example for each
case. In short, for each amount by itself:

* **Inner before outer.** What is reported inside a span counts. What the span itself reports counts only as far as
  it goes beyond that: its *remainder*.
* **A log of one use** (``UNITS``) counts, unless it repeats a use that a span inside has reported: the same tokens on
  the same line of the bill, or the same cost where no tokens are reported. Each use has one repeat.
* **A log that sums up** (any other) counts as far as it goes beyond what is known around it: of its line of the
  bill, or of its whole stage where its line is ``other``. It counts nothing if it is exactly the sum of everything
  inside.
* **Late inner reports** take over what an outer one was counted for: they count in whole, and a ``Correction`` takes
  as much away from the remainder of the outer one.

So a report never lowers a sum, the order of reports changes no sum over a trace, and surfaces only add up.

Everything stands under the stage and the line of the bill of the span it happened in (``placed``).

What is remembered is bounded: the accounts of open spans, and of others the latest ``MAX_RECENT`` that ended and
``MAX_UNENDED`` that are known by what happened in them alone. What is forgotten is treated as if nothing had been
reported there.

Before: ``observation``. After: ``counting``.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from clew.catalog.bill import PAID_MESSAGES, paid_for
from clew.catalog.events import STAGE_OF_RUN_TYPE
from clew.measures.observation import MAX_AMOUNT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from clew.measures.observation import Observation

__all__ = [
    "AMOUNTS",
    "CALLS",
    "MAX_LEVELS",
    "TRACE",
    "UNITS",
    "Account",
    "Accounts",
    "AmountChange",
    "Correction",
    "Counted",
    "Place",
    "Remainder",
    "add_inside",
    "count_log",
    "count_span",
    "forget",
    "hand_up",
    "is_priced_inside",
    "keep",
    "open_account",
    "placed",
    "reported_by",
    "stage_within",
    "total",
    "uses_of",
]

AMOUNTS: Final = ("cost_usd", "tokens_in", "tokens_out")
"""What is counted, in the order of every list of three here."""

UNITS: Final = frozenset(PAID_MESSAGES) - {"metrics_evaluated"}
"""Logs that report one use each; all others sum something up."""

MAX_UNENDED: Final = 1_000
MAX_RECENT: Final = 100
MAX_USES: Final = 50  # uses of one span that may still be repeated
MAX_LEVELS: Final = 1_000  # parents that name each other in a circle come to an end
TRACE: Final = "trace:"
"""What the account of a trace is called by, before its id."""

CALLS: Final = frozenset({"llm", "embedding", "retriever", "reranker"})
"""Kinds of spans that are one use each, whatever is inside them."""

_SERVING: Final = ("generation", "embedding")  # lines of calls to models, which serve whatever stage they happen in
_EXACT: Final = 1e-9

Three = list[float]
"""An amount for each of ``AMOUNTS``."""


class Place(Struct, array_like=True):
    """Where a counted amount stands, as much of it as it takes to take some of it away again.

    Attributes:
        position: Of its event in the log of its producer.
        begun: The event's timestamp.
        service: Who reported it.
        environment: Where that runs.
        version: Which version of it.
        user_id: On whose behalf; empty if that is not known.
        stage: Its stage.
        line: Its line of the bill.
        model: What is paid for.
        operation: What OpenTelemetry calls the call.
        provider: Who runs the model.
        asked_model: The model that was asked.
        trace_id: Its trace; empty for none.
        is_unpriced: The agent knew no price for what it used.
    """

    position: int
    begun: datetime
    service: str
    environment: str = ""
    version: str = ""
    user_id: str = ""
    stage: str = ""
    line: str = ""
    model: str = ""
    operation: str = ""
    provider: str = ""
    asked_model: str = ""
    trace_id: str = ""
    is_unpriced: bool = False


class Remainder(Struct, array_like=True):
    """What an outer report is counted for, until inner ones take it over."""

    place: Place
    left: Three


class Summing(Struct, array_like=True):
    """What the logs of one message that sums up have reported, and what of it is counted."""

    reported: Three
    counted: list[Remainder] = field(default_factory=list[Remainder])
    settled: Three = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, remainder: Remainder) -> None:
        """Remember what one more is counted for; what the oldest are is settled when there are too many."""
        self.counted.append(remainder)
        if len(self.counted) > MAX_USES:
            for at, amount in enumerate(self.counted.pop(0).left):
                self.settled[at] += amount


class Use(Struct, array_like=True):
    """A use that a log further out may repeat; None for what was not reported."""

    line: str
    reported: list[float | None]


class Account(Struct, array_like=True):
    """What is known of the amounts inside a span, or of a trace outside of its spans.

    Attributes:
        parent: The account around it; empty as long as that is not known.
        inside: What is counted inside, by ``stage/line``.
        sums: Its own logs that sum up, by ``stage/line/message``.
        uses: Uses inside that no log has repeated yet.
        own: Uses that its own logs have reported, for those around it.
        remainder: What its own report is counted for, when it has ended.
    """

    parent: str = ""
    inside: dict[str, Three] = field(default_factory=dict[str, Three])
    sums: dict[str, Summing] = field(default_factory=dict[str, Summing])
    uses: list[Use] = field(default_factory=list[Use])
    own: list[Use] = field(default_factory=list[Use])
    remainder: Remainder | None = None


class Accounts(Struct):
    """The accounts of one producer, by span, or by ``trace:`` and the id for what no span is around.

    Attributes:
        known: The accounts.
        unended: Those of spans that are known by what happened in them alone, the oldest first.
        recent: Those of traces, and of ended spans that were received without a beginning, the oldest first.
    """

    known: dict[str, Account] = field(default_factory=dict[str, Account])
    unended: dict[str, None] = field(default_factory=dict[str, None])
    recent: dict[str, None] = field(default_factory=dict[str, None])


class Correction(Struct, frozen=True):
    """What is taken away from an amount that was counted before.

    Attributes:
        place: Where it stands.
        amounts: How much, each zero or more.
        is_gone: Nothing is left there.
    """

    place: Place
    amounts: Three
    is_gone: bool


class Counted(Struct, frozen=True):
    """What of an event's report counts.

    Attributes:
        amounts: How much, by ``AMOUNTS``; None where it reports nothing, or only what others have.
        place: Where it stands.
        corrections: What it takes over from others.
    """

    amounts: list[float | None]
    place: Place
    corrections: list[Correction]


def stage_within(stage: str | None, run_type: str | None, around: str) -> str:
    """Say which stage a span works for.

    Args:
        stage: Its own.
        run_type: Its kind.
        around: The stage that the span around it works for; empty if that is not known.

    Example:
        >>> stage_within("generation", "llm", "evaluation"), stage_within("retrieval", "retriever", "generation")
        ('evaluation', 'retrieval')
    """
    own = "" if stage is None or stage == "other" else stage
    is_implied = run_type in {"llm", "prompt"} and STAGE_OF_RUN_TYPE.get(run_type or "") == own
    return around if around == "evaluation" or not own or (is_implied and around) else own


def placed(event: Observation, around: str) -> tuple[str, str]:
    """Return (stage, line of the bill) that an event's amounts stand under.

    Args:
        event: The event.
        around: For a log the stage that its span works for, for a span the one that it works for itself.
    """
    if "evaluation" in (around, event.stage):
        return "evaluation", "judge"
    own = event.stage
    if around and (own == "other" or event.line in _SERVING):
        own = around
    return own, event.line if own == event.stage else paid_for(event.message, event.own_run_type, own, event.named).line


def reported_by(event: Observation) -> list[float | None] | None:
    """Return the amounts that an event reports; None if it reports none."""
    amounts = event.amounts_reported()
    if amounts is None:
        return None
    return [None if amount is None else min(max(float(amount), 0.0), MAX_AMOUNT) for amount in amounts]


def open_account(accounts: Accounts, key: str) -> Account:
    """Make the account of a trace, or of a span that has not begun: nothing says yet what is around it."""
    _remember(accounts, accounts.recent if key.startswith(TRACE) else accounts.unended, key)
    account = accounts.known[key] = Account()
    return account


def keep(accounts: Accounts, key: str, account: Account) -> None:
    """Keep the account of a span that has ended for a while: something inside may still come."""
    accounts.unended.pop(key, None)
    accounts.recent.pop(key, None)
    _remember(accounts, accounts.recent, key)
    accounts.known[key] = account


def forget(accounts: Accounts, key: str) -> None:
    """Forget an account."""
    accounts.known.pop(key, None)
    accounts.unended.pop(key, None)
    accounts.recent.pop(key, None)


def _remember(accounts: Accounts, order: dict[str, None], key: str) -> None:
    most = MAX_RECENT if order is accounts.recent else MAX_UNENDED
    while len(order) >= most:
        oldest = next(iter(order))
        del order[oldest]
        accounts.known.pop(oldest, None)
    order[key] = None


def count_log(account: Account, message: str, place: Place, reported: Sequence[float | None]) -> list[float | None]:
    """Say what of a log's report counts within its account; it is not added to it yet."""
    if message in UNITS:
        repeated = _claim(account.uses, place.line, reported)
        if repeated is None and len(account.own) < MAX_USES:
            account.own.append(Use(place.line, list(reported)))
        return _beyond(reported, repeated or (0.0, 0.0, 0.0), is_known=repeated is not None)
    return _count_sum(account, message, place, reported)


def _count_sum(account: Account, message: str, place: Place, reported: Sequence[float | None]) -> list[float | None]:
    key = f"{place.stage}/{place.line}/{message}"
    summing = account.sums.get(key) or Summing([0.0, 0.0, 0.0])
    if key not in account.sums and len(account.sums) < MAX_USES:
        account.sums[key] = summing
    prefix = f"{place.stage}/" if place.line == "other" else f"{place.stage}/{place.line}"
    scope = _total(sums for name, sums in account.inside.items() if name.startswith(prefix))
    everything = total(account)
    counts: list[float | None] = []
    for at, amount in enumerate(reported):
        if amount is None:
            counts.append(None)
            continue
        summing.reported[at] += amount
        counted = summing.settled[at] + sum(remainder.left[at] for remainder in summing.counted)
        whole = summing.reported[at]
        others = scope[at] - counted
        if _is_same(whole, everything[at] - counted):
            others = whole
        rest = whole - max(others, 0.0) - counted
        counts.append(_rest(amount, rest, is_known=others > 0.0 or counted > 0.0))
    if any(counts):
        summing.add(Remainder(place, [count or 0.0 for count in counts]))
    return counts


def count_span(account: Account | None, reported: Sequence[float | None]) -> list[float | None]:
    """Say what of a span's own report counts: what goes beyond what is known of it."""
    if account is None:
        return list(reported)
    known = total(account)
    if account.remainder is not None:  # it ends for a second time
        known = [a + b for a, b in zip(known, account.remainder.left, strict=True)]
    return _beyond(reported, known, is_known=bool(account.inside))


def is_priced_inside(account: Account | None) -> bool:
    """Say whether reports inside have a cost and no tokens: the cost of the tokens that the span around them reports."""
    if account is None:
        return False
    cost, *tokens = total(account)
    return cost > 0.0 and not any(tokens)


def total(account: Account) -> Three:
    """Return what is counted inside."""
    return _total(account.inside.values())


def _total(parts: Iterable[Three]) -> Three:
    found = [0.0, 0.0, 0.0]
    for part in parts:
        for at in range(3):
            found[at] += part[at]
    return found


def _beyond(reported: Sequence[float | None], known: Sequence[float], *, is_known: bool) -> list[float | None]:
    return [
        None if amount is None else _rest(amount, amount - there, is_known=is_known)
        for amount, there in zip(reported, known, strict=True)
    ]


def _rest(amount: float, rest: float, *, is_known: bool) -> float | None:
    """Return what is left of an amount; None if nothing is, and zero for a report of nothing that is the first."""
    if rest <= _EXACT * amount:
        return None if is_known or amount else 0.0
    return min(rest, amount)


def _is_same(one: float, other: float) -> bool:
    return one > 0.0 and abs(one - other) <= _EXACT * max(one, other)


def _claim(uses: list[Use], line: str, reported: Sequence[float | None]) -> list[float] | None:
    """Take the use out that a log repeats, or all of its line if it is their sum; return what they reported."""
    of_line = [use for use in uses if use.line == line]
    if not of_line:
        return None
    found = [use for use in of_line if _repeats(reported, use.reported)][:1]
    if not found:
        whole = [_add_up(use.reported[at] for use in of_line) for at in range(3)]
        if not _repeats(reported, whole):
            return None
        found = of_line
    for use in found:
        uses.remove(use)
    return [sum(use.reported[at] or 0.0 for use in found) for at in range(3)]


def _add_up(amounts: Iterable[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def _repeats(reported: Sequence[float | None], use: Sequence[float | None]) -> bool:
    """Say whether two reports are of one use: by their tokens, or by their cost if one of them reports no tokens."""
    if reported[1:] != [None, None] and list(use[1:]) != [None, None]:
        return list(reported[1:]) == list(use[1:])
    cost, known = reported[0], use[0]
    return cost is not None and known is not None and (cost == known or _is_same(cost, known))


def uses_of(account: Account, line: str, reported: Sequence[float | None] | None, *, is_call: bool) -> list[Use]:
    """Take out of the account of a span that ends which uses may still be repeated further out."""
    uses = [*account.uses, *account.own]
    account.uses, account.own = [], []
    if reported is not None and (is_call or not uses):
        return [Use(line, list(reported))]
    return uses


def hand_up(uses: list[Use], parent: Account) -> None:
    """Note in the account around a span which uses may be repeated there."""
    parent.uses += uses[: max(0, MAX_USES - len(parent.uses))]


class AmountChange(Struct):
    """What is added inside an account, by ``stage/line``; it may be less than zero where something was taken over."""

    parts: dict[str, Three] = field(default_factory=dict[str, Three])

    def net(self, prefix: str = "") -> Three:
        """Return what it comes to, within a stage or line."""
        return _total(part for name, part in self.parts.items() if name.startswith(prefix))

    def join(self, parts: dict[str, Three]) -> None:
        """Add parts."""
        for name, amounts in parts.items():
            part = self.parts.setdefault(name, [0.0, 0.0, 0.0])
            for at in range(3):
                part[at] += amounts[at]

    def add(self, place: Place, amounts: Sequence[float | None], sign: float = 1.0) -> None:
        """Add amounts where they stand."""
        part = self.parts.setdefault(f"{place.stage}/{place.line}", [0.0, 0.0, 0.0])
        for at, amount in enumerate(amounts):
            part[at] += sign * (amount or 0.0)


def add_inside(levels: Iterable[Account], change: AmountChange, *, is_sum: bool = False) -> Iterator[Correction]:
    """Add what is counted to the account it is counted in and to all around that, the innermost first.

    Args:
        levels: The accounts.
        change: What is added; it is used up.
        is_sum: It is reported by a log that sums up, which takes nothing over from others of the same account.

    Yields:
        What it takes over from outer reports that were counted before.
    """
    for number, account in enumerate(levels):
        if not (is_sum and number == 0):
            yield from _take_over_sums(account, change)
        for name, amounts in change.parts.items():
            there = account.inside.get(name)
            if there is None:
                account.inside[name] = list(amounts)
            else:
                for at in range(3):
                    there[at] += amounts[at]
        if account.remainder is not None:
            yield from _take_over(account.remainder, change, change.net())


def _take_over_sums(account: Account, change: AmountChange) -> Iterator[Correction]:
    for key, summing in account.sums.items():
        stage, line, _ = key.split("/", 2)
        prefix = f"{stage}/" if line == "other" else f"{stage}/{line}"
        for remainder in summing.counted:
            yield from _take_over(remainder, change, change.net(prefix))


def _take_over(remainder: Remainder, change: AmountChange, net: Three) -> Iterator[Correction]:
    taken = [min(left, max(more, 0.0)) for left, more in zip(remainder.left, net, strict=True)]
    if not any(taken):
        return
    remainder.left = [left - less for left, less in zip(remainder.left, taken, strict=True)]
    change.add(remainder.place, taken, -1.0)
    yield Correction(remainder.place, taken, is_gone=not any(remainder.left))
